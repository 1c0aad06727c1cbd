"""Drives: builds for each target, packs, judges, and tells what came of it."""
import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import archives, krew, licences, sbom, tools
from .build import Builds
from .images import Archive
from .targets import CHECKOUT, TARGETS, Target, epoch, git, manifest, version

# Of the plugin for Linux on x86-64, in bytes.
LIMIT = 20 * 10**6
SHELLS = {"bash": "kubectl-testkit.bash", "zsh": "_kubectl-testkit", "fish": "kubectl-testkit.fish", "powershell": "kubectl-testkit.ps1"}
PLUGIN = ("--no-default-features",)


def main() -> int:
    arguments = _arguments()
    targets = [t for t in TARGETS if t.name in (arguments.only or [t.name for t in TARGETS])]
    if git("status", "--porcelain"):
        print("release: the checkout is not as it was committed: this is no release of that commit", flush=True)
    tools.rust(targets)
    out = arguments.out or CHECKOUT / "target" / "release-files"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    builds = Builds(arguments.target_folder)
    plugins = _plugins(builds, targets, out)
    if not arguments.plugin_alone:
        _images(builds, [t for t in targets if t.os == "linux"], out)
        _chart(out)
    if len(plugins) == len(TARGETS):
        file = out / "testkit.yaml"
        file.write_text(krew.text(plugins))
        krew.judge(file, plugins)
    _table(out)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy/release/release", description="Makes a release of the checkout.")
    parser.add_argument("--only", action="append", choices=[t.name for t in TARGETS], help="for this system alone; may be said more than once")
    parser.add_argument("--plugin-alone", action="store_true", help="neither images nor chart")
    parser.add_argument("--out", type=lambda text: Path(text).absolute(), help="where to; removed first (target/release-files)")
    parser.add_argument("--target-folder", type=lambda text: Path(text).absolute(), help="where cargo builds (in the cache)")
    return parser.parse_args()


def _say(what: str) -> None:
    print(f"release: {what}", flush=True)


def _plugins(builds: Builds, targets: list[Target], out: Path) -> dict[Target, Path]:
    programs = {}
    for target in targets:
        _say(f"the plugin for {target.name}")
        programs[target] = builds.plugin(target)
    scripts = _completions(programs)
    packed = {}
    for target, program in programs.items():
        size = program.stat().st_size
        if target.name == "linux-amd64" and size > LIMIT:
            raise SystemExit(f"release: the plugin for {target.name} has {size} bytes, and may have {LIMIT}")
        files = [(target.program, program.read_bytes(), 0o755), ("LICENSE", (CHECKOUT / "LICENSE").read_bytes(), 0o644),
                 ("THIRD-PARTY.txt", licences.third_parties(target, "testkit", *PLUGIN), 0o644), *scripts]
        zipped = target.os == "windows"
        packed[target] = out / f"kubectl-testkit-{version()}-{target.name}.{'zip' if zipped else 'tar.gz'}"
        packed[target].write_bytes((archives.zipped if zipped else archives.tar_gz)(files, epoch()))
        _sbom(out / f"kubectl-testkit-{version()}-{target.name}.cdx.json", target, "testkit", CHECKOUT / "Cargo.toml", *PLUGIN)
    return packed


def _completions(programs: dict[Target, Path]) -> archives.Files:
    """What the program says that runs on this machine; they are the same for all."""
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)
    program = next((file for target, file in programs.items() if (target.os, target.arch) == ("linux", here)), None)
    if not program:
        _say(f"there are no completions in the archives: they are asked of the plugin for linux-{here}")
        return []
    ask = lambda shell: subprocess.run([program, "completion", shell], capture_output=True, check=True).stdout
    return [(f"completions/{file}", ask(shell), 0o644) for shell, file in SHELLS.items()]


def _images(builds: Builds, targets: list[Target], out: Path) -> None:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch()))
    described = {"org.opencontainers.image.version": version(), "org.opencontainers.image.source": manifest()["repository"],
                 "org.opencontainers.image.licenses": manifest()["license"]}
    operator, suite = Archive(), Archive()
    of_operator, of_suite = [], []
    for target in targets:
        _say(f"operator and suite for {target.name}")
        files = [("etc/ssl/certs/ca-certificates.crt", tools.authorities(), 0o644), ("LICENSE", (CHECKOUT / "LICENSE").read_bytes(), 0o644)]
        texts = [("THIRD-PARTY.txt", licences.third_parties(target, "testkit"), 0o644)]
        program = builds.operator(target).read_bytes()
        # As the Dockerfile has it.
        config = {"Entrypoint": ["/testkit-operator"], "User": "65532:65532", "ExposedPorts": {"8080/tcp": {}}, "Labels": described}
        of_operator.append(operator.image(target.arch, [*files, *texts, ("testkit-operator", program, 0o755)], config, created))
        program = builds.suite(target).read_bytes()
        texts = [files[1], ("THIRD-PARTY.txt", licences.third_parties(target, "e2e"), 0o644)]
        # As e2e/Dockerfile has it.
        config = {"Entrypoint": ["/e2e"], "ExposedPorts": {"80/tcp": {}}, "Labels": described | {"testkit.dev/case-filter": "Libtest"}}
        of_suite.append(suite.image(target.arch, [*texts, ("e2e", program, 0o755)], config, created))
        _sbom(out / f"testkit-operator-{version()}-{target.name}.cdx.json", target, "testkit", CHECKOUT / "Cargo.toml")
        _sbom(out / f"e2e-{version()}-{target.name}.cdx.json", target, "e2e", CHECKOUT / "e2e" / "Cargo.toml")
    for name, archive, images in (("testkit-operator", operator, of_operator), ("e2e", suite, of_suite)):
        whole = archive.whole(images, version(), described, epoch())
        (out / f"{name}-{version()}.oci.tar").write_bytes(whole)


def _sbom(file: Path, target: Target, package: str, of: Path, *features: str) -> None:
    file.write_bytes(sbom.of(target, package, of, *features))


def _chart(out: Path) -> None:
    _say("the chart")
    with tempfile.TemporaryDirectory() as folder:
        # Helm decides what belongs to a chart, and refuses what is none; its times are those of now.
        tools.run(tools.helm(), "package", CHECKOUT / "deploy" / "chart", "--destination", folder, quiet=True)
        [package] = Path(folder).glob("testkit-*.tgz")
        chart = out / f"testkit-chart-{version()}.tgz"
        chart.write_bytes(archives.again(package.read_bytes(), epoch()))
        tools.run(tools.helm(), "template", "testkit", chart, quiet=True)
    definitions = sorted((CHECKOUT / "crds").glob("*.yaml"))
    (out / f"testkit-crds-{version()}.yaml").write_text("---\n".join(file.read_text() for file in definitions))


def _table(out: Path) -> None:
    files = sorted(file for file in out.iterdir())
    digests = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (out / "SHA256SUMS").write_text("".join(f"{digest}  {file.name}\n" for file, digest in digests.items()))
    width = max(len(file.name) for file in files)
    print(f"\n{'file':{width}}  {'MB':>7}  sha256")
    for file, digest in digests.items():
        print(f"{file.name:{width}}  {file.stat().st_size / 10**6:7.2f}  {digest}")
    print(f"\n{len(files)} files in {out}, and their digests in SHA256SUMS")
