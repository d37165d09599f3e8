"""What the daemon is told through the broker, and what it makes of nonsense."""

import json
import unittest

from rig import ROOT, Rig, lines, wait

DOOR = "pg-camera/door"


class Commands(unittest.TestCase):
    def setUp(self):
        self.rig = Rig()
        self.addCleanup(self.rig.close)
        self.rig.broker()
        self.client = self.rig.client("#")

    def start(self, **options):
        self.daemon = self.rig.daemon(**options)
        self.client.says(f"{DOOR}/status", "online")

    def error(self, *words):
        event = self.client.json(f"{DOOR}/event", lambda e: e["kind"] == "error" and all(w in e["error"] for w in words))
        return event["error"]

    def test_a_camera_is_switched_off_and_on(self):
        self.start()
        self.client.publish(f"{DOOR}/enabled/set", "OFF")
        self.client.says(f"{DOOR}/enabled/state", "OFF")
        self.client.says(f"{DOOR}/status", "off")
        self.client.forget()
        self.client.publish(f"{DOOR}/enabled/set", "ON")
        self.client.says(f"{DOOR}/enabled/state", "ON")
        self.client.says(f"{DOOR}/status", "online")

    def test_it_is_asked_something_else(self):
        self.start()
        self.client.publish(f"{DOOR}/prompt/set", "detect blue square\n\nis it dark?")
        self.client.says(f"{DOOR}/prompt/state", "detect blue square\nanswer en is it dark?")
        self.client.until(f"{DOOR}/count/blue_square")
        self.client.json(f"{DOOR}/event", lambda e: e.get("prompt") == "answer en is it dark?" and e["kind"] == "answer")
        self.client.forget()
        self.client.publish(f"{DOOR}/prompt/set", "as configured")
        self.client.says(f"{DOOR}/prompt/state", "as configured")
        self.client.json(f"{DOOR}/caption")

    def test_it_looks_when_told_to(self):
        camera = """
[[camera]]
name = "door"
source = "synthetic:?size=224x224"
trigger = "request"
"""
        self.start(cameras=camera)
        self.assertEqual(self.client.all(f"{DOOR}/event"), [])
        self.client.publish(f"{DOOR}/run", "PRESS")
        self.client.json(f"{DOOR}/caption")

    def test_pictures_are_handed_in(self):
        camera = """
[[camera]]
name = "door"
source = "push:"
trigger = "always"
"""
        self.daemon = self.rig.daemon(cameras=camera)
        self.client.says("pg-camera/status", "online")
        picture = (ROOT / "tests/goldens/imaging/photo-half.jpg").read_bytes()

        def handed_in():
            self.client.publish(f"{DOOR}/picture/set", picture)
            return self.client.all(f"{DOOR}/caption")

        wait(handed_in, "a caption")
        self.assertEqual(self.client.json(f"{DOOR}/caption")["frame"]["w"], 64)

    def test_questions_are_answered_where_it_was_asked_for(self):
        self.start()
        self.client.publish(f"{DOOR}/query/set", "detect object", response="me/answers", correlation=b"\x00\x017")
        answer = self.client.until("me/answers")
        self.assertEqual(answer.properties.CorrelationData, b"\x00\x017")
        told = json.loads(answer.payload)
        self.assertEqual((told["question"], told["prompt"], told["camera"]), ("detect object", "detect object", "door"))
        self.assertIn("objects", told)
        self.assertEqual(self.client.json(f"{DOOR}/query/state"), told)
        # Free text becomes a task of the model's.
        self.client.publish(f"{DOOR}/query/set", "what is it?")
        told = self.client.json(f"{DOOR}/query/state", lambda a: a["question"] == "what is it?")
        self.assertEqual(told["prompt"], "answer en what is it?")
        self.assertNotIn("error", told)

    def test_a_camera_that_gives_nothing_is_told_of(self):
        self.start()
        self.client.publish(f"{DOOR}/enabled/set", "OFF")
        self.client.says(f"{DOOR}/status", "off")
        self.client.publish(f"{DOOR}/query/set", "what is it?")
        told = self.client.json(f"{DOOR}/query/state")
        self.assertIn("it is off", told["error"])

    def test_nonsense_becomes_an_error_event(self):
        self.start()
        self.client.publish(f"{DOOR}/enabled/set", "maybe")
        self.assertIn("maybe", self.error("enabled/set takes ON or OFF"))
        self.client.publish(f"{DOOR}/enabled/set", b"\xff" * 100_000)
        self.error("enabled/set", "\ufffd")
        self.client.publish(f"{DOOR}/prompt/set", "")
        self.error("prompt/set takes 1 to 8 prompts")
        self.client.publish(f"{DOOR}/prompt/set", "caption en\n" * 9)
        self.error("prompt/set takes 1 to 8 prompts")
        self.client.publish(f"{DOOR}/prompt/set", "x" * 200_000)
        self.error("prompt/set", "200000 bytes are too long")
        self.client.publish(f"{DOOR}/prompt/set", b"caption \xc3\x28")
        self.error("prompt/set", "is no text")
        self.client.publish(f"{DOOR}/query/set", "")
        self.error("query/set takes a question")
        self.client.publish(f"{DOOR}/query/set", "detect " + "cat ; " * 150 + "dog")
        self.error("query/set", "longer than")
        for topic in ("pg-camera/nobody/run", "pg-camera//enabled/set", "pg-camera/x/y/z/run"):
            self.client.publish(topic, "x")
        # More than any packet may have, which the broker keeps to itself.
        self.client.publish(f"{DOOR}/query/set", b"x" * (5 << 20))
        before = len(lines(self.daemon))
        wait(lambda: len(lines(self.daemon)) > before, "the daemon to go on")
        self.assertNotIn("panicked", self.daemon.said())

    def test_retained_commands_are_not_obeyed(self):
        self.client.publish(f"{DOOR}/enabled/set", "OFF", retain=True)
        self.start()
        # One that is obeyed, after those that are not.
        self.client.publish(f"{DOOR}/prompt/set", "ocr")
        self.client.says(f"{DOOR}/prompt/state", "ocr")
        self.assertEqual(self.client.all(f"{DOOR}/enabled/state"), [b"ON"])


if __name__ == "__main__":
    unittest.main()
