"""What EC2 refuses to launch: volumes, tags, metadata options, spot requests and profiles that it does not take."""
import pytest
from refusals import refused


def disk(device: str = "/dev/sda1", **ebs) -> list:
    return [{"DeviceName": device, "Ebs": ebs}]


def tagged(*tags: tuple, kind: str = "instance") -> list:
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags]}]


def refuses(bed, asked: dict, code: str, *words: str) -> None:
    before = len(bed.control("instances?all=1"))
    with refused(code, *words, status=400):
        bed.launch(**asked)
    assert len(bed.control("instances?all=1")) == before


@pytest.mark.parametrize("disks, code, words", [
    (disk(VolumeType="gp9"), "InvalidParameterValue", "Value ( gp9 ) for parameter volumeType is invalid"),
    (disk(VolumeType="io2", VolumeSize=10), "InvalidParameterCombination", "The parameter iops must be specified for io2 volumes."),
    (disk(VolumeType="gp2", VolumeSize=10, Iops=3000), "InvalidParameterCombination", "The parameter iops is not supported for gp2 volumes."),
    (disk(VolumeType="st1", VolumeSize=200), "InvalidParameterCombination", "The parameter iops is not supported for st1 volumes."),
    (disk("/dev/sdf", VolumeType="gp2", VolumeSize=10, Throughput=125), "InvalidParameterCombination", "throughput can only be specified for volumeType gp3."),
    (disk(VolumeType="standard", VolumeSize=2000), "InvalidParameterValue", "Volume of 2000GiB is too large for volume type standard; maximum is 1024GiB"),
    (disk("/dev/sdf", VolumeType="sc1", VolumeSize=20), "InvalidParameterValue", "Volume of 20GiB is too small for volume type sc1; minimum is 125GiB"),
    (disk("/dev/sda", VolumeSize=20), "InvalidBlockDeviceMapping", "Invalid device name /dev/sda"),
    (disk("/dev/sde1", VolumeSize=20), "InvalidBlockDeviceMapping", "Invalid device name /dev/sde1"),
    (disk("disk", VolumeSize=20), "InvalidBlockDeviceMapping", "Invalid device name disk"),
    (disk("/dev/sdf", VolumeType="io1", VolumeSize=10, Iops=50), "InvalidParameterValue", "Volume iops of 50 is too low; minimum is 100."),
    (disk("/dev/sdf", VolumeType="io1", VolumeSize=10, Iops=600), "InvalidParameterValue", "Iops to volume size ratio of 60.000000 is too high; maximum is 50"),
    (disk("/dev/sdf", VolumeType="io2", VolumeSize=1000, Iops=300000), "InvalidParameterValue", "Volume iops of 300000 is too high; maximum is 256000."),
    (disk(VolumeSize=20, Iops=100), "InvalidParameterValue", "Volume iops of 100 is too low; minimum is 3000."),
    (disk(VolumeType="gp3", VolumeSize=8, Iops=5000), "InvalidParameterValue", "Iops to volume size ratio of 625.000000 is too high; maximum is 500"),
    (disk(VolumeType="gp3", VolumeSize=20, Throughput=100), "InvalidParameterValue", "Throughput of 100 is too low; minimum is 125."),
    (disk(VolumeType="gp3", VolumeSize=20, Throughput=1000), "InvalidParameterValue", "Throughput (MiBps) to iops ratio of 0.333333 is too high"),
    (disk(VolumeSize=20) + disk(VolumeSize=30), "InvalidBlockDeviceMapping", "The device '/dev/sda1' is used in more than one block-device mapping"),
])
def test_volumes(bed, disks, code, words):
    refuses(bed, {"BlockDeviceMappings": disks}, code, words)


def test_what_is_wrong_comes_before_what_there_is_no_room_for(bed):
    bed.knobs(capacity=[{"type": "t3.medium"}], vcpu_limit=0)
    refuses(bed, {"BlockDeviceMappings": disk(VolumeType="io1", VolumeSize=10)}, "InvalidParameterCombination")
    refuses(bed, {"IamInstanceProfile": {"Name": "none"}}, "InvalidParameterValue")


def test_volumes_that_there_are(bed):
    for disks in (disk(VolumeType="gp2"), disk(VolumeType="standard", VolumeSize=1024), disk("/dev/xvda", VolumeSize=8), disk("/dev/xvdba", VolumeSize=1),
                  disk("/dev/sdf", VolumeType="st1", VolumeSize=125), disk(VolumeType="gp3", VolumeSize=20, Iops=4000, Throughput=250)):
        bed.launch(BlockDeviceMappings=disks)


@pytest.mark.parametrize("asked, iops, throughput", [
    ({"VolumeType": "io1", "Iops": 500}, 500, None), ({"VolumeType": "io2", "Iops": 10000}, 10000, None), ({"VolumeType": "gp3"}, 3000, 125),
    ({"VolumeType": "gp3", "Iops": 4000, "Throughput": 250}, 4000, 250), ({"VolumeType": "gp2"}, 100, None)])
def test_volumes_are_as_fast_as_they_were_asked_for(bed, asked, iops, throughput):
    [one] = bed.launch(BlockDeviceMappings=disk(VolumeSize=10, **asked))
    [volume] = bed.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [one["InstanceId"]]}])["Volumes"]
    assert (volume["VolumeType"], volume["Iops"], volume.get("Throughput")) == (asked["VolumeType"], iops, throughput)


@pytest.mark.parametrize("asked, code, words", [
    ({"VolumeType": "io2", "Size": 10}, "InvalidParameterCombination", "iops must be specified for io2"),
    ({"VolumeType": "io1", "Size": 10, "Iops": 501}, "InvalidParameterValue", "ratio of 50.100000 is too high"),
    ({"VolumeType": "st1", "Size": 1}, "InvalidParameterValue", "Volume of 1GiB is too small for volume type st1; minimum is 125GiB"),
    ({"VolumeType": "gp3"}, "MissingParameter", "size/snapshotId")])
def test_volumes_by_themselves_are_held_to_the_same(bed, asked, code, words):
    with refused(code, words, status=400):
        bed.ec2.create_volume(AvailabilityZone="us-east-1a", **asked)
    made = bed.ec2.create_volume(AvailabilityZone="us-east-1a", VolumeType="io1", Size=10, Iops=500)
    assert made["Iops"] == 500
    bed.ec2.delete_volume(VolumeId=made["VolumeId"])


@pytest.mark.parametrize("tags, code, words", [
    (tagged(("aws:x", "y")), "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use"),
    (tagged(("x" * 129, "y")), "InvalidParameterValue", "Tag key exceeds the maximum length of 128 characters"),
    (tagged(("x", "y" * 257)), "InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters"),
    (tagged(("a", "1"), ("a", "2")), "InvalidParameterValue", "Duplicate tag key 'a' specified."),
    (tagged(*((f"a{n}", "y") for n in range(51)), kind="volume"), "TagLimitExceeded", "The maximum number of Tags"),
    (tagged(("a", "b"), kind="vpc"), "InvalidParameterValue", "'vpc' is not a valid taggable resource type for this operation."),
    (tagged(("a", "b")) * 2, "InvalidParameter", "The same resource type may not be specified more than once in tag specifications"),
])
def test_tags(bed, tags, code, words):
    refuses(bed, {"TagSpecifications": tags}, code, words)


def test_tags_of_what_is_there(bed):
    [one] = bed.launch(TagSpecifications=tagged(*((f"a{n}", "y" * 256) for n in range(50))))
    with refused("TagLimitExceeded"):
        bed.ec2.create_tags(Resources=[one["InstanceId"]], Tags=[{"Key": "b", "Value": "c"}])
    with refused("InvalidParameterValue", "reserved for internal use"):
        bed.ec2.create_tags(Resources=[one["InstanceId"]], Tags=[{"Key": "aws:b", "Value": "c"}])


GONE = "0123456789abcdef0"


@pytest.mark.parametrize("wanted, code, words", [
    (f"i-{GONE}", "InvalidInstanceID.NotFound", f"The instance ID 'i-{GONE}' does not exist"),
    (f"sg-{GONE}", "InvalidGroup.NotFound", f"The security group 'sg-{GONE}' does not exist"),
    (f"vol-{GONE}", "InvalidVolume.NotFound", f"The volume 'vol-{GONE}' does not exist"),
    (f"eni-{GONE}", "InvalidNetworkInterfaceID.NotFound", f"eni-{GONE}"), (f"subnet-{GONE}", "InvalidSubnetID.NotFound", f"subnet-{GONE}"),
    (f"vpc-{GONE}", "InvalidVpcID.NotFound", f"vpc-{GONE}"), (f"ami-{GONE}", "InvalidAMIID.NotFound", f"[ami-{GONE}]"),
    (f"lt-{GONE}", "InvalidLaunchTemplateId.NotFound", f"lt-{GONE}"), ("web-1", "InvalidID", "The ID 'web-1' is not valid"),
    ("i-xyz", "InvalidID", "The ID 'i-xyz' is not valid"), (f"thing-{GONE}", "InvalidID", "is not valid")])
def test_what_is_not_there_has_no_tags(bed, wanted, code, words):
    """And what is there, and was named beside it, gets none."""
    [one] = [i["InstanceId"] for i in bed.launch()]
    with refused(code, words, status=400):
        bed.ec2.create_tags(Resources=[one, wanted], Tags=[{"Key": "a", "Value": "b"}])
    assert bed.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [one, wanted]}])["Tags"] == []
    with refused(code, words, status=400):
        bed.ec2.delete_tags(Resources=[wanted], Tags=[{"Key": "a"}])


@pytest.mark.parametrize("hops", [0, 65])
def test_hops_of_metadata(bed, hops):
    refuses(bed, {"MetadataOptions": {"HttpPutResponseHopLimit": hops}}, "InvalidParameterValue", f"Value ({hops}) for parameter HttpPutResponseHopLimit")


@pytest.mark.parametrize("key", ["testkit.dev/slot", "a b", "_index"])
def test_tags_in_metadata_are_paths(bed, key):
    words = f"'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a reserved name"
    asked = {"TagSpecifications": tagged((key, "y")), "MetadataOptions": {"InstanceMetadataTags": "enabled"}}
    refuses(bed, asked, "InvalidParameterValue", words)
    [one] = bed.launch(TagSpecifications=tagged((key, "y")))
    with refused("InvalidParameterValue", words):
        bed.ec2.modify_instance_metadata_options(InstanceId=one["InstanceId"], InstanceMetadataTags="enabled")


def test_the_account_has_defaults_for_metadata(bed):
    slash = {"TagSpecifications": tagged(("a/b", "c"))}
    bed.ec2.modify_instance_metadata_defaults(InstanceMetadataTags="enabled", HttpTokens="optional", HttpPutResponseHopLimit=3)
    try:
        assert bed.ec2.get_instance_metadata_defaults()["AccountLevel"]["HttpPutResponseHopLimit"] == 3
        [one] = bed.launch()
        told = one["MetadataOptions"]
        assert (told["InstanceMetadataTags"], told["HttpTokens"], told["HttpPutResponseHopLimit"]) == ("enabled", "optional", 3)
        refuses(bed, slash, "InvalidParameterValue", "not a valid tag key")
        [one] = bed.launch(**slash, MetadataOptions={"InstanceMetadataTags": "disabled", "HttpTokens": "required"})
        assert one["MetadataOptions"]["HttpTokens"] == "required", "the launch has the last word"
    finally:
        bed.ec2.modify_instance_metadata_defaults(InstanceMetadataTags="no-preference", HttpTokens="no-preference", HttpPutResponseHopLimit=-1)
    bed.launch(**slash)


def test_metadata_options_that_are_not_mentioned_stay(bed):
    [one] = bed.launch(MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1})
    changed = bed.ec2.modify_instance_metadata_options(InstanceId=one["InstanceId"], HttpPutResponseHopLimit=2)["InstanceMetadataOptions"]
    assert (changed["HttpTokens"], changed["HttpPutResponseHopLimit"], changed["HttpEndpoint"]) == ("required", 2, "enabled")
    changed = bed.ec2.modify_instance_metadata_options(InstanceId=one["InstanceId"], HttpEndpoint="disabled")["InstanceMetadataOptions"]
    assert (changed["HttpTokens"], changed["HttpPutResponseHopLimit"], changed["HttpEndpoint"]) == ("required", 2, "disabled")


def test_a_spot_request_of_one_time_ends_with_its_instance(bed):
    market = lambda **options: {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}
    refuses(bed, market(InstanceInterruptionBehavior="stop"), "InvalidParameterCombination",
            "The request with type 'one-time' is not supported when instanceInterruptionBehavior is set to 'stop'.")
    [once] = bed.launch(**market())
    [again] = bed.launch(**market(SpotInstanceType="persistent", InstanceInterruptionBehavior="stop"))
    for one in (once, again):
        bed.until_state(one["InstanceId"], "running")
    with refused("UnsupportedOperation", f"You can't stop the Spot Instance '{once['InstanceId']}' because it is associated with a one-time Spot Instance "
                 "request. You can only stop Spot Instances associated with persistent Spot Instance requests.", status=400):
        bed.ec2.stop_instances(InstanceIds=[once["InstanceId"]])
    bed.ec2.stop_instances(InstanceIds=[again["InstanceId"]])


def test_interfaces(bed):
    subnet = {"SubnetId": bed.ec2.describe_subnets()["Subnets"][0]["SubnetId"]}
    first, second = {"DeviceIndex": 0} | subnet, {"DeviceIndex": 1} | subnet
    refuses(bed, {"NetworkInterfaces": [subnet]}, "InvalidParameterValue", "Each network interface requires a device index.")
    refuses(bed, {"NetworkInterfaces": [first, first]}, "InvalidParameterValue", "Each network interface requires a unique device index.")
    refuses(bed, {"NetworkInterfaces": [first | {"AssociatePublicIpAddress": True}, second]}, "InvalidParameterCombination",
            "cannot be specified when launching with multiple network interfaces.")
    nic = bed.ec2.create_network_interface(**subnet)["NetworkInterface"]["NetworkInterfaceId"]
    there = {"NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": nic}]}
    bed.launch(**there)
    refuses(bed, there, "InvalidNetworkInterface.InUse", f"Interface: '{nic}' in use.")
    refuses(bed, {"SecurityGroups": ["none"]}, "InvalidGroup.NotFound", "The security group 'none' does not exist")


def test_a_profile_that_is_not_there(bed):
    refuses(bed, {"IamInstanceProfile": {"Name": "none"}}, "InvalidParameterValue",
            "Value (none) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name")
    arn = "arn:aws:iam::123456789012:instance-profile/none"
    refuses(bed, {"IamInstanceProfile": {"Arn": arn}}, "InvalidParameterValue", f"Value ({arn}) for parameter iamInstanceProfile.arn is invalid.")
