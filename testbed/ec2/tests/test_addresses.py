"""Subnets, addresses and security groups in the API's books, which the hosts' network follows (test_firewall, test_hosts)."""
import ipaddress
import uuid

import pytest
from refusals import refused


@pytest.fixture
def subnets(bed) -> dict:
    """The default subnets, by zone."""
    found = bed.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    return {subnet["AvailabilityZone"]: subnet for subnet in found}


@pytest.fixture
def private(bed, subnets) -> dict:
    """A subnet that gives no public addresses."""
    vpc = bed.ec2.describe_vpcs(VpcIds=[subnets["us-east-1a"]["VpcId"]])["Vpcs"][0]
    taken = [ipaddress.ip_network(s["CidrBlock"]) for s in bed.ec2.describe_subnets()["Subnets"]]
    block = next(b for b in ipaddress.ip_network(vpc["CidrBlock"]).subnets(new_prefix=28) if not any(b.overlaps(t) for t in taken))
    subnet = bed.ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock=str(block), AvailabilityZone="us-east-1b")["Subnet"]
    yield subnet
    for reservation in bed.ec2.describe_instances(Filters=[{"Name": "subnet-id", "Values": [subnet["SubnetId"]]}])["Reservations"]:
        for instance in reservation["Instances"]:
            bed.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    interfaces = lambda: bed.ec2.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet["SubnetId"]]}])["NetworkInterfaces"]
    bed.until("what was terminated has let go of its interfaces", lambda: all(nic["Status"] == "available" for nic in interfaces()))
    for nic in interfaces():
        bed.ec2.delete_network_interface(NetworkInterfaceId=nic["NetworkInterfaceId"])
    bed.ec2.delete_subnet(SubnetId=subnet["SubnetId"])


@pytest.fixture
def group(bed):
    def make(vpc: str = "") -> str:
        return bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="x", **({"VpcId": vpc} if vpc else {}))["GroupId"]

    return make


def instance(bed, one: str) -> dict:
    return bed.ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]


def interface(bed, one: str) -> dict:
    return bed.ec2.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": [one]}])["NetworkInterfaces"][0]


def free(bed, subnet: dict) -> int:
    return bed.ec2.describe_subnets(SubnetIds=[subnet["SubnetId"]])["Subnets"][0]["AvailableIpAddressCount"]


def test_every_zone_has_a_default_subnet_that_gives_public_addresses(bed, subnets):
    zones = [zone["ZoneName"] for zone in bed.ec2.describe_availability_zones()["AvailabilityZones"]]
    assert sorted(subnets) == sorted(zones) and all(subnet["MapPublicIpOnLaunch"] for subnet in subnets.values())


def test_an_instance_has_an_address_of_its_subnet(bed, subnets):
    for zone, subnet in list(subnets.items())[:3]:
        before = free(bed, subnet)
        [one] = bed.launch(SubnetId=subnet["SubnetId"])
        block = ipaddress.ip_network(subnet["CidrBlock"])
        assert ipaddress.ip_address(one["PrivateIpAddress"]) in list(block)[4:-1] and one["Placement"]["AvailabilityZone"] == zone
        assert free(bed, subnet) == before - 1
        assert interface(bed, one["InstanceId"])["PrivateIpAddress"] == one["PrivateIpAddress"]
        bed.ec2.terminate_instances(InstanceIds=[one["InstanceId"]])
        assert free(bed, subnet) == before


def test_without_a_subnet_it_is_the_default_one_of_the_zone(bed, subnets):
    assert bed.launch()[0]["SubnetId"] == subnets["us-east-1a"]["SubnetId"]
    assert bed.launch(Placement={"AvailabilityZone": "us-east-1c"})[0]["SubnetId"] == subnets["us-east-1c"]["SubnetId"]
    [one] = bed.launch(NetworkInterfaces=[{"DeviceIndex": 0, "AssociatePublicIpAddress": False}])
    assert one["SubnetId"] == subnets["us-east-1a"]["SubnetId"] and "PublicIpAddress" not in one


@pytest.mark.parametrize("maps, asked, has", [
    (True, None, True), (True, False, False), (True, True, True), (False, None, False), (False, True, True), (False, False, False)])
def test_the_launch_decides_on_a_public_address_or_else_the_subnet(bed, private, maps, asked, has):
    bed.ec2.modify_subnet_attribute(SubnetId=private["SubnetId"], MapPublicIpOnLaunch={"Value": maps})
    where = {"SubnetId": private["SubnetId"]} if asked is None else {"NetworkInterfaces": [
        {"DeviceIndex": 0, "SubnetId": private["SubnetId"], "AssociatePublicIpAddress": asked}]}
    [one] = bed.launch(**where)
    shown = instance(bed, one["InstanceId"])
    assert ("PublicIpAddress" in shown) == has
    assert bool(shown.get("PublicDnsName")) == has
    nic = interface(bed, one["InstanceId"])
    assert ("Association" in nic) == has
    if has:
        assert nic["Association"]["PublicIp"] == shown["PublicIpAddress"] != shown["PrivateIpAddress"]


def test_a_stop_and_start_changes_the_public_address_alone(bed):
    [one] = bed.launch()
    name = one["InstanceId"]
    bed.until_state(name, "running")
    bed.ec2.stop_instances(InstanceIds=[name])
    bed.until_state(name, "stopped")
    stopped = instance(bed, name)
    assert "PublicIpAddress" not in stopped and stopped["PrivateIpAddress"] == one["PrivateIpAddress"]
    bed.ec2.start_instances(InstanceIds=[name])
    started = instance(bed, name)
    assert started["PublicIpAddress"] not in (None, one["PublicIpAddress"])
    assert started["PrivateIpAddress"] == one["PrivateIpAddress"]


def test_a_subnet_that_is_full(bed, private):
    assert private["AvailableIpAddressCount"] == 11
    launched = bed.launch(SubnetId=private["SubnetId"], MinCount=11, MaxCount=11)
    addresses = {one["PrivateIpAddress"] for one in launched}
    assert len(addresses) == 11 and free(bed, private) == 0
    with refused("InsufficientFreeAddressesInSubnet"):
        bed.launch(SubnetId=private["SubnetId"])
    with refused("DependencyViolation"):
        bed.ec2.delete_subnet(SubnetId=private["SubnetId"])
    assert free(bed, private) == 0
    bed.ec2.terminate_instances(InstanceIds=[launched[3]["InstanceId"]])
    with refused("InsufficientFreeAddressesInSubnet"):
        bed.launch(SubnetId=private["SubnetId"], MinCount=2, MaxCount=2)
    [again] = bed.launch(SubnetId=private["SubnetId"])
    assert again["PrivateIpAddress"] == launched[3]["PrivateIpAddress"], "and what was refused took nothing"


def test_an_address_that_is_asked_for(bed, private):
    block = ipaddress.ip_network(private["CidrBlock"])
    [one] = bed.launch(SubnetId=private["SubnetId"], PrivateIpAddress=str(block[9]))
    assert one["PrivateIpAddress"] == str(block[9])
    with refused("InvalidIPAddress.InUse"):
        bed.launch(SubnetId=private["SubnetId"], PrivateIpAddress=str(block[9]))
    for kept in (block[0], block[3], block[-1]):
        with refused("InvalidParameterValue", "does not fall within the subnet's address range"):
            bed.launch(SubnetId=private["SubnetId"], PrivateIpAddress=str(kept))


def test_an_interface_that_was_made_before(bed, private, group):
    own = group()
    nic = bed.ec2.create_network_interface(SubnetId=private["SubnetId"], Groups=[own])["NetworkInterface"]
    [one] = bed.launch(NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": nic["NetworkInterfaceId"]}])
    assert one["PrivateIpAddress"] == nic["PrivateIpAddress"] and one["SubnetId"] == private["SubnetId"]
    assert one["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert [g["GroupId"] for g in one["SecurityGroups"]] == [own]


def test_an_instance_is_in_the_groups_it_was_launched_with_or_the_default_one(bed, subnets, group):
    one, other = group(), group()
    [default] = bed.ec2.describe_security_groups(Filters=[
        {"Name": "vpc-id", "Values": [subnets["us-east-1a"]["VpcId"]]}, {"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
    assert [pair["GroupId"] for rule in default["IpPermissions"] for pair in rule["UserIdGroupPairs"]] == [default["GroupId"]]
    for asked, expected in (
            ({}, [default["GroupId"]]), ({"SecurityGroupIds": [one, other]}, [one, other]),
            ({"NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [other]}]}, [other])):
        [launched] = bed.launch(**asked)
        for shown in (launched["SecurityGroups"], instance(bed, launched["InstanceId"])["SecurityGroups"],
                      interface(bed, launched["InstanceId"])["Groups"]):
            assert sorted(g["GroupId"] for g in shown) == sorted(expected)


def test_what_an_interface_says_is_not_said_again_by_the_launch(bed, subnets, group):
    nic = [{"DeviceIndex": 0, "SubnetId": subnets["us-east-1a"]["SubnetId"]}]
    for more in ({"SecurityGroupIds": [group()]}, {"SubnetId": nic[0]["SubnetId"]}):
        with refused("InvalidParameterCombination"):
            bed.launch(NetworkInterfaces=nic, **more)


def test_groups_are_changed_at_the_instance_or_at_its_interface(bed, group):
    one, other = group(), group()
    [launched] = bed.launch(SecurityGroupIds=[one])
    name, nic = launched["InstanceId"], interface(bed, launched["InstanceId"])["NetworkInterfaceId"]
    seen = lambda: ([g["GroupId"] for g in instance(bed, name)["SecurityGroups"]], [g["GroupId"] for g in interface(bed, name)["Groups"]])
    bed.ec2.modify_instance_attribute(InstanceId=name, Groups=[other])
    assert seen() == ([other], [other])
    bed.ec2.modify_network_interface_attribute(NetworkInterfaceId=nic, Groups=[one])
    assert seen() == ([one], [one])
    with refused("InvalidGroup.NotFound"):
        bed.ec2.modify_instance_attribute(InstanceId=name, Groups=["sg-0123456789abcdef0"])
    assert seen() == ([one], [one])


def test_groups_are_of_the_vpc(bed, group):
    foreign = group(bed.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"])
    with refused("InvalidParameter", "belong to different networks"):
        bed.launch(SecurityGroupIds=[foreign])


def test_a_vpc_takes_its_default_group_with_it_and_no_other(bed):
    vpc = bed.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    [default] = bed.ec2.describe_security_groups(Filters=of_vpc)["SecurityGroups"]
    with refused("CannotDelete", default["GroupId"]):
        bed.ec2.delete_security_group(GroupId=default["GroupId"])
    own = bed.ec2.create_security_group(GroupName="own", Description="own", VpcId=vpc)["GroupId"]
    with refused("DependencyViolation", vpc):
        bed.ec2.delete_vpc(VpcId=vpc)
    bed.ec2.delete_security_group(GroupId=own)
    bed.ec2.delete_vpc(VpcId=vpc)
    assert bed.ec2.describe_security_groups(Filters=of_vpc)["SecurityGroups"] == []


def test_a_group_that_is_used_is_not_deleted(bed, group):
    used, named, naming = group(), group(), group()
    bed.launch(SecurityGroupIds=[used])
    pair = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupId": named}]}]
    bed.ec2.authorize_security_group_ingress(GroupId=naming, IpPermissions=pair)
    bed.ec2.authorize_security_group_ingress(GroupId=named, IpPermissions=pair)
    for one in (used, named):
        with refused("DependencyViolation", one):
            bed.ec2.delete_security_group(GroupId=one)
    bed.ec2.delete_security_group(GroupId=naming)
    bed.ec2.delete_security_group(GroupId=named)


@pytest.mark.parametrize("protocol, ports, code", [
    ("carrier-pigeon", (1, 1), "InvalidParameterValue"), ("300", (0, 0), "InvalidParameterValue"), ("tcp", (2, 1), "InvalidParameterValue"),
    ("udp", (0, 65536), "InvalidParameterValue"), ("icmp", (256, -1), "InvalidParameterValue")])
def test_a_rule_that_means_nothing(bed, group, protocol, ports, code):
    with refused(code):
        bed.ec2.authorize_security_group_ingress(GroupId=group(), IpPermissions=[
            {"IpProtocol": protocol, "FromPort": ports[0], "ToPort": ports[1], "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])


def test_a_rule_without_ports(bed, group):
    one = group()
    where = {"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    for rule in ({"IpProtocol": "50"}, {"IpProtocol": "-1"}, {"IpProtocol": "icmp"}):
        bed.ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=[rule | where])
    # Ports of what has none are nothing.
    bed.ec2.revoke_security_group_ingress(GroupId=one, IpPermissions=[{"IpProtocol": "50", "FromPort": 0, "ToPort": 0} | where])
    [group] = bed.ec2.describe_security_groups(GroupIds=[one])["SecurityGroups"]
    assert sorted(rule["IpProtocol"] for rule in group["IpPermissions"]) == ["-1", "icmp"]
    with refused("InvalidParameterValue", "Must specify both from and to ports"):
        bed.ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=[{"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}])
