"""The plugin's manifest for krew, judged by krew's own program, and an installation by it."""
import hashlib
import os
import tempfile
from pathlib import Path

from . import tools
from .targets import Target, manifest, version

DESCRIPTION = """\
Makes Docker Swarms for end-to-end tests, looks inside of them, and runs tests on them: shells and files of nodes, the
swarm's Docker socket on this machine, ports, images, logs and results. It works with the testkit operator."""


def text(archives: dict[Target, Path]) -> str:
    """The manifest; the archives are where the project's releases are."""
    repository = manifest()["repository"]
    lines = [
        "apiVersion: krew.googlecontainertools.github.com/v1alpha2", "kind: Plugin", "metadata:", "  name: testkit", "spec:",
        f"  version: v{version()}", f"  homepage: {repository}", "  shortDescription: Docker Swarms for end-to-end tests",
        "  description: |", *(f"    {line}" for line in DESCRIPTION.splitlines()), "  platforms:",
    ]
    for target, archive in archives.items():
        lines += [
            "  - selector:", "      matchLabels:", f"        os: {target.os}", f"        arch: {target.arch}",
            f"    uri: {repository}/releases/download/v{version()}/{archive.name}",
            f"    sha256: {hashlib.sha256(archive.read_bytes()).hexdigest()}", f"    bin: {target.program}",
        ]
    return "\n".join(lines) + "\n"


def judge(file: Path, archives: dict[Target, Path]) -> None:
    """Fails where krew would not have it. The archive of this system is installed as by a person, from the file."""
    tools.run(tools.krew() / "validate-krew-manifest", "-manifest", file, "-skip-install", quiet=True)
    for target, archive in archives.items():
        with tempfile.TemporaryDirectory() as root:
            environment = os.environ | {"KREW_ROOT": root, "KREW_OS": target.os, "KREW_ARCH": target.arch, "KREW_NO_UPGRADE_CHECK": "1"}
            tools.run(tools.krew() / "krew", "install", "--manifest", file, "--archive", archive, env=environment, quiet=True)
            if not any(Path(root, "store", "testkit", f"v{version()}").iterdir()):
                raise SystemExit(f"release: krew says that it has installed {archive.name}, and there is nothing")
