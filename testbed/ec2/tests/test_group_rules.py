"""Security groups and their rules at the API: what EC2 takes, what it refuses, and that it does all of a call or nothing."""
import uuid

import pytest
from refusals import refused

V4, OTHER = {"CidrIp": "10.0.0.0/8"}, {"CidrIp": "192.0.2.0/24"}


def rule(port: int = 22, protocol: str = "tcp", v4=(), v6=(), groups=(), lists=()) -> dict:
    return {"IpProtocol": protocol, "FromPort": port, "ToPort": port, "IpRanges": list(v4), "Ipv6Ranges": list(v6),
            "UserIdGroupPairs": list(groups), "PrefixListIds": list(lists)}


class Group:
    def __init__(self, bed, vpc: str = ""):
        self.ec2 = bed.ec2
        self.id = bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="x", **({"VpcId": vpc} if vpc else {}))["GroupId"]

    def authorize(self, *rules: dict) -> dict:
        return self.ec2.authorize_security_group_ingress(GroupId=self.id, IpPermissions=list(rules))

    def revoke(self, *rules: dict, **other) -> dict:
        return self.ec2.revoke_security_group_ingress(GroupId=self.id, **({"IpPermissions": list(rules)} if rules else {}), **other)

    def open(self) -> list:
        """Ports with whom they are open for."""
        [found] = self.ec2.describe_security_groups(GroupIds=[self.id])["SecurityGroups"]
        return sorted((one.get("FromPort"), peer) for one in found["IpPermissions"] for peer in [
            *(r["CidrIp"] for r in one["IpRanges"]), *(r["CidrIpv6"] for r in one["Ipv6Ranges"]), *(g["GroupId"] for g in one["UserIdGroupPairs"])])


@pytest.fixture
def group(bed):
    return Group(bed)


@pytest.fixture
def elsewhere(bed):
    """A group of a VPC that is not the default one."""
    return Group(bed, bed.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"])


def test_all_rules_of_a_call_come_or_none(group):
    made = group.authorize(rule(1, v4=[V4]), rule(2, v4=[V4, OTHER]))["SecurityGroupRules"]
    assert len({one["SecurityGroupRuleId"] for one in made}) == 3
    before = group.open()
    with refused("InvalidPermission.Duplicate", 'the specified rule "peer: 10.0.0.0/8, TCP, from port: 1, to port: 1, ALLOW" already exists', status=400):
        group.authorize(rule(3, v4=[V4]), rule(1, v4=[V4]))
    with refused("InvalidGroup.NotFound", "sg-0123456789abcdef0"):
        group.authorize(rule(3, v4=[V4]), rule(4, groups=[{"GroupId": "sg-0123456789abcdef0"}]))
    with refused("InvalidParameterValue", "The same permission must not appear multiple times"):
        group.authorize(rule(3, v4=[V4]), rule(3, v4=[V4]))
    assert group.open() == before


def test_a_rule_is_what_it_lets_through(group):
    """Neither its description nor how its block is written."""
    described = lambda words: rule(5, groups=[{"GroupId": group.id, "Description": words}])
    group.authorize(described("why"), rule(5, v4=[{"CidrIp": "10.1.2.3/8", "Description": "x"}], v6=[{"CidrIpv6": "2001:DB8::1/32"}]))
    assert group.open() == sorted([(5, "10.0.0.0/8"), (5, "2001:db8::/32"), (5, group.id)])
    for again in (described("other"), rule(5, v4=[V4]), rule(5, v4=[{"CidrIp": "10.9.9.9/8"}]), rule(5, v6=[{"CidrIpv6": "2001:db8::/32"}])):
        with refused("InvalidPermission.Duplicate"):
            group.authorize(again)
    group.revoke(rule(5, groups=[{"GroupId": group.id}]), rule(5, v4=[V4]), rule(5, v6=[{"CidrIpv6": "2001:db8:ffff::/32"}]))
    assert group.open() == []


def test_what_is_revoked_and_not_there(group, elsewhere):
    for one in (group, elsewhere):
        one.authorize(rule(6, v4=[V4]))
    said = group.revoke(rule(6, v4=[V4]), rule(7, v4=[V4]))
    assert [one["FromPort"] for one in said["UnknownIpPermissions"]] == [7] and group.open() == [], "the default VPC is patient"
    with refused("InvalidPermission.NotFound", "The specified rule does not exist in this security group", status=400):
        elsewhere.revoke(rule(6, v4=[V4]), rule(7, v4=[V4]))
    assert elsewhere.open() == [(6, "10.0.0.0/8")], "no rules are revoked"
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        elsewhere.revoke(SecurityGroupRuleIds=["sgr-0123456789abcdef0"])
    [made] = elsewhere.authorize(rule(8, v4=[V4]))["SecurityGroupRules"]
    elsewhere.revoke(SecurityGroupRuleIds=[made["SecurityGroupRuleId"]])
    assert elsewhere.open() == [(6, "10.0.0.0/8")]


def test_a_group_has_a_limit_of_rules_for_each_family(group):
    v4 = [{"CidrIp": f"10.0.{n}.0/24"} for n in range(61)]
    v6 = [{"CidrIpv6": f"2001:db8:{n:x}::/48"} for n in range(61)]
    full = ("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
    with refused(*full, status=400):
        group.authorize(rule(v4=v4))
    group.authorize(rule(v4=v4[:59], v6=v6[:59]))
    group.authorize(rule(23, groups=[{"GroupId": group.id}]))
    for one_more in (rule(24, v4=v4[:1]), rule(24, v6=v6[:1]), rule(24, groups=[{"GroupId": group.id}])):
        with refused(*full):
            group.authorize(one_more)


@pytest.mark.parametrize("wrong, code, words", [
    (rule(), "MissingParameter", "Missing source specification: include source security group or CIDR information"),
    (rule(v4=[{"CidrIp": "300.0.0.0/8"}]), "InvalidParameterValue", "CIDR block 300.0.0.0/8 is malformed"),
    (rule(v4=[{"CidrIp": "10.0.0.1"}]), "InvalidParameterValue", "CIDR block 10.0.0.1 is malformed"),
    (rule(v4=[{"CidrIp": "::/0"}]), "InvalidParameterValue", "CIDR block ::/0 is malformed"),
    (rule(v6=[{"CidrIpv6": "10.0.0.0/8"}]), "InvalidParameterValue", "CIDR block 10.0.0.0/8 is malformed"),
    (rule(v4=[V4 | {"Description": "<b>"}]), "InvalidParameterValue", "Invalid rule description. Valid descriptions are strings less than 256"),
    (rule(v4=[V4 | {"Description": "x" * 256}]), "InvalidParameterValue", "Invalid rule description"),
    (rule(lists=[{"PrefixListId": "pl-0123456789abcdef0"}]), "InvalidPrefixListID.NotFound", "pl-0123456789abcdef0"),
    (rule(protocol="icmp", v4=[V4]) | {"FromPort": -1, "ToPort": 3}, "InvalidParameterValue", "ICMP code (3)")])
def test_rules_that_ec2_does_not_take(group, wrong, code, words):
    with refused(code, words, status=400):
        group.authorize(wrong)
    assert group.open() == []


def test_a_rule_names_groups_of_its_own_vpc(group, elsewhere):
    with refused("InvalidGroup.NotFound", "You have specified two resources that belong to different networks."):
        group.authorize(rule(groups=[{"GroupId": elsewhere.id}]))


@pytest.mark.parametrize("asked, code, words", [
    ({"GroupName": "sg-mine"}, "InvalidParameterValue", "Group names may not be in the format sg-*"),
    ({"GroupName": "default"}, "InvalidParameterValue", "Cannot use reserved security group name: default"),
    ({"GroupName": "x" * 256}, "InvalidParameterValue", "Invalid security group name"),
    ({"GroupName": "größe"}, "InvalidParameterValue", "Character sets beyond ASCII are not supported."),
    ({"Description": "a < b"}, "InvalidParameterValue", "Invalid security group description"),
    ({"VpcId": "vpc-0123456789abcdef0"}, "InvalidVpcID.NotFound", "The vpc ID 'vpc-0123456789abcdef0' does not exist")])
def test_groups_that_ec2_does_not_make(bed, asked, code, words):
    with refused(code, words, status=400):
        bed.ec2.create_security_group(**({"GroupName": uuid.uuid4().hex, "Description": "x"} | asked))


def test_a_name_is_taken_once_in_a_vpc(bed):
    name = uuid.uuid4().hex
    bed.ec2.create_security_group(GroupName=name, Description="x")
    with refused("InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC 'vpc-", status=400):
        bed.ec2.create_security_group(GroupName=name, Description="x")
    bed.ec2.create_security_group(GroupName=name, Description="x", VpcId=bed.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"])


def test_a_new_group_is_unknown_at_first_where_a_knob_says_so(bed):
    bed.knobs(groups_visible_after_s=4)
    made = Group(bed)
    listed = lambda: [one["GroupId"] for one in bed.ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": ["*"]}])["SecurityGroups"]]
    assert made.id not in listed()
    with refused("InvalidGroup.NotFound", f"The security group '{made.id}' does not exist"):
        made.open()
    bed.until("seen in the list", lambda: made.id in listed())
    assert made.open() == []


def test_an_interface_has_a_limit_of_groups(bed):
    six = [Group(bed).id for _ in range(6)]
    words = "The maximum number of security groups per interface has been reached."
    for asked in ({"SecurityGroupIds": six}, {"NetworkInterfaces": [{"DeviceIndex": 0, "Groups": six}]}):
        with refused("SecurityGroupsPerInterfaceLimitExceeded", words, status=400):
            bed.launch(**asked)
    bed.launch(SecurityGroupIds=six[1:])
