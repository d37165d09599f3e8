"""Emulated boards: what they are, and how one is booted with programs of ours in an initramfs.

Needs what `targets/cross/setup board` installs; says so where something is missing.
"""
import dataclasses
import gzip
import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
ROOT = TOP / "target/arm/root"
SETUP = "run targets/cross/setup board"


class Failed(Exception):
    """What is wrong, in words for whoever runs this."""


@dataclasses.dataclass
class Machine:
    name: str
    options: list
    memory: str
    console: str
    # The best kernel table of its processor, as `pg-run --version` has to list it.
    table: str
    # Modules of its display; a device tree otherwise says where the display's memory is.
    display: list = dataclasses.field(default_factory=list)
    tree: str = ""
    # Devices in the tree that the emulator does not have and on which the kernel stops.
    absent: list = dataclasses.field(default_factory=list)
    powers_off: bool = True


def virt(cpu, table):
    options = ["-M", "virt", "-cpu", cpu, "-smp", "2", "-device", "virtio-gpu-pci,xres=800,yres=600"]
    return Machine(f"virt-{cpu}", options, "1024M", "ttyAMA0", table, display=["virtio_pci", "virtio_gpu"])


RASPI4_ABSENT = """
    /soc/clock@7ef00000 /soc/interrupt-controller@7ef00100 /soc/hdmi@7ef00700 /soc/i2c@7ef04500 /soc/hdmi@7ef05700
    /soc/i2c@7ef09500 /soc/avs-monitor@7d5d2000 /soc/pixelvalve@7e206000 /soc/pixelvalve@7e207000
    /soc/pixelvalve@7e20a000 /soc/pixelvalve@7e216000 /soc/pixelvalve@7ec12000 /soc/vec@7ec13000 /soc/hvs@7e400000
    /soc/usb@7e980000 /soc/serial@7e215040 /soc/mailbox@7e00b840 /scb/gpu@7ec00000 /gpu""".split()

MACHINES = {machine.name: machine for machine in [
    virt("cortex-a72", "neon"),
    virt("cortex-a76", "neon-dotprod"),
    virt("max", "neon-i8mm"),
    Machine("raspi3b", ["-M", "raspi3b"], "1G", "ttyAMA0,115200", "neon",
            tree="bcm2837-rpi-3-b.dtb", powers_off=False),
    Machine("raspi4b", ["-M", "raspi4b"], "2G", "ttyAMA0,115200", "neon",
            tree="bcm2711-rpi-4-b.dtb", absent=RASPI4_ABSENT, powers_off=False),
]}

# What the emulated firmware of both Raspberry Pis sets up before it starts the kernel: where, and what. The real one
# tells it in the device tree; the emulator leaves that to us.
RASPI_SCREEN = {"at": 0x3C100000, "width": 640, "height": 480, "bytes": 2, "format": "r5g6b5"}

# First program of the machine. What it is to do stands in /job, whose exit status is printed at the end.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /tmp
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
exec </dev/console >/dev/console 2>&1
# Lines go out as they are, and what comes in is not echoed.
stty raw -echo
while read -r module options; do
    insmod "/modules/$module" $options || echo "@@failed module $module"
done </modules/list
# The console would blink its cursor into our pictures.
for console in /sys/class/vtconsole/*/bind; do echo 0 >"$console"; done
sh /job
echo "@@end $?"
poweroff -f
"""

VIVID = "n_devs=1 node_types=0x101 num_inputs=1 input_types=3 num_outputs=1 output_types=1"


def said(*command, what, **options):
    """The standard output of a program that has to succeed."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, timeout=600, **options)
    except FileNotFoundError:
        raise Failed(f"{what}: there is no program {command[0]}: {SETUP}") from None
    if done.returncode:
        raise Failed(f"{what}: exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def check_versions():
    """The kernel's version; refuses what the machines cannot be booted with."""
    text = said("qemu-system-aarch64", "--version", what="emulator").decode()
    version = re.search(r"version (\d+)\.", text)
    if not version or int(version[1]) < 9:
        raise Failed(f"raspi4b needs QEMU 9 or later, this is {text.splitlines()[0]}: {SETUP}")
    kernels = sorted(ROOT.glob("boot/vmlinuz-*"))
    if len(kernels) != 1:
        raise Failed(f"{ROOT}/boot has {len(kernels)} kernels, expected one: {SETUP}")
    kernel = kernels[0].name.removeprefix("vmlinuz-")
    if not (ROOT / "lib/modules" / kernel / "kernel").is_dir():
        raise Failed(f"{ROOT}/lib/modules has no modules for the kernel {kernel}: {SETUP}")
    return kernel


class Initramfs:
    """The root file system of all machines: busybox, modules, our programs and files."""

    def __init__(self, folder, files):
        self.kernel = check_versions()
        said("depmod", "-b", ROOT, self.kernel, what="modules")
        tree = folder / "root"
        (tree / "bin").mkdir(parents=True)
        (tree / "modules").mkdir()
        shutil.copy(ROOT / "bin/busybox", tree / "bin/busybox")
        (tree / "init").write_text(INIT)
        (tree / "init").chmod(0o755)
        for name, source in files.items():
            shutil.copy(source, tree / name)
        self.modules = {}
        for module in ["vivid", "virtio_pci", "virtio_gpu"]:
            lines = said("modprobe", "-d", ROOT, "-S", self.kernel, "--show-depends", module, what=module).decode()
            paths = [pathlib.Path(line.split()[1]) for line in lines.splitlines() if line.startswith("insmod ")]
            if not paths:
                raise Failed(f"the kernel {self.kernel} has no module {module}: another kernel package? {SETUP}")
            for path in paths:
                shutil.copy(path, tree / "modules" / path.name)
            self.modules[module] = [path.name for path in paths]
        self.bytes = packed(tree)

    def with_job(self, machine, job):
        """An archive after an archive adds its files."""
        with tempfile.TemporaryDirectory() as folder:
            tree = pathlib.Path(folder)
            (tree / "modules").mkdir()
            names = {}
            for module in ["vivid", *machine.display]:
                names |= {name: VIVID if name.startswith("vivid.") else "" for name in self.modules[module]}
            (tree / "modules/list").write_text("".join(f"{name} {options}\n" for name, options in names.items()))
            (tree / "job").write_text(job)
            return self.bytes + packed(tree)


def packed(tree):
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    archive = said("cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet", what="initramfs", input=names.encode(), cwd=tree)
    return gzip.compress(archive, compresslevel=1)


class Board:
    """A running machine. Lines of the console that begin with @@ are for us."""

    def __init__(self, machine, initramfs, job, folder, memory=None):
        self.machine = machine
        self.log = bytearray()
        self.unread = b""
        (folder / "initramfs").write_bytes(initramfs.with_job(machine, job))
        self.control = folder / "control"
        self.control.unlink(missing_ok=True)
        words = f"console={machine.console} quiet loglevel=1 panic=-1 rdinit=/init"
        command = ["qemu-system-aarch64", *machine.options, "-m", memory or machine.memory, "-no-reboot", "-nic", "none",
                   "-display", "none", "-serial", "stdio", "-qmp", f"unix:{self.control},server=on,wait=off",
                   "-kernel", ROOT / f"boot/vmlinuz-{initramfs.kernel}", "-initrd", folder / "initramfs",
                   "-append", words]
        if machine.tree:
            command += ["-dtb", self.device_tree(folder, initramfs.kernel)]
        self.started = time.monotonic()
        self.qemu = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT)

    def device_tree(self, folder, kernel):
        """The kernel's tree of the board, less what the emulator lacks, and with the display of its firmware."""
        tree = folder / self.machine.tree
        shutil.copy(ROOT / f"usr/lib/linux-image-{kernel}/broadcom" / self.machine.tree, tree)
        for node in self.machine.absent:
            said("fdtput", "-t", "s", tree, node, "status", "disabled", what=node)
        screen = RASPI_SCREEN
        node = f"/chosen/framebuffer@{screen['at']:x}"
        said("fdtput", "-c", tree, node, what=node)
        stride = screen["width"] * screen["bytes"]
        for kind, at, name, *values in [
            ("i", "/chosen", "#address-cells", 1),
            ("i", "/chosen", "#size-cells", 1),
            ("s", "/chosen", "ranges"),
            ("s", node, "compatible", "simple-framebuffer"),
            ("i", node, "reg", screen["at"], stride * screen["height"]),
            ("i", node, "width", screen["width"]),
            ("i", node, "height", screen["height"]),
            ("i", node, "stride", stride),
            ("s", node, "format", screen["format"]),
        ]:
            said("fdtput", "-t", kind, tree, at, name, *values, what=f"{at} {name}")
        return tree

    def line(self, limit):
        """The next line of the console, within `limit` seconds from the start of the machine."""
        while b"\n" not in self.unread:
            left = self.started + limit - time.monotonic()
            if left <= 0:
                raise Failed(f"nothing more after {limit} s; the console's last words:\n{self.tail()}")
            if not select.select([self.qemu.stdout], [], [], left)[0]:
                continue
            new = os.read(self.qemu.stdout.fileno(), 65536)
            if not new:
                raise Failed(f"the machine went off; the console's last words:\n{self.tail()}")
            self.log += new
            self.unread += new
        line, _, self.unread = self.unread.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")

    def marked(self, limit):
        """The next line for us: its first word and the rest. Kernel messages may stand before it."""
        while True:
            _, mark, rest = self.line(limit).partition("@@")
            if mark:
                word, _, rest = rest.partition(" ")
                return word, rest

    def tail(self):
        return self.log[-3000:].decode(errors="replace")

    def go_on(self):
        """Answers a `read` of the job."""
        self.qemu.stdin.write(b"\n")
        self.qemu.stdin.flush()

    def screen(self, path):
        """What the display shows, as a PPM file."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(60)
            control.connect(str(self.control))
            replies = control.makefile("r")
            replies.readline()
            for command in [{"execute": "qmp_capabilities"},
                            {"execute": "screendump", "arguments": {"filename": str(path)}}]:
                control.sendall(json.dumps(command).encode() + b"\n")
                reply = json.loads(replies.readline())
                while "event" in reply:
                    reply = json.loads(replies.readline())
                if "error" in reply:
                    raise Failed(f"{command['execute']}: {reply['error']['desc']}")

    def end(self):
        """Ends the machine, which some cannot do themselves."""
        if self.qemu.poll() is None and self.machine.powers_off:
            try:
                self.qemu.wait(5)
            except subprocess.TimeoutExpired:
                pass
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()
        self.qemu.stdin.close()
        self.qemu.stdout.close()
