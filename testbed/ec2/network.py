"""The hosts' network: a namespace with a bridge in it, joined to the machine by a veth pair.

PREFIX.1 is the bridge: the hosts' gateway, which leads nowhere and says so at once, and the metadata address
169.254.169.254. PREFIX.2 is the machine, so hosts are reachable from an ordinary shell. Hosts have PREFIX.10 to .250.
The machine never gets the metadata address, and nothing here routes packets out of the test bed.
Security groups are not enforced: every host reaches every other one on every port.
"""
import ctypes
import os
import socket
import subprocess
import threading

METADATA = "169.254.169.254"
BRIDGE = "br0"
FIRST, LAST = 10, 250
_CLONE_NEWNET = 0x40000000


class NetworkError(Exception):
    """A command of iproute2 failed; the message has its words."""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")


class Network:
    """The namespace NAME with its bridge. The machine's end of the veth pair has the same name."""

    def __init__(self, prefix: str, name: str):
        if len(name) > 15:
            raise NetworkError(f"the namespace's name {name!r} is too long for an interface: at most 15 characters")
        self.prefix, self.name = prefix, name

    @property
    def gateway(self) -> str:
        return f"{self.prefix}.1"

    @property
    def namespace(self) -> str:
        return f"/run/netns/{self.name}"

    def up(self) -> None:
        self.down()
        inside = ("ip", "-n", self.name)
        run("ip", "netns", "add", self.name)
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "link", "add", BRIDGE, "type", "bridge")
        for address in (f"{self.gateway}/24", f"{METADATA}/32"):
            run(*inside, "address", "add", address, "dev", BRIDGE)
        run(*inside, "link", "set", BRIDGE, "up")
        # Whatever is meant for elsewhere is refused at once, not lost: nothing in a host waits for a time-out.
        run(*inside, "route", "add", "unreachable", "default")
        run("ip", "netns", "exec", self.name, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "machine", "netns", self.name)
        run(*inside, "link", "set", "machine", "master", BRIDGE, "up")
        run("ip", "address", "add", f"{self.prefix}.2/24", "dev", self.name)
        run("ip", "link", "set", self.name, "up")

    def down(self) -> None:
        """Removes all of it, also what is half there. Hosts must have ended before."""
        subprocess.run(["ip", "link", "del", self.name], capture_output=True)
        if os.path.exists(self.namespace):
            run("ip", "netns", "del", self.name)
        # iproute2 mounts its folder over itself at the first namespace and leaves that behind at the last.
        if os.path.isdir("/run/netns") and not os.listdir("/run/netns"):
            subprocess.run(["umount", "/run/netns"], capture_output=True)

    def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket within the namespace: a socket stays where it was made, whoever uses it."""
        made: list = []

        def make() -> None:
            try:
                with open(self.namespace) as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                listener = socket.create_server((address, port), backlog=128)
                made.append(listener)
            except OSError as error:
                made.append(error)

        # A thread of its own, since the namespace is a thread's.
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise NetworkError(f"cannot listen on {address}:{port} in namespace {self.name}: {made[0]}")
        return made[0]


class Port:
    """A host's place on the bridge: an address, a MAC made from it, and a tap. It outlives reboots of the host."""

    def __init__(self, network: Network, number: int):
        self.network, self.number = network, number
        self.address = f"{network.prefix}.{number}"
        self.tap = f"host{number}"
        self.mac = "02:" + ":".join(f"{int(octet):02x}" for octet in self.address.split(".")) + ":01"

    def plug(self) -> None:
        run("ip", "-n", self.network.name, "tuntap", "add", self.tap, "mode", "tap")
        run("ip", "-n", self.network.name, "link", "set", self.tap, "master", BRIDGE, "up")

    def unplug(self) -> None:
        subprocess.run(["ip", "-n", self.network.name, "link", "del", self.tap], capture_output=True)

    def partition(self) -> None:
        """Off the bridge, but up: taking the tap itself down would break the guest's interface for good."""
        run("ip", "-n", self.network.name, "link", "set", self.tap, "nomaster")

    def heal(self) -> None:
        run("ip", "-n", self.network.name, "link", "set", self.tap, "master", BRIDGE)


class Ports:
    """Which addresses are free. The one freed longest ago goes first, so that a stale connection meets nobody."""

    def __init__(self, network: Network):
        self._network = network
        self._free = list(range(FIRST, LAST + 1))
        self._lock = threading.Lock()

    def take(self) -> "Port | None":
        with self._lock:
            return Port(self._network, self._free.pop(0)) if self._free else None

    def give_back(self, port: Port) -> None:
        with self._lock:
            self._free.append(port.number)
