#!/usr/bin/env python3
"""Shows where a kernel's instructions go, and what llvm-mca says of its loops.

    loops.py TABLE KERNEL [--program FILE] [--quiet]

TABLE is scalar, neon, neon-dotprod or neon-i8mm; KERNEL one that `count` prints, or the only one that contains those words.
--program: another program with main.rs's arguments, such as ggml's harness of tests/peers/ggml-arm.py.

A loop is what lies between a branch back and its target. An instruction belongs to the smallest loop around it, and the
counts of emulated.py tell how often it ran, so nothing is guessed about which loops matter. llvm-mca is asked how many
cycles a core takes for each loop's own instructions, over and over; their sum, weighted by how often each loop ran and
divided by the kernel's products, is *cycles of a product*. It assumes that every load hits the nearest cache and every
branch is predicted, and lets loops overlap with themselves but not with each other: a figure to compare kernels with,
not a speed. Loops with less than 1 % of the instructions, and what runs outside loops, are left out.
"""
import argparse
import collections
import functools
import re
import subprocess
import sys

from emulated import Emulated, build, said

FEATURES = "+dotprod,+i8mm,+fullfp16"
MCA, OBJDUMP, READELF = "llvm-mca-19", "llvm-objdump-19", "llvm-readelf-19"
# Cores that have a table's instructions, of those the models know: neoverse-n1 stands in for cortex-a76, whose figures in
# LLVM 19 are cortex-a57's. The three others of the table lack matrix products, so neoverse-n2 is the only one for those.
CORES = ("cortex-a53", "cortex-a72", "neoverse-n1", "neoverse-n2")
RUN_ON = {"scalar": CORES, "neon": CORES, "neon-dotprod": CORES[2:], "neon-i8mm": CORES[3:]}
LEAST_SHARE, ITERATIONS, GAP = 0.01, 100, 4096
TARGET = re.compile(r"0x([0-9a-f]+) <.*>$")
# A call returns: only these make loops.
BRANCH = re.compile(r"(b|b\.\w+|cbn?z|tbn?z)\s")

Instruction = collections.namedtuple("Instruction", "text function")


class Loop:
    """A loop's own instructions: {address: (text, times)}."""

    def __init__(self, code, counts, own):
        self.body = {a: (code[a].text, counts[a]) for a in own}
        first = min(own)
        self.function = code[first].function
        self.times = max(counts[a] for a in own)
        self.total = sum(counts[a] for a in own)

    def cycles(self, core):
        """Of one turn."""
        # A branch to a label of its own; an address of data or of a function is any address.
        lines = [TARGET.sub(".Lloop", text) for text, times in self.body.values() if 2 * times >= self.times]
        return cycles(core, tuple(lines))


@functools.cache
def cycles(core, lines):
    source = "\n".join([".Lloop:", *lines, ""])
    command = [MCA, "-mtriple=aarch64", f"-mcpu={core}", f"-mattr={FEATURES}", f"-iterations={ITERATIONS}"]
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    found = re.search(r"^Total Cycles:\s+(\d+)", done.stdout, re.MULTILINE)
    if not found:
        sys.exit(f"{' '.join(command)}: {done.stderr[:2000]}")
    return int(found[1]) / ITERATIONS


def disassembly(program, counts):
    """{address: Instruction} of what ran; addresses as in `counts`."""
    segments = re.findall(r"LOAD +0x\w+ 0x(\w+) 0x\w+ 0x\w+ (0x\w+) R[ W]E", said(READELF, "-lW", program).stdout)
    start = min(int(address, 16) for address, _ in segments)
    end = max(int(address, 16) + int(size, 16) for address, size in segments)
    parts = []
    for address in sorted(start + a for a in counts if a >= 0 and start + a < end):
        if parts and address - parts[-1][1] < GAP:
            parts[-1][1] = address + 4
        else:
            parts.append([address, address + 4])
    code, function = {}, "?"
    for first, last in parts:
        how = ["-d", "-C", "--no-show-raw-insn", f"--mattr={FEATURES}", f"--start-address={first}", f"--stop-address={last}"]
        for line in said(OBJDUMP, *how, program).stdout.splitlines():
            if name := re.match(r"[0-9a-f]+ <(.*)>:$", line):
                function = name[1]
            elif instruction := re.match(r" *([0-9a-f]+):\s+(.*)$", line):
                text = " ".join(instruction[2].split("//")[0].split())
                code[int(instruction[1], 16) - start] = Instruction(text, function)
    return code, start


def loops(program, counts):
    """Loops with at least a hundredth of what ran, those with most first."""
    code, start = disassembly(program, counts)
    ends = {}
    for address, instruction in code.items():
        target = TARGET.search(instruction.text)
        if counts.get(address) and BRANCH.match(instruction.text) and target:
            to = int(target[1], 16) - start
            if to <= address:
                ends[to] = max(address, ends.get(to, 0))
    own = collections.defaultdict(list)
    ranges = sorted(ends.items(), key=lambda r: r[1] - r[0])
    for address in sorted(code):
        if counts.get(address):
            if inner := next((r for r in ranges if r[0] <= address <= r[1]), None):
                own[inner].append(address)
    found = [Loop(code, counts, addresses) for addresses in own.values()]
    least = LEAST_SHARE * sum(counts.values())
    return sorted((loop for loop in found if loop.total >= least), key=lambda loop: -loop.total)


def cycles_of_a_product(table, found, work):
    """{core: cycles}, of the cores that have the table's instructions."""
    return {core: sum(loop.times * loop.cycles(core) for loop in found) / work for core in RUN_ON[table]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=RUN_ON)
    parser.add_argument("kernel")
    parser.add_argument("--program", help="default: ours, built before")
    parser.add_argument("--quiet", action="store_true", help="only the sums of every loop")
    args = parser.parse_args()
    program = args.program or build()
    emulated = Emulated(program)
    kernels = [k for k in emulated.kernels(args.table) if args.kernel in k[0]]
    exact = [k for k in kernels if k[0] == args.kernel] or kernels
    if len(exact) != 1:
        sys.exit(f"{len(exact)} kernels are called so: {'; '.join(k[0] for k in exact)}")
    name, work, calls = exact[0]
    counts = emulated.profile(args.table, name, calls)
    total, work = sum(counts.values()), work * calls
    found = loops(program, counts)
    print(f"{name}, {args.table}: {total / work:.4g} instructions of a product")
    for core, sum_ in cycles_of_a_product(args.table, found, work).items():
        print(f"  {core}: {sum_:.4g} cycles of a product")
    for loop in found:
        print(f"\n{loop.function}\n  {loop.total / total:.1%} of the instructions, {loop.times / calls:.0f} turns a call of", end=" ")
        print(f"{loop.total / loop.times:.1f} instructions and {work / loop.times:.4g} products")
        print("  cycles of a turn: " + ", ".join(f"{core} {loop.cycles(core):.4g}" for core in RUN_ON[args.table]))
        if not args.quiet:
            for address, (text, times) in loop.body.items():
                print(f"    {address:8x} {times / calls:12.0f}  {text}")


if __name__ == "__main__":
    main()
