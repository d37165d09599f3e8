"""A broker (Debian's mosquitto) on a port that is free, and mosquitto_sub as a client that knows nothing of ours."""
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time

# Far more than anything here takes.
PATIENCE = 60


class Broker:
    """Runs from `with` to its end; keeps its files in `folder`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.clients = []

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        user = "user root\n" if os.geteuid() == 0 else ""
        config = self.folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\n{user}allow_anonymous true\n")
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        self.process = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def __exit__(self, *_):
        for process in [*self.clients, self.process]:
            process.kill()
            process.wait()

    def listen(self, filters, heard):
        """Calls `heard(topic, payload)` for every message; payloads with a line break (pictures) are cut there."""
        topics = [word for topic in filters for word in ("-t", topic)]
        client = subprocess.Popen(
            ["mosquitto_sub", "-V", "mqttv5", "-h", "127.0.0.1", "-p", str(self.port), "-F", "mqtt %t %l %p", *topics],
            stdout=subprocess.PIPE)
        self.clients.append(client)

        def follow():
            for line in client.stdout:
                if line.startswith(b"mqtt "):
                    topic, _, payload = (line[5:].rstrip(b"\n").split(b" ", 2) + [b""])[:3]
                    heard(topic.decode(), payload)

        threading.Thread(target=follow, daemon=True).start()
