"""Clients of a running pg-camera that take everything it gives, each on a thread of its own, and count it."""
import http.client
import json
import threading


class Consumer(threading.Thread):
    """Counts in `n`; `failure` says why it ended, unless it was told to."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.n, self.failure, self.is_over = address, 0, None, threading.Event()

    def get(self, path):
        client = http.client.HTTPConnection(self.address, timeout=120)
        client.request("GET", path)
        answer = client.getresponse()
        if answer.status != 200:
            raise OSError(f"{path}: {answer.status}")
        return answer

    def run(self):
        try:
            self.consume()
        except Exception as error:
            self.failure = self.failure or repr(error)
        if not self.is_over.is_set():
            self.failure = self.failure or "it ended"


class Events(Consumer):
    """Events as a browser gets them, which must come in order and without a gap."""

    def __init__(self, address):
        super().__init__(address)
        self.first = self.last = None

    def consume(self):
        for line in self.get("/events"):
            if not line.startswith(b"data: {"):
                continue
            seq = json.loads(line[6:]).get("seq")
            if seq is None:
                continue
            if self.last is not None and seq != self.last + 1:
                raise ValueError(f"event {seq} follows {self.last}")
            self.first, self.last, self.n = self.first or seq, seq, self.n + 1


class Pictures(Consumer):
    """Live pictures of a camera."""

    def __init__(self, address, camera):
        super().__init__(address)
        self.camera = camera

    def consume(self):
        stream, length = self.get(f"/{self.camera}/stream.mjpeg"), None
        while line := stream.readline():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            elif line == b"\r\n" and length:
                jpeg = stream.read(length)
                if not (jpeg.startswith(b"\xff\xd8") and jpeg.endswith(b"\xff\xd9")):
                    raise ValueError("no whole JPEG")
                self.n, length = self.n + 1, None


class Metrics(Consumer):
    """A scrape a second."""

    def consume(self):
        while not self.is_over.wait(1):
            self.text = self.get("/metrics").read().decode()
            self.n += 1

    def value(self, name):
        """The sum of a metric's values over its labels."""
        lines = [line for line in self.text.splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
