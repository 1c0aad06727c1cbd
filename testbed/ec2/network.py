"""The hosts' network: a namespace that routes between them as a VPC does, and a veth pair that joins it to the machine.

Every host has a tap of its own. What one sends to another passes through the namespace's forwarding, where `firewall`
judges it; they share no link, so there is no broadcast among them, and the namespace answers for everybody's ARP.

- NET is cut into the default VPCs of regions, in the order in which regions are used. Their subnets are moto's
  (addresses); the first address of a subnet is its router, which leads nowhere else and says so at once.
- PUBLIC are public addresses, which `firewall` translates. What a host sends to one leaves by `igw0` and comes back in by
  `igw1`, so that it arrives as from the internet: from the sender's public address. The last 256 are the internet.
- The machine is in two places. It has the fourth address of each VPC, as an operator that runs in the VPC, and with
  these it reaches private addresses only; and the first two addresses of the internet, with which it reaches public
  ones only. Which of them it speaks from follows from whom it speaks to; the second is for who wants to be another.

The machine never gets the metadata address 169.254.169.254, and nothing here routes packets out of the test bed.
"""
import ctypes
import os
import socket
import subprocess
import threading
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

METADATA = "169.254.169.254"
# The namespace's interfaces: the way to the machine, both ends of the internet gateway, and how hosts' taps begin.
MACHINE, GATEWAY_OUT, GATEWAY_IN, TAPS = "machine", "igw0", "igw1", "host"
_VPC_PREFIX, _INTERNET_PREFIX = 19, 24
_CLONE_NEWNET = 0x40000000
# Both ends of a pair have the same one, and so need no ARP.
_PAIR = "address 02:00:00:00:00:01 arp off"


class NetworkError(Exception):
    """A command of iproute2 or nftables failed; the message has its words."""


def run(*command: str, stdin: str = "") -> None:
    done = subprocess.run(command, capture_output=True, text=True, input=stdin)
    if done.returncode:
        raise NetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")


def within(path: str, work):
    """What `work` gives when it is done in a network namespace, by a thread of its own, since the namespace is a thread's."""
    made: list = []

    def enter() -> None:
        try:
            with open(path) as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(work())
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


class Network:
    """The namespace NAME. The machine's end of the veth pair has the same name."""

    def __init__(self, net: str, public: str, name: str):
        if len(name) > 15:
            raise NetworkError(f"the namespace's name {name!r} is too long for an interface: at most 15 characters")
        try:
            self.net, self.public = IPv4Network(net), IPv4Network(public)
            self._vpcs = list(self.net.subnets(new_prefix=_VPC_PREFIX))
            *pool, self.internet = self.public.subnets(new_prefix=_INTERNET_PREFIX)
        except ValueError as error:
            raise NetworkError(f"a network of {net} with public addresses of {public} cannot be: {error}") from None
        self.pool = [str(address) for part in pool for address in part.hosts()]
        self.callers = tuple(str(self.internet[number]) for number in (1, 2))
        self.vpcs: list[IPv4Network] = []
        self.name, self.is_up = name, False
        self._rules = ""

    @property
    def namespace(self) -> str:
        return f"/run/netns/{self.name}"

    @staticmethod
    def leg(vpc: IPv4Network) -> IPv4Address:
        """The machine's address in a VPC: one that EC2 keeps for itself."""
        return vpc[3]

    def up(self) -> None:
        self.down()
        run("ip", "netns", "add", self.name)
        self.configure({
            "ipv4/ip_forward": 1, "ipv4/conf/default/proxy_arp": 1,
            # `firewall` knows better who may say that he is who; these would come from the machine's own settings.
            "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0, "ipv4/conf/all/send_redirects": 0,
            "ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1})
        run("ip", "-batch", "-", stdin="\n".join((
            f"link add {self.name} {_PAIR} type veth peer name {MACHINE} {_PAIR} netns {self.name}",
            *(f"address add {caller}/32 dev {self.name}" for caller in self.callers),
            f"link set {self.name} up",
            f"route add {self.public} dev {self.name} src {self.callers[0]}")))
        self.inside(
            "link set lo up",
            f"address add {METADATA}/32 dev lo",
            f"link add {GATEWAY_OUT} {_PAIR} type veth peer name {GATEWAY_IN} {_PAIR}",
            *(f"link set {interface} up" for interface in (MACHINE, GATEWAY_OUT, GATEWAY_IN)),
            f"route add {self.public} dev {GATEWAY_OUT}",
            f"route add {self.internet} dev {MACHINE}",
            # An address of a VPC that nobody has is silent, as on EC2. Whatever is meant for elsewhere is refused at once,
            # not lost: nothing in a host waits for a time-out.
            f"route add blackhole {self.net}",
            "route add unreachable default")
        self.is_up = True
        for vpc in self.vpcs:
            self._join(vpc)

    def down(self) -> None:
        """Removes all of it, also what is half there. Hosts must have ended before."""
        self.is_up, self._rules = False, ""
        subprocess.run(["ip", "link", "del", self.name], capture_output=True)
        if os.path.exists(self.namespace):
            run("ip", "netns", "del", self.name)
        # iproute2 mounts its folder over itself at the first namespace and leaves that behind at the last.
        if os.path.isdir("/run/netns") and not os.listdir("/run/netns"):
            subprocess.run(["umount", "/run/netns"], capture_output=True)

    def next_vpc(self) -> "IPv4Network | None":
        """The addresses of one more VPC; None when all are given away."""
        if len(self.vpcs) == len(self._vpcs):
            return None
        vpc = self._vpcs[len(self.vpcs)]
        self.vpcs.append(vpc)
        if self.is_up:
            self._join(vpc)
        return vpc

    def _join(self, vpc: IPv4Network) -> None:
        run("ip", "address", "add", f"{self.leg(vpc)}/{vpc.prefixlen}", "dev", self.name)
        self.inside(f"route add {self.leg(vpc)}/32 dev {MACHINE}")

    def inside(self, *commands: str) -> None:
        """Commands of iproute2 in the namespace. The first that fails ends them."""
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(commands))

    def filter(self, rules: str) -> None:
        """Puts rules of nftables in force, all at once or none of them; nothing to do when they are."""
        if rules == self._rules:
            return
        run("nsenter", f"--net={self.namespace}", "nft", "-f", "-", stdin=rules)
        # A connection is known by its addresses and ports, whatever window it is in. With the rules comes the setting.
        self.configure({"netfilter/nf_conntrack_tcp_be_liberal": 1})
        self._rules = rules

    def configure(self, settings: dict) -> None:
        """Settings of the namespace's network, by their path below /proc/sys/net. A kernel may lack IPv6."""

        def write() -> None:
            for path, value in settings.items():
                setting = Path("/proc/sys/net", path)
                if setting.exists() or not path.startswith("ipv6/"):
                    setting.write_text(str(value))

        within(self.namespace, write)

    def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket within the namespace: a socket stays where it was made, whoever uses it."""
        try:
            return within(self.namespace, lambda: socket.create_server((address, port), backlog=128))
        except OSError as error:
            raise NetworkError(f"cannot listen on {address}:{port} in namespace {self.name}: {error}") from None



class Port:
    """A host's place in the network: an address, a MAC made from it, and a tap. It outlives reboots of the host."""

    def __init__(self, network: Network, address: str, subnet: IPv4Network):
        self.network, self.address, self.subnet = network, address, subnet
        octets = IPv4Address(address).packed
        self.tap = f"{TAPS}{octets[2]}-{octets[3]}"
        self.mac = "02:" + ":".join(f"{octet:02x}" for octet in octets) + ":01"
        # Cut off: `firewall` lets nothing through. (Taking the tap down would break the guest's interface for good.)
        self.cut = False

    @property
    def gateway(self) -> str:
        return str(self.subnet[1])

    @property
    def interface(self) -> str:
        """The address as the host has it, with the length of the subnet's prefix."""
        return f"{self.address}/{self.subnet.prefixlen}"

    def plug(self) -> None:
        self.network.inside(f"tuntap add {self.tap} mode tap", *self.wiring())
        # The namespace speaks for all others, and at once.
        self.network.configure({f"ipv4/neigh/{self.tap}/proxy_delay": 0})

    def wiring(self) -> tuple:
        """What makes an interface of the namespace the way to the host. A dead host is silent, it is not looked for."""
        return (f"address replace {self.gateway}/32 dev lo",
                f"link set {self.tap} up",
                f"route add {self.address}/32 dev {self.tap}",
                f"neighbor replace {self.address} lladdr {self.mac} dev {self.tap} nud permanent")

    def unplug(self) -> None:
        subprocess.run(["ip", "-n", self.network.name, "link", "del", self.tap], capture_output=True)
