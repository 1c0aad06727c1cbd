"""An instance's life over the API, and the lists it is in."""
import time
import uuid

import pytest
from conftest import UBUNTU
from refusals import refused


def ids(instances: list) -> list:
    return [instance["InstanceId"] for instance in instances]


def listed(bed, **asked) -> list:
    return [i for page in bed.ec2.get_paginator("describe_instances").paginate(**asked)
            for reservation in page["Reservations"] for i in reservation["Instances"]]


def by(name: str, *values: str) -> list:
    return [{"Name": name, "Values": list(values)}]


def tagged(**tags: str) -> list:
    return [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


# Long enough to look at what is soon over, from a machine that is busy with others.
A_WHILE = 3


def test_every_state_takes_its_time(bed):
    bed.knobs(pending_s=A_WHILE, stopping_s=A_WHILE, shutting_down_s=A_WHILE)
    [instance] = bed.launch()
    assert instance["State"]["Name"] == "pending"
    one = instance["InstanceId"]
    assert bed.state(one) == "pending"
    bed.until_state(one, "running")
    assert bed.ec2.stop_instances(InstanceIds=[one])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopping"
    assert bed.state(one) == "stopping"
    with refused("IncorrectInstanceState"):
        bed.ec2.start_instances(InstanceIds=[one])
    bed.until_state(one, "stopped")
    assert bed.ec2.start_instances(InstanceIds=[one])["StartingInstances"][0]["CurrentState"]["Name"] == "pending"
    bed.until_state(one, "running")
    changed = bed.ec2.terminate_instances(InstanceIds=[one])["TerminatingInstances"][0]
    assert (changed["PreviousState"]["Name"], changed["CurrentState"]["Name"]) == ("running", "shutting-down")
    assert bed.state(one) == "shutting-down"
    bed.until_state(one, "terminated")
    again = bed.ec2.terminate_instances(InstanceIds=[one])["TerminatingInstances"][0]
    assert (again["PreviousState"]["Name"], again["CurrentState"]["Name"]) == ("terminated", "terminated")
    with refused("IncorrectInstanceState"):
        bed.ec2.start_instances(InstanceIds=[one])
    [gone] = listed(bed, InstanceIds=[one])
    assert "PrivateIpAddress" not in gone and gone["StateReason"]["Code"] == "Client.UserInitiatedShutdown"


def test_all_of_a_call_are_told_or_none(bed):
    one, other = ids(bed.launch(MinCount=2, MaxCount=2))
    both = [one, other]
    for instance in both:
        bed.until_state(instance, "running")
    bed.ec2.modify_instance_attribute(InstanceId=other, DisableApiTermination={"Value": True})
    with refused("OperationNotPermitted", f"The instance '{other}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try "
                 "again.", status=400):
        bed.ec2.terminate_instances(InstanceIds=both)
    assert bed.state(one) == "running"
    bed.ec2.modify_instance_attribute(InstanceId=other, DisableApiTermination={"Value": False})
    told = bed.ec2.start_instances(InstanceIds=[one])["StartingInstances"][0]
    assert told["CurrentState"]["Name"] == told["PreviousState"]["Name"] == "running"
    bed.ec2.terminate_instances(InstanceIds=[other])
    bed.until_state(other, "terminated")
    for verb in (bed.ec2.stop_instances, bed.ec2.start_instances):
        with refused("IncorrectInstanceState", other):
            verb(InstanceIds=both)
    assert bed.state(one) == "running"
    bed.ec2.reboot_instances(InstanceIds=both)
    bed.ec2.stop_instances(InstanceIds=[one])
    bed.until_state(one, "stopped")
    with refused("IncorrectInstanceState", "can be rebooted"):
        bed.ec2.reboot_instances(InstanceIds=[one])


def test_a_new_instance_is_unknown_at_first(bed):
    bed.knobs(visible_after_s=A_WHILE)
    [one] = ids(bed.launch())
    with refused("InvalidInstanceID.NotFound", one):
        bed.ec2.describe_instances(InstanceIds=[one])
    assert one not in ids(listed(bed))
    bed.until("seen in the list", lambda: one in ids(listed(bed)))
    assert ids(listed(bed, InstanceIds=[one])) == [one]


@pytest.mark.parametrize("call", [
    lambda ec2, one: ec2.terminate_instances(InstanceIds=[one]), lambda ec2, one: ec2.stop_instances(InstanceIds=[one]),
    lambda ec2, one: ec2.start_instances(InstanceIds=[one]), lambda ec2, one: ec2.get_console_output(InstanceId=one),
    lambda ec2, one: ec2.get_console_output(InstanceId=one, Latest=True), lambda ec2, one: ec2.describe_instance_status(InstanceIds=[one]),
    lambda ec2, one: ec2.modify_instance_metadata_options(InstanceId=one, HttpEndpoint="disabled"),
    lambda ec2, one: ec2.create_tags(Resources=[one], Tags=[{"Key": "a", "Value": "b"}])])
def test_no_call_knows_a_new_instance_at_first(bed, call):
    bed.knobs(visible_after_s=3600)
    [one] = ids(bed.launch())
    with refused("InvalidInstanceID.NotFound", f"The instance ID '{one}' does not exist", status=400):
        call(bed.ec2, one)
    assert bed.state(one) in ("pending", "running")
    assert not bed.ec2.describe_volumes(Filters=by("attachment.instance-id", one))["Volumes"]
    assert one not in {status["InstanceId"] for status in bed.ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]}
    bed.knobs(visible_after_s=0)
    bed.until_state(one, "running")
    bed.ec2.get_console_output(InstanceId=one)
    assert bed.ec2.describe_volumes(Filters=by("attachment.instance-id", one))["Volumes"]
    bed.ec2.terminate_instances(InstanceIds=[one])


def test_a_launch_is_recognized_before_its_instance_is_known(bed):
    bed.knobs(visible_after_s=3600)
    token = uuid.uuid4().hex
    assert ids(bed.launch(ClientToken=token)) == ids(bed.launch(ClientToken=token))


def test_lists_show_for_a_while_the_state_that_was_left(bed):
    [one] = ids(bed.launch())
    bed.until_state(one, "running")
    shown = lambda: listed(bed, InstanceIds=[one])[0]
    shown_or_none = lambda: next((i["State"]["Name"] for i in listed(bed, Filters=by("instance-id", one))), None)
    for verb, left, state in ((bed.ec2.stop_instances, "running", "stopped"), (bed.ec2.start_instances, "stopped", "running"),
                              (bed.ec2.terminate_instances, "running", "terminated")):
        bed.knobs(visible_after_s=A_WHILE)
        bed.until("known, and in its state", lambda: shown_or_none() == left)
        why = shown().get("StateReason")
        verb(InstanceIds=[one])
        assert (shown()["State"]["Name"], shown().get("StateReason")) == (left, why)
        assert ids(listed(bed, Filters=by("instance-id", one) + by("instance-state-name", left))) == [one]
        bed.until_state(one, state)
        bed.until("seen in the list", lambda: shown()["State"]["Name"] == state)
    assert shown()["StateReason"]["Code"] == "Client.UserInitiatedShutdown"


def test_a_terminated_instance_is_forgotten(bed):
    [one] = ids(bed.launch())
    bed.ec2.terminate_instances(InstanceIds=[one])
    bed.until_state(one, "terminated")
    assert one in ids(listed(bed))
    bed.knobs(forgotten_after_s=0)
    assert one not in ids(listed(bed))
    with refused("InvalidInstanceID.NotFound"):
        bed.ec2.terminate_instances(InstanceIds=[one])


def test_ids_are_all_known_or_the_call_fails(bed):
    [one] = ids(bed.launch())
    other = "i-0123456789abcdef0"
    with refused("InvalidInstanceID.NotFound", f"The instance ID '{other}' does not exist", status=400):
        bed.ec2.describe_instances(InstanceIds=[one, other])
    with refused("InvalidInstanceID.Malformed", '"web-1"'):
        bed.ec2.describe_instances(InstanceIds=["web-1"])
    with refused("InvalidParameterCombination"):
        bed.ec2.describe_instances(InstanceIds=[one], MaxResults=10)
    with refused("InvalidParameterValue"):
        bed.ec2.describe_instances(InstanceIds=[f"i-{n:017x}" for n in range(1001)])


def test_pages_count_instances_and_cut_reservations(bed):
    mark = uuid.uuid4().hex
    launched = [ids(bed.launch(MinCount=4, MaxCount=4, TagSpecifications=tagged(mark=mark))) for _ in range(3)]
    pages = list(bed.ec2.get_paginator("describe_instances").paginate(
        Filters=by("tag:mark", mark), PaginationConfig={"PageSize": 5}))
    assert [sum(len(r["Instances"]) for r in page["Reservations"]) for page in pages] == [5, 5, 2]
    assert [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]] == sum(launched, [])
    for size in (4, 1001):
        with refused("InvalidParameterValue", "maxResults"):
            bed.ec2.describe_instances(MaxResults=size)
    for token in ("nonsense", "aW5zdGFuY2VzIGFmdGVyIHg="):
        with refused("InvalidNextToken", status=400):
            bed.ec2.describe_instances(NextToken=token)


def test_a_page_goes_on_where_it_was_when_instances_come_and_go(bed):
    mark = uuid.uuid4().hex
    launched = ids(bed.launch(MinCount=8, MaxCount=8, TagSpecifications=tagged(mark=mark)))
    first = bed.ec2.describe_instances(Filters=by("tag:mark", mark), MaxResults=5)
    bed.ec2.terminate_instances(InstanceIds=launched[:2])
    bed.until_state(launched[1], "terminated")
    bed.knobs(forgotten_after_s=0)
    rest = bed.ec2.describe_instances(Filters=by("tag:mark", mark), MaxResults=5, NextToken=first["NextToken"])
    assert ids(rest["Reservations"][0]["Instances"]) == launched[5:] and "NextToken" not in rest


def test_filters(bed):
    mark = uuid.uuid4().hex
    [a] = ids(bed.launch(ClientToken=mark, TagSpecifications=tagged(mark=mark, slot="m0")))
    [b] = ids(bed.launch(InstanceType="t3.small", TagSpecifications=tagged(mark=mark, slot="m1")))
    bed.until_state(b, "running")
    mine = by("tag:mark", mark)
    for narrower, expected in (
            (by("client-token", mark), [a]), (by("client-token", "no-such"), []), (by("instance-type", "t3.small"), [b]),
            (by("tag:slot", "m0", "m1"), [a, b]), (by("tag:slot", "m?"), [a, b]), (by("tag-key", "slot"), [a, b]),
            (by("instance-state-name", "running", "pending"), [a, b]), (by("instance-state-name", "stopped"), []),
            (by("instance-state-code", "16"), [a, b]), (by("instance-id", b), [b])):
        bed.until(f"{narrower} finds {expected}", lambda: ids(listed(bed, Filters=mine + narrower)) == expected)
    with refused("InvalidParameterValue", "The filter 'colour' is invalid", status=400):
        bed.ec2.describe_instances(Filters=by("colour", "red"))


def test_a_tag_is_looked_up_fast_among_many_instances(bed):
    mark = uuid.uuid4().hex
    launched = ids(bed.launch(MinCount=500, MaxCount=500, TagSpecifications=tagged(mark=mark, owner="test", slot="w")))

    def took() -> float:
        begun = time.monotonic()
        assert not listed(bed, Filters=by("tag:mark", "another"))
        return time.monotonic() - begun

    # moto alone matches each tag of each instance against a pattern for every instance: seconds, each time.
    assert any(took() < 0.4 for _ in range(12))
    bed.ec2.terminate_instances(InstanceIds=launched)
    bed.until_state(launched[-1], "terminated")
    bed.knobs(forgotten_after_s=0)
    bed.until("forgotten", lambda: not listed(bed, Filters=by("tag:mark", mark)))


def test_the_root_volume_lives_as_long_as_its_instance(bed):
    [one] = ids(bed.launch())
    mine = by("attachment.instance-id", one)
    [volume] = bed.ec2.describe_volumes(Filters=mine)["Volumes"]
    assert volume["Attachments"][0]["Device"] == "/dev/sda1" and volume["Attachments"][0]["DeleteOnTermination"]
    nics = bed.ec2.describe_network_interfaces(Filters=by("attachment.instance-id", one))["NetworkInterfaces"]
    assert len(nics) == 1
    bed.ec2.terminate_instances(InstanceIds=[one])
    with refused("InvalidVolume.NotFound"):
        bed.ec2.describe_volumes(VolumeIds=[volume["VolumeId"]])
    with refused("InvalidNetworkInterfaceID.NotFound"):
        bed.ec2.describe_network_interfaces(NetworkInterfaceIds=[nics[0]["NetworkInterfaceId"]])


def test_a_root_volume_is_made_to_measure(bed):
    [one] = ids(bed.launch(BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20}}]))
    [volume] = bed.ec2.describe_volumes(Filters=by("attachment.instance-id", one))["Volumes"]
    assert volume["Size"] == 20 and volume["Attachments"][0]["DeleteOnTermination"]
    with refused("InvalidBlockDeviceMapping", "smaller than snapshot"):
        bed.launch(BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 1}}])


def test_every_disk_of_an_image_is_there_and_stays_if_the_image_says_so(bed):
    image = "resolve:ssm:/aws/service/testkit/docker/20.10/ami-id"
    told = [{"DeviceName": "/dev/sdb", "Ebs": {"DeleteOnTermination": True}}]
    for disks, left in (([], ["/dev/sdb"]), (told, [])):
        [one] = ids(bed.launch(ImageId=image, BlockDeviceMappings=disks))
        mine = bed.ec2.describe_volumes(Filters=by("attachment.instance-id", one))["Volumes"]
        devices = {volume["VolumeId"]: volume["Attachments"][0]["Device"] for volume in mine}
        assert sorted(devices.values()) == ["/dev/sdb", "/dev/xvda"] and sorted(volume["Size"] for volume in mine) == [1, 8]
        bed.ec2.terminate_instances(InstanceIds=[one])
        bed.until_state(one, "terminated")
        stays = [v["VolumeId"] for v in bed.ec2.describe_volumes()["Volumes"] if v["VolumeId"] in devices]
        assert [devices[volume] for volume in stays] == left
        for volume in stays:
            bed.ec2.delete_volume(VolumeId=volume)
    # Who takes the root volume to be called as elsewhere gets another disk beside it.
    [one] = ids(bed.launch(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}}]))
    mine = bed.ec2.describe_volumes(Filters=by("attachment.instance-id", one))["Volumes"]
    assert {volume["Attachments"][0]["Device"]: volume["Size"] for volume in mine} == {"/dev/sda1": 8, "/dev/xvda": 30}


def test_a_security_group_in_use_stays(bed):
    group = bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="test")["GroupId"]
    [one] = ids(bed.launch(SecurityGroupIds=[group]))
    bed.knobs(shutting_down_s=A_WHILE)
    with refused("DependencyViolation", group, "has a dependent object", status=400):
        bed.ec2.delete_security_group(GroupId=group)
    bed.ec2.terminate_instances(InstanceIds=[one])
    with refused("DependencyViolation"):
        bed.ec2.delete_security_group(GroupId=group)
    bed.until_state(one, "terminated")
    bed.ec2.delete_security_group(GroupId=group)
    with refused("InvalidGroup.NotFound"):
        bed.ec2.describe_security_groups(GroupIds=[group])


def test_a_security_group_of_a_network_interface_is_in_use(bed):
    group = bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="test")["GroupId"]
    bed.launch(NetworkInterfaces=[{"DeviceIndex": 0, "Groups": [group], "AssociatePublicIpAddress": True}])
    with refused("DependencyViolation"):
        bed.ec2.delete_security_group(GroupId=group)


def test_a_security_group_that_a_rule_names_is_in_use(bed):
    one, other = (bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="test")["GroupId"] for _ in range(2))
    rule = lambda group: [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": group}]}]
    bed.ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=rule(one))
    bed.ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=rule(one))
    with refused("DependencyViolation", one, "has a dependent object", status=400):
        bed.ec2.delete_security_group(GroupId=one)
    bed.ec2.revoke_security_group_ingress(GroupId=other, IpPermissions=rule(one))
    bed.ec2.delete_security_group(GroupId=one)


def test_a_security_group_of_somebodys_interface_is_in_use(bed):
    group = bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="test")["GroupId"]
    subnet = bed.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    nic = bed.ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
    with refused("DependencyViolation"):
        bed.ec2.delete_security_group(GroupId=group)
    [found] = bed.ec2.describe_network_interfaces(Filters=by("group-id", group))["NetworkInterfaces"]
    assert (found["NetworkInterfaceId"], found["Status"]) == (nic, "available")
    bed.ec2.delete_network_interface(NetworkInterfaceId=nic)
    bed.ec2.delete_security_group(GroupId=group)


def test_what_is_not_to_end_with_its_instance_stays(bed):
    mine = [{"Key": "mark", "Value": uuid.uuid4().hex}]
    kinds = ("instance", "volume", "network-interface")
    group = bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="test")["GroupId"]
    [one] = ids(bed.launch(
        TagSpecifications=[{"ResourceType": kind, "Tags": mine} for kind in kinds],
        NetworkInterfaces=[{"DeviceIndex": 0, "DeleteOnTermination": False, "Groups": [group]}],
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"DeleteOnTermination": False}},
                             {"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 1}},
                             {"DeviceName": "/dev/xvdc", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": True}}]))
    marked = by("tag:mark", mine[0]["Value"])
    volumes = lambda: bed.ec2.describe_volumes(Filters=marked)["Volumes"]
    interfaces = lambda: bed.ec2.describe_network_interfaces(Filters=marked)["NetworkInterfaces"]
    assert {volume["Size"]: volume["State"] for volume in volumes()} == {8: "in-use", 1: "in-use", 2: "in-use"}
    [nic] = interfaces()
    assert nic["Status"] == "in-use" and nic["Attachment"]["InstanceId"] == one and not nic["Attachment"]["DeleteOnTermination"]
    with refused("VolumeInUse", one):
        bed.ec2.delete_volume(VolumeId=volumes()[0]["VolumeId"])
    with refused("InvalidParameterValue", f"Network interface '{nic['NetworkInterfaceId']}' is currently in use."):
        bed.ec2.delete_network_interface(NetworkInterfaceId=nic["NetworkInterfaceId"])
    bed.ec2.terminate_instances(InstanceIds=[one])
    bed.until_state(one, "terminated")
    assert {volume["Size"]: volume["State"] for volume in volumes()} == {8: "available", 1: "available"}
    [nic] = interfaces()
    assert nic["Status"] == "available" and "Attachment" not in nic
    [gone] = listed(bed, InstanceIds=[one])
    assert gone["NetworkInterfaces"] == [] and gone["BlockDeviceMappings"] == []
    with refused("DependencyViolation"):
        bed.ec2.delete_security_group(GroupId=group)
    bed.ec2.delete_network_interface(NetworkInterfaceId=nic["NetworkInterfaceId"])
    bed.ec2.delete_security_group(GroupId=group)
    for volume in volumes():
        bed.ec2.delete_volume(VolumeId=volume["VolumeId"])


def test_an_interface_that_was_there_outlives_its_instance(bed):
    subnet = bed.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    nic = bed.ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    [one] = ids(bed.launch(NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": nic}]))
    bed.ec2.terminate_instances(InstanceIds=[one])
    bed.until_state(one, "terminated")
    assert bed.ec2.describe_network_interfaces(NetworkInterfaceIds=[nic])["NetworkInterfaces"][0]["Status"] == "available"
    bed.ec2.delete_network_interface(NetworkInterfaceId=nic)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_amis_are_what_a_publisher_offers(bed, region):
    ec2, ssm = bed.client("ec2", region), bed.client("ssm", region)
    images = ec2.describe_images(Owners=["210987654321"], Filters=by("name", "testkit-docker-28.5-*"))["Images"]
    assert len(images) == 1 and len(ec2.describe_images()["Images"]) == 4
    [image] = images
    assert image["Architecture"] == "x86_64" and image["RootDeviceName"] == "/dev/sda1" and image["State"] == "available"
    assert {"Key": "engine", "Value": "28.5"} in image["Tags"] and image["Public"]
    for name in ("/aws/service/testkit/docker/28.5/ami-id", "/aws/service/canonical/ubuntu/server/24.04/stable/current/"
                 "amd64/hvm/ebs-gp3/ami-id"):
        assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == image["ImageId"]
    older = ssm.get_parameter(Name="/aws/service/testkit/docker/20.10/ami-id")["Parameter"]["Value"]
    assert older != image["ImageId"]
    [with_disk] = ec2.describe_images(ImageIds=[older])["Images"]
    assert with_disk["RootDeviceName"] == "/dev/xvda"
    assert [(d["DeviceName"], d["Ebs"]["DeleteOnTermination"]) for d in with_disk["BlockDeviceMappings"]] == [("/dev/xvda", True), ("/dev/sdb", False)]
    plain = ssm.get_parameter(Name="/aws/service/testkit/debian/14/ami-id")["Parameter"]["Value"]
    [without] = ec2.describe_images(ImageIds=[plain])["Images"]
    assert without["Name"].startswith("testkit-debian-14-amd64-") and "Docker" not in without["Description"]
    assert without["RootDeviceName"] == "/dev/sda1"
    assert bed.client("sts").get_caller_identity()["Account"] == "123456789012"


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_canonicals_image_has_an_engine_or_as_in_the_world_none(bed, region):
    ec2, ssm = bed.client("ec2", region), bed.client("ssm", region)

    def image():
        told = ssm.get_parameters(Names=[UBUNTU.removeprefix("resolve:ssm:")])["Parameters"][0]["Value"]
        # What a launch makes of it is the same.
        [one] = ec2.run_instances(ImageId=UBUNTU, MinCount=1, MaxCount=1, InstanceType="t3.medium")["Instances"]
        ec2.terminate_instances(InstanceIds=[one["InstanceId"]])
        assert one["ImageId"] == told
        return ec2.describe_images(ImageIds=[told])["Images"][0]["Description"]

    assert image() == "Debian 14 with Docker Engine 28.5"
    bed.knobs(ubuntu_has_engine=False)
    try:
        assert image() == "Debian 14"
    finally:
        bed.knobs(ubuntu_has_engine=True)

