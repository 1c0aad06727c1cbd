"""The node: a host that runs pods of the bed's Kubernetes. To the network it is an instance of us-east-1's default VPC, where everything
is allowed to it and from it; EC2 knows nothing of it.

What makes it a node it brings on a second disk, which is bed_cli's (`bed_cli/node.py`).
"""
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from .amis import DEFAULT_ENGINE
from .firewall import ANYWHERE, Group, Host, Rule
from .fleet import Fleet, NoImage
from .machine import HostError, Machine
from .network import Port

NAME = "node"
REGION, ZONE = "us-east-1", "us-east-1a"
# For the kubelet, containerd and a few pods.
MEMORY = "1500M"
_EVERYTHING = (Rule("-1", None, ANYWHERE),)


class Node:
    def __init__(self, fleet: Fleet):
        self._fleet = fleet

    def machine(self) -> "Machine | None":
        return self._fleet.machine(NAME)

    def place(self, disk: "str | None") -> None:
        """Gives it an address and a tap, where it has none yet. It is booted by who has made its disk, which is named from the run folder on."""
        if not disk:
            raise ValueError("the file of the node's disk is expected, as disk")
        if self.machine():
            return
        if not self._fleet.network.is_up:
            raise HostError("there are no hosts here, and so no node")
        try:
            self._fleet.require_image(DEFAULT_ENGINE)
        except NoImage as error:
            raise HostError(str(error)) from None
        subnet = ec2_backends[DEFAULT_ACCOUNT_ID][REGION].get_default_subnets()[ZONE]
        port = Port(self._fleet.network, subnet.get_available_subnet_ip(None), subnet.cidr)
        self._fleet.create(NAME, DEFAULT_ENGINE, port, lambda _: None, memory=MEMORY, disks=(disk,)).create()

    def told(self) -> dict:
        """Where it is, and the address that this machine has in its VPC, under which it finds what is here."""
        machine = self.machine()
        if machine is None:
            return {}
        network = self._fleet.network
        vpc = next(vpc for vpc in network.vpcs if machine.port.subnet.subnet_of(vpc))
        return {"address": machine.port.address, "machine": str(network.leg(vpc)), "pid": machine.pid}

    def rules(self) -> tuple:
        """Its host and its group, as the firewall takes them: none where there is no node."""
        machine = self.machine()
        if machine is None:
            return (), ()
        port = machine.port
        return (Host(port.tap, port.address, (NAME,), None, port.cut),), (Group(NAME, _EVERYTHING, _EVERYTHING),)
