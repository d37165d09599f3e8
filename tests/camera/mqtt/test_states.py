"""What stands on the broker: states, pictures, discovery; whoever dies or restarts."""

import json
import signal
import struct
import unittest

from rig import CAMERA, Rig, lines, wait

BASE = "pg-camera"
DOOR = "pg-camera/door"
COMPONENTS = {"sensor", "binary_sensor", "image", "camera", "switch", "button", "select", "text", "event"}


def jpeg_size(jpeg):
    """Width and height, from the start of the frame."""
    assert jpeg[:2] == b"\xff\xd8" and jpeg[-2:] == b"\xff\xd9"
    at = 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[at:at + 4])
        if marker in (0xFFC0, 0xFFC1, 0xFFC2):
            height, width = struct.unpack(">HH", jpeg[at + 5:at + 9])
            return width, height
        at += 2 + length


class States(unittest.TestCase):
    def setUp(self):
        self.rig = Rig()
        self.addCleanup(self.rig.close)

    def test_cameras_tell_what_they_see(self):
        self.rig.broker()
        client = self.rig.client("#")
        self.rig.daemon()
        client.says(f"{BASE}/status", "online")
        client.says(f"{DOOR}/status", "online")
        client.says(f"{DOOR}/enabled/state", "ON")
        client.says(f"{DOOR}/prompt/state", "as configured")
        caption = client.json(f"{DOOR}/caption")
        self.assertEqual((caption["kind"], caption["camera"], caption["prompt"]), ("caption", "door", "caption en"))
        self.assertTrue(caption["caption"])
        event = client.json(f"{DOOR}/event", lambda e: e["kind"] == "detect" and e["objects"])
        self.assertEqual(event["v"], 1)
        width, height = jpeg_size(client.until(f"{DOOR}/snapshot").payload)
        self.assertEqual((width, height), (224, 224))
        cut = jpeg_size(client.until(f"{DOOR}/snapshot/object").payload)
        wanted = set()
        for seen in map(json.loads, client.all(f"{DOOR}/event")):
            for o in seen["objects"]:
                x0, y0, x1, y1 = o["box_px"]
                wanted.add((min(x1, 224) - x0, min(y1, 224) - y0))
        self.assertIn(cut, wanted)
        stats = client.json(f"{BASE}/stats")
        self.assertEqual(stats["events_lost"], 0)
        self.assertIn("used", stats["cameras"]["door"])

    def test_states_agree_with_the_events_they_come_from(self):
        self.rig.broker()
        client = self.rig.client(f"{DOOR}/#")
        daemon = self.rig.daemon()
        client.until(f"{DOOR}/count/object")
        wait(lambda: len(lines(daemon)) > 30, "30 events")
        self.assertEqual(daemon.stop(), 0)
        # What it wrote to standard output is what it told the broker, each once and in order.
        told = [json.loads(payload) for payload in client.all(f"{DOOR}/event")]
        self.assertEqual([e["seq"] for e in told], [e["seq"] for e in lines(daemon)])
        last = [e for e in told if e["kind"] == "detect"][-1]
        n = sum(o["label"] == "object" for o in last["objects"])
        self.assertEqual(client.all(f"{DOOR}/count/object")[-1], str(n).encode())
        self.assertEqual(client.all(f"{DOOR}/object/object")[-1], b"ON" if n else b"OFF")

    def test_states_and_entities_come_again_when_the_broker_has_lost_them(self):
        broker = self.rig.broker()
        client = self.rig.client("#")
        daemon = self.rig.daemon()
        client.until(f"{DOOR}/snapshot/object")
        client.until(f"{DOOR}/caption")
        broker.kill()
        self.rig.broker()
        wait(lambda: daemon.said().count("connected to the broker") == 2, "the second connection")
        # A client that comes only now is told everything.
        late = self.rig.client("#")
        late.says(f"{BASE}/status", "online")
        for what in ("caption", "snapshot", "snapshot/object", "object/object", "count/object", "enabled/state"):
            late.until(f"{DOOR}/{what}", len)
        configs = [t for t in late.topics() if t.endswith("/config")]
        self.assertEqual({t.split("/")[1] for t in configs}, COMPONENTS)
        # The will of the connection that the broker's death ended was never told.
        self.assertNotIn(b"offline", client.all(f"{BASE}/status"))

    def test_home_assistants_birth_brings_everything_again(self):
        self.rig.broker()
        client = self.rig.client("homeassistant/+/pg-camera/+/config", f"{BASE}/status")
        self.rig.daemon()
        client.says(f"{BASE}/status", "online")
        wait(lambda: len(client.topics()) > 10, "the entities")
        before = client.topics()
        client.forget()
        client.publish("homeassistant/status", "offline")
        client.publish("homeassistant/status", "online")
        wait(lambda: client.topics() == before, "the same topics again")

    def test_the_will_is_told_after_a_violent_end_only(self):
        self.rig.broker()
        client = self.rig.client(f"{BASE}/status")
        daemon = self.rig.daemon()
        client.says(f"{BASE}/status", "online")
        daemon.kill()
        client.says(f"{BASE}/status", "offline")
        client.forget()
        daemon = self.rig.daemon()
        client.says(f"{BASE}/status", "online")
        self.assertEqual(daemon.stop(), 0)
        client.says(f"{BASE}/status", "stopped")
        # A message of our own comes after whatever the broker had to say.
        client.publish(f"{BASE}/status", "mark")
        client.says(f"{BASE}/status", "mark")
        self.assertEqual([p for p in client.all(f"{BASE}/status") if p], [b"online", b"stopped", b"mark"])

    def test_cameras_that_are_taken_out_leave_nothing_behind(self):
        self.rig.broker()
        second = CAMERA.replace('"door"', '"yard"').replace("red circle", "cat")
        client = self.rig.client("#")
        daemon = self.rig.daemon(cameras=CAMERA + second)
        client.until("pg-camera/yard/snapshot/object")
        client.until("pg-camera/yard/caption")
        client.until(f"{DOOR}/caption")

        def left(word):
            late = self.rig.client("#")
            late.until(f"{BASE}/status")
            # Retained messages all come before one that is published after the subscription.
            late.publish("mark", "x")
            late.until("mark")
            late.close()
            return {m.topic for m in late.messages if m.retain and word in m.topic}

        self.assertGreater(len(left("yard")), 15)
        # While it runs: by SIGHUP.
        self.rig.configure(cameras=CAMERA)
        daemon.signal(signal.SIGHUP)
        wait(lambda: not left("yard"), "the yard's topics to go")
        self.assertIn(f"{DOOR}/caption", left("door"))
        # While it does not run.
        daemon.stop()
        self.rig.configure(cameras=second)
        daemon = self.rig.daemon(cameras=second)
        client.until("pg-camera/yard/caption")
        wait(lambda: not left("door"), "the door's topics to go")
        # A prompt that looks for something else takes the old labels' topics with it.
        client.until("pg-camera/yard/count/cat")
        client.publish("pg-camera/yard/prompt/set", "detect dog")
        client.until("pg-camera/yard/count/dog")
        wait(lambda: not left("_cat") and not left("/cat"), "the cat's topics to go")


if __name__ == "__main__":
    unittest.main()
