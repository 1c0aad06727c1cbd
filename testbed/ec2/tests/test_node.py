"""The place of a node among the hosts. That it becomes one is for the system tests (system/test_pod.py)."""
from ipaddress import IPv4Address, IPv4Network

from ec2.firewall import rules
from ec2.fleet import Fleet
from ec2.groups import state
from ec2.network import Network
from ec2.node import Node


def test_where_there_are_no_hosts_there_is_no_node(bed):
    assert bed.control("node") == {}
    assert bed.refused("node", "PUT", {"disk": "../node/disk"}) == (409, "there are no hosts here, and so no node")
    status, words = bed.refused("node", "PUT", {})
    assert status == 400 and "disk" in words
    assert bed.refused("hosts/node/kill") == (409, "there is no host 'node': GET /_bed/hosts lists them by id, name and address")


def test_without_a_node_the_firewall_has_no_rule_for_one(tmp_path):
    network = Network("10.64.0.0/16", "198.18.0.0/22", "none")
    node = Node(Fleet(tmp_path, tmp_path, [], network))
    assert node.told() == {} and node.rules() == ((), ())
    assert rules(state(network, [], node.rules())) == rules(state(network, []))


class Placed:
    """A machine as the node looks at it, that nobody boots."""

    class port:
        tap, address, subnet, cut = "host0-4", "10.64.0.4", IPv4Network("10.64.0.0/23"), False

    pid = None


def test_everything_is_allowed_to_a_node_and_from_it(tmp_path):
    network = Network("10.64.0.0/16", "198.18.0.0/22", "none")
    network.next_vpc()
    node = Node(Fleet(tmp_path, tmp_path, [], network))
    node.machine = lambda: Placed
    assert node.told() == {"address": "10.64.0.4", "machine": "10.64.0.3", "pid": None}
    assert IPv4Address(node.told()["machine"]) in Placed.port.subnet
    made = rules(state(network, [], node.rules())).splitlines()
    for way in ("in", "out"):
        assert made[made.index(f"  chain {way}_node {{") + 1].strip() == "accept", made
        assert f"    jump {way}_node" in made
