"""Writes what a running pg-camera tells Home Assistant to a file, topic by topic, for `schemas.py`."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "mqtt"))
from rig import CAMERA, Rig, wait  # noqa: E402

MOTION = """
[[camera]]
name = "yard"
source = "synthetic:?size=224x224"
[[camera.prompt]]
text = "detect fire truck ; 猫"
"""
# Entities of a camera that does not look for motion, of one that does, and of four labels.
N_ENTITIES = 8 + 9 + 4 * 3


def main(path):
    rig = Rig()
    try:
        rig.broker()
        client = rig.client("homeassistant/#")
        rig.daemon(cameras=CAMERA + MOTION)
        wait(lambda: len(client.topics()) == N_ENTITIES, f"{N_ENTITIES} entities")
        all_payloads = {m.topic: json.loads(m.payload) for m in client.messages}
    finally:
        rig.close()
    pathlib.Path(path).write_text(json.dumps(all_payloads))


if __name__ == "__main__":
    main(sys.argv[1])
