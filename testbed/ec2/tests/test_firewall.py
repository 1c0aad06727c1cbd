"""The hosts' network by real packets, between namespaces in the place of hosts: who reaches whom, and from where."""
import os
import re
import socket
import subprocess
import time
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from boxes import SILENCE, WITHIN, Box, Machine, ping, protocol, silent, tcp, udp
from ec2.firewall import Group, Rule, State, rules
from ec2.network import METADATA, Network

NAMESPACE = "ec2boxes"
ALL = (Rule("-1", None, "0.0.0.0/0"),)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Bed:
    """Four boxes: `a` and `b` in a subnet, `c` in another zone's, `d` in another region's VPC. `a` and `c` have public addresses."""

    def __init__(self):
        self.network = Network("10.112.0.0/16", "198.19.8.0/22", NAMESPACE)
        self.network.up()
        here, there = self.network.next_vpc(), self.network.next_vpc()
        near, far, *_ = here.subnets(prefixlen_diff=4)
        a_public, c_public = self.network.pool[:2]
        self.a = Box(self.network, str(near[10]), near, ("sg-a",), a_public)
        self.b = Box(self.network, str(near[11]), near, ("sg-b",))
        self.c = Box(self.network, str(far[10]), far, ("sg-c",), c_public)
        self.d = Box(self.network, str(there[10]), next(there.subnets(prefixlen_diff=4)), ("sg-d",))
        self.boxes = (self.a, self.b, self.c, self.d)
        self.leg = str(self.network.leg(here))
        self.enforce()

    def enforce(self, **changed):
        """Ingress rules by the group's letter; `egress_x` for the others. A group that is not named is closed, and lets out all."""
        groups = tuple(Group(f"sg-{letter}", tuple(changed.get(letter, ())), tuple(changed.get(f"egress_{letter}", ALL))) for letter in "abcd")
        self.network.filter(rules(State(
            self.network.net, self.network.public, self.network.internet, {vpc: self.network.leg(vpc) for vpc in self.network.vpcs},
            tuple(box.host() for box in self.boxes), groups)))

    def end(self):
        for box in self.boxes:
            box.end()
        self.network.down()


@pytest.fixture(scope="module")
def bed():
    bed = Bed()
    assert traces(bed.network)
    yield bed
    bed.end()
    assert traces(bed.network) == [] and not Path("/run/netns", NAMESPACE).exists()


@pytest.fixture(autouse=True)
def plain(bed):
    """Connections of a test are over for the next one, which uses other ports, or asks by another protocol."""
    for box in bed.boxes:
        box.groups, box.port.cut = (f"sg-{'abcd'[bed.boxes.index(box)]}",), False
    bed.enforce()


def traces(network: Network) -> list:
    """What there is of a bed's network on the machine, beside those of other beds."""
    said = subprocess.run("ip -4 -o address; ip -4 route show table all; ip rule", shell=True, capture_output=True, text=True, check=True).stdout
    addresses = lambda line: (ip_network(word, strict=False) for word in re.findall(r"\b\d+\.\d+\.\d+\.\d+(?:/\d+)?", line))
    return [line for line in said.splitlines()
            if NAMESPACE in line.split() or any(address.subnet_of(own) for address in addresses(line) for own in (network.net, network.public))]


def test_nothing_comes_in_without_a_rule(bed):
    for to in (bed.b, bed.c):
        assert silent(tcp, bed.a, to.address, 80, to) and silent(udp, bed.a, to.address, 80, to) and silent(ping, bed.a, to.address)
    assert silent(tcp, Machine(), bed.a.address, 80, bed.a) and silent(ping, Machine(), bed.a.address)


def test_a_port_of_a_protocol(bed):
    bed.enforce(b=[Rule("tcp", (8000, 8001), "0.0.0.0/0")])
    assert tcp(bed.a, bed.b.address, 8000, bed.b) and tcp(bed.a, bed.b.address, 8001, bed.b)
    assert silent(tcp, bed.a, bed.b.address, 7999, bed.b) and silent(tcp, bed.a, bed.b.address, 8002, bed.b)
    assert silent(udp, bed.a, bed.b.address, 8000, bed.b)
    bed.enforce(b=[Rule("udp", (4789, 4789), "0.0.0.0/0")])
    assert udp(bed.c, bed.b.address, 4789, bed.b) == bed.c.address
    assert silent(udp, bed.c, bed.b.address, 4790, bed.b) and silent(tcp, bed.c, bed.b.address, 4789, bed.b)


def test_members_of_a_group(bed):
    bed.enforce(b=[Rule("tcp", (0, 65535), "sg-a")])
    assert tcp(bed.a, bed.b.address, 81, bed.b) and silent(tcp, bed.c, bed.b.address, 81, bed.b)
    # At once: by a rule, and by membership.
    bed.enforce(b=[Rule("tcp", (0, 65535), "sg-c")])
    assert tcp(bed.c, bed.b.address, 82, bed.b) and silent(tcp, bed.a, bed.b.address, 82, bed.b)
    bed.a.groups = ("sg-a", "sg-c")
    bed.enforce(b=[Rule("tcp", (0, 65535), "sg-c")])
    assert tcp(bed.a, bed.b.address, 83, bed.b)
    assert silent(tcp, Machine(), bed.b.address, 83, bed.b), "the machine is in no group"


def test_all_groups_of_a_host_count(bed):
    bed.b.groups = ("sg-b", "sg-d")
    bed.enforce(b=[Rule("tcp", (84, 84), "0.0.0.0/0")], d=[Rule("tcp", (85, 85), "0.0.0.0/0")])
    assert tcp(bed.a, bed.b.address, 84, bed.b) and tcp(bed.a, bed.b.address, 85, bed.b)


def test_a_block_of_addresses(bed):
    bed.enforce(b=[Rule("tcp", (86, 86), f"{bed.a.address}/32")])
    assert tcp(bed.a, bed.b.address, 86, bed.b) and silent(tcp, bed.c, bed.b.address, 86, bed.b)


def test_types_of_icmp(bed):
    bed.enforce(b=[Rule("icmp", (-1, -1), "0.0.0.0/0")], c=[Rule("icmp", (8, -1), "0.0.0.0/0")])
    assert ping(bed.a, bed.b.address) and ping(bed.a, bed.c.address)
    bed.enforce(a=[Rule("icmp", (3, 4), "0.0.0.0/0")], d=[Rule("icmp", (8, 1), "0.0.0.0/0")])
    assert silent(ping, bed.c, bed.a.address) and silent(ping, Machine(), bed.d.address)


def test_protocols_by_number(bed):
    bed.enforce(b=[Rule("50", None, "sg-a")])
    assert protocol(bed.a, bed.b.address, 50, bed.b)
    assert silent(protocol, bed.c, bed.b.address, 50, bed.b) and silent(protocol, bed.a, bed.b.address, 51, bed.b)


def test_everything(bed):
    bed.enforce(b=[Rule("-1", None, "sg-c")])
    assert tcp(bed.c, bed.b.address, 87, bed.b) and udp(bed.c, bed.b.address, 87, bed.b)
    assert ping(bed.c, bed.b.address) and protocol(bed.c, bed.b.address, 47, bed.b)
    assert silent(ping, bed.a, bed.b.address)


def test_what_goes_out(bed):
    open_ = [Rule("-1", None, "0.0.0.0/0")]
    bed.enforce(b=open_, c=open_, egress_a=[Rule("tcp", (88, 88), "sg-b")])
    assert tcp(bed.a, bed.b.address, 88, bed.b)
    assert silent(tcp, bed.a, bed.b.address, 89, bed.b) and silent(tcp, bed.a, bed.c.address, 88, bed.c)
    bed.enforce(b=open_, egress_a=[])
    assert silent(tcp, bed.a, bed.b.address, 90, bed.b) and silent(ping, bed.a, bed.b.address)
    assert tcp(bed.c, bed.b.address, 90, bed.b)


def test_an_answer_needs_no_rule(bed):
    """Neither to come in nor to go out."""
    bed.enforce(b=[Rule("tcp", (91, 91), "0.0.0.0/0"), Rule("udp", (91, 91), "0.0.0.0/0")], egress_b=[])
    assert tcp(bed.a, bed.b.address, 91, bed.b) and udp(bed.a, bed.b.address, 91, bed.b)


def test_a_connection_goes_on_when_its_rule_is_gone(bed):
    bed.enforce(b=[Rule("tcp", (92, 92), "0.0.0.0/0")])
    with bed.b.socket(socket.SOCK_STREAM) as listener, bed.a.socket(socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", 92))
        listener.listen()
        client.connect((bed.b.address, 92))
        connection, _ = listener.accept()
        bed.enforce()
        with connection:
            for one, other in ((client, connection), (connection, client)):
                one.sendall(b"still")
                other.settimeout(15)
                assert other.recv(10) == b"still"
    assert silent(tcp, bed.a, bed.b.address, 92, bed.b), "a new one does not begin"


def test_a_block_is_of_the_sender_from_inside_and_from_outside(bed):
    """The machine has two addresses on the internet, and one in the VPC."""
    one, other = bed.network.callers
    bed.enforce(a=[Rule("tcp", (93, 93), f"{one}/32")])
    assert tcp(Machine(), bed.a.public, 93, bed.a) == one
    assert silent(tcp, Machine(other), bed.a.public, 93, bed.a)
    assert silent(tcp, Machine(), bed.a.address, 93, bed.a)
    bed.enforce(a=[Rule("tcp", (94, 94), str(bed.network.vpcs[0]))])
    assert tcp(Machine(), bed.a.address, 94, bed.a) == bed.leg
    assert silent(tcp, Machine(), bed.a.public, 94, bed.a)
    bed.enforce(a=[Rule("tcp", (95, 95), "0.0.0.0/0")])
    assert tcp(Machine(), bed.a.address, 95, bed.a) and tcp(Machine(), bed.a.public, 95, bed.a)


def test_public_addresses_are_for_outside_and_private_ones_for_inside(bed):
    bed.enforce(a=ALL, b=ALL)
    one, _ = bed.network.callers
    assert silent(tcp, Machine(one), bed.a.address, 96, bed.a)
    assert silent(tcp, Machine(bed.leg), bed.a.public, 96, bed.a)
    assert silent(tcp, Machine(), bed.network.pool[5], 96, bed.a), "an address nobody has"


def test_a_public_address_from_within_is_asked_from_a_public_one(bed):
    """By the internet gateway: a rule for the sender's group or private address does not fit."""
    bed.enforce(c=[Rule("-1", None, "sg-a"), Rule("-1", None, str(bed.network.net))])
    assert tcp(bed.a, bed.c.address, 97, bed.c) and silent(tcp, bed.a, bed.c.public, 97, bed.c)
    bed.enforce(c=[Rule("tcp", (98, 98), f"{bed.a.public}/32")])
    assert tcp(bed.a, bed.c.public, 98, bed.c) == bed.a.public
    assert silent(tcp, bed.b, bed.c.public, 98, bed.c), "without a public address there is no way out"
    bed.enforce(c=ALL, egress_a=[Rule("-1", None, str(bed.network.net))])
    assert silent(tcp, bed.a, bed.c.public, 99, bed.c), "what goes out is judged by the public address"


def test_vpcs_are_apart(bed):
    bed.enforce(a=ALL, d=ALL)
    assert silent(tcp, bed.a, bed.d.address, 100, bed.d) and silent(tcp, bed.d, bed.a.address, 100, bed.a)
    assert tcp(Machine(), bed.d.address, 100, bed.d) == str(bed.network.leg(bed.network.vpcs[1]))


def test_nobody_speaks_in_another_ones_name(bed):
    bed.enforce(b=[Rule("udp", (101, 101), "0.0.0.0/0")])
    with bed.b.socket(socket.SOCK_DGRAM) as listener, bed.a.socket(socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        listener.bind(("0.0.0.0", 101))
        for source, arrives in ((bed.a.address, True), (bed.c.address, False)):
            body = (5000).to_bytes(2, "big") + (101).to_bytes(2, "big") + (11).to_bytes(2, "big") + bytes(2) + b"abc"
            head = bytes((0x45, 0, 0, 20 + len(body), 0, 0, 0, 0, 64, 17, 0, 0))
            raw.sendto(head + socket.inet_aton(source) + socket.inet_aton(bed.b.address) + body, (bed.b.address, 0))
            listener.settimeout(WITHIN if arrives else SILENCE)
            if arrives:
                assert listener.recv(10) == b"abc"
            else:
                with pytest.raises(TimeoutError):
                    listener.recv(10)


def test_metadata_is_always_in_reach(bed):
    bed.enforce(egress_a=[])
    with bed.network.listen(METADATA, 8080), bed.a.socket(socket.SOCK_STREAM) as client:
        client.settimeout(15)
        client.connect((METADATA, 8080))
    # What else the bed serves is out there.
    with bed.network.listen(bed.a.port.gateway, 8081), bed.a.socket(socket.SOCK_STREAM) as client:
        client.settimeout(SILENCE)
        with pytest.raises(TimeoutError):
            client.connect((bed.a.port.gateway, 8081))


def test_a_host_that_is_cut_off(bed):
    bed.a.port.cut = True
    bed.enforce(a=ALL, b=ALL)
    assert silent(ping, bed.a, bed.b.address) and silent(ping, bed.b, bed.a.address) and silent(ping, Machine(), bed.a.address)
    assert silent(ping, bed.a, METADATA)
    bed.a.port.cut = False
    bed.enforce(a=ALL, b=ALL)
    assert ping(bed.a, bed.b.address)


def test_the_first_packet_waits_for_nothing(bed):
    """ARP is answered at once, for a host as for the router."""
    bed.enforce(c=ALL)

    def took() -> float:
        subprocess.run(["ip", "-n", bed.b.name, "neighbor", "flush", "all"], check=True)
        begun = time.monotonic()
        assert ping(bed.b, bed.c.address)
        return time.monotonic() - begun

    # A kernel that answers for others waits for up to 0.8 s before, by chance: three of four times it is longer than this.
    assert sorted(took() for _ in range(9))[4] < 0.2


def test_what_is_elsewhere_is_refused_at_once(bed):
    with bed.a.socket(socket.SOCK_STREAM) as client:
        client.settimeout(15)
        with pytest.raises(OSError, match="unreachable|No route"):
            client.connect(("192.0.2.1", 80))


def test_rules_that_are_wrong_change_nothing(bed):
    from ec2.network import NetworkError
    bed.enforce(b=ALL)
    with pytest.raises(NetworkError):
        bed.network.filter("table ip bed { chain nonsense")
    assert ping(bed.a, bed.b.address) and silent(ping, bed.b, bed.a.address)


def test_rules_are_one_text_for_one_state():
    network = Network("10.112.0.0/16", "198.19.8.0/22", "nothing")
    state = State(network.net, network.public, network.internet, {})
    assert rules(state) == rules(replace(state)) and "policy drop" in rules(state)
    assert rules(replace(state, groups=(Group("sg-1", (Rule("tcp", (22, 22), "sg-2"),)),))) .count("accept") == rules(state).count("accept"), \
        "a rule for a group nobody is in"


def test_zones_are_far_from_each_other_where_there_are_hosts():
    """What a host is told of the packets it sends: faults to one peer come first, and add to the distance."""
    from types import SimpleNamespace as Thing

    from ec2 import zones
    from ec2.machine import Faults

    class Place:
        def __init__(self, zone: str, block: str, vpc: str = "vpc-1"):
            self.faults = Faults()
            self.instance = Thing(nics={0: Thing(subnet=Thing(vpc_id=vpc, availability_zone=zone, cidr_block=block))})

        def keep_apart(self, blocks: tuple) -> None:
            self.faults.far = blocks

    near, next_door, far, elsewhere = places = [
        Place("a", "10.0.0.0/23"), Place("a", "10.0.4.0/23"), Place("b", "10.0.2.0/23"), Place("b", "10.1.0.0/23", "vpc-2")]
    zones.settle([(place.instance, place) for place in places[:2]])
    assert near.faults.line() == "faults" and not near.faults
    zones.settle([(place.instance, place) for place in places])
    assert near.faults.line() == next_door.faults.line() == "faults 10.0.2.0/23,0.5,0"
    assert far.faults.line() == "faults 10.0.0.0/23,0.5,0 10.0.4.0/23,0.5,0" and not elsewhere.faults
    near.faults.all, near.faults.peers = {"delay": 3}, {"10.0.2.7": {"delay": 20}, "10.0.0.9": {"loss": 5}}
    assert near.faults.line() == "faults all,3,0 10.0.2.7/32,20.5,0 10.0.0.9/32,0,5 10.0.2.0/23,3.5,0"
