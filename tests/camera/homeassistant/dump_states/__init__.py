"""Home Assistant's states in a file, and calls of its services from files: how a test sees and touches it."""

import datetime
import json
import os


async def async_setup(hass, _):
    from homeassistant.helpers.event import async_track_time_interval

    def write(states):
        path = hass.config.path("states.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(states, file, default=str)
        os.replace(path + ".new", path)

    def call():
        try:
            path = hass.config.path("call.json")
            with open(path, encoding="utf-8") as file:
                asked = json.load(file)
            os.remove(path)
            return asked
        except FileNotFoundError:
            return None

    async def dump(_):
        states = {s.entity_id: {"state": s.state, "attributes": dict(s.attributes)} for s in hass.states.async_all()}
        await hass.async_add_executor_job(write, states)
        if asked := await hass.async_add_executor_job(call):
            await hass.services.async_call(asked["domain"], asked["service"], asked["data"], blocking=True)

    async_track_time_interval(hass, dump, datetime.timedelta(seconds=0.5))
    return True
