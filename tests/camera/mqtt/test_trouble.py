"""Brokers that go away, refuse, hang or lie."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import unittest
import urllib.request

import paho.mqtt.client as paho

from rig import Rig, lines, wait

DOOR = "pg-camera/door"
# Seconds for which the broker is away at least; however short, more events come than may wait.
OUTAGE = float(os.environ.get("PG_OUTAGE_SECONDS", "0"))


class Trouble(unittest.TestCase):
    def setUp(self):
        self.rig = Rig()
        self.addCleanup(self.rig.close)

    def goes_on(self, daemon):
        before = len(lines(daemon))
        wait(lambda: len(lines(daemon)) > before, "the daemon to go on")
        self.assertTrue(daemon.is_alive())
        self.assertNotIn("panicked", daemon.said())

    def behind_proxy(self, mqtt="", more=""):
        """A daemon whose connection can be cut, and a client whose connection stays."""
        self.rig.broker()
        client = self.rig.client(f"{DOOR}/event", "pg-camera/stats")
        proxy = Proxy(self.rig.port)
        self.addCleanup(proxy.close)
        self.rig.port = proxy.port
        daemon = self.rig.daemon(mqtt, more=more)
        client.until(f"{DOOR}/event")
        return daemon, client, proxy

    def test_events_wait_while_the_broker_is_away_up_to_the_bound(self):
        most = 40
        daemon, client, proxy = self.behind_proxy(f"max_pending = {most}", "[http]\nlisten = \"127.0.0.1:0\"")
        proxy.open = False
        proxy.cut()
        began, gone = time.monotonic(), len(lines(daemon))
        wait(lambda: time.monotonic() - began >= OUTAGE and len(lines(daemon)) > gone + most + 30,
             "more events than may wait", OUTAGE + 60)
        proxy.open = True
        wait(lambda: daemon.said().count("connected to the broker") == 2, "the second connection")
        newest = len(lines(daemon))
        client.json("pg-camera/stats", lambda s: s["events_lost"] > 0)

        def told():
            return {json.loads(p)["seq"] for p in client.all(f"{DOOR}/event")}

        # The newest kept events go on without a gap into those that came later.
        wait(lambda: max(told()) > newest + most, "what was kept, and more")
        all_told = told()
        missing = set(range(1, max(all_told) + 1)) - all_told
        # The statistics are of the moment of the connection; a few more may go until the queue has been sent.
        address = re.search(r"http: serving on (\S+)", daemon.said())[1]
        with urllib.request.urlopen(f"{address}/api/system") as answer:
            lost = json.load(answer)["events_lost"]
        self.assertEqual(missing, set(range(min(missing), min(missing) + lost)), "one gap, as long as was counted")
        self.assertGreater(min(missing), gone - 5)
        # As many were kept as was promised; standard output may be a few events behind.
        self.assertGreaterEqual(newest - max(missing), most - 5)
        print(f"outage: events {gone + 1} to {newest} while it was cut off; {min(missing)} to {max(missing)} were lost")

    def test_short_outages_lose_nothing(self):
        daemon, client, proxy = self.behind_proxy()
        for n in range(1, 5):
            wait(lambda: len(lines(daemon)) > 10 * n, "events")
            proxy.cut()
            wait(lambda: daemon.said().count("connected to the broker") > n, "another connection")
        self.assertEqual(daemon.stop(), 0)
        seqs = [json.loads(p)["seq"] for p in client.all(f"{DOOR}/event")]
        # At least once: what was on its way when the connection broke may have come twice.
        self.assertEqual(sorted(set(seqs)), [e["seq"] for e in lines(daemon)])

    def test_a_wrong_password_is_told_once_in_words(self):
        passwords = self.rig.path / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "camera", "right"], check=True)
        (self.rig.path / "wrong").write_text("wrong\n")
        (self.rig.path / "right").write_text("right\n")
        broker = self.rig.broker(f"allow_anonymous false\npassword_file {passwords}\n")
        secret = 'username = "camera"\npassword = {{ file = "{}" }}\n'
        daemon = self.rig.daemon(secret.format(self.rig.path / "wrong"))
        wait(lambda: "MQTT: " in daemon.said(), "a word about it")
        self.goes_on(daemon)
        told = [line for line in daemon.said().splitlines() if "MQTT" in line]
        self.assertEqual(len(told), 1, told)
        self.assertIn("mqtt.password", told[0])
        self.assertNotIn("wrong\n", daemon.said())
        self.assertEqual(broker.said().count("as pg-camera"), 0)
        daemon.kill()
        daemon = self.rig.daemon(secret.format(self.rig.path / "right"))
        wait(lambda: "connected to the broker" in daemon.said(), "a connection")

    def test_what_access_rules_deny_is_told_and_nothing_else_suffers(self):
        rules = self.rig.path / "rules"
        allowed = (f"{DOOR}/event", "pg-camera/status", "pg-camera/stats")
        rules.write_text("".join(f"topic readwrite {topic}\n" for topic in allowed))
        self.rig.broker(f"allow_anonymous true\nacl_file {rules}\n")
        client = self.rig.client(f"{DOOR}/event", "pg-camera/status", f"{DOOR}/caption")
        daemon = self.rig.daemon()
        client.says("pg-camera/status", "online")
        client.json(f"{DOOR}/event", lambda e: e["kind"] == "caption")
        wait(lambda: "did not take pg-camera/door/caption: not authorized" in daemon.said(), "a word about it")
        self.goes_on(daemon)
        self.assertEqual(client.all(f"{DOOR}/caption"), [])
        self.assertLess(daemon.said().count("pg-camera/door/caption"), 2, "told once")

    def test_a_broker_that_hangs_is_given_up_and_taken_up_again(self):
        broker = self.rig.broker()
        daemon = self.rig.daemon("keep_alive = 5")
        wait(lambda: "connected to the broker" in daemon.said(), "a connection")
        broker.signal(signal.SIGSTOP)
        wait(lambda: "nothing came from the broker for" in daemon.said(), "the daemon to give up")
        self.goes_on(daemon)
        broker.signal(signal.SIGCONT)
        wait(lambda: daemon.said().count("connected to the broker") == 2, "another connection")

    def test_a_client_with_the_same_name_does_not_lead_to_a_fight(self):
        self.rig.broker()
        daemon = self.rig.daemon()
        wait(lambda: "connected to the broker" in daemon.said(), "a connection")
        twin = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="pg-camera", protocol=paho.MQTTv5)
        twin.connect("127.0.0.1", self.rig.port)
        twin.loop_start()
        self.addCleanup(twin.loop_stop)
        wait(lambda: "have the same mqtt.client_id" in daemon.said(), "a word about it")

    def test_liars_and_old_brokers_do_no_harm(self):
        old = b"\x20\x02\x00\x01"
        good = b"\x20\x03\x00\x00\x00"
        for answer, words in [
            (old, "does not speak MQTT 5"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100, "damaged packet"),
            (good + b"\xe0\x01\x8e", "another client has the same mqtt.client_id"),
            (good + b"\x30\xff\xff\xff\x7f", "longer than the client said"),
            (good + b"\x30\x03\x00\x01#", "topic is none"),
            (good + b"\x9f" * 50, "damaged packet"),
            (b"", "closed the connection"),
        ]:
            with self.subTest(words=words):
                rig = Rig()
                self.addCleanup(rig.close)
                liar = Liar(rig.port, answer)
                self.addCleanup(liar.close)
                daemon = rig.daemon()
                wait(lambda: words in daemon.said(), f"{words}, of {daemon.said()}")
                self.goes_on(daemon)
                daemon.kill()


class Proxy:
    """Passes bytes both ways until it is told to cut all connections."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                if not self.open:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.upstream))
            except OSError:
                return
            self.pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    @staticmethod
    def copy(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        for pair in self.pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs.clear()

    def close(self):
        self.listener.close()
        self.cut()


class Liar:
    """Answers whoever connects with the same bytes, and closes."""

    def __init__(self, port, answer):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.answer = answer
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                near, _ = self.listener.accept()
                near.recv(65536)
                near.sendall(self.answer)
                near.shutdown(socket.SHUT_WR)
                while near.recv(65536):
                    pass
            except OSError:
                if self.listener.fileno() < 0:
                    return

    def close(self):
        self.listener.close()


if __name__ == "__main__":
    unittest.main()
