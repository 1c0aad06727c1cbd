"""Hosts that take no boot: network namespaces, wired to the bed's network as the taps of real ones are."""
import os
import socket
import subprocess
import time

from ec2.firewall import Host
from ec2.network import Network, Port, run, within

# What is open answers within a millisecond, or later on a busy machine. What is closed says nothing: that takes this long.
WITHIN, SILENCE = 10.0, 0.15
# Type and code of an echo request; its answer is type 0.
PING = (8, 0)


class Box:
    """The machine itself is a box, too: without a port."""

    def __init__(self, network: Network, address: str, subnet, groups: tuple = (), public: "str | None" = None):
        self.port, self.groups, self.public = Port(network, address, subnet), groups, public
        self.address, self.name = address, f"{network.name}-{self.port.tap}"
        self.namespace = f"/run/netns/{self.name}"
        run("ip", "netns", "add", self.name)
        network.inside(f"link add {self.port.tap} type veth peer name vec0 netns {self.name}", *self.port.wiring())
        network.configure({f"ipv4/neigh/{self.port.tap}/proxy_delay": 0})
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join((
            "link set lo up", f"link set vec0 address {self.port.mac} up", f"address add {self.port.interface} dev vec0",
            f"route add default via {self.port.gateway}", "route add 169.254.169.254 dev vec0")))

    def host(self) -> Host:
        return Host(self.port.tap, self.address, self.groups, self.public, self.port.cut)

    def socket(self, kind, protocol: int = 0) -> socket.socket:
        return within(self.namespace, lambda: socket.socket(socket.AF_INET, kind, protocol))

    def end(self) -> None:
        self.port.unplug()
        subprocess.run(["ip", "netns", "del", self.name], check=True)


class Machine:
    """This machine, speaking from one of its addresses or from the one that follows from whom it speaks to."""

    def __init__(self, address: str = ""):
        self.address = address

    def socket(self, kind, protocol: int = 0) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind, protocol)
        made.bind((self.address, 0))
        return made


def tcp(sender, to: str, port: int, at: Box, wait: float = WITHIN) -> "str | None":
    """Connects to a port that is listened on at a box: the address it was seen to come from, or None."""
    with at.socket(socket.SOCK_STREAM) as listener, sender.socket(socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        client.settimeout(wait)
        try:
            client.connect((to, port))
        except (TimeoutError, OSError):
            return None
        connection, (seen, _) = listener.accept()
        connection.close()
        return seen


def udp(sender, to: str, port: int, at: Box, wait: float = WITHIN) -> "str | None":
    """As `tcp`, and that the answer comes back."""
    with at.socket(socket.SOCK_DGRAM) as listener, sender.socket(socket.SOCK_DGRAM) as client:
        listener.bind(("0.0.0.0", port))
        client.sendto(b"ask", (to, port))
        for each in (listener, client):
            each.settimeout(wait)
        try:
            _, seen = listener.recvfrom(10)
            listener.sendto(b"answer", seen)
            client.recv(10)
        except TimeoutError:
            return None
        return seen[0]


def ping(sender, to: str, wait: float = WITHIN) -> bool:
    """An echo request that is answered."""
    with sender.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(wait)
        # An identity of its own: the answer to one that was let through before would be let through.
        body = bytes((*PING, 0, 0)) + os.urandom(2) + bytes((0, 1))
        total = sum(body[i] << 8 | body[i + 1] for i in range(0, len(body), 2))
        total = ~((total >> 16) + (total & 0xffff)) & 0xffff
        raw.sendto(body[:2] + total.to_bytes(2, "big") + body[4:], (to, 0))
        deadline = time.monotonic() + wait
        try:
            while time.monotonic() < deadline:
                packet, (seen, _) = raw.recvfrom(200)
                if packet[20] == 0 and seen == to:
                    return True
        except TimeoutError:
            pass
        return False


def protocol(sender, to: str, number: int, at: Box, wait: float = WITHIN) -> bool:
    """A packet of a protocol without ports."""
    with at.socket(socket.SOCK_RAW, number) as listener, sender.socket(socket.SOCK_RAW, number) as client:
        listener.settimeout(wait)
        client.sendto(b"twelve bytes", (to, 0))
        try:
            return bool(listener.recv(100))
        except TimeoutError:
            return False


def silent(ask, *of) -> bool:
    return not ask(*of, wait=SILENCE)
