"""Holds payloads, as `payloads.py` has collected them, against Home Assistant's own schemas of its MQTT entities.

Runs in the Python that Home Assistant is installed in.
"""

import copy
import importlib
import json
import pathlib
import sys

COMPONENTS = ["sensor", "binary_sensor", "image", "camera", "switch", "button", "select", "text", "event"]

def accept(component, config):
    module = importlib.import_module(f"homeassistant.components.mqtt.{component}")
    return module.DISCOVERY_SCHEMA(config)


def refuse(component, config, why):
    import voluptuous
    try:
        accept(component, config)
    except voluptuous.Invalid as e:
        print(f"refused, as it has to be: {why}: {e}")
        return
    raise SystemExit(f"Home Assistant accepts a payload with {why}: this check would notice nothing")


def main(path):
    import homeassistant.const
    print("Home Assistant", homeassistant.const.__version__)
    all_payloads = json.loads(pathlib.Path(path).read_text())
    seen = set()
    for topic, config in sorted(all_payloads.items()):
        prefix, component, node, uid, last = topic.split("/")
        assert (prefix, node, last) == ("homeassistant", "pg-camera", "config"), topic
        accept(component, copy.deepcopy(config))
        seen.add(component)
    assert seen == set(COMPONENTS), seen
    print(f"accepted: {len(all_payloads)} payloads of {len(seen)} components")

    def some(component):
        found = next(c for t, c in sorted(all_payloads.items()) if t.split("/")[1] == component)
        return copy.deepcopy(found)

    damaged = some("binary_sensor")
    damaged["device_class"] = "curiosity"
    refuse("binary_sensor", damaged, "an unknown device class")
    damaged = some("sensor")
    del damaged["device"]["identifiers"]
    refuse("sensor", damaged, "a device without identifiers")
    damaged = some("image")
    damaged["url_topic"] = "x/y"
    refuse("image", damaged, "two sources of a picture")
    # Home Assistant accepts wildcards in some places where they mean nothing, so that is looked at here.
    for topic, config in all_payloads.items():
        for key, value in config.items():
            assert not (key.endswith("topic") and set(value) & set("+#")), (topic, key, value)


if __name__ == "__main__":
    main(sys.argv[1])
