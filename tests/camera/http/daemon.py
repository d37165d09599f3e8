"""A running pg-camera with the demo model, a camera of moving shapes, and its pages on a port that is free."""
import base64
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Far more than anything here takes.
PATIENCE = 120
ADMIN = "admin-token-of-the-tests"
VIEWER = "viewer-token-of-the-tests"
# What the systemd unit tells the allocator.
UNIT = ROOT / "targets/cross/package/pg-camera.service"
ALLOCATOR = dict(re.findall(r"^Environment=(MALLOC_\w+)=(\d+)$", UNIT.read_text(), re.MULTILINE))

CONFIG = """
[model]
path = "demo"
[runtime]
threads = 2
max_queue = {max_queue}
[output]
json_lines = false
history = {history}
[http]
listen = "{listen}"
{http}
[[camera]]
name = "shapes"
source = "synthetic:?size=320x240"
trigger = "{trigger}"
min_interval = 0.5
rate = {{ max_per_minute = 6000.0, burst = 100 }}
dedupe = {{ similarity = 2.0 }}
[[camera.prompt]]
text = "detect object"
[[camera.prompt]]
text = "caption en"
[[camera]]
name = "pushed"
source = "push:"
trigger = "always"
dedupe = {{ similarity = 2.0 }}
"""


class Failed(Exception):
    pass


def check(is_so, what):
    if not is_so:
        raise Failed(what)


class Daemon:
    """Runs from `with` to its end."""

    def __init__(self, program, http="", listen="127.0.0.1:0", max_queue=4, trigger="always", history=1000, tokens=False,
                 config=CONFIG, before=(), env=None, input=None, lines=None):
        """`before` is put before the command, `env` added to its environment; `input` and `lines` are its standard input and output."""
        self.program = program
        self.text_of_config, self.before, self.input, self.lines = config, list(before), input, lines
        self.env = {"RUST_LOG": "info", "PATH": "/usr/bin:/bin", **(env or {})}
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        if tokens:
            for name, token in (("admin", ADMIN), ("viewer", VIEWER)):
                (self.path / name).write_text(token + "\n")
                http += f'\n{name}_token = {{{{ file = "{self.path}/{name}" }}}}'
        self.config = dict(listen=listen, folder=self.path, http=http.format(folder=self.path), max_queue=max_queue, trigger=trigger, history=history)

    def __enter__(self):
        self.start()
        return self

    def start(self, listen=None):
        self.config["listen"] = listen or self.config["listen"]
        (self.path / "camera.toml").write_text(self.text_of_config.format(**self.config))
        self.log = open(self.path / "log", "w+")
        self.process = subprocess.Popen(
            [*self.before, self.program, "run", "-c", str(self.path / "camera.toml")], stdin=self.input or subprocess.DEVNULL,
            stdout=self.lines or subprocess.DEVNULL, stderr=self.log, env=self.env,
        )
        self.address = self.logged(r"http: serving on https?://(\S+)")
        self.scheme = "https" if "https://" + self.address in self.text() else "http"
        self.url = f"{self.scheme}://{self.address}"
        self.logged(r"(ready)$")

    def text(self):
        return (self.path / "log").read_text()

    def logged(self, pattern):
        """Waits for a line of the log."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = re.search(pattern, self.text(), re.MULTILINE)
            if found:
                return found[1]
            check(self.process.poll() is None, f"the program ended: {self.text()}")
            time.sleep(0.02)
        raise Failed(f"the log does not say {pattern!r}: {self.text()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def request(self, path, body=None, method=None, headers=None, token=None):
        """Status, headers and body of an answer."""
        headers = dict(headers or {})
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def json(self, path, **more):
        status, _, body = self.request(path, **more)
        check(status == 200, f"{path}: {status} {body[:300]}")
        return json.loads(body)

    def picture(self, token=None):
        """A picture of the camera as JPEG, and as a data: address."""
        status, _, jpeg = self.request("/api/cameras/shapes/snapshot.jpg", token=token)
        check(status == 200 and jpeg.startswith(b"\xff\xd8"), f"no snapshot: {status} {jpeg[:200]}")
        return jpeg, "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()

    def wait(self, path, until, **more):
        """Asks until the answer is as it should be."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self.json(path, **more)
            if until(answer):
                return answer
            time.sleep(0.05)
        raise Failed(f"{path} stays {answer}")
