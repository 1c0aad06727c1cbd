"""Whose a call is, and what its policy allows: above all the operator's, with the policy the project ships."""
import copy
import json
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from refusals import refused

SHIPPED = json.loads(Path(__file__).resolve().parents[3].joinpath("deploy/iam-policy.json").read_text().replace("INSTALLATION", "here"))
MINE = [{"Key": "testkit.dev/installation", "Value": "here"}]
THEIRS = [{"Key": "testkit.dev/installation", "Value": "elsewhere"}]
NOT_ALLOWED = "because no identity-based policy allows the {0} action. Encoded authorization failure message: "


def client(bed, user: dict, service: str = "ec2", region: str = "us-east-1", **other):
    keys = {"aws_access_key_id": user["accessKeyId"], "aws_secret_access_key": user["secretAccessKey"]} | other
    return boto3.client(service, endpoint_url=bed.url, region_name=region, config=Config(retries={"total_max_attempts": 1}), **keys)


@pytest.fixture
def user(bed):
    """Makes users, each with the statements it is given in place of all policy."""
    made = []

    def make(*statements: dict, **document) -> dict:
        made.append(f"user-{uuid.uuid4().hex[:8]}")
        allow = [{"Effect": "Allow"} | ({} if "NotResource" in statement else {"Resource": "*"}) | statement for statement in statements]
        return bed.control(f"users/{made[-1]}", "PUT", {"Version": "2012-10-17", "Statement": allow} | document)

    yield make
    for name in made:
        bed.control(f"users/{name}", "DELETE")


@pytest.fixture
def operator(bed, user):
    return client(bed, user(**SHIPPED))


def tagged(tags: list, *kinds: str) -> list:
    return [{"ResourceType": kind, "Tags": tags} for kind in kinds or ("instance", "volume", "network-interface")]


def launch(ec2, **other):
    from conftest import UBUNTU
    asked = {"ImageId": UBUNTU, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.medium", "TagSpecifications": tagged(MINE),
             "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}} | other
    return ec2.run_instances(**{key: value for key, value in asked.items() if value is not None})["Instances"][0]["InstanceId"]


def group(ec2, tags=MINE, **other) -> str:
    tags = tagged(tags, "security-group") if tags else []
    return ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="test", TagSpecifications=tags, **other)["GroupId"]


def test_users_are_kept_over_the_control(bed, user):
    one = user({"Action": "ec2:DescribeImages"})
    with refused("UnauthorizedOperation", "ec2:DescribeInstances"):
        client(bed, one).describe_instances()
    again = bed.control(f"users/{one['name']}", "PUT", {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}]})
    assert {key: again[key] for key in ("accessKeyId", "secretAccessKey")} == {key: one[key] for key in ("accessKeyId", "secretAccessKey")}
    client(bed, one).describe_instances()
    assert bed.control(f"users/{one['name']}") == again and again in bed.control("users")
    assert bed.refused("users/nobody", "GET")[0] == 404
    code, words = bed.refused("users/other", "PUT", {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*"}]})
    assert code == 400 and "one of Resource and NotResource" in words
    assert bed.refused("users/administrator", "PUT", SHIPPED)[0] == 400


# -- what ---------------------------------------------------------------------------------------------------------


def test_the_operator_may_do_what_it_does(bed, operator):
    operator.describe_vpcs(), operator.describe_subnets(), operator.describe_images()
    made = group(operator, VpcId=operator.describe_vpcs()["Vpcs"][0]["VpcId"])
    rule = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}]
    operator.authorize_security_group_ingress(GroupId=made, IpPermissions=rule)
    operator.revoke_security_group_ingress(GroupId=made, IpPermissions=rule)
    one = launch(operator, SecurityGroupIds=[made], SubnetId=operator.describe_subnets()["Subnets"][0]["SubnetId"],
                 BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20}}])
    operator.describe_instances(InstanceIds=[one])
    operator.get_console_output(InstanceId=one)
    operator.terminate_instances(InstanceIds=[one])
    bed.until_state(one, "terminated")
    operator.delete_security_group(GroupId=made)


@pytest.mark.parametrize("change, action, kind", [
    ({"TagSpecifications": None}, "ec2:RunInstances", "instance/*"),
    ({"TagSpecifications": tagged(THEIRS)}, "ec2:RunInstances", "instance/*"),
    ({"TagSpecifications": tagged(MINE, "instance", "network-interface")}, "ec2:RunInstances", "volume/*"),
    ({"TagSpecifications": tagged(MINE, "instance", "volume")}, "ec2:RunInstances", "network-interface/*"),
    ({"TagSpecifications": tagged(MINE) + tagged(MINE, "spot-instances-request")}, "ec2:RunInstances", "spot-instances-request/*"),
    ({"MetadataOptions": {"HttpTokens": "optional"}}, "ec2:RunInstances", "instance/*"),
    ({"MetadataOptions": {}}, "ec2:RunInstances", "instance/*"),
    ({"KeyName": "mine"}, "ec2:RunInstances", "key-pair/mine"),
    ({"ImageId": "resolve:ssm:/my/own/image"}, "ssm:GetParameters", "parameter/my/own/image"),
])
def test_a_launch_needs_all_of_its_parts(bed, operator, change, action, kind):
    if "KeyName" in change and not bed.ec2.describe_key_pairs()["KeyPairs"]:
        bed.ec2.create_key_pair(KeyName="mine")
    bed.client("ssm").put_parameter(Name="/my/own/image", Value="ami-0123456789abcdef0", Type="String", Overwrite=True)
    before = bed.control("instances?all=1")
    arn = f"arn:aws:{action[:3]}:us-east-1:123456789012:{kind}"
    with refused("UnauthorizedOperation", "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/user-",
                 f" is not authorized to perform: {action} on resource: {arn} {NOT_ALLOWED.format(action)}", status=403):
        launch(operator, **change)
    assert len(bed.control("instances?all=1")) == len(before)


def test_what_a_launch_names_by_a_name_is_a_part_of_it(bed, operator):
    name = uuid.uuid4().hex
    bed.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"InstanceType": "t3.small"})
    for change, part in (({"LaunchTemplate": {"LaunchTemplateName": name}}, "launch-template/lt-"), ({"Placement": {"GroupName": name}}, f"placement-group/{name}")):
        with refused("UnauthorizedOperation", f"ec2:RunInstances on resource: arn:aws:ec2:us-east-1:123456789012:{part}"):
            launch(operator, **change)


def test_only_what_is_ours_is_touched(bed, operator):
    for tags in (THEIRS, None):
        other = launch(bed.ec2, TagSpecifications=tagged(tags) if tags else None)
        theirs = group(bed.ec2, tags)
        rule = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        mine = launch(operator)
        for action, resource, call in (
                ("TerminateInstances", f"instance/{other}", lambda: operator.terminate_instances(InstanceIds=[mine, other])),
                ("GetConsoleOutput", f"instance/{other}", lambda: operator.get_console_output(InstanceId=other)),
                ("StopInstances", f"instance/{mine}", lambda: operator.stop_instances(InstanceIds=[mine])),
                ("DeleteSecurityGroup", f"security-group/{theirs}", lambda: operator.delete_security_group(GroupId=theirs)),
                ("AuthorizeSecurityGroupIngress", f"security-group/{theirs}",
                 lambda: operator.authorize_security_group_ingress(GroupId=theirs, IpPermissions=rule)),
                ("CreateTags", f"instance/{other}", lambda: operator.create_tags(Resources=[other], Tags=MINE)),
                ("CreateTags", f"instance/{mine}", lambda: operator.create_tags(Resources=[mine], Tags=MINE)),
                ("DeleteTags", f"instance/{mine}", lambda: operator.delete_tags(Resources=[mine], Tags=MINE)),
                ("DescribeKeyPairs", "*", operator.describe_key_pairs)):
            with refused("UnauthorizedOperation", status=403) as raised:
                call()
            words, allows = raised.value.response["Error"]["Message"], f"because no identity-based policy allows the ec2:{action} action"
            if resource == "*":
                assert words.endswith(f" is not authorized to perform: ec2:{action} {allows}")
            else:
                on = f"ec2:{action} on resource: arn:aws:ec2:us-east-1:123456789012:{resource}"
                assert f"{on} {allows}. Encoded authorization failure message: " in words
        assert bed.state(mine) in ("pending", "running") and bed.state(other) in ("pending", "running"), "not even one of the two"


def test_what_does_not_exist_is_said_to_whoever_may(operator):
    with refused("InvalidInstanceID.NotFound"):
        operator.terminate_instances(InstanceIds=["i-0123456789abcdef0"])
    with refused("InvalidGroup.NotFound"):
        operator.delete_security_group(GroupId="sg-0123456789abcdef0")


@pytest.mark.parametrize("call, action", [
    (lambda ec2, of: ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"]), "TerminateInstances"),
    (lambda ec2, of: ec2.get_console_output(InstanceId="i-0123456789abcdef0"), "GetConsoleOutput"),
    (lambda ec2, of: ec2.delete_security_group(GroupId="sg-0123456789abcdef0"), "DeleteSecurityGroup"),
    (lambda ec2, of: ec2.delete_security_group(GroupName=of["name"]), "DeleteSecurityGroup"),
    (lambda ec2, of: ec2.authorize_security_group_ingress(GroupName=of["name"], IpProtocol="tcp", FromPort=1, ToPort=1, CidrIp="0.0.0.0/0"),
     "AuthorizeSecurityGroupIngress"),
    (lambda ec2, of: ec2.create_tags(Resources=[of["gateway"]], Tags=MINE), "CreateTags"),
    (lambda ec2, of: ec2.delete_internet_gateway(InternetGatewayId=of["gateway"]), "DeleteInternetGateway"),
    (lambda ec2, of: ec2.allocate_address(), "AllocateAddress")])
def test_nothing_is_done_without_a_word_of_the_policy(bed, user, call, action):
    """Whatever a call names its resources by, and whether they are there."""
    name = uuid.uuid4().hex
    made = bed.ec2.create_security_group(GroupName=name, Description="x")["GroupId"]
    gateway = bed.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with refused("UnauthorizedOperation", f"ec2:{action}", status=403):
        call(client(bed, user({"Action": "ec2:Describe*"})), {"name": name, "gateway": gateway})
    [left] = bed.ec2.describe_security_groups(GroupIds=[made])["SecurityGroups"]
    assert not left["IpPermissions"] and not bed.ec2.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"][0]["Tags"]


def test_a_group_is_judged_by_its_tags_whatever_it_is_named_by(bed, operator):
    name = uuid.uuid4().hex
    bed.ec2.create_security_group(GroupName=name, Description="x")
    with refused("UnauthorizedOperation", "ec2:DeleteSecurityGroup on resource: arn:aws:ec2:us-east-1:123456789012:security-group/sg-"):
        operator.delete_security_group(GroupName=name)


@pytest.mark.parametrize("key, value, allowed", [
    ("aws:ViaAWSService", "false", True), ("aws:PrincipalIsAWSService", "false", True), ("aws:SecureTransport", "true", True),
    ("aws:ViaAWSService", "true", False), ("aws:MultiFactorAuthPresent", "false", False)])
def test_keys_of_every_request(bed, user, key, value, allowed):
    one = client(bed, user({"Action": "ec2:DescribeVpcs", "Condition": {"Bool": {key: value}}}))
    if allowed:
        one.describe_vpcs()
    else:
        with refused("UnauthorizedOperation"):
            one.describe_vpcs()


def test_a_key_of_ec2_is_no_key_of_systems_manager(bed, user):
    here = {"Condition": {"StringEquals": {"ec2:Region": "us-east-1"}}}
    one = user({"Action": ["ec2:DescribeVpcs", "ssm:GetParameters"]} | here)
    client(bed, one).describe_vpcs()
    with refused("AccessDeniedException", "ssm:GetParameters"):
        client(bed, one, "ssm").get_parameters(Names=["/aws/service/testkit/docker/28.5/ami-id"])


def test_a_group_is_made_with_our_tag_only(operator):
    for tags in (None, THEIRS):
        with refused("UnauthorizedOperation", "ec2:CreateSecurityGroup on resource: arn:aws:ec2:us-east-1:123456789012:security-group/*"):
            group(operator, tags)


def test_a_parameter_of_systems_manager(bed, user):
    one = user({"Action": "ssm:GetParameters", "Resource": "arn:aws:ssm:*::parameter/aws/service/testkit/*"})
    ssm, name = client(bed, one, "ssm"), "/aws/service/testkit/docker/28.5/ami-id"
    assert len(ssm.get_parameters(Names=[name])["Parameters"]) == 1
    with refused("AccessDeniedException", "User: arn:aws:iam::123456789012:user/", "ssm:GetParameter on resource: arn:aws:ssm:us-east-1::parameter"):
        ssm.get_parameter(Name=name)
    with refused("AccessDeniedException", "parameter/aws/service/canonical"):
        ssm.get_parameters(Names=[name, "/aws/service/canonical/ubuntu"])


@pytest.mark.parametrize("statement, change, allowed", [
    ({"StringEquals": {"ec2:InstanceType": ["t3.small", "t3.medium"]}}, {}, True),
    ({"StringLike": {"ec2:InstanceType": "m5.*"}}, {}, False),
    ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, {}, True),
    ({"StringEquals": {"ec2:Region": "eu-central-1"}}, {}, False),
    ({"NumericLessThanEquals": {"ec2:MetadataHttpPutResponseHopLimit": "1"}}, {}, True),
    ({"NumericLessThanEquals": {"ec2:MetadataHttpPutResponseHopLimit": "1"}}, {"MetadataOptions": {"HttpPutResponseHopLimit": 2}}, False),
    ({"ForAllValues:StringEquals": {"aws:TagKeys": ["testkit.dev/installation"]}}, {}, True),
    ({"ForAllValues:StringEquals": {"aws:TagKeys": ["Name"]}}, {}, False),
    ({"StringEquals": {"ec2:InstanceMarketType": "spot"}}, {}, False),
    ({"StringEquals": {"ec2:InstanceMarketType": "spot"}}, {"InstanceMarketOptions": {"MarketType": "spot"}}, True),
    # No key of an instance that is being launched.
    ({"StringEquals": {"aws:ResourceTag/testkit.dev/installation": "here"}}, {}, False),
])
def test_conditions_on_what_is_launched(bed, user, statement, change, allowed):
    instance = "arn:aws:ec2:*:*:instance/*"
    one = client(bed, user({"Action": ["ec2:CreateTags", "ssm:*"]}, {"Action": "ec2:RunInstances", "NotResource": instance},
                           {"Action": "ec2:RunInstances", "Resource": instance, "Condition": statement}))
    if allowed:
        launch(one, **change)
    else:
        with refused("UnauthorizedOperation", "ec2:RunInstances"):
            launch(one, **change)


def test_conditions_on_the_network(bed, user):
    subnets = bed.ec2.describe_subnets()["Subnets"]
    arn = "arn:aws:ec2:us-east-1:123456789012:subnet/" + subnets[0]["SubnetId"]
    no = {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:network-interface/*"}
    one = client(bed, user({"Action": ["ec2:*", "ssm:*"]}, no | {"Condition": {"Null": {"ec2:Vpc": "true"}}},
                           no | {"Condition": {"ArnNotEquals": {"ec2:Subnet": arn}}},
                           no | {"Condition": {"StringNotEquals": {"ec2:AssociatePublicIpAddress": "false"}}}))

    def into(subnet: dict, public: bool) -> str:
        return launch(one, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet["SubnetId"], "AssociatePublicIpAddress": public}])

    into(subnets[0], False)
    for subnet, public in ((subnets[0], True), (subnets[1], False)):
        with refused("UnauthorizedOperation", "network-interface/*", "explicit deny"):
            into(subnet, public)


def test_an_instance_profile_needs_its_role_to_be_passed(bed, user):
    iam, name = bed.client("iam"), f"profile-{uuid.uuid4().hex[:8]}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    launched = {"Action": ["ec2:*", "ssm:*"]}
    with refused("UnauthorizedOperation", f"iam:PassRole on resource: {role}"):
        launch(client(bed, user(launched)), IamInstanceProfile={"Name": name})
    passed = {"Action": "iam:PassRole", "Resource": role, "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}}
    launch(client(bed, user(launched, passed)), IamInstanceProfile={"Name": name})


@pytest.mark.parametrize("sid, action", [(statement["Sid"], action) for statement in SHIPPED["Statement"]
                                         for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])])
def test_no_action_of_the_shipped_policy_is_in_it_twice(bed, user, sid, action):
    """What is taken away is missed by the one call it is for: the same call with and without."""
    document = copy.deepcopy(SHIPPED)
    statement = next(statement for statement in document["Statement"] if statement["Sid"] == sid)
    actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    statement["Action"] = [one for one in actions if one != action] or "none:None"
    full, less = client(bed, user(**SHIPPED)), client(bed, user(**document))
    mine, made = launch(full), group(full)
    rule = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}]
    calls = {
        "ec2:AuthorizeSecurityGroupIngress": lambda ec2: ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=rule),
        "ec2:RevokeSecurityGroupIngress": lambda ec2: ec2.revoke_security_group_ingress(GroupId=made, IpPermissions=rule),
        "ec2:CreateSecurityGroup": lambda ec2: group(ec2, VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"]),
        "ec2:DeleteSecurityGroup": lambda ec2: ec2.delete_security_group(GroupId=made),
        "ec2:GetConsoleOutput": lambda ec2: ec2.get_console_output(InstanceId=mine),
        "ec2:StartInstances": lambda ec2: ec2.start_instances(InstanceIds=[mine]),
        "ec2:TerminateInstances": lambda ec2: ec2.terminate_instances(InstanceIds=[mine]),
        "ec2:RunInstances": launch, "ec2:CreateTags": launch, "ssm:GetParameters": launch}
    name = action.partition(":")[2]
    call = calls.get(action) or (lambda ec2: ec2._make_api_call(name, {}))
    if action == "ec2:StartInstances":
        bed.until_state(mine, "running")
    if action == "ec2:RevokeSecurityGroupIngress":
        full.authorize_security_group_ingress(GroupId=made, IpPermissions=rule)
    with refused("UnauthorizedOperation", f"not authorized to perform: {action}", f"because no identity-based policy allows the {action} action"):
        call(less)
    call(full)
