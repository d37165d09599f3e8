#!/usr/bin/env python3
"""Times llama.cpp and pg-run side by side on random models of PaliGemma-3B's shape at 224 pixels.

    llamacpp.py --ours FILE.gguf [--threads 1,2] [--rounds 5] [--json FILE]      both, alternately
    llamacpp.py --peer-only                                                      llama.cpp alone
    llamacpp.py --build-only                                                     what the others need, and stop

FILE.gguf comes from `pg-quantize synthetic-224 --q4`; pg-run is target/release/pg-run. Needs: pip install gguf numpy; cmake,
make and a C++ compiler; 6 GB of disk (--cache) and 4 GB of memory. Prints a markdown table.

llama.cpp comes as the source distribution of llama-cpp-python, whose build system is not run. It is built once per
instruction set and linked statically: with shared libraries a program can load another build's kernels without a word, and
numbers get the wrong label. The harness besides refuses to run when ggml names another instruction set.
Every setting of llama.cpp is measured in every round, and its best median for each part is what counts.
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

COMMON = """
    CMAKE_BUILD_TYPE=Release BUILD_SHARED_LIBS=OFF GGML_NATIVE=OFF LLAMA_BUILD_MTMD=ON MTMD_VIDEO=OFF LLAMA_OPENSSL=OFF
    LLAMA_BUILD_COMMON=OFF LLAMA_BUILD_TESTS=OFF LLAMA_BUILD_TOOLS=OFF LLAMA_BUILD_EXAMPLES=OFF LLAMA_BUILD_SERVER=OFF
    LLAMA_BUILD_APP=OFF GGML_SSE42=ON GGML_AVX=ON GGML_AVX2=ON GGML_FMA=ON GGML_F16C=ON GGML_BMI2=ON
""".split()
# AMX stays off: ggml's AMX matrix product crashes on some machines that offer it.
BUILDS = {
    "avx2": dict(options=[], needs=["avx2", "fma", "f16c", "bmi2"]),
    "avx512vnni": dict(
        options=["GGML_AVX512=ON", "GGML_AVX512_VNNI=ON"],
        needs=["avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"],
    ),
}


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


def models(cache, q8_head):
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
    if q8_head:
        kind = random_models.Type.Q8_0
        one("decoder", "q4_0, head q8_0", "decoder-q4_0-q8_0.gguf", random_models.write_decoder, kind)
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


def measure_peer(harness, isa, threads, files, lock):
    """One run of every setting: (part, setting) -> figures."""
    how = ["--isa", isa, "--threads", threads]
    out = {}
    for label, (part, path) in files.items():
        if part == "vision":
            out[part, label] = run_json([harness, part, path, *how, "--rounds", 1], lock)
            continue
        for repack in [1, 0]:
            more = ["--repack", repack, "--prefill", PREFILL, "--depth", DEPTH]
            name = label + (", repacked" if repack else ", not repacked")
            out[part, name] = run_json([harness, part, path, *how, *more], lock)
    return out


def measure_us(program, model, isa, threads, lock):
    command = [program, "bench", "-m", model, "--json", "--threads", threads]
    command += ["--prefill", PREFILL, "--depth", DEPTH, "--rounds", 1]
    found = run_json(command, lock, {"PG_ISA": isa})
    if found["isa"] != isa or found["threads"] != threads:
        raise Refused(f"pg-run ran {found['isa']} with {found['threads']} threads, asked for {isa} with {threads}")
    if found["prefill"]["tokens"] != PREFILL:
        raise Refused(f"pg-run's prefill has {found['prefill']['tokens']} tokens, the peer's {PREFILL}")
    return dict(
        vision_ms=found["vision"]["ms"],
        prefill_tok_s=found["prefill"]["tok_s"],
        decode_tok_s=found["decode"]["tok_s"],
        load_ms=found["load_ms"],
        peak_rss_mb=found["memory"]["peak_rss_mb"],
    )


def series(values):
    return dict(median=round(statistics.median(values), 3), all=values)


def collect(rounds):
    """[{figure: value}] -> {figure: series}"""
    return {key: series([r[key] for r in rounds]) for key, value in rounds[0].items() if not isinstance(value, str)}


def best(settings, figure, pick):
    name = pick(settings, key=lambda s: settings[s][figure]["median"])
    return dict(setting=name, value=settings[name][figure]["median"], all=settings[name][figure]["all"])


def summarize(peer_rounds, our_rounds, threads):
    peer = {"decoder": {}, "vision": {}}
    for part, setting in peer_rounds[0]:
        peer[part][setting] = collect([r[part, setting] for r in peer_rounds])
    chosen = dict(
        vision_ms=best(peer["vision"], "ms", min),
        prefill_tok_s=best(peer["decoder"], "prefill_tok_s", max),
        decode_tok_s=best(peer["decoder"], "decode_tok_s", max),
    )
    quiet = min(
        v for s in [*peer["decoder"].values(), *peer["vision"].values()]
        for key, figure in s.items() if key.endswith("cores") for v in figure["all"]
    )
    out = dict(system=next(iter(peer_rounds[0].values()))["system"], peer=peer, best=chosen, least_share_of_cores=round(quiet / threads, 2))
    if our_rounds:
        ours = collect(our_rounds)
        out |= dict(ours=ours, ratio={
            "vision_ms": round(chosen["vision_ms"]["value"] / ours["vision_ms"]["median"], 2),
            "prefill_tok_s": round(ours["prefill_tok_s"]["median"] / chosen["prefill_tok_s"]["value"], 2),
            "decode_tok_s": round(ours["decode_tok_s"]["median"] / chosen["decode_tok_s"]["value"], 2),
        })
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
    low, high = min(figure["all"]), max(figure["all"])
    return f"{figure.get('median', figure.get('value')):.4g} ({low:.4g}-{high:.4g})"


def table(report):
    lines = [
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores, {report['date']}; medians of {report['rounds']} rounds (least-most)",
        "; ".join(f"{name} {version}" for name, version in report["versions"].items()),
        f"`{report['command']}`",
        "",
        "| instructions, threads | part | llama.cpp | its best setting | pg-run | pg-run is times as fast |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows = {
        "vision_ms": "picture of 224 px, ms",
        "prefill_tok_s": f"prefill of {PREFILL}, tokens/s",
        "decode_tok_s": f"decode at depth {DEPTH}, tokens/s",
    }
    for run in report["runs"]:
        for key, text in rows.items():
            ours = [cell(run["ours"][key]), f"{run['ratio'][key]:.2f}"] if "ours" in run else ["-", "-"]
            chosen = run["best"][key]
            lines.append(" | ".join([f"| {run['isa']}, {run['threads']}", text, cell(chosen), chosen["setting"], *ours]) + " |")
    lines += ["", "All settings of llama.cpp:", "", "| instructions, threads | setting | figures | peak MB |", "| --- | --- | --- | --- |"]
    for run in report["runs"]:
        for setting, s in run["peer"]["decoder"].items():
            figures = f"prefill {cell(s['prefill_tok_s'])}, decode {cell(s['decode_tok_s'])} tokens/s"
            lines.append(f"| {run['isa']}, {run['threads']} | decoder {setting} | {figures} | {s['peak_rss_mb']['median']:.0f} |")
        for setting, s in run["peer"]["vision"].items():
            lines.append(f"| {run['isa']}, {run['threads']} | vision {setting} | {cell(s['ms'])} ms | {s['peak_rss_mb']['median']:.0f} |")
        if run["least_share_of_cores"] < 0.9:
            lines += ["", f"Not a quiet machine: in one run llama.cpp had {run['least_share_of_cores']:.0%} of its {run['threads']} cores."]
    return "\n".join(lines)


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


def measure(arguments, isas, harnesses, files, cpu):
    program = arguments.pg_run
    runs = []
    for isa in isas:
        for threads in arguments.threads:
            peer_rounds, our_rounds = [], []
            for i in range(arguments.rounds):
                note(f"{isa}, {threads} threads, round {i + 1} of {arguments.rounds}")
                peer_rounds.append(measure_peer(harnesses[isa], isa, threads, files, arguments.lock))
                if not arguments.peer_only:
                    our_rounds.append(measure_us(program, arguments.ours, isa, threads, arguments.lock))
            runs.append(dict(isa=isa, threads=threads, **summarize(peer_rounds, our_rounds, threads)))
    versions = {"llama-cpp-python": arguments.version, "compiler": first_line(["c++", "--version"])}
    if not arguments.peer_only:
        versions |= {"pg-run": first_line([program, "--version"]), "commit": first_line(["git", "-C", ROOT, "describe", "--always", "--dirty"])}
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
    files = models(cache, arguments.q8_head)
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
    parser.add_argument("--peer-only", action="store_true", help="measure llama.cpp alone")
    parser.add_argument("--build-only", action="store_true", help="build and write models, measure nothing")
    parser.add_argument("--build-all", action="store_true", help="also build what this processor cannot run")
    parser.add_argument("--isa", help=f"comma-separated, of {', '.join(BUILDS)}; default: all that this processor has")
    parser.add_argument("--threads", type=counts, default=[cores], help="comma-separated; default: all cores")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--q8-head", action="store_true", help="also a decoder with a q8_0 token table")
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
