"""RunInstances: what it makes, what it recognizes, what it refuses."""
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from refusals import refused

SSM = "resolve:ssm:/aws/service/testkit/docker/{}/ami-id"


def ids(instances: list) -> list:
    return [instance["InstanceId"] for instance in instances]


@pytest.mark.parametrize("count", [1, 3])
def test_a_token_launches_once(bed, count):
    token = uuid.uuid4().hex
    asked = {"ClientToken": token, "MinCount": count, "MaxCount": count, "UserData": "#!/bin/sh\necho hello\n"}
    first = bed.launch(**asked)
    assert len(first) == count and first[0]["ClientToken"] == token
    bed.until_state(first[0]["InstanceId"], "running")
    again = bed.launch(**asked)
    assert ids(again) == ids(first) and again[0]["State"]["Name"] == "running"


@pytest.mark.parametrize("other", [{"InstanceType": "t3.small"}, {"UserData": "#!/bin/sh\n"}, {"MinCount": 1, "MaxCount": 2},
                                   {"ImageId": SSM.format("26.1")}, {"KeyName": "no-such"}])
def test_a_token_is_for_one_request(bed, other):
    token = uuid.uuid4().hex
    bed.launch(ClientToken=token)
    with refused("IdempotentParameterMismatch", "inconsistent with arguments used in previous request", status=400):
        bed.launch(ClientToken=token, **other)


def test_a_token_of_a_terminated_instance_is_spent(bed):
    token = uuid.uuid4().hex
    [one] = ids(bed.launch(ClientToken=token))
    bed.ec2.terminate_instances(InstanceIds=[one])
    bed.until_state(one, "terminated")
    with refused("IdempotentInstanceTerminated", "terminated instance", status=400):
        bed.launch(ClientToken=token)
    assert ids(bed.launch(ClientToken=uuid.uuid4().hex)) != [one]


def test_a_token_launches_once_when_asked_at_the_same_moment(bed):
    token = uuid.uuid4().hex
    with ThreadPoolExecutor(8) as many:
        answers = list(many.map(lambda _: ids(bed.launch(ClientToken=token)), range(8)))
    assert len({one for [one] in answers}) == 1


def test_a_launch_in_another_way_is_not_taken_for_the_one_before(bed):
    """On one connection, which the SDK keeps."""
    token = uuid.uuid4().hex
    bed.launch(ClientToken=token)
    before = len(bed.control("instances?all=1"))
    image = bed.ec2.describe_images()["Images"][0]["ImageId"]
    subnet = bed.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    with refused("InternalFailure", "The test bed cannot do ec2:RequestSpotInstances", status=501):
        bed.ec2.request_spot_instances(LaunchSpecification={"ImageId": image, "InstanceType": "t3.medium", "SubnetId": subnet}, InstanceCount=1)
    assert len(bed.control("instances?all=1")) == before


def test_a_refused_launch_does_not_spend_its_token(bed):
    token = uuid.uuid4().hex
    bed.knobs(capacity=[{"type": "t3.medium"}])
    with refused("InsufficientInstanceCapacity"):
        bed.launch(ClientToken=token)
    bed.knobs(capacity=[])
    assert len(bed.launch(ClientToken=token)) == 1


def test_tokens_have_a_form(bed):
    with refused("InvalidParameterValue", "clientToken"):
        bed.launch(ClientToken="x" * 65)
    assert ids(bed.launch()) != ids(bed.launch()), "no token, no idempotency"


def test_max_count_is_launched(bed):
    assert len(bed.launch(MinCount=1, MaxCount=3)) == 3
    with refused("InvalidParameterValue"):
        bed.launch(MinCount=3, MaxCount=1)


@pytest.mark.parametrize("image, code, words", [
    ("ami-0123456789abcdef0", "InvalidAMIID.NotFound", "The image id '[ami-0123456789abcdef0]' does not exist"),
    ("ami-hello", "InvalidAMIID.Malformed", 'Invalid id: "ami-hello"'),
    ("resolve:ssm:/no/such", "SsmInvalidParameter", "The following aliases are invalid: /no/such"),
])
def test_an_image_that_does_not_exist(bed, image, code, words):
    with refused(code, words, status=400):
        bed.launch(ImageId=image)


def test_images_by_parameter(bed):
    launched = {version: bed.launch(ImageId=SSM.format(version))[0]["ImageId"] for version in ("20.10", "26.1", "28.5")}
    for version, image in launched.items():
        assert bed.ec2.describe_images(ImageIds=[image])["Images"][0]["Name"].startswith(f"testkit-docker-{version}-debian-")


def test_what_else_does_not_exist(bed):
    with refused("InvalidSubnetID.NotFound"):
        bed.launch(SubnetId="subnet-0123456789abcdef0")
    with refused("InvalidGroup.NotFound"):
        bed.launch(SecurityGroupIds=["sg-0123456789abcdef0"])
    with refused("InvalidKeyPair.NotFound"):
        bed.launch(KeyName="no-such")
    with refused("InvalidParameterValue", "Invalid value 't3.mediun' for InstanceType.", status=400):
        bed.launch(InstanceType="t3.mediun")
    assert not [i for i in bed.control("instances") if i["type"] == "t3.mediun"]


def test_a_type_that_a_zone_or_a_region_does_not_offer(bed):
    with refused("Unsupported", "Your requested instance type (t3.medium) is not supported in your requested Availability Zone (us-east-1e). "
                 "Please retry your request by not specifying an Availability Zone or choosing us-east-1a, us-east-1b", status=400):
        bed.launch(Placement={"AvailabilityZone": "us-east-1e"})
    with refused("Unsupported", "The requested configuration is currently not supported."):
        bed.launch(bed.client("ec2", "il-central-1"), InstanceType="t2.micro")


def test_a_zone_is_chosen_where_the_type_is_to_be_had(bed):
    bed.knobs(capacity=[{"type": "t3.medium", "zone": "us-east-1a"}])
    assert bed.launch()[0]["Placement"]["AvailabilityZone"] == "us-east-1b"
    bed.knobs(capacity=[])
    assert bed.launch()[0]["Placement"]["AvailabilityZone"] == "us-east-1a"


def test_a_type_of_another_architecture_than_the_image(bed):
    with refused("InvalidParameterValue", "The architecture 'arm64' of the specified instance type does not match the architecture 'x86_64' of "
                 "the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.", status=400):
        bed.launch(InstanceType="t4g.medium")


def test_user_data_has_a_limit(bed):
    bed.launch(UserData="x" * 16384)
    with refused("InvalidParameterValue", "User data is limited to 16384 bytes", status=400):
        bed.launch(UserData="x" * 16385)
    # The SDK encodes it, whatever it is.
    wrong = lambda params, **_: params["body"].update(UserData="not base64!")
    bed.ec2.meta.events.register_last("before-call.ec2.RunInstances", wrong)
    try:
        with refused("InvalidParameterValue", "Invalid BASE64 encoding of user data."):
            bed.launch(UserData="x")
    finally:
        bed.ec2.meta.events.unregister("before-call.ec2.RunInstances", wrong)


def test_a_dry_run_launches_nothing(bed):
    # Those of the tests before go on through their states meanwhile.
    known = lambda: [instance["id"] for instance in bed.control("instances?all=1")]
    before = known()
    with refused("DryRunOperation"):
        bed.launch(DryRun=True)
    assert known() == before


def test_metadata_options_are_those_of_a_modern_image(bed):
    [one] = bed.launch()
    assert one["MetadataOptions"]["HttpTokens"] == "required" and one["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    [other] = bed.launch(MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1})
    assert other["MetadataOptions"]["HttpPutResponseHopLimit"] == 1


def test_tags_and_placement(bed):
    subnet = bed.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1b"]}])["Subnets"][0]
    [one] = bed.launch(SubnetId=subnet["SubnetId"], TagSpecifications=[
        {"ResourceType": kind, "Tags": [{"Key": "Name", "Value": "foo-m0"}]} for kind in ("instance", "volume")])
    assert one["Placement"]["AvailabilityZone"] == "us-east-1b" and one["Tags"] == [{"Key": "Name", "Value": "foo-m0"}]
    [volume] = bed.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [one["InstanceId"]]}])["Volumes"]
    assert volume["Tags"] == [{"Key": "Name", "Value": "foo-m0"}]
