"""A whole Home Assistant, without a screen, beside a broker and a pg-camera: all entities, their states, their commands.

Usage: live.py PYTHON, the one that Home Assistant is installed in.
"""

import json
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "mqtt"))
from rig import CAMERA, Process, Rig, wait  # noqa: E402

# Home Assistant installs what it still lacks when it starts.
START = 400
MOTION = CAMERA.replace('"door"', '"yard"').replace('"always"', '"motion"').replace("red circle ; ", "")


def entity(component, rest):
    return f"{component}.pg_camera_{rest}"


LABELS = {"door": ["object", "red_circle"], "yard": ["object"]}


def expected():
    """All entities of the two cameras."""
    all_of = []
    for camera, labels in LABELS.items():
        all_of += [
            entity("sensor", f"{camera}_caption"), entity("image", f"{camera}_picture"),
            entity("camera", f"{camera}_snapshot"), entity("switch", f"{camera}_enabled"),
            entity("button", f"{camera}_run"), entity("select", f"{camera}_prompt"),
            entity("text", f"{camera}_query"), entity("event", f"{camera}_event"),
        ]
        for label in labels:
            all_of += [
                entity("binary_sensor", f"{camera}_object_{label}"), entity("sensor", f"{camera}_count_{label}"),
                entity("image", f"{camera}_picture_{label}"),
            ]
    return all_of + [entity("binary_sensor", "yard_motion")]


class HomeAssistant:
    def __init__(self, rig, python):
        self.path = rig.path / "homeassistant"
        (self.path / ".storage").mkdir(parents=True)
        shutil.copytree(HERE / "dump_states", self.path / "custom_components/dump_states")
        (self.path / "configuration.yaml").write_text("dump_states:\nlogger:\n  default: warning\n")
        entry = {
            "entry_id": "1", "version": 1, "minor_version": 1, "domain": "mqtt", "title": "broker", "source": "user",
            "data": {"broker": "127.0.0.1", "port": rig.port, "discovery": True, "discovery_prefix": "homeassistant"},
            "options": {}, "pref_disable_new_entities": False, "pref_disable_polling": False, "unique_id": None,
            "disabled_by": None,
        }
        storage = {"version": 1, "minor_version": 1, "key": "core.config_entries", "data": {"entries": [entry]}}
        (self.path / ".storage/core.config_entries").write_text(json.dumps(storage))
        # Home Assistant calls pip, and looks for it where its own interpreter is.
        search = f"{pathlib.Path(python).parent}:/usr/local/bin:/usr/bin:/bin"
        command = [python, "-m", "homeassistant", "-c", str(self.path)]
        self.process = Process(command, rig.path, "hass", {"PATH": search})
        rig.processes.append(self.process)

    def states(self):
        try:
            return json.loads((self.path / "states.json").read_text())
        except FileNotFoundError:
            return {}

    def state(self, entity_id):
        return self.states().get(entity_id, {}).get("state")

    def attributes(self, entity_id):
        return self.states().get(entity_id, {}).get("attributes", {})

    def until(self, entity_id, accepts, patience=60):
        def good():
            assert self.process.is_alive(), self.process.said()[-3000:]
            state = self.state(entity_id)
            return state is not None and accepts(state)
        wait(good, f"{entity_id}, which is {self.state(entity_id)!r}", patience)
        return self.state(entity_id)

    def call(self, domain, service, entity_id, **data):
        asked = {"domain": domain, "service": service, "data": {"entity_id": entity_id, **data}}
        (self.path / "call.new").write_text(json.dumps(asked))
        (self.path / "call.new").rename(self.path / "call.json")
        wait(lambda: not (self.path / "call.json").exists(), f"{domain}.{service} to be called")


def known(state):
    return state not in ("unknown", "unavailable")


def main(python):
    rig = Rig()
    try:
        run(rig, python)
    finally:
        rig.close()


def run(rig, python):
    rig.broker()
    cameras = CAMERA + MOTION
    daemon = rig.daemon(cameras=cameras)
    hass = HomeAssistant(rig, python)
    hass.until(entity("switch", "door_enabled"), lambda s: s == "on", START)
    lazy = {entity("button", "door_run"), entity("button", "yard_run"), entity("text", "door_query"), entity("text", "yard_query")}
    for entity_id in expected():
        # A button has no state before it is pressed, a question none before it is asked.
        hass.until(entity_id, lambda s: s != "unavailable" if entity_id in lazy else known(s))
    ours = [e for e in hass.states() if "pg_camera_" in e]
    assert sorted(ours) == sorted(expected()), set(ours) ^ set(expected())
    print(f"appeared: {len(ours)} entities of {len({e.split('.')[0] for e in ours})} kinds")

    caption = hass.states()[entity("sensor", "door_caption")]
    assert len(caption["state"]) <= 255 and caption["attributes"]["caption"].startswith(caption["state"]), caption
    assert caption["attributes"]["prompt"] == "caption en"
    for label in LABELS["door"]:
        def agree():
            states = hass.states()
            count = states[entity("sensor", f"door_count_{label}")]["state"]
            return (int(count) > 0) == (states[entity("binary_sensor", f"door_object_{label}")]["state"] == "on")
        wait(agree, "count and presence to agree")
    assert hass.attributes(entity("binary_sensor", "yard_motion"))["device_class"] == "motion"
    hass.until(entity("binary_sensor", "yard_motion"), lambda s: s == "on")
    wait(lambda: hass.attributes(entity("event", "door_event")).get("event_type") in ("detect", "caption"), "an event")
    options = hass.attributes(entity("select", "door_prompt"))["options"]
    assert options[0] == "as configured" and "detect red circle ; object" in options, options
    print("states and attributes are right")

    hass.call("text", "set_value", entity("text", "door_query"), value="what is it?")
    hass.until(entity("text", "door_query"), known)
    attributes = hass.attributes(entity("text", "door_query"))
    assert attributes["question"] == "what is it?" and "error" not in attributes, attributes
    hass.call("select", "select_option", entity("select", "door_prompt"), option="detect red circle ; object")
    hass.until(entity("select", "door_prompt"), lambda s: s == "detect red circle ; object")
    hass.call("button", "press", entity("button", "door_run"))
    hass.until(entity("button", "door_run"), known)
    hass.call("switch", "turn_off", entity("switch", "door_enabled"))
    hass.until(entity("switch", "door_enabled"), lambda s: s == "off")
    # A camera that is off has nothing to say, but can be switched on.
    hass.until(entity("sensor", "door_caption"), lambda s: s == "unavailable")
    hass.call("switch", "turn_on", entity("switch", "door_enabled"))
    hass.until(entity("sensor", "door_caption"), known)
    print("commands are obeyed")

    daemon.kill()
    for entity_id in expected():
        hass.until(entity_id, lambda s: s == "unavailable")
    print("after kill -9: all entities are unavailable")
    daemon = rig.daemon(cameras=cameras)
    for entity_id in expected():
        hass.until(entity_id, lambda s: s != "unavailable")
    assert daemon.stop() == 0
    for entity_id in expected():
        hass.until(entity_id, lambda s: s == "unavailable")
    print("after a start: all are there again; after a clean end: unavailable")
    said = (hass.path / "home-assistant.log").read_text().splitlines()
    complaints = [line for line in said if "ERROR" in line or ("WARNING" in line and "components.mqtt" in line)]
    assert not complaints, "\n".join(complaints)
    print("Home Assistant complained of nothing")


if __name__ == "__main__":
    main(sys.argv[1])
