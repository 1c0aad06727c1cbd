"""The network of real hosts, asked for over the API: two hosts in two zones, one of them without a public address."""
import ipaddress
import subprocess
import uuid

import pytest
from conftest import Bed
from test_hosts import IMAGES, IMDS, Host, pytestmark, reaches  # noqa: F401

NETWORK = ("--namespace", "ec2net", "--net", "10.113.0.0/16", "--public", "198.19.12.0/22")


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    bed = Bed(tmp_path_factory.mktemp("network"), "--images", IMAGES, *NETWORK)
    yield bed
    assert bed.end() == 0


@pytest.fixture(scope="module")
def group(bed) -> str:
    """Lets the machine in, wherever it comes from, and nobody else."""
    made = bed.ec2.create_security_group(GroupName="machine", Description="x")["GroupId"]
    for block in ("10.113.0.3/32", "198.19.15.0/24"):
        bed.allow(made, "tcp", 22, CidrIp=block)
    return made


@pytest.fixture(scope="module")
def pair(bed, group, tmp_path_factory) -> tuple:
    keys = tmp_path_factory.mktemp("keys")
    subnets = {s["AvailabilityZone"]: s["SubnetId"] for s in bed.ec2.describe_subnets()["Subnets"]}
    hosts = [Host(bed, keys, name, NetworkInterfaces=[
        {"DeviceIndex": 0, "SubnetId": subnets[zone], "Groups": [group], "AssociatePublicIpAddress": public}])
        for name, zone, public in (("one", "us-east-1a", True), ("two", "us-east-1b", False))]
    for host in hosts:
        host.until_up()
    return tuple(hosts)


@pytest.fixture
def other(bed) -> str:
    """A group of a test's own."""
    return bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="x")["GroupId"]


@pytest.fixture(autouse=True)
def as_before(bed, pair, group):
    yield
    for host in pair:
        bed.ec2.modify_instance_attribute(InstanceId=host.id, Groups=[group])


def shown(bed, host: Host) -> dict:
    return bed.ec2.describe_instances(InstanceIds=[host.id])["Reservations"][0]["Instances"][0]


def microseconds(host: Host, to: str) -> int:
    """The quickest of some refusals by a port that nobody listens at: one way there, one way back."""
    return int(host.run(f"for i in {{1..20}}; do s=$EPOCHREALTIME; {{ test <> /dev/tcp/{to}/9; }} 2>/dev/null; e=$EPOCHREALTIME; "
                        "echo $(( ${e/./} - ${s/./} )); done | sort -n | head -1"))


def asked_at(address: str, host: Host) -> "str | None":
    """The address from which the host sees this machine come."""
    before, host.address = host.address, address
    try:
        done = host.ssh("echo $SSH_CONNECTION", connect=5)
        return done.stdout.split()[0] if done.returncode == 0 else None
    finally:
        host.address = before


def test_addresses_are_told_alike_everywhere(bed, pair):
    one, two = pair
    public = shown(bed, one)["PublicIpAddress"]
    entries = one.entry(), two.entry()
    assert [(e["ip"], e["public_ip"], e["zone"]) for e in entries] == [
        (one.address, public, "us-east-1a"), (two.address, None, "us-east-1b")]
    nic = shown(bed, one)["NetworkInterfaces"][0]
    subnet = bed.ec2.describe_subnets(SubnetIds=[nic["SubnetId"]])["Subnets"][0]
    length = ipaddress.ip_network(subnet["CidrBlock"]).prefixlen
    assert f"inet {one.address}/{length} " in one.run("ip -4 address show dev vec0")
    here = f"meta-data/network/interfaces/macs/{nic['MacAddress']}"
    paths = ("meta-data/local-ipv4", "meta-data/public-ipv4", "meta-data/mac", f"{here}/subnet-id", f"{here}/vpc-id", f"{here}/public-ipv4s")
    ask = f"T=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {IMDS}/api/token); for p in {' '.join(paths)}; do " \
          f"curl -s -H \"X-aws-ec2-metadata-token: $T\" {IMDS}/$p; echo; done"
    assert one.run(ask).split() == [one.address, public, nic["MacAddress"], nic["SubnetId"], nic["VpcId"], public]
    assert one.run("cat /sys/class/net/vec0/address") == nic["MacAddress"]


def test_the_machine_is_inside_and_outside(bed, pair):
    one, _ = pair
    for address, source in ((one.address, "10.113.0.3"), (shown(bed, one)["PublicIpAddress"], "198.19.15.1")):
        assert bed.until(f"ssh to {address}", lambda: asked_at(address, one)) == source


def test_rules_are_in_force_when_the_call_returns(bed, pair, group, other):
    one, two = pair
    assert not reaches(two, one.address)
    bed.ec2.modify_instance_attribute(InstanceId=one.id, Groups=[group, other])
    bed.allow(other, "tcp", 22, GroupId=group)
    assert reaches(two, one.address)
    bed.allow(other, "tcp", 22, "revoke", GroupId=group)
    assert not reaches(two, one.address)
    bed.allow(other, "tcp", 22, CidrIp=f"{two.address}/32")
    assert reaches(two, one.address)
    nic = shown(bed, one)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    bed.ec2.modify_network_interface_attribute(NetworkInterfaceId=nic, Groups=[group])
    assert not reaches(two, one.address)


def test_a_session_outlives_its_rule(bed, pair, group, other):
    one, _ = pair
    bed.allow(other, "tcp", 22, CidrIp="10.113.0.0/16")
    bed.ec2.modify_instance_attribute(InstanceId=one.id, Groups=[other])
    with subprocess.Popen(one.command("cat", connect=30), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        say = lambda word: (session.stdin.write(f"{word}\n"), session.stdin.flush(), session.stdout.readline().strip())[-1]
        assert say("before") == "before"
        bed.allow(other, "tcp", 22, "revoke", CidrIp="10.113.0.0/16")
        assert say("after") == "after" and not one.answers()
        session.stdin.close()


def test_a_host_that_may_send_nothing_still_answers_and_has_its_metadata(bed, pair, group, other):
    one, two = pair
    bed.allow(other, "tcp", 22, CidrIp="0.0.0.0/0")
    for host in pair:
        bed.ec2.modify_instance_attribute(InstanceId=host.id, Groups=[other])
    assert reaches(two, one.address)
    bed.ec2.revoke_security_group_egress(GroupId=other, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    assert two.is_up() and not reaches(two, one.address)
    assert two.run(f"curl -s -m 20 -o /dev/null -w '%{{http_code}}' {IMDS}/meta-data/") == "401"


def test_a_public_address_is_asked_from_a_public_one(bed, pair, group, other):
    one, two = pair
    bed.allow(other, "tcp", 22, CidrIp="0.0.0.0/0")
    bed.ec2.modify_instance_attribute(InstanceId=one.id, Groups=[group, other])
    public = shown(bed, one)["PublicIpAddress"]
    assert reaches(two, one.address) and not reaches(two, public), "it has none itself"
    assert reaches(one, public)


def test_zones_are_a_millisecond_apart(bed, pair, group, other):
    one, two = pair
    bed.allow(other, "tcp", 9, CidrIp="0.0.0.0/0")
    for host in pair:
        bed.ec2.modify_instance_attribute(InstanceId=host.id, Groups=[group, other])
    assert microseconds(one, two.address) >= 1000 and microseconds(two, one.address) >= 1000
    bed.control(f"pair/{one.id}/{two.id}/delay?ms=20", "POST")
    assert microseconds(one, two.address) >= 41_000
    bed.control(f"pair/{one.id}/{two.id}/heal", "POST")
    assert 1000 <= microseconds(one, two.address) < 40_000


def test_a_stop_and_start_changes_the_public_address_alone(bed, pair):
    one, _ = pair
    before = shown(bed, one)["PublicIpAddress"]
    bed.ec2.stop_instances(InstanceIds=[one.id])
    bed.until_state(one.id, "stopped", 120)
    assert "PublicIpAddress" not in shown(bed, one)
    bed.ec2.start_instances(InstanceIds=[one.id])
    one.until_up()
    now = shown(bed, one)["PublicIpAddress"]
    assert now != before and asked_at(before, one) is None
    bed.until("ssh to the new address", lambda: asked_at(now, one))
    assert one.entry()["ip"] == one.address and one.entry()["public_ip"] == now
