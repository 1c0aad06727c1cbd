"""Who has which address: VPCs and subnets in the hosts' network, private addresses from subnets, public ones from a pool.

moto's books say where an interface is, and that is where its host is. What moto makes up, such as a random address within
a subnet, is chosen here. Of several free addresses the one given back longest ago goes first, so that a stale connection
meets nobody, and an instance that was stopped comes back with another public address.
"""
import threading
from collections import deque
from ipaddress import IPv4Address, IPv4Network

from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet, SubnetBackend
from moto.ec2.models.vpcs import VPCBackend

from .network import Network
from .requests import Refusal

# EC2's own, for an endpoint without hosts and for regions there is no more network for.
_DEFAULT_VPC = IPv4Network("172.31.0.0/16")
# A subnet in every zone, with as much left for others.
_SUBNETS_BITS = 4
# EC2 keeps the first four addresses of a subnet, and the last.
_KEPT = 4


class PublicAddresses:
    def __init__(self, pool: list):
        self._free = deque(pool)
        self._lock = threading.Lock()

    def take(self) -> str:
        with self._lock:
            if not self._free:
                raise Refusal("InsufficientAddressCapacity", "There is not enough capacity to fulfill your address request.")
            return self._free.popleft()

    def give_back(self, address: str) -> None:
        with self._lock:
            self._free.append(address)


def install(network: Network, has_host) -> None:
    """`has_host(address)`: a host is still there, whatever the books say."""
    public = PublicAddresses(network.pool)
    _install_subnets(network, has_host)
    plain_create = NetworkInterfaceBackend.create_network_interface
    plain_delete = NetworkInterfaceBackend.delete_network_interface

    def create_network_interface(backend, subnet, private_ip_address, private_ip_addresses=None, *more, **named):
        subnet = backend.get_subnet(subnet) if isinstance(subnet, str) else subnet
        if not private_ip_address and not private_ip_addresses:
            private_ip_address = subnet.get_available_subnet_ip(None)
        return plain_create(backend, subnet, private_ip_address, private_ip_addresses, *more, **named)

    def delete_network_interface(backend, eni_id):
        nic = backend.enis.get(eni_id)
        plain_delete(backend, eni_id)
        for entry in nic.private_ip_addresses:
            nic.subnet.del_subnet_ip(entry["PrivateIpAddress"])

    def start(nic: NetworkInterface) -> None:
        # An address of the instance's life between a start and a stop.
        if not nic.public_ip and str(nic.public_ip_auto_assign).lower() == "true":
            nic.public_ip = nic.lent_public_ip = public.take()

    def stop(nic: NetworkInterface) -> None:
        if lent := getattr(nic, "lent_public_ip", None):
            public.give_back(lent)
            nic.public_ip = nic.lent_public_ip = None

    # EC2Backend inherits these.
    NetworkInterfaceBackend.create_network_interface = create_network_interface
    NetworkInterfaceBackend.delete_network_interface = delete_network_interface
    NetworkInterface.check_auto_public_ip = NetworkInterface.start = start
    NetworkInterface.stop = stop
    # It gives addresses back when an instance is collected as garbage, whoever has them by then.
    Instance.__del__ = lambda instance: None


def _install_subnets(network: Network, has_host) -> None:
    def create_default_vpc(backend):
        cidr = network.next_vpc() if network.is_up else None
        vpc = backend.create_vpc(cidr_block=str(cidr or _DEFAULT_VPC), is_default=True)
        for zone in backend.describe_availability_zones():
            backend.create_default_subnet(zone.name)
        return vpc

    def create_default_subnet(backend, availability_zone):
        vpc, taken = backend.get_default_vpc(), backend.get_default_subnets()
        if vpc is None or availability_zone in taken:
            return plain_default_subnet(backend, availability_zone)
        others = [subnet.cidr for subnet in backend.describe_subnets(filters={"vpc-id": [vpc.id]})]
        free = (block for block in IPv4Network(vpc.cidr_block).subnets(prefixlen_diff=_SUBNETS_BITS)
                if not any(block.overlaps(other) for other in others))
        block = next(free, None)
        if block is None:
            raise Refusal("InsufficientCidrBlocks", f"There are no free CIDR blocks in VPC {vpc.id}.")
        return backend.create_subnet(vpc.id, str(block), availability_zone=availability_zone)

    def get_available_subnet_ip(subnet: Subnet, instance) -> str:
        free = subnet.__dict__.setdefault("free", deque(map(str, list(subnet.cidr)[_KEPT:-1])))
        for _ in range(len(free)):
            address = free.popleft()
            if address not in subnet._subnet_ips and not has_host(address):
                subnet._subnet_ips[address] = instance
                return address
            if has_host(address):
                free.append(address)
        raise Refusal("InsufficientFreeAddressesInSubnet", f"There are not enough free addresses in subnet '{subnet.id}' to satisfy "
                                                           "the requested number of instances.")

    def request_ip(subnet: Subnet, ip: str, instance) -> None:
        if not subnet.cidr[_KEPT] <= IPv4Address(ip) < subnet.cidr.broadcast_address:
            raise Refusal("InvalidParameterValue", f"Address {ip} does not fall within the subnet's address range")
        if ip in subnet._subnet_ips or has_host(ip):
            raise Refusal("InvalidIPAddress.InUse", f"Address {ip} is in use.")
        subnet._subnet_ips[ip] = instance

    def del_subnet_ip(subnet: Subnet, ip: str) -> None:
        if ip in subnet._subnet_ips:
            del subnet._subnet_ips[ip]
            if "free" in subnet.__dict__:
                subnet.free.append(ip)

    def delete_subnet(backend, subnet_id):
        if any(nic.subnet.id == subnet_id for nic in backend.enis.values()):
            raise Refusal("DependencyViolation", f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
        return plain_delete_subnet(backend, subnet_id)

    plain_default_subnet, plain_delete_subnet = SubnetBackend.create_default_subnet, SubnetBackend.delete_subnet
    SubnetBackend.delete_subnet = delete_subnet
    VPCBackend.create_default_vpc = create_default_vpc
    SubnetBackend.create_default_subnet = create_default_subnet
    Subnet.get_available_subnet_ip, Subnet.request_ip = get_available_subnet_ip, request_ip
    Subnet.del_subnet_ip = del_subnet_ip


def require_network(network: Network, subnet: Subnet) -> None:
    """Hosts are where the network leads."""
    if not any(subnet.cidr.subnet_of(vpc) for vpc in network.vpcs):
        raise Refusal("InvalidParameterValue",
                      f"The test bed has no network for {subnet.id} ({subnet.cidr_block}): its hosts can be in subnets of "
                      f"default VPCs, of {len(network.vpcs)} regions at most, and there in any subnet.")


def metadata(instance: Instance) -> dict:
    """What the metadata service tells of an instance's place in the network."""
    nic = instance.nics[0]
    vpc = instance.ec2_backend.get_vpc(nic.vpc_id)
    own = {
        "device-number": "0",
        "interface-id": nic.id,
        "local-hostname": instance.private_dns_name,
        "local-ipv4s": nic.private_ip_address,
        "mac": nic.mac_address,
        "owner-id": instance.owner_id,
        "security-group-ids": "\n".join(group.id for group in nic.group_set),
        "security-groups": "\n".join(group.name for group in nic.group_set),
        "subnet-id": nic.subnet.id,
        "subnet-ipv4-cidr-block": nic.subnet.cidr_block,
        "vpc-id": vpc.id,
        "vpc-ipv4-cidr-block": vpc.cidr_block,
        "vpc-ipv4-cidr-blocks": vpc.cidr_block,
    }
    entries = {"local-ipv4": nic.private_ip_address, "mac": nic.mac_address}
    if nic.public_ip:
        entries |= {"public-ipv4": nic.public_ip, "public-hostname": instance.public_dns_name}
        own |= {"public-ipv4s": nic.public_ip, "public-hostname": instance.public_dns_name,
                f"ipv4-associations/{nic.public_ip}": nic.private_ip_address}
    return entries | {f"network/interfaces/macs/{nic.mac_address}/{name}": value for name, value in own.items()}
