"""Launch templates: a launch has from them what it does not say itself."""
import base64
import uuid

import pytest
from refusals import refused

IMAGE = "resolve:ssm:/aws/service/testkit/docker/26.1/ami-id"


@pytest.fixture
def template(bed):
    """Makes templates, and removes them."""
    made: list = []

    def make(**data) -> dict:
        told = bed.ec2.create_launch_template(LaunchTemplateName=uuid.uuid4().hex, LaunchTemplateData=data)["LaunchTemplate"]
        made.append(told["LaunchTemplateId"])
        return {"LaunchTemplateId": told["LaunchTemplateId"]}

    yield make
    for known in made:
        bed.ec2.delete_launch_template(LaunchTemplateId=known)


def launch(bed, template: dict, **more) -> dict:
    [one] = bed.ec2.run_instances(LaunchTemplate=template, MinCount=1, MaxCount=1, **more)["Instances"]
    return one


def data(bed) -> dict:
    subnet = next(s for s in bed.ec2.describe_subnets()["Subnets"] if s["AvailabilityZone"] == "us-east-1b")
    group = bed.ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="x")["GroupId"]
    return {"ImageId": IMAGE, "InstanceType": "t3.large", "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
            "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet["SubnetId"], "Groups": [group]}],
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 12, "VolumeType": "io1", "Iops": 200}}],
            "TagSpecifications": [{"ResourceType": kind, "Tags": [{"Key": "from", "Value": "template"}]} for kind in ("instance", "volume")],
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}}


def test_all_of_a_launch_may_be_the_templates(bed, template):
    wanted = data(bed)
    told = template(**wanted)
    one = launch(bed, told)
    assert one["InstanceType"] == "t3.large" and one["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert bed.ec2.describe_images(ImageIds=[one["ImageId"]])["Images"][0]["Name"].startswith("testkit-docker-26.1-")
    assert [group["GroupId"] for group in one["SecurityGroups"]] == wanted["NetworkInterfaces"][0]["Groups"]
    assert one["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
    assert tags == {"from": "template", "aws:ec2launchtemplate:id": told["LaunchTemplateId"], "aws:ec2launchtemplate:version": "1"}
    [volume] = bed.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [one["InstanceId"]]}])["Volumes"]
    assert (volume["Size"], volume["Iops"], volume["Tags"]) == (12, 200, [{"Key": "from", "Value": "template"}])
    told = bed.ec2.describe_instance_attribute(InstanceId=one["InstanceId"], Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(told) == b"#!/bin/sh\n"


def test_what_a_launch_says_itself_holds(bed, template):
    one = launch(bed, template(ImageId=IMAGE, InstanceType="t3.large"), InstanceType="t3.small")
    assert one["InstanceType"] == "t3.small"
    with refused("InvalidParameterCombination", "Network interfaces and an instance-level subnet ID may not be specified"):
        launch(bed, template(**data(bed)), SubnetId=bed.ec2.describe_subnets()["Subnets"][0]["SubnetId"])


def test_versions(bed, template):
    told = template(ImageId=IMAGE, InstanceType="t3.large")
    bed.ec2.create_launch_template_version(**told, SourceVersion="1", LaunchTemplateData={"InstanceType": "t3.small"})
    assert launch(bed, told)["InstanceType"] == "t3.large"
    for version, wanted in (("$Latest", "t3.small"), ("2", "t3.small"), ("$Default", "t3.large"), ("1", "t3.large")):
        one = launch(bed, told | {"Version": version})
        assert one["InstanceType"] == wanted, version
    bed.ec2.modify_launch_template(**told, DefaultVersion="2")
    assert launch(bed, told)["InstanceType"] == "t3.small"


@pytest.mark.parametrize("wanted, code, words", [
    ({"LaunchTemplateId": "lt-0123456789abcdef0"}, "InvalidLaunchTemplateId.NotFound", "with template ID lt-0123456789abcdef0, does not exist"),
    ({"LaunchTemplateName": "none"}, "InvalidLaunchTemplateName.NotFoundException", "with template name none, does not exist"),
    ({"LaunchTemplateId": "lt-0123456789abcdef0", "LaunchTemplateName": "none"}, "InvalidParameterCombination", "but not both"),
    ({"Version": "1"}, "MissingParameter", "launchTemplateId")])
def test_templates_that_there_are_not(bed, wanted, code, words):
    with refused(code, words, status=400):
        launch(bed, wanted)


def test_a_version_that_there_is_not(bed, template):
    told = template(ImageId=IMAGE)
    for version in ("2", "0", "x"):
        with refused("InvalidLaunchTemplateId.VersionNotFound", version, status=400):
            launch(bed, told | {"Version": version})


@pytest.mark.parametrize("wanted, code", [
    ({"InstanceType": "t3.small"}, "MissingParameter"), ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"), ({"ImageId": IMAGE, "InstanceType": "t4g.small"}, "InvalidParameterValue"),
    ({"ImageId": IMAGE, "UserData": base64.b64encode(b"x" * 16385).decode()}, "InvalidParameterValue"),
    ({"ImageId": IMAGE, "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "io1", "VolumeSize": 9}}]}, "InvalidParameterCombination")])
def test_what_a_template_says_is_looked_at_as_if_the_launch_said_it(bed, template, wanted, code):
    before = len(bed.control("instances?all=1"))
    with refused(code, status=400):
        launch(bed, template(**wanted))
    assert len(bed.control("instances?all=1")) == before


def test_a_token_is_for_what_the_launch_says(bed, template):
    """A template that changed in between makes no other request of it."""
    told, token = template(ImageId=IMAGE, InstanceType="t3.large"), uuid.uuid4().hex
    first = launch(bed, told, ClientToken=token)
    bed.ec2.create_launch_template_version(**told, LaunchTemplateData={"ImageId": IMAGE, "InstanceType": "t3.small"})
    bed.ec2.modify_launch_template(**told, DefaultVersion="2")
    assert launch(bed, told, ClientToken=token)["InstanceId"] == first["InstanceId"]


def test_permissions_are_of_what_the_template_says(bed, template):
    """A template is no way around a condition."""
    import boto3
    from botocore.config import Config
    policy = lambda condition: {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["ec2:*", "ssm:*"], "Resource": "*"},
        {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": condition}]}

    def user(condition: dict):
        keys = bed.control("users/templates", "PUT", policy(condition))
        return boto3.client("ec2", endpoint_url=bed.url, region_name="us-east-1", aws_access_key_id=keys["accessKeyId"],
                            aws_secret_access_key=keys["secretAccessKey"], config=Config(retries={"total_max_attempts": 1}))

    told = template(ImageId=IMAGE, InstanceType="m5.large", MetadataOptions={"HttpTokens": "optional"})
    run = lambda ec2, **more: ec2.run_instances(LaunchTemplate=told, MinCount=1, MaxCount=1, **more)
    try:
        ec2 = user({"StringNotLike": {"ec2:InstanceType": "t3.*"}})
        with refused("UnauthorizedOperation", "ec2:RunInstances", "explicit deny"):
            run(ec2)
        run(ec2, InstanceType="t3.small")
        ec2 = user({"StringNotEquals": {"ec2:MetadataHttpTokens": "required"}})
        with refused("UnauthorizedOperation"):
            run(ec2)
        ec2 = user({"Bool": {"ec2:IsLaunchTemplateResource": "false"}})
        run(ec2)
        with refused("UnauthorizedOperation"):
            run(ec2, InstanceType="t3.small")
        ec2 = user({"ArnNotLike": {"ec2:LaunchTemplate": f"arn:aws:ec2:*:*:launch-template/{told['LaunchTemplateId']}"}})
        run(ec2)
        with refused("UnauthorizedOperation"):
            ec2.run_instances(ImageId=IMAGE, InstanceType="t3.small", MinCount=1, MaxCount=1)
    finally:
        bed.control("users/templates", "DELETE")
