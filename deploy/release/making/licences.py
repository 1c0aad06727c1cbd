"""The licences of what is in a program, from the sources it was built of."""
import json
import subprocess
from pathlib import Path

from .targets import CHECKOUT, Target

NAMES = ("license", "licence", "copying", "notice", "unlicense", "copyright")


def third_parties(target: Target, package: str, *features: str) -> bytes:
    """Of each crate its name, its licence, and the texts of that, each text once."""
    told = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target.triple, *features],
                          cwd=CHECKOUT, capture_output=True, text=True)
    if told.returncode != 0:
        raise SystemExit(f"release: cargo metadata: {told.stderr.strip()}")
    metadata = json.loads(told.stdout)
    texts: dict[str, list[str]] = {}
    lines = []
    for crate in _within(metadata, package):
        lines.append(f"{crate['name']} {crate['version']}: {crate['license'] or 'see its text'}")
        for text in _texts(crate):
            texts.setdefault(text, []).append(f"{crate['name']} {crate['version']}")
    parts = ["The program is made of these, beside what is its own (LICENSE):\n", "\n".join(lines), ""]
    for text, crates in texts.items():
        parts += ["=" * 80, ", ".join(crates), "=" * 80, text.strip(), ""]
    return "\n".join(parts).encode()


def _within(metadata: dict, package: str) -> list[dict]:
    """What a package is built of for its own sake: neither for its tests nor to build it."""
    crates = {crate["id"]: crate for crate in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    [root] = [crate["id"] for crate in metadata["packages"] if crate["name"] == package and crate["source"] is None]
    found, left = set(), [root]
    while left:
        for dependency in nodes[left.pop()]["deps"]:
            if dependency["pkg"] not in found and any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                found.add(dependency["pkg"])
                left.append(dependency["pkg"])
    return sorted((crates[id] for id in found), key=lambda crate: (crate["name"], crate["version"]))


def _texts(crate: dict) -> list[str]:
    folder = Path(crate["manifest_path"]).parent
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name.lower().startswith(NAMES)]
    if crate.get("license_file"):
        files.append(folder / crate["license_file"])
    return [file.read_text(errors="replace").replace("\r\n", "\n") for file in dict.fromkeys(files)]
