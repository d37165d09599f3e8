#!/usr/bin/env python3
"""Counts the instructions of ggml's integer kernels on ARM beside ours, at the same shapes, and asks llvm-mca for cycles.

    ggml-arm.py [--update] [--json FILE] [TABLE ...]        tables of kernels; without one: all that there are for ARM

Needs what `targets/cross/setup counts` installs. ggml comes as llamacpp.py's does, from the source distribution of
llama-cpp-python, and stays in --cache; of it two files are compiled, for the instructions that each table has, with ggml's
own optimization level. ggml-arm/harness.cpp calls what ggml chooses there, and checks it against a plain loop first.

Prints a markdown table that tests/kernel-counts/README.md explains; --json writes the same for programs. --update puts both
where they are kept: the table at that page's end, and ggml-arm/side-by-side.json, whose counts of ggml's kernels
tests/kernel-counts/count holds ours against.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import sys
import tarfile

import llamacpp

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "kernel-counts"))
import loops  # noqa: E402
from emulated import Emulated, build, said  # noqa: E402

OURS = HERE / "ggml-arm"
KEPT, PAGE = OURS / "side-by-side.json", HERE.parent / "kernel-counts" / "README.md"
# What follows this line of the page is written here.
HEADING = "## Measured\n"
# Of the processors that the tables are for; all those with dot products have arithmetic in half precision as well.
MARCH = {"neon": "armv8-a", "neon-dotprod": "armv8.2-a+dotprod+fp16", "neon-i8mm": "armv8.2-a+dotprod+fp16+i8mm"}
C, CXX = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"
# What quantizes the activations of a product, ours and ggml's: theirs takes four rows at a time where weights are repacked.
QUANTIZE, QUANTIZE_FOUR = "quantize 2048 for q{}", "quantize 4 rows of 2048"


def source(arguments):
    """ggml's folder, fetched where it is not there yet."""
    cache = arguments.cache.resolve() / f"llamacpp-{llamacpp.VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "source").exists():
        archive = arguments.sdist or llamacpp.source_distribution(llamacpp.VERSION, cache)
        try:
            llamacpp.unpack(archive, cache / "source", llamacpp.VERSION)
        except tarfile.TarError as e:
            raise llamacpp.Refused(f"{archive}: {e}") from None
    return cache / "source" / "ggml"


def harness(ggml, table):
    """The harness as built for a table's instructions; only what it calls is linked."""
    folder = ggml.parents[1] / f"arm-{table}"
    program, ours = folder / "harness", OURS / "harness.cpp"
    if not program.exists() or program.stat().st_mtime < ours.stat().st_mtime:
        folder.mkdir(exist_ok=True)
        parts = ["include", "src", "src/ggml-cpu"]
        how = ["-O3", "-DNDEBUG", "-D_GNU_SOURCE", f"-march={MARCH[table]}", "-ffunction-sections", "-fdata-sections"]
        how += [f"-I{ggml / part}" for part in parts]
        arm = ggml / "src" / "ggml-cpu" / "arch" / "arm"
        said(C, *how, "-std=c11", "-c", arm / "quants.c", "-o", folder / "quants.o")
        said(CXX, *how, "-std=c++17", "-c", arm / "repack.cpp", "-o", folder / "repack.o")
        # ggml's headers define functions that the harness does not use.
        how += ["-std=c++17", "-Wall", "-Wextra", "-Wno-unused-function", "-Wl,--gc-sections", "-static"]
        said(CXX, *how, ours, folder / "quants.o", folder / "repack.o", "-o", program)
    return program


def measure(table, emulated, kernel):
    """Instructions and cycles of a unit of work."""
    name, work, calls = kernel
    counts = emulated.profile(table, name, calls)
    work *= calls
    cycles = loops.cycles_of_a_product(table, loops.loops(emulated.program, counts), work)
    return dict(instructions=significant(sum(counts.values()) / work), cycles={c: significant(n) for c, n in cycles.items()})


def significant(x):
    return float(f"{x:.4g}")


def measure_all(table, emulated, wanted, pool):
    kernels = [k for k in emulated.kernels(table) if k[0] in wanted]
    return dict(zip((k[0] for k in kernels), pool.map(lambda k: measure(table, emulated, k), kernels)))


def quantizing(name, found, four):
    """Instructions of a product for quantizing the activations: each value's are shared by all rows of weights."""
    if not name.startswith("gemm"):
        return None
    rows, columns = int(name.split(", ")[1].split()[0]), int(name.split(", ")[2].split()[0])
    which = QUANTIZE_FOUR if four and columns > 1 else QUANTIZE.format(name[6])
    return found[which]["instructions"] / rows


def side_by_side(table, ours, ggml):
    """Rows of the report."""
    # One kind of quantized activations serves ggml for both formats of weights.
    ggml = {**ggml, QUANTIZE.format(4): ggml[QUANTIZE.format(8)]}
    rows = []
    for name, them in ggml.items():
        # Ours takes rows one by one, however many there are.
        us = ours.get(QUANTIZE.format(8) if name == QUANTIZE_FOUR else name)
        row = dict(table=table, kernel=name, ours=us, ggml=them)
        if us:
            row["ratio"] = significant(us["instructions"] / them["instructions"])
        if us and (ourselves := quantizing(name, ours, False)) is not None:
            with_ = us["instructions"] + ourselves, them["instructions"] + quantizing(name, ggml, QUANTIZE_FOUR in ggml)
            row["with_quantizing"] = dict(ours=significant(with_[0]), ggml=significant(with_[1]), ratio=significant(with_[0] / with_[1]))
        rows.append(row)
    return rows


def cell(x):
    return "" if x is None else f"{x:.4g}"


def markdown(report):
    cores = [f"cycles, {core}" for core in loops.CORES]
    head = ["table", "kernel", "ours", "ggml", "ratio", "ours, quantizing too", "ggml", "ratio", *cores]
    lines = [f"{report['date']}; " + "; ".join(f"{name} {version}" for name, version in report["versions"].items()), ""]
    lines += [llamacpp.row(*head), llamacpp.row(*["---"] * len(head))]
    for r in report["rows"]:
        us, with_ = r["ours"] or dict(instructions=None, cycles={}), r.get("with_quantizing", {})
        cells = [r["table"], r["kernel"], cell(us["instructions"]), cell(r["ggml"]["instructions"]), cell(r.get("ratio"))]
        cells += [cell(with_.get(key)) for key in ("ours", "ggml", "ratio")]
        for core in loops.CORES:
            pair = us["cycles"].get(core), r["ggml"]["cycles"].get(core)
            cells.append(f"{cell(pair[0]) or '-'} / {cell(pair[1])}" if pair[1] is not None else "")
        lines.append(llamacpp.row(*cells))
    return "\n".join(lines)


def version(*command):
    return said(*command).stdout.splitlines()[0]


def go(arguments):
    ggml = source(arguments)
    ours = Emulated(build())
    report = dict(v=1, date=datetime.date.today().isoformat(), versions={
        "llama-cpp-python": llamacpp.VERSION,
        "compiler of ggml": version(CXX, "--version"),
        "compiler of ours": version("/usr/bin/rustc", "--version").split(" (")[0],
        "llvm-mca": next(line.strip() for line in said(loops.MCA, "--version").stdout.splitlines() if "version" in line),
    }, rows=[])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for table in arguments.tables:
            theirs = Emulated(harness(ggml, table))
            said(*theirs.command(table), "check")
            wanted = {name for name, _, _ in theirs.kernels(table)}
            found = measure_all(table, theirs, wanted, pool)
            us = measure_all(table, ours, wanted | {QUANTIZE.format(4)}, pool) if ours.runs(table) else {}
            report["rows"] += side_by_side(table, us, found)
    text, data = markdown(report), json.dumps(report, indent=1) + "\n"
    print(text)
    if arguments.json:
        arguments.json.write_text(data)
    if arguments.update:
        KEPT.write_text(data)
        before, heading, _ = PAGE.read_text().partition(HEADING)
        PAGE.write_text(f"{before}{heading}{text}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(MARCH), metavar="TABLE")
    parser.add_argument("--update", action="store_true", help="keep what was measured")
    parser.add_argument("--json", type=pathlib.Path, help="write everything measured")
    parser.add_argument("--cache", type=pathlib.Path, default=llamacpp.CACHE, help="default: ~/.cache/pg-edge")
    parser.add_argument("--sdist", type=pathlib.Path, help="a source distribution that is here already")
    arguments = parser.parse_args()
    if unknown := set(arguments.tables) - set(MARCH):
        parser.error(f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(MARCH)}")
    if arguments.update and set(arguments.tables) != set(MARCH):
        parser.error("--update keeps all tables together: name none")
    try:
        go(arguments)
    except (llamacpp.Refused, OSError) as e:
        print(f"ggml-arm.py: {e}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
