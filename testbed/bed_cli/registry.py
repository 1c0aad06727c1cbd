"""Which bed has which number, and from it ports, addresses and a namespace. One file for all checkouts, under a lock."""
import contextlib
import fcntl
import ipaddress
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import places
from .errors import BedError

# Below the kernel's range for outgoing connections, so that no client's port is in the way.
FIRST_PORT = 23000
BEDS = 40


@dataclass(frozen=True)
class Slot:
    """What number N stands for."""

    number: int

    def _port(self, offset: int) -> int:
        return FIRST_PORT + 10 * self.number + offset

    @property
    def apiserver(self) -> int:
        return self._port(0)

    @property
    def etcd(self) -> int:
        return self._port(1)

    @property
    def etcd_peer(self) -> int:
        return self._port(2)

    @property
    def controller_manager(self) -> int:
        return self._port(3)

    @property
    def endpoint(self) -> int:
        return self._port(4)

    @property
    def operator(self) -> int:
        return self._port(5)

    @property
    def scheduler(self) -> int:
        return self._port(6)

    @property
    def net(self) -> str:
        """The hosts' addresses."""
        return f"10.{64 + self.number}.0.0/16"

    @property
    def public(self) -> str:
        """Their public addresses, of a range that is no network's (RFC 2544), and those of the internet they are seen from."""
        return f"198.18.{4 * self.number}.0/22"

    @property
    def namespace(self) -> str:
        return f"tb{self.number}"

    def free(self) -> bool:
        """Nobody outside the registry is in the way: another user's beds, or a network that happens to be the same."""
        for offset in range(7):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self._port(offset)))
                except OSError:
                    return False
        if Path("/run/netns", self.namespace).exists():
            return False
        try:
            said = [subprocess.run(["ip", "-4", what], capture_output=True, text=True).stdout for what in ("address", "route")]
        except FileNotFoundError:
            return True
        ours = [ipaddress.ip_network(block) for block in (self.net, self.public)]
        # A route that leads to more than ours is a default one, or as good as one.
        theirs = [ipaddress.ip_interface(word) for word in re.findall(r"(?:inet |^)((?:\d+\.){3}\d+(?:/\d+)?)", "".join(said), re.MULTILINE)]
        return not any(there.ip in block for there in theirs for block in ours)


@contextlib.contextmanager
def locked(path: Path, waiting_for: str):
    """Holds a file's lock; says so once when it has to wait. The kernel lets go of it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    file.seek(0)
                    print(f"waiting for {waiting_for} (process {file.read().strip() or '?'})", file=sys.stderr, flush=True)
                    told = True
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is(path, file):
                # Its holder removed it, and someone else may hold a new one.
                continue
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
            return


def _is(path: Path, file) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _table():
    path = places.runs() / "registry.json"
    with locked(places.runs() / "registry.lock", "another bed's registration"):
        try:
            table = json.loads(path.read_text())
        except (OSError, ValueError):
            table = {}
        before = dict(table)
        yield table
        if table != before:
            part = path.with_suffix(".part")
            part.write_text(json.dumps(table, indent=1))
            part.rename(path)


def find(run: Path) -> Slot | None:
    with _table() as table:
        number = table.get(str(run))
    return None if number is None else Slot(number)


def allocate(run: Path) -> Slot:
    """The bed's number, the same until it is released. Makes the run directory: an entry without one is stale."""
    with _table() as table:
        for other in [path for path in table if path != str(run) and not Path(path).is_dir()]:
            del table[other]
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if str(run) in table:
            return Slot(table[str(run)])
        taken = set(table.values())
        for number in range(BEDS):
            if number not in taken and Slot(number).free():
                table[str(run)] = number
                return Slot(number)
    raise BedError(f"all {BEDS} beds of this machine are taken: {places.runs()}/registry.json lists them, "
                   "`testbed/bed down --all` in their checkouts frees them")


def release(run: Path) -> None:
    with _table() as table:
        table.pop(str(run), None)
