"""Where things are: the checkout, the cache, the run directory of a bed. No file is read or written here."""
import hashlib
import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TESTBED = CHECKOUT / "testbed"


def cache() -> Path:
    """What may be thrown away and is dear to make again; outside every checkout, shared by all of them."""
    return Path(os.environ.get("TESTKIT_CACHE") or Path.home() / ".cache" / "testkit").absolute()


def cargo_target() -> Path:
    """Cargo's target folder, the same as the Makefile's: outside of the checkout, so that a fresh clone does not build everything anew."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or cache() / "target").absolute()


def checkout_id() -> str:
    """A checkout is known by its path: a second clone has beds of its own."""
    return hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]


def runs() -> Path:
    return cache() / "run"


def run_dir(name: str) -> Path:
    return runs() / checkout_id() / name


def fingerprint(*paths: Path) -> str:
    """A short hash of files and folders, so that what was made from them is made again when they change."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(path) if file != path else file.name}\0{file.stat().st_mode & 0o111}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def kubernetes_version() -> str:
    """The version that go.mod asks for, such as v1.37.2."""
    for line in (TESTBED / "kubernetes" / "go.mod").read_text().splitlines():
        words = line.split()
        if words[:1] == ["k8s.io/kubernetes"] and len(words) > 1 and words[1].startswith("v"):
            return words[1]
    raise RuntimeError("testbed/kubernetes/go.mod requires no k8s.io/kubernetes")


def kubernetes_built() -> Path:
    return cache() / "kubernetes" / kubernetes_version()


def kubernetes_binary(component: str) -> Path:
    """KUBEBUILDER_ASSETS first, as the ecosystem's envtest has it, then what `setup` builds."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / component).is_file():
        return Path(assets).absolute() / component
    return kubernetes_built() / component


def helm() -> Path:
    """Helm, one folder for each version of it."""
    return cache() / "helm" / fingerprint(TESTBED / "tools" / "helm", TESTBED / "tools" / "helm.txt") / "helm"


def kstatus() -> Path:
    """What judges statuses, one folder for each content of what it is made from."""
    return cache() / "kstatus" / fingerprint(TESTBED / "kstatus") / "kstatus"


def venv() -> Path:
    """The EC2 endpoint's Python packages, one folder for each content of requirements.txt."""
    return cache() / f"venv-{fingerprint(TESTBED / 'requirements.txt')}"


def images() -> Path:
    """Host images, one folder for each content of testbed/hosts: a running bed keeps the image it booted from."""
    return cache() / "hosts" / fingerprint(TESTBED / "hosts")


def own_kernel() -> Path:
    """The hosts' own kernel, apart from the images: it takes minutes to build and changes far more rarely."""
    folder = TESTBED / "hosts" / "kernel"
    return cache() / "kernel" / fingerprint(folder / "build", folder / "config") / "linux"


def prebuilt_kernel() -> Path:
    """Debian's kernel, with the images: its modules are in them."""
    return images() / "prebuilt" / "linux"


def host_kernel() -> list:
    """What a bed that starts now boots its hosts with, a program and arguments: their own kernel where it is built, else Debian's,
    which runs its guests under ptrace alone."""
    return [own_kernel(), "seccomp=on"] if os.access(own_kernel(), os.X_OK) else [prebuilt_kernel()]
