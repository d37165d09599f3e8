"""A broker (Debian's mosquitto), the built pg-camera, and an independent client (paho-mqtt), for the tests beside this file."""

import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("PG_CAMERA", str(ROOT / "target/debug/pg-camera"))
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
# Nothing here takes long; a machine that is shared may be slow.
PATIENCE = 60

CAMERA = """
[[camera]]
name = "door"
source = "synthetic:?size=224x224"
trigger = "always"
min_interval = 0.2
rate = { max_per_minute = 600.0, burst = 4 }
dedupe = { similarity = 2.0 }
[[camera.prompt]]
text = "detect red circle ; object"
[[camera.prompt]]
text = "caption en"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(condition, what, patience=PATIENCE):
    """Waits until the condition holds, and returns what it returned."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience} s in vain: {what}")
        time.sleep(0.02)


class Process:
    """A program whose output is kept."""

    def __init__(self, command, folder, name, env=None):
        self.output = pathlib.Path(folder) / f"{name}.log"
        self.errors = pathlib.Path(folder) / f"{name}.err"
        environment = {**os.environ, **(env or {})}
        with open(self.output, "ab") as out, open(self.errors, "ab") as err:
            self.child = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment)

    def said(self):
        return self.errors.read_text(errors="replace")

    def is_alive(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        if self.is_alive():
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait()

    def stop(self):
        """Ends it as a service manager does; returns its exit status."""
        self.signal(signal.SIGTERM)
        return self.child.wait(PATIENCE)


class Rig:
    """A folder for a test, and what runs in it."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="pg-camera-mqtt-")
        self.path = pathlib.Path(self.folder.name)
        self.port = free_port()
        self.processes = []
        self.clients = []

    def close(self):
        for client in self.clients:
            client.close()
        for process in self.processes:
            process.kill()
        self.folder.cleanup()

    def broker(self, more="allow_anonymous true\n", listener=None):
        config = self.path / "mosquitto.conf"
        # Acknowledgements and sessions as configured by default; nothing is kept over a restart.
        user = "user root\n" if os.geteuid() == 0 else ""
        config.write_text(f"{listener or f'listener {self.port} 127.0.0.1'}\n{user}log_type all\n{more}")
        broker = Process([MOSQUITTO, "-c", str(config)], self.path, "mosquitto")
        self.processes.append(broker)

        def is_up():
            assert broker.is_alive(), broker.said()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                return False

        wait(is_up, "mosquitto to listen")
        return broker

    def daemon(self, mqtt="", cameras=CAMERA, name="pg-camera", more="", ready=True):
        self.configure(mqtt, cameras, name, more)
        command = [PROGRAM, "run", "-c", str(self.path / f"{name}.toml")]
        daemon = Process(command, self.path, name, {"RUST_LOG": "info", "PG_MODEL": ""})
        self.processes.append(daemon)
        if ready:
            wait(lambda: "ready" in daemon.said() or not daemon.is_alive(), "the daemon to be ready")
            assert daemon.is_alive(), daemon.said()
        return daemon

    def configure(self, mqtt="", cameras=CAMERA, name="pg-camera", more=""):
        mqtt = f"[mqtt]\nport = {self.port}\nclient_id = \"{name}\"\n{mqtt}"
        config = f"[model]\npath = \"demo\"\n[runtime]\nthreads = 1\n{more}\n{mqtt}\n{cameras}"
        (self.path / f"{name}.toml").write_text(config)

    def client(self, *filters, **options):
        client = Client(self.port, filters, **options)
        self.clients.append(client)
        return client


class Client:
    """An MQTT 5 client that keeps everything that comes."""

    def __init__(self, port, filters, username=None, password=None):
        self.messages = []
        self.lock = threading.Condition()
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        if username:
            self.paho.username_pw_set(username, password)
        subscribed = queue.Queue()
        self.paho.on_subscribe = lambda *_: subscribed.put(True)
        self.paho.on_message = self.keep
        self.paho.reconnect_delay_set(1, 1)
        connected = queue.Queue()

        def on_connect(client, _, __, code, ___):
            for topic in filters:
                client.subscribe(topic, 1)
            connected.put(code)

        self.paho.on_connect = on_connect
        self.paho.connect("127.0.0.1", port, keepalive=20)
        self.paho.loop_start()
        connected.get(timeout=PATIENCE)
        for _ in filters:
            subscribed.get(timeout=PATIENCE)

    def keep(self, _, __, message):
        with self.lock:
            self.messages.append(message)
            self.lock.notify_all()

    def all(self, topic):
        """Payloads that came, empty ones too, in order."""
        with self.lock:
            return [m.payload for m in self.messages if m.topic == topic]

    def topics(self):
        with self.lock:
            return {m.topic for m in self.messages}

    def forget(self):
        with self.lock:
            self.messages.clear()

    def until(self, topic, accepts=lambda payload: True):
        """The first message of this topic that is acceptable, now or later."""
        def found(m):
            return m.topic == topic and accepts(m.payload)
        with self.lock:
            arrived = self.lock.wait_for(lambda: any(found(m) for m in self.messages), PATIENCE)
            if not arrived:
                tail = [(m.topic, m.payload[:80]) for m in self.messages if m.topic == topic][-5:]
                raise AssertionError(f"waited {PATIENCE} s in vain for {topic}; came: {tail}")
            return next(m for m in self.messages if found(m))

    def says(self, topic, value):
        return self.until(topic, lambda payload: payload == value.encode())

    def json(self, topic, accepts=lambda value: True):
        return json.loads(self.until(topic, lambda payload: payload and accepts(json.loads(payload))).payload)

    def publish(self, topic, payload, qos=1, retain=False, response=None, correlation=None, user=()):
        properties = Properties(PacketTypes.PUBLISH)
        if response:
            properties.ResponseTopic = response
        if correlation:
            properties.CorrelationData = correlation
        if user:
            properties.UserProperty = list(user)
        self.paho.publish(topic, payload, qos, retain, properties).wait_for_publish(PATIENCE)

    def close(self):
        self.paho.disconnect()
        self.paho.loop_stop()


def lines(daemon):
    """The events that a daemon has written to its standard output."""
    whole = daemon.output.read_text(errors="replace").split("\n")[:-1]
    return [json.loads(line) for line in whole]
