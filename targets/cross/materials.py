#!/usr/bin/env python3
"""What goes into the programs of a target: licence texts of all crates, and a bill of materials (CycloneDX 1.5).

    materials.py TRIPLE LICENCES.txt BILL.cdx.json

Crates, versions and checksums are those of Cargo.lock; texts are those that the crates bring along.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import tomllib

TOP = pathlib.Path(__file__).resolve().parents[2]
TEXT = re.compile(r"^(licen[cs]e|copying|notice|unlicense)", re.IGNORECASE)


def linked(triple):
    """Packages that normal dependencies of pg-linux lead to, on this target."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", triple]
    metadata = json.loads(subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.PIPE).stdout)
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    found, pending = {}, [i for i, p in packages.items() if p["name"] == "pg-linux"]
    while pending:
        i = pending.pop()
        if i in found:
            continue
        found[i] = packages[i]
        for dependency in nodes[i]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                pending.append(dependency["pkg"])
    return sorted(found.values(), key=lambda p: (p["name"], p["version"]))


def licence_texts(packages):
    """Every text once, under the crates that have it."""
    texts = {}
    for package in packages:
        folder = pathlib.Path(package["manifest_path"]).parent
        who = f'{package["name"]} {package["version"]} ({package["license"]})'
        files = [f for f in sorted(folder.iterdir()) if f.is_file() and TEXT.match(f.name)]
        for file in files:
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            texts.setdefault(text, []).append(f"{who}: {file.name}")
        if not files:
            texts.setdefault("", []).append(f"{who}: no file; see the licence's own text")
    return "\n\n".join("\n".join(sorted(who)) + "\n\n" + text for text, who in texts.items()) + "\n"


def bill(packages):
    lock = tomllib.loads((TOP / "Cargo.lock").read_text())
    sums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    components = []
    for package in packages:
        name, version = package["name"], package["version"]
        component = {
            "type": "library",
            "bom-ref": f"{name}@{version}",
            "name": name,
            "version": version,
            "licenses": [{"expression": package["license"].replace("/", " OR ")}],
            "purl": f"pkg:cargo/{name}@{version}",
        }
        if sums[name, version]:
            component["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
        components.append(component)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": stamp, "component": {"type": "application", "name": "pg-edge"}},
        "components": components,
    }


def main():
    triple, licences, materials = sys.argv[1:]
    packages = linked(triple)
    ours = [p for p in packages if p["source"] is None]
    others = [p for p in packages if p["source"] is not None]
    pathlib.Path(licences).write_text(licence_texts(others))
    pathlib.Path(materials).write_text(json.dumps(bill(ours + others), indent=1) + "\n")
    print(f"{len(others)} crates are linked in")


main()
