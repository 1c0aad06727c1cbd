"""A host: one User-Mode Linux virtual machine, its disk, its console, its faults. Knows nothing of EC2.

The disk is a copy-on-write layer over the image; it and the console live in RUN/hosts/NAME until `destroy`.
The endpoint and the machines work in RUN, and name sockets relative to it: a socket's name has at most 107 characters.
"""
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from . import processes
from .network import Port
from .zones import APART_MS

MEMORY = "700M"
# In the run folder, where the images are.
IMAGES = "images"
CONSOLE_TAIL = 64 * 1024
_ANSWERS_WITHIN = 3.0
_ENDS_WITHIN = 15.0
# A guest does not wait for who reads too slowly: of a long answer the end may never come.
_GOES_ON_WITHIN = 0.5


class _Cpus:
    """The machine's CPUs, and how many hosts are on each.

    A guest has one CPU and runs its kernel and each of its programs as processes that take turns. On one CPU a turn is a
    switch; between two it wakes a sleeping CPU, which costs a virtual machine dearly: 79 us for a system call of
    the guest and not 10, 237 us for a page fault and not 28 (measured on a machine that did nothing else).
    """

    def __init__(self) -> None:
        self._hosts = dict.fromkeys(sorted(os.sched_getaffinity(0)), 0)
        self._lock = threading.Lock()

    def take(self) -> int:
        with self._lock:
            cpu = min(self._hosts, key=self._hosts.get)
            self._hosts[cpu] += 1
            return cpu

    def give_back(self, cpu: int) -> None:
        with self._lock:
            self._hosts[cpu] -= 1


_CPUS = _Cpus()


class HostError(Exception):
    """What was asked of a host cannot be done in its present state."""


class Faults:
    """What is wrong with the packets a host sends: all of them, and those to single peers. And which blocks are `far`, in
    another zone."""

    def __init__(self) -> None:
        self.all: dict = {}
        self.peers: dict = {}
        self.far: tuple = ()

    def __bool__(self) -> bool:
        return bool(self.all or self.peers or self.far)

    def line(self) -> str:
        """As the host's `network-faults` reads it: `faults [all,MS,PERCENT] [BLOCK,MS,PERCENT] ...`, the first that fits."""
        found = [("all", self.all, 0)] if self.all else []
        found += [(f"{peer}/32", fault, self._apart(peer)) for peer, fault in self.peers.items() if fault]
        found += [(block, self.all, APART_MS) for block in self.far]
        return " ".join(["faults", *(f"{whom},{fault.get('delay', 0) + apart:g},{fault.get('loss', 0):g}"
                                     for whom, fault, apart in found)])

    def _apart(self, peer: str) -> float:
        return APART_MS if any(IPv4Address(peer) in IPv4Network(block) for block in self.far) else 0


class Machine:
    """`exited(machine)` is called when the guest ends by itself: it was powered off from within. `disks` are files beside its
    own one, which it may read."""

    def __init__(self, name: str, run: Path, kernel: list[str], engine: str, port: Port, exited=lambda machine: None,
                 memory: str = MEMORY, disks: tuple = ()):
        self.name, self.port = name, port
        self._memory, self._disks = memory, disks
        self.folder = run / "hosts" / name
        self.frozen = False
        self.boots = 0
        self.faults = Faults()
        self._run, self._kernel, self._engine, self._exited = run, kernel, engine, exited
        self._lock = threading.RLock()
        self._process: "subprocess.Popen | None" = None
        self._line: "socket.socket | None" = None
        self._answers = threading.Condition()
        self._answered = 0
        self._cpu: "int | None" = None
        self._expected_end = self._reboots = False

    @property
    def partitioned(self) -> bool:
        return self.port.cut

    @property
    def pid(self) -> "int | None":
        process = self._process
        return process.pid if process and process.poll() is None else None

    # -- life ---------------------------------------------------------------------------------------------------

    def create(self) -> None:
        self.folder.mkdir(parents=True)
        self._cpu = _CPUS.take()
        self.port.plug()

    def boot(self) -> None:
        with self._lock:
            if self.pid:
                return
            self._sweep()
            # From the run folder on: what is on a kernel's command line ends at a blank, and a HOME may have one.
            here = Path("hosts") / self.name
            ours, theirs = socket.socketpair()
            with open(self.folder / "console", "ab") as console:
                self._process = subprocess.Popen(
                    ["nsenter", f"--net={self.port.network.namespace}", "taskset", "--cpu-list", str(self._cpu),
                     *self._kernel,
                     f"mem={self._memory}", f"umid={self.name}", "uml_dir=uml/",
                     f"ubd0={here}/disk,{IMAGES}/ami-{self._engine}.ext4", "root=/dev/ubda", "rw",
                     *(f"ubd{number}r={disk}" for number, disk in enumerate(self._disks, 1)),
                     # Barriers protect against a machine that loses power; ours only ever loses the guest.
                     "rootflags=nobarrier,noinit_itable", "init=/sbin/runit", "noreboot",
                     f"vec0:transport=tap,ifname={self.port.tap},depth=128,gro=1,mac={self.port.mac}",
                     "con=null", "con0=null,fd:1", f"con1=fd:{theirs.fileno()}",
                     f"address={self.port.interface}", f"gateway={self.port.gateway}"],
                    stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd=self._run, start_new_session=True,
                    pass_fds=[theirs.fileno()], env={"PATH": os.environ.get("PATH", ""), "TMPDIR": "/dev/shm"})
            theirs.close()
            processes.record(self.folder / "process.json", self._process.pid)
            self._line, self.frozen = ours, False
            self._expected_end = self._reboots = False
            self.boots += 1
            threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
            threading.Thread(target=self._listen, args=(ours,), daemon=True).start()

    def kill(self) -> None:
        """As when the kernel crashes or the hypervisor dies: gone in an instant. The disk stays."""
        with self._lock:
            self._expected_end = True
            if self._process:
                processes.kill_group(self._process.pid, self._run)
                self._process.wait()
            self._sweep()

    def shut_down(self) -> None:
        """The orderly way, as EC2 does it: the guest is asked to power off, and killed when it takes too long."""
        with self._lock:
            self._expected_end = True
            process = self._process
        if process and self.pid and not self.frozen:
            try:
                self._console_command("cad")
                process.wait(_ENDS_WITHIN)
            except (HostError, subprocess.TimeoutExpired):
                pass
        self.kill()

    def destroy(self) -> bytes:
        """Leaves nothing but what was on its console."""
        self.kill()
        console = self.console()
        self.port.unplug()
        if self._cpu is not None:
            _CPUS.give_back(self._cpu)
            self._cpu = None
        shutil.rmtree(self.folder, ignore_errors=True)
        return console

    def console(self) -> bytes:
        try:
            with open(self.folder / "console", "rb") as console:
                console.seek(max(0, console.seek(0, os.SEEK_END) - CONSOLE_TAIL))
                return console.read()
        except FileNotFoundError:
            return b""

    def _watch(self, process: subprocess.Popen) -> None:
        ended_well = process.wait() == 0
        with self._lock:
            by_itself = process is self._process and not self._expected_end
            reboots = self._reboots
        if by_itself and reboots:
            self.kill()
            self.boot()
        elif by_itself and ended_well:
            self._exited(self)

    def _sweep(self) -> None:
        """What a run of the machine leaves: its line, the folder of its management socket."""
        if self._line:
            self._line.close()
            self._line = None
        shutil.rmtree(self._run / "uml" / self.name, ignore_errors=True)

    # -- faults -------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stands still as a stuck machine does; SIGSTOP would panic the guest when it goes on."""
        with self._lock:
            if not self.frozen:
                self._console_command("stop")
                self.frozen = True

    def thaw(self) -> None:
        with self._lock:
            if self.frozen:
                self._console_command("go")
                self.frozen = False

    def explain(self) -> None:
        """Its kernel writes on the console its timers, its memory, and which tasks wait for a disk: also when nothing else answers."""
        with self._lock:
            for key in "qmw":
                self._console_command(f"sysrq {key}")

    def partition(self) -> None:
        """In force when the life cycle has settled it, as healing is."""
        self.port.cut = True

    def heal(self) -> None:
        self.port.cut = False

    def keep_apart(self, blocks: tuple) -> None:
        """What it sends to these takes longer, from soon on. A guest that is not up yet asks for it itself."""
        if blocks == self.faults.far:
            return
        self.faults.far = blocks

        def tell() -> None:
            try:
                self.apply_faults()
            except HostError:
                pass

        if self.pid:
            threading.Thread(target=tell, daemon=True).start()

    def apply_faults(self) -> None:
        """Returns when the guest has the faults in force. A guest that boots asks for them itself."""
        with self._lock:
            if not self.pid or self.frozen:
                raise HostError(f"{self.name} is {'frozen' if self.pid else 'not running'}: its network cannot be changed")
            line = self._line
        with self._answers:
            seen = self._answered
            self._send(line)
            if not self._answers.wait_for(lambda: self._answered > seen, _ANSWERS_WITHIN):
                raise HostError(f"{self.name} did not take its network faults within {_ANSWERS_WITHIN:g} s: is it up yet?")

    def _listen(self, line: socket.socket) -> None:
        """The guest says `ready` and `done` (network-faults, when it starts and when faults are in force), `reboot` (poweroff)."""
        try:
            with line.makefile("r", errors="replace") as lines:
                for word in map(str.strip, lines):
                    if word == "ready" and self.faults:
                        self._send(line)
                    if word == "reboot":
                        self._reboots = True
                    if word == "done":
                        with self._answers:
                            self._answered += 1
                            self._answers.notify_all()
        except (OSError, ValueError):
            pass  # The machine has ended and its line with it.

    def _send(self, line: socket.socket) -> None:
        try:
            line.sendall(f"{self.faults.line()}\n".encode())
        except OSError as error:
            raise HostError(f"{self.name} cannot be told its network faults: {error}") from None

    def _console_command(self, command: str) -> None:
        """One command to the machine's management console (mconsole): a datagram of a header and the words."""
        # Both names must mean the same to the machine, which answers to ours from its own network namespace: relative to
        # RUN, where both of us work. (Abstract names end at a network namespace.)
        theirs, ours = f"uml/{self.name}/mconsole", f"uml/{self.name}/asker"
        deadline = time.monotonic() + _ANSWERS_WITHIN
        while not os.path.exists(theirs):
            if not self.pid or time.monotonic() > deadline:
                raise HostError(f"{self.name} is not running: it cannot be told to {command}")
            time.sleep(0.02)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.bind(ours)
                client.settimeout(_ANSWERS_WITHIN)
                client.sendto(struct.pack("=III512s", 0xCAFEBABE, 2, len(command), command.encode()), theirs)
                failed, more, words = _answer(client)
                client.settimeout(_GOES_ON_WITHIN)
                while more:
                    try:
                        _, more, _ = _answer(client)
                    except TimeoutError:
                        break
        except OSError as error:
            raise HostError(f"{self.name} does not answer on its management console: {error}") from None
        finally:
            Path(ours).unlink(missing_ok=True)
        if failed:
            raise HostError(f"{self.name} refused {command!r}: {words}")


def _answer(client: socket.socket) -> tuple[int, int, str]:
    """One datagram of an answer: an error number or 0, whether more follow, what it says."""
    data = client.recv(4096)
    failed, more, _length = struct.unpack_from("=III", data)
    return failed, more, data[12:].rstrip(bytes(1)).decode(errors="replace")
