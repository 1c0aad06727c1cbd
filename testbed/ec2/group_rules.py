"""Rules come and go as EC2 has it: all that a call names or none, each once, with CIDR blocks as EC2 writes them.

A rule is what it lets through; its description is no part of that. The default VPC is more patient with what is to be
revoked and is not there than others are.
"""
import re
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError

from moto.core.responses import ActionResult
from moto.ec2.models.security_groups import SecurityGroup, SecurityGroupRule
from moto.ec2.responses.security_groups import SecurityGroups

from .requests import Refusal

_MOST_RULES = 60
# The API reference of IpRange.
DESCRIPTION = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
DESCRIBED = "strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
_BLOCKS = {"CidrIp": IPv4Network, "CidrIpv6": IPv6Network}


def install() -> None:
    for way, egress in (("ingress", False), ("egress", True)):
        for verb, work in (("authorize", _authorize), ("revoke", _revoke)):
            setattr(SecurityGroups, f"{verb}_security_group_{way}", _handler(work, egress))
    SecurityGroupRule.__eq__ = lambda one, other: key(one) == key(other)
    SecurityGroupRule.description = property(lambda rule: (rule.ip_range or rule.source_group).get("Description"))


def _handler(work, egress: bool):
    return lambda response: work(response, egress)


def key(rule: SecurityGroupRule) -> tuple:
    """What a rule lets through."""
    return (rule.ip_protocol, rule.from_port, rule.to_port, rule.cidr_ipv4, rule.cidr_ipv6, rule.source_group.get("GroupId"),
            rule.prefix_list_id)


def _authorize(response: SecurityGroups, egress: bool) -> ActionResult:
    group, asked = _asked(response, egress)
    present = _present(group, egress)
    if len({key(rule) for rule in asked}) < len(asked):
        raise Refusal("InvalidParameterValue", "The same permission must not appear multiple times")
    for rule in asked:
        if rule in present:
            raise Refusal("InvalidPermission.Duplicate", f'the specified rule "{_words(rule)}" already exists')
    for family in ("cidr_ipv4", "cidr_ipv6"):
        if sum(_weight(rule, family) for rule in [*present, *asked]) > _MOST_RULES:
            raise Refusal("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
    present.extend(asked)
    return ActionResult({"Return": True, "SecurityGroupRules": asked})


def _revoke(response: SecurityGroups, egress: bool) -> ActionResult:
    ids = response._get_param("SecurityGroupRuleIds", [])
    group, asked = _asked(response, egress)
    present = _present(group, egress)
    if ids:
        if unknown := sorted(set(ids) - {rule.id for rule in present}):
            raise Refusal("InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{unknown[0]}' does not exist")
        asked = [rule for rule in present if rule.id in ids]
    unknown = [rule for rule in asked if rule not in present]
    vpc = group.ec2_backend.vpcs.get(group.vpc_id)
    if unknown and not (vpc and vpc.is_default):
        raise Refusal("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
    present[:] = [rule for rule in present if rule not in asked]
    return ActionResult({"Return": True, "UnknownIpPermissions": group._flattened_rules(unknown)})


def _present(group: SecurityGroup, egress: bool) -> list:
    return group.egress_rules if egress else group.ingress_rules


def _asked(response: SecurityGroups, egress: bool) -> tuple:
    """The group, and the rules that the call names."""
    backend, found, group = response.ec2_backend, [], None
    for asked in response._process_rules_from_querystring():
        name = asked["group_name_or_id"]
        group = backend.get_security_group_by_name_or_id(name)
        if group is None:
            raise Refusal("InvalidGroup.NotFound", f"The security group '{name}' does not exist")
        peers = ([{"ip_range": _range(one)} for one in asked["ip_ranges"]] + [
            {"ip_range": None, "source_group": _pair(backend, group, one)} for one in asked["source_groups"]] + [
            {"ip_range": None, "prefix_list_id": _list(backend, one)} for one in asked["prefix_list_ids"]])
        if not peers and not asked["security_rule_ids"]:
            raise Refusal("MissingParameter", "Missing source specification: include source security group or CIDR information")
        found += [SecurityGroupRule(backend, asked["ip_protocol"], group.id, asked["from_port"], asked["to_port"], **peer,
                                    is_egress=egress, tags=asked["sgrule_tags"]) for peer in peers]
    return group, found


def _range(asked: dict) -> dict:
    _check_description(asked)
    [(kind, block)] = [(kind, asked[kind]) for kind in _BLOCKS if kind in asked]
    try:
        if not re.fullmatch(r".+/[0-9]+", block):
            raise ValueError
        return asked | {kind: str(_BLOCKS[kind](block, strict=False))}
    except (AddressValueError, NetmaskValueError, ValueError):
        raise Refusal("InvalidParameterValue", f"CIDR block {block} is malformed") from None


def _pair(backend, group: SecurityGroup, asked: dict) -> dict:
    _check_description(asked)
    name = asked.get("GroupId") or asked.get("GroupName", "")
    other = backend.get_security_group_by_name_or_id(name)
    if other is None:
        raise Refusal("InvalidGroup.NotFound", f"The security group '{name}' does not exist")
    if other.vpc_id != group.vpc_id:
        raise Refusal("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
    return {key: value for key, value in asked.items() if key != "GroupName"} | {"GroupId": other.id, "UserId": other.owner_id}


def _list(backend, asked: dict) -> dict:
    _check_description(asked)
    if asked["PrefixListId"] not in backend.managed_prefix_lists:
        raise Refusal("InvalidPrefixListID.NotFound", f"The prefix list ID '{asked['PrefixListId']}' does not exist")
    return asked


def _check_description(asked: dict) -> None:
    if not DESCRIPTION.fullmatch(asked.get("Description") or ""):
        raise Refusal("InvalidParameterValue", f"Invalid rule description. Valid descriptions are {DESCRIBED}")


def _weight(rule: SecurityGroupRule, family: str) -> int:
    """How much a rule counts against the limit, which IPv4 and IPv6 have one of each: a block in its own family, a group in
    both, a prefix list by what it may hold."""
    if rule.ip_range:
        return int(bool(getattr(rule, family)))
    listed = rule.ec2_backend.managed_prefix_lists.get(rule.prefix_list_id)
    return int(listed.max_entries or 1) if listed else 1


def _words(rule: SecurityGroupRule) -> str:
    peer = rule.cidr_ipv4 or rule.cidr_ipv6 or rule.source_group.get("GroupId") or rule.prefix_list_id
    protocol = "ALL" if rule.ip_protocol == "-1" else rule.ip_protocol.upper()
    ports = "" if rule.from_port is None else f", from port: {rule.from_port}, to port: {rule.to_port}"
    return f"peer: {peer}, {protocol}{ports}, ALLOW"
