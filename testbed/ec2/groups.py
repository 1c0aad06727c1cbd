"""Security groups in moto's books, made as exact as `firewall` has to be: who is in which, and what a rule may say.

The groups of an instance are those of its interface, changed at either; without any it is in the default group of its VPC,
whose members reach each other. A rule that EC2 refuses is refused here, since it could not be put in force.
"""
import time
from ipaddress import IPv4Address, IPv4Network

from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.models.security_groups import SecurityGroup, SecurityGroupBackend, SecurityGroupRule

from . import group_rules
from .firewall import Group, Host, Rule, State
from .network import Network
from .requests import Refusal

# The quota of a new account.
_MOST_OF_AN_INTERFACE = 5
_PROTOCOLS = {"all": "-1", "6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6"}
_WITH_PORTS = ("tcp", "udp")


def install() -> None:
    plain_rule, plain_group = SecurityGroupRule.__init__, SecurityGroup.__init__
    plain_create = NetworkInterfaceBackend.create_network_interface
    plain_modify, plain_make = SecurityGroupBackend.modify_security_group_rules, SecurityGroupBackend.create_security_group
    group_rules.install()

    def rule(made, ec2_backend, ip_protocol, group_id, from_port, to_port, *args, **kwargs) -> None:
        protocol, ports = _checked(ip_protocol, from_port, to_port)
        # moto takes no rule without ports.
        plain_rule(made, ec2_backend, protocol, group_id, *(ports or (0, 0)), *args, **kwargs)
        made.from_port, made.to_port = ports or (None, None)

    def group(made, *args, **kwargs) -> None:
        plain_group(made, *args, **kwargs)
        made.born = time.monotonic()
        if made.is_default:
            made.ingress_rules.append(SecurityGroupRule(
                made.ec2_backend, "-1", made.id, None, None, None, {"GroupId": made.id, "UserId": made.owner_id}, is_egress=False))

    def create_security_group(backend, name, description, vpc_id=None, tags=None, force=False, is_default=None):
        if not (force or is_default):
            _check_group(backend, name, description, vpc_id)
        return plain_make(backend, name, description, vpc_id, tags, force, is_default)

    def create_network_interface(backend, subnet, address, addresses=None, group_ids=None, *more, **named):
        subnet = backend.get_subnet(subnet) if isinstance(subnet, str) else subnet
        _groups(backend, group_ids, subnet)
        return plain_create(backend, subnet, address, addresses, group_ids, *more, **named)

    def modify_instance_security_groups(backend, instance_id, new_group_id_list):
        instance = backend.get_instance(instance_id)
        nic = instance.nics[0]
        nic._group_set = _groups(backend, new_group_id_list, nic.subnet) or nic._group_set
        return instance

    def modify_network_interface_attribute(backend, eni_id, group_ids, source_dest_check=None, description=None):
        nic = backend.get_network_interface(eni_id)
        groups = _groups(backend, group_ids, nic.subnet)
        nic._group_set = groups or nic._group_set
        nic.source_dest_check = nic.source_dest_check if source_dest_check is None else source_dest_check
        nic.description = description or nic.description

    def modify_security_group_rules(backend, group_id, rules):
        checked = {known: _checked(new.get("IpProtocol"), new.get("FromPort"), new.get("ToPort")) for known, new in rules.items()}
        plain_modify(backend, group_id, rules)
        for known, (protocol, ports) in checked.items():
            changed = backend.get_security_group_from_id(group_id).get_rule(known)
            changed.ip_protocol, (changed.from_port, changed.to_port) = protocol, ports or (None, None)
            if other := rules[known].get("ReferencedGroupId"):
                changed.source_group |= {"GroupId": other}
            changed.prefix_list_id = rules[known].get("PrefixListId")

    SecurityGroupRule.__init__, SecurityGroup.__init__ = rule, group
    # EC2Backend inherits these.
    NetworkInterfaceBackend.create_network_interface = create_network_interface
    NetworkInterfaceBackend.modify_network_interface_attribute = modify_network_interface_attribute
    InstanceBackend.modify_instance_security_groups = modify_instance_security_groups
    NetworkInterface.group_set = property(lambda nic: nic._group_set)
    # moto gives a new interface the groups that were asked for; from then on the interface has them.
    Instance.security_groups = property(
        lambda instance: instance.nics[0]._group_set if getattr(instance, "nics", None) else instance.asked_groups,
        lambda instance, groups: setattr(instance, "asked_groups", groups))
    SecurityGroupBackend.modify_security_group_rules = modify_security_group_rules
    SecurityGroupBackend.create_security_group = create_security_group


def _check_group(backend, name: str, description: str, vpc_id: "str | None") -> None:
    """A group that somebody makes; `default` makes itself."""
    for what, text in (("GroupName", name), ("GroupDescription", description)):
        if not text.isascii():
            raise Refusal("InvalidParameterValue", f"Value ({text}) for parameter {what} is invalid. Character sets beyond ASCII "
                                                   "are not supported.")
    if name.startswith("sg-"):
        raise Refusal("InvalidParameterValue", f"Value ({name}) for parameter GroupName is invalid. Group names may not be in the "
                                               "format sg-*.")
    if name == "default":
        raise Refusal("InvalidParameterValue", "Cannot use reserved security group name: default")
    for what, text in (("name", name), ("description", description)):
        if not group_rules.DESCRIPTION.fullmatch(text):
            raise Refusal("InvalidParameterValue", f"Invalid security group {what}. Valid {what}s are {group_rules.DESCRIBED}")
    if vpc_id and vpc_id not in backend.vpcs:
        raise Refusal("InvalidVpcID.NotFound", f"The vpc ID '{vpc_id}' does not exist")
    vpc_id = vpc_id or backend.default_vpc.id
    if any(group.name == name for group in backend.groups[vpc_id].values()):
        raise Refusal("InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc_id}'")


def _groups(backend, ids, subnet) -> list:
    """The groups with these ids, each once, all of the VPC the subnet is in."""
    found = []
    if len(set(ids or [])) > _MOST_OF_AN_INTERFACE:
        raise Refusal("SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per interface has been reached.")
    for wanted in dict.fromkeys(ids or []):
        group = backend.get_security_group_from_id(wanted)
        if group is None:
            raise Refusal("InvalidGroup.NotFound", f"The security group '{wanted}' does not exist")
        if group.vpc_id != subnet.vpc_id:
            raise Refusal("InvalidParameter", f"Security group {group.id} and subnet {subnet.id} belong to different networks.")
        found.append(group)
    return found


def _checked(protocol, first, last) -> tuple:
    """Protocol and ports as EC2 keeps them; for ICMP the ports are type and code."""
    name = str(protocol).lower()
    name = _PROTOCOLS.get(name, name)
    if name not in ("-1", "tcp", "udp", "icmp", "icmpv6") and not (name.isdigit() and int(name) <= 255):
        raise Refusal("InvalidParameterValue", f"Invalid value '{protocol}' for IP protocol. Unknown protocol.")
    if name == "-1" or name.isdigit():
        return name, None
    if first is None or last is None:
        if name in _WITH_PORTS:
            raise Refusal("InvalidParameterValue", "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.")
        return name, (-1, -1)
    first, last = int(first), int(last)
    if name in _WITH_PORTS:
        if (first, last) == (-1, -1):
            first, last = 0, 65535
        if not 0 <= first <= last <= 65535:
            raise Refusal("InvalidParameterValue", f"Invalid TCP/UDP port range ({first}:{last})")
    elif not (-1 <= first <= 255 and -1 <= last <= 255):
        raise Refusal("InvalidParameterValue", f"ICMP code ({last}) out of range" if -1 <= first <= 255
                      else f"ICMP type ({first}) out of range")
    elif first == -1 and last != -1:
        raise Refusal("InvalidParameterValue", f"ICMP code ({last}) must be -1 where the type is -1, which is all of them")
    return name, (first, last)


# -- as the firewall takes it -------------------------------------------------------------------------------------------


def state(network: Network, placed: list, others: tuple = ((), ())) -> State:
    """`placed` are pairs of an instance and its host's port; `others` hosts and groups that are in no books."""
    hosts, groups = list(others[0]), {}
    for instance, port in placed:
        nic = instance.nics[0]
        own = list(nic.group_set)
        # An Elastic IP is in the books alone.
        public = nic.public_ip if nic.public_ip and IPv4Address(nic.public_ip) in network.public else None
        hosts.append(Host(port.tap, port.address, tuple(sorted(group.id for group in own)), public, port.cut))
        groups |= {group.id: group for group in own}
    return State(
        net=network.net, public=network.public, internet=network.internet, legs={vpc: network.leg(vpc) for vpc in network.vpcs},
        hosts=tuple(sorted(hosts, key=lambda host: host.tap)),
        groups=(*(_group(groups[known]) for known in sorted(groups)), *others[1]))


def _group(group: SecurityGroup) -> Group:
    return Group(group.id, _rules(group, group.ingress_rules), _rules(group, group.egress_rules))


def _rules(group: SecurityGroup, of: list) -> tuple:
    """IPv6 is left out: hosts have none."""
    found = []
    for rule in of:
        if rule.ip_protocol == "icmpv6":
            continue
        ports = None if rule.from_port is None else (int(rule.from_port), int(rule.to_port))
        found += [Rule(rule.ip_protocol, ports, peer) for peer in _peers(group, rule)]
    return tuple(found)


def _peers(group: SecurityGroup, rule: SecurityGroupRule) -> list:
    if rule.cidr_ipv4:
        return [_block(rule.cidr_ipv4)]
    if rule.prefix_list_id:
        listed = group.ec2_backend.managed_prefix_lists.get(rule.prefix_list_id)
        entries = listed.entries.get(listed.version) if listed else None
        return [_block(entry["Cidr"]) for entry in entries or [] if ":" not in entry["Cidr"]]
    return [rule.source_group["GroupId"]] if rule.source_group.get("GroupId") else []


def _block(cidr: str) -> str:
    """Without the bits the mask cuts off."""
    return str(IPv4Network(cidr, strict=False))
