"""What the scripts beside this file share: a running pg-camera whose events are kept, and its own numbers."""
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "http")]
from daemon import PATIENCE, Daemon, Failed, check

HEAD = """
[model]
path = "demo"
[runtime]
threads = {threads}
[http]
listen = "{{listen}}"
{{http}}
"""
# A camera all of whose pictures may be looked at.
CAMERA = """
[[camera]]
name = "{name}"
source = "{source}"
trigger = "always"
min_interval = 0.3
rate = {{{{ max_per_minute = 6000.0, burst = 100 }}}}
dedupe = {{{{ similarity = 2.0 }}}}
"""


def config(*parts, threads=1):
    """A configuration of a head and these parts."""
    return HEAD.format(threads=threads) + "".join(parts)


def camera(name, source="synthetic:?size=224x224", more=""):
    return CAMERA.format(name=name, source=source) + more


class Watched(Daemon):
    """A daemon whose events on standard output are kept, each with our own time."""

    def start(self, listen=None):
        self.events, self.news = [], threading.Condition()
        self.lines = subprocess.PIPE
        super().start(listen)
        threading.Thread(target=self.follow, args=(self.process.stdout,), daemon=True).start()

    def follow(self, lines):
        for line in lines:
            event = json.loads(line)
            with self.news:
                self.events.append((time.monotonic(), event))
                self.news.notify_all()

    def seen(self):
        with self.news:
            return [event for _, event in self.events]

    def event(self, wanted, after=0, patience=PATIENCE):
        """The first event with a number above `after` that is as wanted, now or later."""
        found = lambda: next((e for _, e in self.events if e["seq"] > after and wanted(e)), None)
        with self.news:
            check(self.news.wait_for(found, patience), f"waited in vain; the log: {self.text()[-3000:]}")
            return found()

    def newest(self):
        with self.news:
            return self.events[-1][1]["seq"] if self.events else 0

    def camera(self, name):
        return next(c for c in self.json("/api/cameras")["cameras"] if c["name"] == name)

    def until(self, condition, what, patience=PATIENCE):
        end = time.monotonic() + patience
        while not (value := condition()):
            check(self.process.poll() is None, f"it ended: {self.text()[-3000:]}")
            check(time.monotonic() < end, f"waited in vain: {what}; the log: {self.text()[-3000:]}")
            time.sleep(0.05)
        return value

    def metric(self, name, **labels):
        """The sum of a metric's values with these labels."""
        text, total = self.request("/metrics")[2].decode(), None
        for line in text.splitlines():
            found = re.fullmatch(r"pg_camera_(\w+)(\{.*\})? (\S+)", line)
            if found and found[1] == name and all(f'{k}="{v}"' in (found[2] or "") for k, v in labels.items()):
                total = (total or 0) + float(found[3])
        return total

    def memory(self):
        """Bytes that are not a file's."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) * 1024

    def end(self):
        check(self.stop() == 0, f"it ended badly: {self.text()[-3000:]}")


def run(main):
    """Calls it with the program that was named."""
    if len(sys.argv) != 2:
        sys.exit(sys.modules["__main__"].__doc__)
    try:
        main(os.path.realpath(sys.argv[1]))
    except Failed as failed:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {failed}")
