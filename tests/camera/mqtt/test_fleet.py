"""Machines that share work; one of them dies."""

import base64
import json
import unittest

from rig import ROOT, Rig, wait

PICTURE = (ROOT / "tests/goldens/imaging/photo-half.jpg").read_bytes()
PNG = (ROOT / "tests/goldens/imaging/rgb-56x56.png").read_bytes()
FLEET = '[mqtt.fleet]\ngroup = "g"\ntopic = "pictures/+"\nprompt = "caption en"\n'


class Fleet(unittest.TestCase):
    def setUp(self):
        self.rig = Rig()
        self.addCleanup(self.rig.close)
        self.broker = self.rig.broker("allow_anonymous true\nmax_queued_messages 1000\n")
        self.client = self.rig.client("answers/#", "+/fleet/answer", "+/status")

    def worker(self, name):
        worker = self.rig.daemon(f'base_topic = "{name}"\n{FLEET}', cameras="", name=name)
        wait(lambda: "connected to the broker" in worker.said(), "a connection")
        self.client.says(f"{name}/status", "online")
        # Its subscription is older than what is published from here on: the broker acknowledged both in this order.
        wait(lambda: self.broker.said().count(f"Sending SUBACK to {name}"), "the subscription")
        return worker

    def answers(self):
        with self.client.lock:
            return [m for m in self.client.messages if m.topic.startswith("answers/")]

    def test_pictures_come_in_every_form(self):
        self.worker("w1")
        ask = self.client.publish
        ask("pictures/a", PICTURE, response="answers/1", correlation=b"1", user=[("prompt", "detect object")])
        answer = self.client.until("answers/1")
        self.assertEqual(answer.properties.CorrelationData, b"1")
        told = json.loads(answer.payload)
        self.assertEqual((told["worker"], told["prompt"]), ("w1", "detect object"))
        self.assertIn("objects", told)
        self.assertGreater(told["timing"]["tokens"], 0)
        form = {"image": base64.b64encode(PNG).decode(), "prompt": "ocr", "id": "seven"}
        ask("pictures/b", json.dumps(form), response="answers/2", correlation=b"2")
        told = self.client.json("answers/2")
        self.assertEqual((told["id"], told["prompt"], told["frame"]), ("seven", "ocr", {"w": 56, "h": 56}))
        # Nobody to answer to in particular; the configured prompt; no wish to be acknowledged.
        ask("pictures/c", PNG, qos=0)
        self.assertEqual(self.client.json("w1/fleet/answer")["prompt"], "caption en")

    def test_what_cannot_be_read_is_answered_and_not_sent_again(self):
        worker = self.worker("w1")
        bad = [b"", b"GIF89a", PICTURE[:200], b"{", json.dumps({"image": "*"}).encode(), b"\xff\xd8" + bytes(1000)]
        for i, payload in enumerate(bad):
            self.client.publish("pictures/a", payload, response=f"answers/{i}", correlation=str(i).encode())
        for i in range(len(bad)):
            self.assertTrue(self.client.json(f"answers/{i}")["error"])
        # It is acknowledged: a good one is answered next, and none of the bad ones again.
        self.client.publish("pictures/a", PNG, response="answers/good", correlation=b"good")
        self.assertNotIn("error", self.client.json("answers/good"))
        self.assertEqual(len(self.answers()), len(bad) + 1)
        self.assertNotIn("panicked", worker.said())

    def test_no_picture_is_lost_when_a_machine_dies_and_comes_back(self):
        workers = [self.worker("w1"), self.worker("w2")]
        n = 60
        for i in range(n):
            self.client.publish(f"pictures/{i % 3}", PICTURE, response="answers/all", correlation=str(i).encode())
        wait(lambda: len(self.answers()) >= 15, "some answers")
        workers[1].kill()
        died_at = len(self.answers())
        self.assertLess(died_at, n - 10, "it was killed in the middle")
        self.client.says("w2/status", "offline")
        # As its service manager would.
        self.rig.daemon(f'base_topic = "w2"\n{FLEET}', cameras="", name="w2")

        def answered():
            return {m.properties.CorrelationData for m in self.answers()}

        wait(lambda: len(answered()) == n, "all answers")
        self.assertEqual(answered(), {str(i).encode() for i in range(n)})
        by = {}
        for m in self.answers():
            told = json.loads(m.payload)
            self.assertNotIn("error", told)
            by[told["worker"]] = by.get(told["worker"], 0) + 1
        # Both worked; twice came at most what was being done, or had just been answered, when one died.
        self.assertGreater(min(by.values()), 5, by)
        self.assertLessEqual(len(self.answers()), n + 2, by)
        print(f"fleet: {n} pictures, answers by machine {by}, killed after {died_at}")

    def test_a_clean_end_in_the_middle_loses_nothing_either(self):
        worker = self.worker("w1")
        n = 20
        for i in range(n):
            self.client.publish("pictures/a", PICTURE, response="answers/all", correlation=str(i).encode())
        wait(lambda: len(self.answers()) >= 3, "some answers")
        self.assertEqual(worker.stop(), 0)
        self.assertLess(len(self.answers()), n)
        self.rig.daemon(f'base_topic = "w1"\n{FLEET}', cameras="", name="w1")
        wait(lambda: len({m.properties.CorrelationData for m in self.answers()}) == n, "all answers")


if __name__ == "__main__":
    unittest.main()
