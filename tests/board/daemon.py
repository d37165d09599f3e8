"""pg-camera on an emulated board whose camera fails: in every way that `vivid` knows, and by being pulled out.

Called by `run`, which knows what the host says of the picture.
"""
import base64
import json
import time

import pixels
from machines import Board, Failed

# Seconds for everything on one machine.
LIMIT = 900
# A picture compressed as JPEG is a little beside the original: of 255, on average.
JPEG_ERROR = 4
# As in the checks of `run`.
SCORE_DIFFERENCE = 0.002

# Steps in which the camera is lost, and what the daemon has to say of it, in this order, each once however often it tries again.
LOST = {
    "fatal": ["Input/output error"],
    "qbuf": ["cannot give a buffer back: Invalid argument"],
    "streamon": ["Input/output error", "cannot start the camera: Invalid argument"],
    "reqbufs": ["Input/output error", "cannot get buffers: Invalid argument"],
    "disconnect": ["there is no such camera"],
}
# Steps in which it is not.
KEPT = ["shown", "dropped", "damaged"]

# `answered N` waits for N more answers, `lost N` for N more losses; `tell` prints what has come since the last time.
JOB = r"""
export RUST_LOG=info
ifconfig lo up
holder=$(inject /dev/video0 /dev/video1 YUYV SPACE /frame.yuyv) || exit 1
touch /tmp/events /tmp/log
pg-camera run -c /camera.toml >/tmp/events 2>/tmp/log &
daemon=$!
events=0 logs=0
tell() {
    e=$(wc -l </tmp/events) l=$(wc -l </tmp/log)
    sed -n "$((events + 1)),${e}s/^/@@event /p" /tmp/events
    sed -n "$((logs + 1)),${l}s/^/@@log /p" /tmp/log
    events=$e logs=$l
    echo "@@step $1 $(pidof pg-camera)"
}
until_it_is() {
    until "$@"; do
        kill -0 $daemon || { tell died; exit 1; }
        usleep 100000
    done
}
count() { grep -c "\"kind\":\"$1\"" /tmp/events; }
has() { [ "$(count "$1")" -ge "$2" ]; }
answered() { until_it_is has caption $(($(count caption) + $1)); }
lost() { until_it_is has error $(($losses + $1)); }
control() { losses=$(count error); inject /dev/video0 "$@" || exit 1; }
damaged() { wget -qO- http://127.0.0.1:8080/metrics | sed -n 's/^pg_camera_frames_total{.*result="damaged"} //p'; }
more_damaged() { [ "$(damaged)" -gt $1 ]; }

answered 2
tell shown
echo "@@snapshot $(base64 "$(ls /tmp/snapshots/*.jpg | tail -n 1)" | tr -d '\n')"
read -r _

control "Percentage of Dropped Buffers" 60
answered 2
control "Percentage of Dropped Buffers" 0
tell dropped

before=$(damaged)
control "Inject V4L2_BUF_FLAG_ERROR" 1
until_it_is more_damaged $before
answered 2
tell damaged

# An answer may be on its way and a picture waiting for one: the third is about a picture that came after the loss.
control "Inject VIDIOC_QBUF Error" 1
lost 1; answered 3
tell qbuf
control "Inject Fatal Streaming Error" 1
lost 1; answered 3
tell fatal
for name in STREAMON REQBUFS; do
    # Asked for when the camera is opened again.
    control "Inject VIDIOC_$name Error" 1
    control "Inject Fatal Streaming Error" 1
    lost 2; answered 3
    tell $(echo $name | tr A-Z a-z)
done

control Disconnect 1
lost 1
kill $holder
# The kernel lets go of the camera only once the daemon has.
unloaded() { rmmod vivid 2>/dev/null; }
until_it_is unloaded
[ ! -e /dev/video0 ] || exit 1
# It tries again.
tried() { [ "$(grep -c "there is no such camera" /tmp/log)" -ge 2 ]; }
until_it_is tried
tell disconnect
grep "^vivid" /modules/list | while read -r module options; do insmod "/modules/$module" $options; done
answered 3
tell replug
kill $daemon
wait $daemon
echo "@@ended $?"
"""


class Daemon:
    CONFIG = """
[model]
path = "/demo.gguf"
[http]
listen = "127.0.0.1:8080"
[snapshots]
folder = "/tmp/snapshots"
max_size = "2M"
[display]
device = "/dev/fb0"
[[camera]]
name = "door"
source = "v4l2:/dev/video0?fmt=yuyv"
trigger = "always"
rate = { max_per_minute = 6000.0, burst = 100 }
dedupe = { similarity = 2.0 }
[[camera.prompt]]
text = "detect green heart ; card"
[[camera.prompt]]
text = "caption en"
"""

    def __init__(self, checks):
        self.checks = checks
        # Of the step that goes on.
        self.events, self.log = [], []
        self.pid = None

    def run(self, machine, initramfs):
        board = Board(machine, initramfs, JOB.replace("SPACE", str(pixels.SRGB)), self.checks.folder)
        seen, ended = [], None
        try:
            while True:
                word, rest = board.marked(LIMIT)
                if word == "event":
                    self.events.append(json.loads(rest))
                elif word == "log":
                    self.log.append(rest)
                elif word == "step":
                    name, _, pid = rest.partition(" ")
                    self.step(name, pid)
                    seen.append(name)
                    last, self.events, self.log = self.events, [], []
                elif word == "snapshot":
                    self.check_display(machine, board, last, base64.b64decode(rest))
                    board.go_on()
                elif word == "ended":
                    ended = rest
                elif word == "end":
                    break
            if seen != [*KEPT, "qbuf", "fatal", "streamon", "reqbufs", "disconnect", "replug"] or ended != "0":
                raise Failed(f"steps {seen}, ended with {ended}, job with {rest}; the log\n{board.tail()}")
        finally:
            board.end()

    def step(self, name, pid):
        """What was told in a step: every loss by its reason, nothing else, and answers after it."""
        errors = [e["error"] for e in self.events if e["kind"] == "error"]
        wanted = LOST.get(name, [])
        told = "\n".join([*map(json.dumps, self.events), *self.log])
        if name == "died" or not pid or self.pid not in (None, pid):
            raise Failed(f"{name}: pg-camera was {self.pid}, is {pid or 'gone'}\n{told}")
        self.pid = pid
        if len(errors) != len(wanted) or not all(part in error for part, error in zip(wanted, errors)):
            raise Failed(f"{name}: said {errors}, expected {wanted}\n{told}")
        if name != "disconnect" and self.events[-1]["kind"] == "error":
            raise Failed(f"{name}: nothing was answered after the loss\n{told}")
        if name in KEPT and (complaints := [line for line in self.log if "WARN" in line or "ERROR" in line]):
            raise Failed(f"{name}: complained {complaints}")
        answers = sum(e["kind"] == "caption" for e in self.events)
        print(f"  pg-camera, {name}: {len(errors)} losses told, {answers} captions, still process {pid}", flush=True)

    def check_display(self, machine, board, events, jpeg):
        """The answers are the host's, and the screen shows them on the picture of the snapshot."""
        by_kind = {e["kind"]: e for e in events}
        caption, objects = by_kind["caption"]["caption"], by_kind["detect"]["objects"]
        host = {task: json.loads(self.checks.answers[f"{task}-yuyv"]) for task in ("caption", "detect")}
        if caption != host["caption"]["text"].strip():
            raise Failed(f"pg-camera says {caption!r}, the host {host['caption']['text']!r}")
        found = [(o["label"], o["box_px"]) for o in objects]
        expected = [(o["label"], o["box_px"]) for o in host["detect"]["objects"]]
        near = all(abs(a["score"] - b["score"]) <= SCORE_DIFFERENCE for a, b in zip(objects, host["detect"]["objects"]))
        if found != expected or not near:
            raise Failed(f"pg-camera finds {objects}, the host {host['detect']['objects']}")
        folder = self.checks.folder
        (folder / "snapshot.jpg").write_bytes(jpeg)
        report = json.dumps({"objects": objects, "caption": caption})
        until = time.monotonic() + 60
        while True:
            # It is drawn over and over; a dump may come in between.
            board.screen(folder / "screen.ppm")
            try:
                width, height, pixels_seen = self.checks.compare(
                    machine, folder / "screen.ppm", report, folder / "snapshot.jpg", folder / "yuyv.ppm", JPEG_ERROR)
                break
            except Failed:
                if time.monotonic() > until:
                    raise
        print(f"  pg-camera, display {width}x{height}: equals the host's canvas of the snapshot; {pixels_seen} pixels are "
              "nearly the picture's", flush=True)
