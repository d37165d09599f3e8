"""Counts what programs for 64-bit ARM execute: Debian 12's own QEMU with the plugin `blocks.c` (targets/cross/setup counts)."""
import collections
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
QEMU = TOP / "target" / "arm" / "qemu-user" / "usr" / "bin" / "qemu-aarch64"
PLUGIN = TOP / "target" / "arm" / "blocks.so"
# Table of kernels -> the processor to emulate: one that has the table's instructions and not those of the next.
CPUS = {"scalar": "cortex-a72", "neon": "cortex-a72", "neon-dotprod": "cortex-a76", "neon-i8mm": "max"}


def said(*command, **options):
    """What a command printed; ends the program with an error if the command fails."""
    command = list(map(str, command))
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def build():
    """Our program, with the names of its functions."""
    command = [TOP / "targets" / "cross" / "cargo", "build", "--release", "--quiet", "-p", "pg-tests", "--example", "kernel-counts"]
    said(*command, cwd=TOP)
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
    return folder / "aarch64-unknown-linux-gnu" / "release" / "examples" / "kernel-counts"


class Emulated:
    """Counts a program that takes the arguments of main.rs: ours, or another's with the same kernels."""

    def __init__(self, program):
        self.program = program
        if not QEMU.exists():
            sys.exit(f"{QEMU.relative_to(TOP)} is missing: run targets/cross/setup counts")
        source = HERE / "blocks.c"
        if not PLUGIN.exists() or PLUGIN.stat().st_mtime < source.stat().st_mtime:
            said("cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", PLUGIN, source)

    def command(self, table, *plugin):
        # The seed: a process gets random bytes, and what is hashed with them takes a way that depends on them.
        return [QEMU, "-cpu", CPUS[table], "-seed", "1", "-L", "/usr/aarch64-linux-gnu", *plugin, self.program]

    def kernels(self, table):
        """[(name, units of work of a call, calls to count)]"""
        lines = said(*self.command(table)).stdout.splitlines()
        return [(name, int(work), int(calls)) for name, work, calls in (line.split("\t") for line in lines)]

    def runs(self, table):
        """Whether the table can run at all."""
        name, _, _ = self.kernels(table)[0]
        return subprocess.run([*self.command(table), table, name, "0"], capture_output=True).returncode != 2

    def process(self, table, name, calls):
        """{address: times} of every instruction that a process executes; addresses from the start of its code."""
        with tempfile.NamedTemporaryFile("r") as file:
            said(*self.command(table, "-plugin", f"{PLUGIN},out={file.name}"), table, name, calls)
            (_, start), *blocks = (line.split() for line in file.read().splitlines())
        counts = collections.Counter()
        for address, instructions, times in blocks:
            first = int(address, 16) - int(start, 16)
            for i in range(int(instructions)):
                counts[first + 4 * i] += int(times)
        return counts

    def profile(self, table, name, calls):
        """The same of that many calls of a kernel."""
        counts = self.process(table, name, 1 + calls)
        counts.subtract(self.process(table, name, 1))
        return {address: times for address, times in counts.items() if times}

    def count(self, table, name, calls):
        """Instructions of that many calls of a kernel."""
        return sum(self.profile(table, name, calls).values())
