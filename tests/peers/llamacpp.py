#!/usr/bin/env python3
"""Times llama.cpp and pg-run side by side on random models of PaliGemma-3B's shape at 224 pixels.

    llamacpp.py --ours FILE.gguf [--threads 1,2] [--rounds 5] [--json FILE]      both, alternately
    llamacpp.py --peer-only                                                      llama.cpp alone
    llamacpp.py --build-only                                                     what the others need, and stop

FILE.gguf comes from `pg-quantize synthetic-224 --q4`; pg-run is target/release/pg-run. Needs: pip install gguf numpy; cmake,
make and a C++ compiler; 7 GB of disk (--cache) and 4 GB of memory. Prints a markdown table.

llama.cpp comes as the source distribution of llama-cpp-python, whose build system is not run. It is built once per
instruction set and linked statically: with shared libraries a program can load another build's kernels without a word, and
numbers get the wrong label. The harness besides refuses to run when ggml names another instruction set.
Every setting of llama.cpp is measured in the first round, those near the best in all; each part's best median counts.
"""
import argparse
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Its internal encode call is used, so another version may need another harness.
VERSION = "0.3.36"
CACHE = pathlib.Path.home() / ".cache" / "pg-edge"
PREFILL, DEPTH = 256, 300
# Of which each program gives the median in every round: a single one shows what else the machine did just then.
PASSES = 3

COMMON = """
    CMAKE_BUILD_TYPE=Release BUILD_SHARED_LIBS=OFF GGML_NATIVE=OFF LLAMA_BUILD_MTMD=ON MTMD_VIDEO=OFF LLAMA_OPENSSL=OFF
    LLAMA_BUILD_COMMON=OFF LLAMA_BUILD_TESTS=OFF LLAMA_BUILD_TOOLS=OFF LLAMA_BUILD_EXAMPLES=OFF LLAMA_BUILD_SERVER=OFF
    LLAMA_BUILD_APP=OFF GGML_SSE42=ON GGML_AVX=ON GGML_AVX2=ON GGML_FMA=ON GGML_F16C=ON GGML_BMI2=ON
""".split()
# AMX stays off: ggml's AMX matrix product crashes on some machines that offer it.
BUILDS = {
    "avx2": dict(options=[], needs=["avx2", "fma", "f16c", "bmi2"], ours="avx2"),
    "avx512vnni": dict(
        options=["GGML_AVX512=ON", "GGML_AVX512_VNNI=ON"],
        needs=["avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"],
        ours="avx512-vnni",
    ),
}
# What is compared: figure -> (what to call it, part, the peer's figure, its better end).
FIGURES = {
    "vision_ms": ("picture of 224 px, ms", "vision", "ms", min),
    "prefill_tok_s": (f"prefill of {PREFILL}, tokens/s", "decoder", "prefill_tok_s", max),
    "decode_tok_s": (f"decode at depth {DEPTH}, tokens/s", "decoder", "decode_tok_s", max),
}
# Between two runs of the same thing differences up to a tenth are seen.
NEAR = 1.15


class Refused(Exception):
    """Something the caller has to change."""


def note(text):
    print(text, file=sys.stderr, flush=True)


# What is measured against


def source_distribution(version, folder):
    """Through pip's own finder: `pip download` would run the package's build system to learn its name."""
    from pip._internal.commands import create_command

    command = create_command("download")
    options, _ = command.parse_args(["--no-binary", ":all:", "--no-deps", "llama-cpp-python"])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        found = [c for c in finder.find_all_candidates("llama-cpp-python") if str(c.version) == version]
        if not found:
            raise Refused(f"pip finds no source distribution of llama-cpp-python {version}")
        link = found[0].link
        note(f"fetching {link.filename}")
        answer = session.get(link.url_without_fragment, headers={"Accept-Encoding": "identity"})
        answer.raise_for_status()
    if link.hash_name and hashlib.new(link.hash_name, answer.content).hexdigest() != link.hash:
        raise Refused(f"{link.filename} arrived damaged; try again")
    path = folder / link.filename
    path.write_bytes(answer.content)
    return path


def unpack(archive, source, version):
    """The archive's vendor/llama.cpp as the folder `source`."""
    inside = f"llama_cpp_python-{version}/vendor/llama.cpp/"
    partial = source.with_name("source.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive, "r:gz") as tar:
        members = [m for m in tar if m.name.startswith(inside)]
        for member in members:
            member.name = member.name.removeprefix(inside)
        tar.extractall(partial, members=members, filter="data")
    if not (partial / "CMakeLists.txt").exists():
        raise Refused(f"{archive} holds no {inside}CMakeLists.txt")
    partial.rename(source)


def run_logged(command, log):
    with open(log, "a") as out:
        if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode:
            raise Refused(f"failed, see {log}: {shlex.join(map(str, command))}")


def build(cache, isa, jobs):
    """The harness with llama.cpp inside, as built for one instruction set. Does nothing where that is there already."""
    source, folder = cache / "source", cache / isa
    harness, ours = folder / "harness", HERE / "llamacpp" / "harness.cpp"
    if harness.exists() and harness.stat().st_mtime > ours.stat().st_mtime:
        return harness
    folder.mkdir(exist_ok=True)
    log = folder / "build.log"
    note(f"building llama.cpp for {isa} (minutes; log: {log})")
    options = [f"-D{o}" for o in COMMON + BUILDS[isa]["options"]]
    run_logged(["cmake", "-G", "Unix Makefiles", "-S", source, "-B", folder, *options], log)
    run_logged(["make", "-C", folder, f"-j{jobs}", "llama", "mtmd"], log)
    includes = [f"-I{source / p}" for p in ["include", "ggml/include", "tools/mtmd"]]
    # The mtmd header that harness.cpp needs defines functions it does not.
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wno-unused-function"]
    libraries = ["-Wl,--start-group", *sorted(folder.rglob("*.a")), "-Wl,--end-group"]
    run_logged(["c++", *flags, *includes, ours, *libraries, "-fopenmp", "-pthread", "-ldl", "-o", harness], log)
    return harness


def models(cache):
    """Random model files, written once: label -> (part, path)."""
    sys.path.insert(0, str(HERE / "llamacpp"))
    import models as random_models

    recipe = pathlib.Path(random_models.__file__).stat().st_mtime
    folder = cache / "models"
    folder.mkdir(exist_ok=True)
    files = {}

    def one(part, label, name, write, *how):
        path = folder / name
        files[label] = (part, path)
        if not path.exists() or path.stat().st_mtime < recipe:
            note(f"writing {path}")
            write(path, *how)

    one("decoder", "q4_0", "decoder-q4_0.gguf", random_models.write_decoder)
    for label, (kind, ffn) in random_models.VISION_VARIANTS.items():
        name = f"vision-{kind.name.lower()}-{ffn}.gguf"
        one("vision", label, name, random_models.write_vision, kind, ffn)
    return files


# Measuring


@contextlib.contextmanager
def alone(lock):
    """Waits until no one else holds the lock file: other measurements on this machine can take the same one."""
    if lock is None:
        yield
        return
    with open(lock, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_json(command, lock, env=None):
    with alone(lock):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ, **(env or {})})
    if done.returncode:
        raise Refused(f"{shlex.join(map(str, command))}: exit code {done.returncode}\n{done.stderr.strip()}")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        raise Refused(f"{shlex.join(map(str, command))} printed no JSON: {done.stdout[:200]!r}") from None


def peer_settings(files):
    """(part, setting) -> arguments of the harness."""
    out = {}
    for label, (part, path) in files.items():
        if part == "vision":
            out[part, label] = [part, path, "--rounds", PASSES]
            continue
        for name, repack in {"repacked": 1, "not repacked": 0}.items():
            how = [part, path, "--prefill", PREFILL, "--depth", DEPTH, "--repack", repack, "--rounds", PASSES]
            out[part, f"{label}, {name}"] = how
    return out


def worth_repeating(first):
    """The settings that may still be the best in something after one round."""
    out = set()
    for _, part, figure, pick in FIGURES.values():
        values = {key: run[figure] for key, run in first.items() if key[0] == part}
        best = pick(values.values())
        out |= {key for key, value in values.items() if max(value / best, best / value) < NEAR}
    return out


def measure_us(arguments, build, threads):
    command = [arguments.pg_run, "bench", "-m", arguments.ours, "--json", "--threads", threads]
    command += ["--prefill", PREFILL, "--depth", DEPTH, "--rounds", PASSES, *shlex.split(arguments.pg_run_options)]
    found = run_json(command, arguments.lock, {"PG_ISA": build["ours"]})
    if found["isa"] != build["ours"] or found["threads"] != threads:
        raise Refused(f"pg-run ran {found['isa']} with {found['threads']} threads, asked for {build['ours']} with {threads}")
    if found["prefill"]["tokens"] != PREFILL:
        raise Refused(f"pg-run's prefill has {found['prefill']['tokens']} tokens, the peer's {PREFILL}")
    return dict(
        isa=found["isa"],
        vision_ms=found["vision"]["ms"],
        prefill_tok_s=found["prefill"]["tok_s"],
        decode_tok_s=found["decode"]["tok_s"],
        load_ms=found["load_ms"],
        peak_rss_mb=found["memory"]["peak_rss_mb"],
    )


def series(values):
    return dict(median=round(statistics.median(values), 3), all=values)


def collect(runs):
    """[{figure: value}] -> {figure: series}"""
    numbers = [key for key, value in runs[0].items() if isinstance(value, (int, float))]
    return {key: series([r[key] for r in runs]) for key in numbers}


def summarize(peer_rounds, our_rounds, threads):
    peer = {"decoder": {}, "vision": {}}
    for part, setting in peer_rounds[0]:
        peer[part][setting] = collect([r[part, setting] for r in peer_rounds if (part, setting) in r])
    best = {}
    for name, (_, part, figure, pick) in FIGURES.items():
        # One lucky value of a setting that was given up is no median.
        found = {
            setting: s[figure] for setting, s in peer[part].items()
            if len(s[figure]["all"]) == len(peer_rounds)
        }
        setting = pick(found, key=lambda s: found[s]["median"])
        best[name] = dict(setting=setting, **found[setting])
    figures = [x for settings in peer.values() for s in settings.values() for x in s.items()]
    cores = [v for key, x in figures if key.endswith("cores") for v in x["all"]]
    system = next(iter(peer_rounds[0].values()))["system"]
    out = dict(system=system, peer=peer, best=best, least_share_of_cores=round(min(cores) / threads, 2))
    if our_rounds:
        ours = collect(our_rounds)
        ratio = {}
        for name, (_, _, _, pick) in FIGURES.items():
            us, them = ours[name]["median"], best[name]["median"]
            ratio[name] = round(us / them if pick is max else them / us, 3)
        out |= dict(ours=ours, our_isa=our_rounds[0]["isa"], ratio=ratio)
    return out


# Telling


def first_line(command):
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else "unknown"
    except OSError:
        return "unknown"


def cpu_info():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return found.get("model name", platform.machine()), set(found.get("flags", "").split())


def cell(figure):
    return f"{figure['median']:.4g} ({min(figure['all']):.4g}-{max(figure['all']):.4g})"


def row(*cells):
    return f"| {' | '.join(cells)} |"


def table(report):
    machine = report["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {report['date']}; medians of {report['rounds']} rounds (least-most)",
        "; ".join(f"{name} {version}" for name, version in report["versions"].items()),
        f"`{report['command']}`",
        "",
        row("instructions, threads", "part", "llama.cpp", "its best setting", "pg-run", "pg-run is times as fast"),
        row(*["---"] * 6),
    ]
    for run in report["runs"]:
        for name, (text, *_) in FIGURES.items():
            best, ours = run["best"][name], ["-", "-"]
            if "ours" in run:
                other = "" if run["our_isa"] == run["isa"] else f", {run['our_isa']}"
                ours = [cell(run["ours"][name]) + other, f"{run['ratio'][name]:.2f}"]
            lines.append(row(f"{run['isa']}, {run['threads']}", text, cell(best), best["setting"], *ours))
    lines += ["", "All settings of llama.cpp, those far behind in the first round only once:", ""]
    lines += [row("instructions, threads", "setting", "figures", "load ms", "peak MB"), row(*["---"] * 5)]
    for run in report["runs"]:
        where = f"{run['isa']}, {run['threads']}"
        for setting, s in run["peer"]["decoder"].items():
            figures = f"prefill {cell(s['prefill_tok_s'])}, decode {cell(s['decode_tok_s'])} tokens/s"
            lines.append(row(where, f"decoder {setting}", figures, *footprint(s)))
        for setting, s in run["peer"]["vision"].items():
            lines.append(row(where, f"vision {setting}", f"{cell(s['ms'])} ms", *footprint(s)))
        if "ours" in run:
            lines.append(row(where, "pg-run, everything", "", *footprint(run["ours"])))
    for run in report["runs"]:
        if run["least_share_of_cores"] < 0.9:
            share = f"{run['least_share_of_cores']:.0%} of {run['threads']} cores"
            lines += ["", f"Not a quiet machine: in one run with {run['isa']} llama.cpp had {share}."]
    return "\n".join(lines)


def footprint(figures):
    return [f"{figures[key]['median']:.0f}" if key in figures else "-" for key in ["load_ms", "peak_rss_mb"]]


def wanted_isas(arguments, flags):
    if arguments.isa and (unknown := set(arguments.isa.split(",")) - set(BUILDS)):
        raise Refused(f"no such instruction set: {', '.join(sorted(unknown))}; there are {', '.join(BUILDS)}")
    chosen = arguments.isa.split(",") if arguments.isa else list(BUILDS)
    offered = []
    for isa in chosen:
        missing = [f for f in BUILDS[isa]["needs"] if f not in flags]
        if not missing:
            offered.append(isa)
            continue
        note(f"{isa}: not run, this processor lacks {' '.join(missing)}")
    return chosen if arguments.build_all else offered, offered


def check_tools():
    # cmake may have been installed by pip beside this Python.
    os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    for tool, package in {"cmake": "cmake", "make": "make", "c++": "g++"}.items():
        if shutil.which(tool) is None:
            raise Refused(f"{tool} is not installed (package {package})")
    try:
        import gguf  # noqa: F401
        import numpy  # noqa: F401
    except ImportError as e:
        raise Refused(f"Python package {e.name} is missing: pip install gguf numpy") from None


def counts(text):
    values = text.split(",")
    if not all(v.isdecimal() and int(v) > 0 for v in values):
        raise argparse.ArgumentTypeError(f"not a list of numbers of threads: {text}")
    return [int(v) for v in values]


def measure_one(arguments, isa, harness, threads, settings):
    peer_rounds, our_rounds = [], []
    for i in range(arguments.rounds):
        note(f"{isa}, {threads} threads, round {i + 1} of {arguments.rounds}: {len(settings)} settings of llama.cpp")
        how = ["--isa", isa, "--threads", threads]
        peer_rounds.append({key: run_json([harness, *more, *how], arguments.lock) for key, more in settings.items()})
        if not arguments.peer_only:
            our_rounds.append(measure_us(arguments, BUILDS[isa], threads))
        if i == 0:
            kept = worth_repeating(peer_rounds[0])
            settings = {key: more for key, more in settings.items() if key in kept}
    return dict(isa=isa, threads=threads, **summarize(peer_rounds, our_rounds, threads))


def measure(arguments, isas, harnesses, files, cpu):
    settings = peer_settings(files)
    runs = [measure_one(arguments, isa, harnesses[isa], n, settings) for isa in isas for n in arguments.threads]
    versions = {"llama-cpp-python": arguments.version, "compiler": first_line(["c++", "--version"])}
    if not arguments.peer_only:
        versions["pg-run"] = first_line([arguments.pg_run, "--version"]).removeprefix("pg-run ")
        if arguments.pg_run.resolve().is_relative_to(ROOT):
            versions["commit"] = first_line(["git", "-C", ROOT, "describe", "--always", "--dirty"])
    return dict(
        v=1,
        date=datetime.date.today().isoformat(),
        command=shlex.join(["tests/peers/llamacpp.py", *sys.argv[1:]]),
        machine=dict(cpu=cpu, cores=len(os.sched_getaffinity(0)), kernel=platform.release()),
        versions=versions,
        rounds=arguments.rounds,
        runs=runs,
    )


def go(arguments):
    if platform.machine() != "x86_64":
        raise Refused("only x86-64 builds are described here")
    check_tools()
    if not arguments.build_only and not arguments.peer_only:
        if arguments.ours is None:
            raise Refused("say --ours FILE, --peer-only or --build-only")
        for path in [arguments.ours, arguments.pg_run]:
            if not path.is_file():
                raise Refused(f"no such file: {path}")
    cpu, flags = cpu_info()
    to_build, to_run = wanted_isas(arguments, flags)
    if not to_build:
        raise Refused("nothing to measure on this processor")
    cache = arguments.cache.resolve() / f"llamacpp-{arguments.version}"
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "source").exists():
        archive = arguments.sdist or source_distribution(arguments.version, cache)
        try:
            unpack(archive, cache / "source", arguments.version)
        except tarfile.TarError as e:
            raise Refused(f"{archive}: {e}") from None
    harnesses = {isa: build(cache, isa, arguments.jobs) for isa in to_build}
    files = models(cache)
    if arguments.build_only:
        print("\n".join(f"{isa}: {path}" for isa, path in harnesses.items()))
        return
    report = measure(arguments, to_run, harnesses, files, cpu)
    print(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def main():
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", type=pathlib.Path, help="our model file (pg-quantize synthetic-224 --q4 -o FILE)")
    parser.add_argument("--pg-run", type=pathlib.Path, default=ROOT / "target" / "release" / "pg-run")
    parser.add_argument("--pg-run-options", default="", help="more options for pg-run bench, as one argument")
    parser.add_argument("--peer-only", action="store_true", help="measure llama.cpp alone")
    parser.add_argument("--build-only", action="store_true", help="build and write models, measure nothing")
    parser.add_argument("--build-all", action="store_true", help="also build what this processor cannot run")
    parser.add_argument("--isa", help=f"comma-separated, of {', '.join(BUILDS)}; default: all that this processor has")
    parser.add_argument("--threads", type=counts, default=[cores], help="comma-separated; default: all cores")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="write everything measured")
    parser.add_argument("--lock", type=pathlib.Path, help="take this lock file exclusively around each timed process")
    parser.add_argument("--cache", type=pathlib.Path, default=CACHE, help="default: ~/.cache/pg-edge")
    parser.add_argument("--version", default=VERSION, help=f"of llama-cpp-python; {VERSION} is known to work")
    parser.add_argument("--sdist", type=pathlib.Path, help="a source distribution that is here already")
    parser.add_argument("--jobs", type=int, default=cores, help="compilers at a time")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.jobs < 1:
        parser.error("--rounds and --jobs are 1 or more")
    try:
        go(arguments)
    except (Refused, OSError) as e:
        print(f"llamacpp.py: {e}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
