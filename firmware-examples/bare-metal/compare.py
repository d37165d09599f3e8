"""Runs kernel8.img on an emulated Raspberry Pi 3 and compares its answers and its screen with the host's.

usage: compare.py FOLDER SCENE PG_RUN     FOLDER as `run` leaves it: kernel8.img, demo.q4.gguf, host.jsonl, host.ppm

Exit code 0: all is equal, and every comparison was seen to fail on something wrong; else the board's own, or 1.
"""

import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

from PIL import Image

FOLDER, SCENE, PG_RUN = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
TIME_LIMIT = 300  # seconds; alone on a machine a run takes 10
IMAGE_ADDRESS, STACK_BOTTOM, STACK_TOP = 0x80000, 0x4200000, 0x4240000  # as in kernel.ld

# What the screen should look like, told apart from src/screen.rs and runtime/src/pictures/labels.rs on purpose.
SCALE, SIDE, LINE = 4, 448, 2
LETTER, PAD = (6, 10), 1
GROUND, INK, BLACK = (16, 24, 32), (255, 255, 255), (0, 0, 0)
COLORS = [(230, 25, 75), (60, 180, 75)]


def emulate(image):
    """Exit code, lines of the serial port, screen; no screen if the program ended before it was ready."""
    qmp = FOLDER / "qmp"
    qmp.unlink(missing_ok=True)
    command = ["qemu-system-aarch64", "-M", "raspi3b", "-kernel", image, "-semihosting"]
    # One instruction a nanosecond: the board's counter, and so its report, is the same in every run.
    command += ["-icount", "shift=0", "-display", "none", "-monitor", "none", "-serial", "stdio"]
    command += ["-qmp", f"unix:{qmp},server=on,wait=off"]
    lines, screen = [], None
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as board:
        limit = threading.Timer(TIME_LIMIT, board.kill)
        limit.start()
        for line in board.stdout:
            lines.append(line.decode(errors="replace").rstrip())
            if lines[-1].startswith("screen: ready"):
                screen = screendump(qmp)
                board.stdin.write(b"\n")
                board.stdin.flush()
        code = board.wait()
        limit.cancel()
    return code, lines, screen


def screendump(qmp):
    file = FOLDER / "screen.ppm"
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(str(qmp))
        answers = monitor.makefile()
        answers.readline()
        for request in [{"execute": "qmp_capabilities"}, {"execute": "screendump", "arguments": {"filename": str(file)}}]:
            monitor.sendall(json.dumps(request).encode())
            while "return" not in (answer := json.loads(answers.readline())):
                if "error" in answer:
                    raise SystemExit(f"the emulator: {answer}")
    return Image.open(file).convert("RGB")


def different_answers(found, expected):
    """What differs between two lists of answers; scores may differ as kernels may."""
    wrong = [f"{len(found)} answers, expected {len(expected)}"] if len(found) != len(expected) else []
    for a, b in zip(found, expected):
        for key in ["prompt", "text", "tokens"]:
            if a[key] != b[key]:
                wrong.append(f"{a['prompt']}: {key} is {a[key]!r}, expected {b[key]!r}")
        boxes = [[(o["label"], o["box_px"]) for o in answer["objects"]] for answer in (a, b)]
        if boxes[0] != boxes[1]:
            wrong.append(f"{a['prompt']}: objects are {boxes[0]}, expected {boxes[1]}")
        elif any(abs(x["score"] - y["score"]) > 0.1 * y["score"] for x, y in zip(a["objects"], b["objects"])):
            wrong.append(f"{a['prompt']}: other scores")
    return wrong


def different_screen(screen, scene, answers):
    """What differs from a screen made here of the scene and pg-run's boxes; letters only as far as where they may be."""
    if screen.size != (640, 480):
        return [f"the screen has {screen.size} pixels"]
    expected = Image.new("RGB", screen.size, GROUND)
    expected.paste(scene.resize((scene.width * SCALE, scene.height * SCALE), Image.Resampling.NEAREST))
    bars, labels = {}, []
    for answer in answers:
        locations = [int(n) for n in re.findall(r"<loc(\d{4})>", answer["text"])]
        for i, thing in enumerate(answer["objects"]):
            top, left, bottom, right = (n * SIDE // 1023 for n in locations[4 * i : 4 * i + 4])
            labels += [thing["label"]] if thing["label"] not in labels else []
            color = COLORS[labels.index(thing["label"])]
            for inset in range(LINE):
                edge = (left + inset, top + inset, right - 1 - inset, bottom - 1 - inset)
                for x in range(edge[0], edge[2] + 1):
                    expected.putpixel((x, edge[1]), color)
                    expected.putpixel((x, edge[3]), color)
                for y in range(edge[1], edge[3] + 1):
                    expected.putpixel((edge[0], y), color)
                    expected.putpixel((edge[2], y), color)
            size = (len(thing["label"]) * LETTER[0] + 2 * PAD, LETTER[1] + 2 * PAD)
            bars[(left, top - size[1], left + size[0], top)] = color
    wrong = []
    for bar, color in bars.items():
        colors = {pixel for _, pixel in screen.crop(bar).getcolors(1000)}
        if len(colors) != 2 or color not in colors or not colors < {color, INK, BLACK}:
            wrong.append(f"the label at {bar} has the colours {colors}")
        expected.paste(screen.crop(bar), bar)
    for name, box in {"column": (SIDE, 0, 640, SIDE), "caption": (0, SIDE, 640, 480)}.items():
        colors = {pixel for _, pixel in screen.crop(box).getcolors(1000) or []}
        if colors != {GROUND, INK}:
            wrong.append(f"the {name} has the colours {colors}")
        expected.paste(screen.crop(box), box)
    pairs = zip(screen.tobytes(), expected.tobytes())
    differ = [i // 3 for i, (a, b) in enumerate(pairs) if a != b]
    if differ:
        wrong.append(f"{len(set(differ))} pixels differ, the first at {(differ[0] % 640, differ[0] // 640)}")
    return wrong


def fail(wrong, code=1):
    print("\n".join(wrong))
    sys.exit(code or 1)


def main():
    code, lines, screen = emulate(FOLDER / "kernel8.img")
    print("\n".join(lines))
    if code != 0 or screen is None:
        fail([f"the board's exit code is {code}"], code)
    answers = [json.loads(line) for line in lines if line.startswith("{")]
    host = [json.loads(line) for line in (FOLDER / "host.jsonl").read_text().splitlines()]
    command = [PG_RUN, "prompt", "--json", "-m", FOLDER / "demo.q4.gguf", SCENE]
    pg_run = [json.loads(subprocess.check_output([*command, answer["prompt"]])) for answer in host]
    scene = Image.open(SCENE).convert("RGB")
    host_screen = Image.open(FOLDER / "host.ppm")

    wrong = different_answers(answers, host) + different_answers(answers, pg_run)
    wrong += different_screen(screen, scene, pg_run)
    if screen.tobytes() != host_screen.tobytes():
        wrong.append("the screen is not the one that the host draws")
    if not any(answer["objects"] for answer in answers):
        wrong.append("there is no box to compare")
    if wrong:
        fail(wrong)
    print("answers equal to pg-run's; screen equal to the host's, byte for byte, and to the picture with pg-run's boxes")

    # Comparisons that cannot fail would prove nothing.
    for key, value in {"text": "a cat", "tokens": [1], "objects": []}.items():
        if not different_answers([{**a, key: value} for a in answers], pg_run):
            fail([f"an answer with other {key} was not noticed"])
    for x, y in [(0, 0), (447, 447), (300, 20)]:
        spoilt = screen.copy()
        spoilt.putpixel((x, y), (1, 2, 3))
        if not different_screen(spoilt, scene, pg_run):
            fail([f"another pixel at {(x, y)} was not noticed"])
    moved = json.loads(re.sub(r"<loc\d{4}>", "<loc0099>", json.dumps(pg_run), count=1))
    if not different_screen(screen, scene, moved):
        fail(["a box elsewhere was not noticed"])

    # The board notices what is wrong itself: a model without its first bytes, an instruction that is none, a stack without
    # room.
    image = (FOLDER / "kernel8.img").read_bytes()
    model = image.index((FOLDER / "demo.q4.gguf").read_bytes()[:4096])
    nm = subprocess.check_output(["aarch64-linux-gnu-nm", FOLDER / "aarch64-unknown-linux-gnu/release/kernel"], text=True)
    memcpy = int(re.search(r"^(\w+) T memcpy$", nm, re.M)[1], 16) - IMAGE_ADDRESS
    stack_top = image.index(STACK_TOP.to_bytes(8, "little"))
    for offset, value, code, says in [
        (model, bytes(4), 2, "refused: "),
        (memcpy, bytes(4), 3, "fault: "),
        (stack_top, STACK_BOTTOM.to_bytes(8, "little"), 3, "fault: .* address 0x41f"),
    ]:
        damaged = FOLDER / "damaged.img"
        damaged.write_bytes(image[:offset] + value + image[offset + len(value) :])
        found, lines, _ = emulate(damaged)
        if found != code or not lines or not re.match(says, lines[-1]):
            fail([f"damaged at {offset:#x}: exit code {found}, expected {code}", *lines])
        print(f"damaged at {offset:#x}: exit code {found}, {lines[-1]}")


main()
