"""The tools a release is made with, each of a version that is written down, installed once into the cache."""
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .targets import CHECKOUT, HERE, Target, cache

# CycloneDX's own tool for cargo.
SBOM = ("cargo-cyclonedx", "0.5.9")


def run(*command, quiet: bool = False, **others) -> None:
    """Runs a command; where it fails, its own words are enough. A quiet one says them only then."""
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if quiet else {}
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, **told, **others)
    if done.returncode != 0:
        if quiet:
            print(done.stdout, flush=True)
        raise SystemExit(f"release: {Path(str(command[0])).name} ended with {done.returncode}: {' '.join(map(str, command))}")


def _made(folder: Path, make) -> Path:
    """A folder that is whole or not there."""
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(folder)
    return folder


def _of(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def packages() -> Path:
    """cargo-zigbuild, zig and the authorities of certifi: Python packages, which are programs and files as they are."""
    wanted = HERE / "requirements.txt"

    def install(part: Path) -> None:
        run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action", "ignore", "--require-hashes",
            "--no-deps", "--only-binary", ":all:", "--target", part, "--requirement", wanted)

    return _made(cache() / f"packages-{_of(wanted)}", install)


def zigbuild() -> Path:
    return packages() / "bin" / "cargo-zigbuild"


def zig() -> Path:
    return packages() / "ziglang" / "zig"


def authorities() -> bytes:
    """The certificate authorities that an image trusts: Mozilla's, as certifi packs them."""
    return (packages() / "certifi" / "cacert.pem").read_bytes()


def cyclonedx() -> Path:
    name, version = SBOM

    def install(part: Path) -> None:
        run("cargo", "install", "--quiet", "--locked", "--root", part, f"{name}@{version}", cwd=CHECKOUT,
            env=os.environ | {"CARGO_TARGET_DIR": str(cache() / "target-of-tools")})

    return _made(cache() / f"{name}-{version}", install) / "bin" / name


def krew() -> Path:
    """Krew's own judge of manifests, and krew itself."""
    folder = HERE / "krew"

    def build(part: Path) -> None:
        for program in ("validate-krew-manifest", "krew"):
            run("go", "build", "-trimpath", "-o", part / program, f"sigs.k8s.io/krew/cmd/{program}", cwd=folder)

    return _made(cache() / f"krew-{_of(folder / 'go.mod', folder / 'go.sum')}", build)


def helm() -> Path:
    """The Helm of the test bed."""
    folder = CHECKOUT / "testbed" / "tools"

    def unpack(part: Path) -> None:
        run(folder / "helm", sys.executable, part / "helm")

    return _made(cache() / f"helm-{_of(folder / 'helm', folder / 'helm.txt')}", unpack) / "helm"


def rust(targets: list[Target]) -> None:
    """Adds to the toolchain what it lacks."""
    root = subprocess.run(["rustc", "--print", "sysroot"], cwd=CHECKOUT, capture_output=True, text=True)
    if root.returncode != 0:
        raise SystemExit(f"release: there is no Rust: {root.stderr.strip()}")
    lacking = [t.triple for t in targets if not Path(root.stdout.strip(), "lib", "rustlib", t.triple, "lib").is_dir()]
    if lacking and not shutil.which("rustup"):
        raise SystemExit(f"release: this Rust cannot build for {', '.join(lacking)}, and there is no rustup to add that")
    if lacking:
        run("rustup", "target", "add", *lacking, cwd=CHECKOUT)
