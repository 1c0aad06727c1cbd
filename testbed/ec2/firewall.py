"""Security groups in force: from what moto's books say, one set of rules for the packets of the hosts' network. Pure.

A packet from a host has to pass what its groups let out, a packet to a host what its groups let in; on its way between two
hosts it meets both. A connection that was let through goes on, whatever becomes of the rules. What follows no rule is
dropped without a word. The metadata service is always in reach, and what happens within a host is nobody's business.
"""
from dataclasses import dataclass
from ipaddress import IPv4Network

from .network import GATEWAY_IN, GATEWAY_OUT, MACHINE, METADATA, TAPS

ANYWHERE = "0.0.0.0/0"
_ALL_PORTS = (0, 65535)


@dataclass(frozen=True)
class Rule:
    """`protocol` is -1, tcp, udp, icmp or a number. `ports` are first and last, for ICMP type and code with -1 for any.
    `peer` is an IPv4 block or the id of a group."""

    protocol: str
    ports: "tuple[int, int] | None"
    peer: str


@dataclass(frozen=True)
class Group:
    id: str
    ingress: tuple = ()
    egress: tuple = ()


@dataclass(frozen=True)
class Host:
    """`groups` are ids. `cut`: nothing goes in or out, whatever the groups say."""

    tap: str
    address: str
    groups: tuple = ()
    public: "str | None" = None
    cut: bool = False


@dataclass(frozen=True)
class State:
    """`legs` has the machine's address in each VPC; `groups` those that hosts have, and those these name."""

    net: IPv4Network
    public: IPv4Network
    internet: IPv4Network
    legs: dict
    hosts: tuple = ()
    groups: tuple = ()


def rules(state: State) -> str:
    """The whole of it, for `nft -f`, which takes it in one step in the place of what was in force."""
    hosts, known = state.hosts, {group.id for group in state.groups}
    public = [host for host in hosts if host.public]
    lines = ["table ip bed", "delete table ip bed", "table ip bed {"]
    for group in state.groups:
        lines += _set(_members(group.id), "ipv4_addr", [host.address for host in hosts if group.id in host.groups])
    lines += _set("own", "ifname . ipv4_addr", [f'"{host.tap}" . {host.address}' for host in hosts])
    lines += _set("cut", "ifname", [f'"{host.tap}"' for host in hosts if host.cut])
    lines += _set("public", "ipv4_addr", [host.address for host in public])

    lines += _chain("before", "filter hook prerouting priority raw; policy accept;", [
        "iifname @cut drop",
        # Nobody speaks in another one's name.
        f'iifname "{TAPS}*" iifname . ip saddr != @own drop',
        # VPCs are apart.
        *(f"ip saddr {vpc} ip daddr {state.net} ip daddr != {vpc} drop" for vpc in state.legs),
        # From inside to private addresses, from outside to public ones.
        *(f'iifname "{MACHINE}" ip saddr {leg} ip daddr {vpc} accept' for vpc, leg in state.legs.items()),
        f'iifname "{MACHINE}" ip saddr {state.internet} ip daddr {state.public} accept',
        f'iifname "{MACHINE}" drop'])
    lines += _chain("after", "filter hook postrouting priority filter; policy accept;", ["oifname @cut drop"])
    lines += _chain("to_private", "nat hook prerouting priority dstnat; policy accept;", [
        f'iifname {{ "{MACHINE}", "{GATEWAY_IN}" }} dnat to ip daddr map {_elements(f"{h.public} : {h.address}" for h in public)}'
    ] if public else [])
    lines += _chain("to_public", "nat hook postrouting priority srcnat; policy accept;", [
        f'oifname {{ "{MACHINE}", "{GATEWAY_OUT}" }} ip daddr {state.public} '
        f"snat to ip saddr map {_elements(f'{h.address} : {h.public}' for h in public)}"] if public else [])

    for group in state.groups:
        lines += _chain(_rules_of("in", group.id), None, [
            f"{_match(rule, 'saddr')} accept".lstrip() for rule in group.ingress if _is_known(rule, known)])
        lines += _chain(_rules_of("out", group.id), None, [
            f"{_match(rule, 'daddr')} accept".lstrip() for rule in group.egress if _is_known(rule, known)])
    for host in hosts:
        for way in ("in", "out"):
            lines += _chain(f"{way}_{_word(host.tap)}", None, [
                *(f"jump {_rules_of(way, group)}" for group in host.groups if group in known), "drop"])

    leaving = [f"iifname vmap {_elements(_jump('out', host) for host in hosts)}"] if hosts else []
    arriving = [f"oifname vmap {_elements(_jump('in', host) for host in hosts)}"] if hosts else []
    # An `accept` ends its own chain only: a packet between two hosts has to get through both of these.
    lines += _chain("leaving", "filter hook forward priority 0; policy drop;", [
        "ct state established,related accept",
        f'iifname != "{TAPS}*" accept',
        # Without a public address there is no way out of the VPC.
        f"ip daddr {state.public} ip saddr != @public drop",
        *leaving])
    lines += _chain("arriving", "filter hook forward priority 1; policy drop;", [
        "ct state established,related accept",
        f'iifname "{TAPS}*" oifname {{ "{MACHINE}", "{GATEWAY_OUT}" }} accept',
        *arriving])
    # What the bed itself serves is the internet to a host, but for its metadata.
    lines += _chain("served", "filter hook input priority 0; policy drop;", [
        'iifname "lo" accept',
        "ct state established,related accept",
        f"ip daddr {METADATA} accept",
        *leaving])
    return "\n".join([*lines, "}", ""])


def example() -> str:
    """Rules of every kind, to see whether a kernel takes them."""
    vpc, public = IPv4Network("10.64.0.0/19"), IPv4Network("198.18.0.0/22")
    groups = Group("sg-1", (Rule("tcp", (22, 22), "10.0.0.0/8"), Rule("icmp", (8, 0), "sg-1")), (Rule("-1", None, ANYWHERE),))
    return rules(State(vpc, public, IPv4Network("198.18.3.0/24"), {vpc: vpc[3]},
                       (Host(f"{TAPS}0-4", str(vpc[4]), ("sg-1",), str(public[1]), cut=True),), (groups,)))


def _match(rule: Rule, side: str) -> str:
    return " ".join(part for part in (_protocol(rule), _peer(rule, side)) if part)


def _protocol(rule: Rule) -> str:
    if rule.protocol == "-1":
        return ""
    first, last = rule.ports or (-1, -1)
    if rule.protocol in ("tcp", "udp") and rule.ports and rule.ports != _ALL_PORTS:
        return f"{rule.protocol} dport {first}-{last}"
    if rule.protocol == "icmp" and first != -1:
        return f"icmp type {first}" + (f" icmp code {last}" if last != -1 else "")
    return f"ip protocol {rule.protocol}"


def _peer(rule: Rule, side: str) -> str:
    if rule.peer == ANYWHERE:
        return ""
    return f"ip {side} " + (f"@{_members(rule.peer)}" if rule.peer.startswith("sg-") else rule.peer)


def _is_known(rule: Rule, known: set) -> bool:
    """A rule about a group that is not there, or in which nobody is, lets nobody through."""
    return not rule.peer.startswith("sg-") or rule.peer in known


def _jump(way: str, host: Host) -> str:
    return f'"{host.tap}" : jump {way}_{_word(host.tap)}'


def _members(group: str) -> str:
    return f"members_{_word(group)}"


def _rules_of(way: str, group: str) -> str:
    return f"{way}_{_word(group)}"


def _word(name: str) -> str:
    return name.replace("-", "_")


def _elements(of) -> str:
    return "{ " + ", ".join(of) + " }"


def _set(name: str, kind: str, elements: list) -> list:
    return [f"  set {name} {{", f"    type {kind}", *([f"    elements = {_elements(elements)}"] if elements else []), "  }"]


def _chain(name: str, base: "str | None", rules: list) -> list:
    return [f"  chain {name} {{", *([f"    type {base}"] if base else []), *(f"    {rule}" for rule in rules), "  }"]
