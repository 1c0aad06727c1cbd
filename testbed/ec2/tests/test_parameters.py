"""What EC2 says of a call before it looks at anything: its parameters, filters and pages, by AWS's own model of each action."""
import uuid

import pytest
from refusals import refused

GONE = "0123456789abcdef0"


def by(name: str, *values: str) -> list:
    return [{"Name": name, "Values": list(values)}]


def changed(bed, action: str, change):
    """Whatever the SDK would send is sent changed."""
    def hook(params, **_):
        change(params["body"])

    class Changed:
        def __enter__(self):
            bed.ec2.meta.events.register_last(f"before-call.ec2.{action}", hook)

        def __exit__(self, *_):
            bed.ec2.meta.events.unregister(f"before-call.ec2.{action}", hook)

    return Changed()


@pytest.mark.parametrize("change, code, words", [
    (lambda body: body.update(Colour="red"), "UnknownParameter", "The parameter Colour is not recognized"),
    (lambda body: body.pop("MinCount"), "MissingParameter", "The request must contain the parameter MinCount"),
    (lambda body: body.update(MaxCount="many"), "InvalidParameterValue", "Value ( many ) for parameter maxCount is invalid."),
    (lambda body: body.update(EbsOptimized="perhaps"), "InvalidParameterValue", "perhaps"),
    (lambda body: body.update({"MetadataOptions.HttpTokens": "maybe"}), "InvalidParameterValue", "Value ( maybe ) for parameter httpTokens"),
    (lambda body: body.update({"InstanceMarketOptions.MarketType": "bazaar"}), "InvalidParameterValue", "marketType"),
    (lambda body: body.update(Action="WalkInstances"), "InvalidAction", "The action WalkInstances is not valid for this web service.")])
def test_parameters_are_those_of_the_action(bed, change, code, words):
    before = len(bed.control("instances?all=1"))
    with changed(bed, "RunInstances", change), refused(code, words, status=400):
        bed.launch()
    assert len(bed.control("instances?all=1")) == before


@pytest.mark.parametrize("action, filters", [
    ("describe_security_groups", ("group-name", "tag:a", "egress.ip-permission.group-id")), ("describe_network_interfaces", ("group-id",)),
    ("describe_subnets", ("availability-zone", "tag-key")), ("describe_vpcs", ("is-default",)), ("describe_images", ("state", "name")),
    ("describe_volumes", ("attachment.instance-id",)), ("describe_instances", ("client-token", "tag-value")),
    ("describe_instance_status", ("instance-state-name",))])
def test_filters_are_those_of_the_action(bed, action, filters):
    for name in filters:
        getattr(bed.ec2, action)(Filters=by(name, "x"))
    with refused("InvalidParameterValue", "The filter 'colour' is invalid", status=400):
        getattr(bed.ec2, action)(Filters=by("colour", "red"))


def test_what_the_bed_lacks_is_said_in_a_form_that_clients_read(bed):
    bed.launch()
    for call in (lambda: bed.ec2.describe_instances(Filters=by("hypervisor", "xen")), bed.ec2.describe_fpga_images):
        with refused("InternalFailure", "The test bed cannot do ec2:Describe", status=501):
            call()


def test_a_filter_has_a_limit_of_values(bed):
    bed.ec2.describe_instances(Filters=by("instance-id", *(f"i-{n:017x}" for n in range(200))))
    with refused("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200", status=400):
        bed.ec2.describe_instances(Filters=by("instance-id", *(f"i-{n:017x}" for n in range(201))))


@pytest.mark.parametrize("value, found", [
    ("a[b]c.d", True), ("a[b]*", True), ("?[b]c.d", True), ("a[b]c.d?", True), ("a[b]cxd", False), ("*", True), (r"a\*", False), ("A[B]C.D", False)])
def test_wildcards_of_filters(bed, value, found):
    name = uuid.uuid4().hex
    made = bed.ec2.create_security_group(GroupName=name, Description="a[b]c.d")["GroupId"]
    bed.ec2.create_tags(Resources=[made], Tags=[{"Key": "mark", "Value": "a[b]c.d"}])
    mine = by("group-id", made)
    for one in ("description", "tag:mark"):
        assert bool(bed.ec2.describe_security_groups(Filters=mine + by(one, value))["SecurityGroups"]) == found, one


def test_wildcards_of_instances(bed):
    [one] = bed.launch(InstanceType="t3.small")
    mine = by("instance-id", one["InstanceId"])
    for value, found in (("t3.*", True), ("t?.small", True), ("t3.s", False), ("T3.small", False)):
        assert bool(bed.ec2.describe_instances(Filters=mine + by("instance-type", value))["Reservations"]) == found, value


@pytest.mark.parametrize("call, code, words", [
    (lambda ec2: ec2.terminate_instances(InstanceIds=["web-1"]), "InvalidInstanceID.Malformed", 'Invalid id: "web-1" (expecting "i-...")'),
    (lambda ec2: ec2.terminate_instances(InstanceIds=["i-xyz"]), "InvalidInstanceID.Malformed", 'Invalid id: "i-xyz"'),
    (lambda ec2: ec2.get_console_output(InstanceId="i-1"), "InvalidInstanceID.Malformed", '"i-1"'),
    (lambda ec2: ec2.delete_security_group(GroupId="default"), "InvalidGroupId.Malformed", '"default" (expecting "sg-...")'),
    (lambda ec2: ec2.describe_images(ImageIds=["ami-hello"]), "InvalidAMIID.Malformed", '"ami-hello"'),
    (lambda ec2: ec2.describe_security_groups(GroupIds=[f"sg-{GONE}"]), "InvalidGroup.NotFound", f"The security group 'sg-{GONE}' does not exist"),
    (lambda ec2: ec2.describe_vpcs(VpcIds=[f"vpc-{GONE}"]), "InvalidVpcID.NotFound", f"The vpc ID 'vpc-{GONE}' does not exist"),
    (lambda ec2: ec2.describe_subnets(SubnetIds=[f"subnet-{GONE}"]), "InvalidSubnetID.NotFound", f"The subnet ID 'subnet-{GONE}' does not exist"),
    (lambda ec2: ec2.describe_images(ImageIds=[ec2.describe_images()["Images"][0]["ImageId"], f"ami-{GONE}"]), "InvalidAMIID.NotFound",
     f"The image id '[ami-{GONE}]' does not exist"),
    (lambda ec2: ec2.describe_volumes(VolumeIds=[f"vol-{GONE}"]), "InvalidVolume.NotFound", f"The volume 'vol-{GONE}' does not exist"),
    (lambda ec2: ec2.describe_network_interfaces(NetworkInterfaceIds=[f"eni-{GONE}", "eni-00000000"]), "InvalidNetworkInterfaceID.NotFound",
     f"The networkInterface IDs 'eni-{GONE}, eni-00000000' do not exist")])
def test_ids_that_name_nothing(bed, call, code, words):
    with refused(code, words, status=400):
        call(bed.ec2)


def test_groups_come_in_pages(bed):
    mark = uuid.uuid4().hex
    made = {bed.ec2.create_security_group(GroupName=f"{mark}-{n}", Description="x")["GroupId"] for n in range(12)}
    mine = by("group-name", f"{mark}-*")
    pages = list(bed.ec2.get_paginator("describe_security_groups").paginate(Filters=mine, PaginationConfig={"PageSize": 5}))
    assert [len(page["SecurityGroups"]) for page in pages] == [5, 5, 2]
    assert {group["GroupId"] for page in pages for group in page["SecurityGroups"]} == made
    assert "NextToken" not in bed.ec2.describe_security_groups(Filters=mine)
    first = bed.ec2.describe_security_groups(Filters=mine, MaxResults=5)
    for group in first["SecurityGroups"]:
        bed.ec2.delete_security_group(GroupId=group["GroupId"])
    rest = bed.ec2.describe_security_groups(Filters=mine, MaxResults=10, NextToken=first["NextToken"])
    assert {group["GroupId"] for group in rest["SecurityGroups"]} == made - {group["GroupId"] for group in first["SecurityGroups"]}
    with refused("InvalidNextToken", status=400):
        bed.ec2.describe_security_groups(NextToken="nonsense")
    with changed(bed, "DescribeSecurityGroups", lambda body: body.update(MaxResults="4")), refused("InvalidParameterValue", "maxResults"):
        bed.ec2.describe_security_groups()


@pytest.fixture
def seven(bed):
    """Seven of many things, found by a tag."""
    mark, zone = uuid.uuid4().hex, "us-east-1a"
    of = lambda kind: [{"ResourceType": kind, "Tags": [{"Key": "mark", "Value": mark}]}]
    subnet = bed.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    launched = bed.launch(MinCount=7, MaxCount=7, TagSpecifications=of("instance"))
    volumes = [bed.ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=of("volume"))["VolumeId"] for _ in range(7)]
    nics = [bed.ec2.create_network_interface(SubnetId=subnet, TagSpecifications=of("network-interface"))["NetworkInterface"]["NetworkInterfaceId"]
            for _ in range(7)]
    vpcs = [bed.ec2.create_vpc(CidrBlock=f"10.{n}.0.0/16", TagSpecifications=of("vpc"))["Vpc"]["VpcId"] for n in range(1, 8)]
    subnets = [bed.ec2.create_subnet(VpcId=vpcs[0], CidrBlock=f"10.1.{n}.0/24", TagSpecifications=of("subnet"))["Subnet"]["SubnetId"]
               for n in range(7)]
    for instance in launched:
        bed.until_state(instance["InstanceId"], "running")
    yield by("tag:mark", mark), [instance["InstanceId"] for instance in launched]
    for subnet in subnets:
        bed.ec2.delete_subnet(SubnetId=subnet)
    for vpc in vpcs:
        bed.ec2.delete_vpc(VpcId=vpc)
    for nic in nics:
        bed.ec2.delete_network_interface(NetworkInterfaceId=nic)
    for volume in volumes:
        bed.ec2.delete_volume(VolumeId=volume)
    bed.ec2.terminate_instances(InstanceIds=[instance["InstanceId"] for instance in launched])


def test_every_list_comes_in_pages(bed, seven):
    mine, instances = seven
    for action, name, asked in (("describe_volumes", "Volumes", mine), ("describe_network_interfaces", "NetworkInterfaces", mine),
                                ("describe_subnets", "Subnets", mine), ("describe_vpcs", "Vpcs", mine), ("describe_tags", "Tags", by("key", "mark")),
                                ("describe_instance_status", "InstanceStatuses", by("instance-state-name", "running")),
                                ("describe_security_group_rules", "SecurityGroupRules", []), ("describe_instance_types", "InstanceTypes", by("instance-type", "t3*"))):
        every = getattr(bed.ec2, action)(Filters=asked)
        assert "NextToken" not in every and len(every[name]) >= 7, action
        pages = list(bed.ec2.get_paginator(action).paginate(Filters=asked, PaginationConfig={"PageSize": 5}))
        assert [len(page[name]) for page in pages[:-1]] == [5] * (len(pages) - 1) and len(pages) > 1, action
        shown = lambda found: sorted(map(repr, found))
        assert shown(one for page in pages for one in page[name]) == shown(every[name]), action
        with refused("InvalidNextToken", status=400):
            getattr(bed.ec2, action)(Filters=asked, NextToken="nonsense")


def test_a_page_of_volumes_goes_on_where_it_was(bed, seven):
    mine, _ = seven
    first = bed.ec2.describe_volumes(Filters=mine, MaxResults=5)
    more = bed.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    rest = bed.ec2.describe_volumes(Filters=mine, MaxResults=5, NextToken=first["NextToken"])
    assert len(rest["Volumes"]) == 2 and not {volume["VolumeId"] for volume in rest["Volumes"]} & {volume["VolumeId"] for volume in first["Volumes"]}
    bed.ec2.delete_volume(VolumeId=more)


def test_what_a_page_may_hold(bed, seven):
    _, instances = seven
    for action in ("describe_volumes", "describe_instance_status", "describe_tags"):
        with refused("InvalidParameterValue", "Value ( 4 ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.", status=400):
            getattr(bed.ec2, action)(MaxResults=4)
    with refused("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults", status=400):
        bed.ec2.describe_instance_status(InstanceIds=instances[:1], MaxResults=5)
    nic = bed.ec2.describe_network_interfaces()["NetworkInterfaces"][0]["NetworkInterfaceId"]
    with refused("InvalidParameterCombination", "cannot be used with the parameter maxResults", status=400):
        bed.ec2.describe_network_interfaces(NetworkInterfaceIds=[nic], MaxResults=5)


def test_versions_of_a_template_come_in_pages(bed):
    name = uuid.uuid4().hex
    bed.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"InstanceType": "t3.small"})
    for _ in range(19):
        bed.ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData={"InstanceType": "t3.large"})
    assert len(bed.ec2.describe_launch_template_versions(LaunchTemplateName=name)["LaunchTemplateVersions"]) == 20
    pages = list(bed.ec2.get_paginator("describe_launch_template_versions").paginate(LaunchTemplateName=name, PaginationConfig={"PageSize": 8}))
    assert sorted(version["VersionNumber"] for page in pages for version in page["LaunchTemplateVersions"]) == list(range(1, 21)) and len(pages) == 3
    bed.ec2.delete_launch_template(LaunchTemplateName=name)


@pytest.mark.parametrize("call", [
    lambda ec2: ec2.describe_security_groups(DryRun=True), lambda ec2: ec2.describe_volumes(DryRun=True),
    lambda ec2: ec2.create_security_group(GroupName="dry", Description="x", DryRun=True)])
def test_a_dry_run_is_always_dry(bed, call):
    with refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", status=412):
        call(bed.ec2)
    assert not bed.ec2.describe_security_groups(Filters=by("group-name", "dry"))["SecurityGroups"]
