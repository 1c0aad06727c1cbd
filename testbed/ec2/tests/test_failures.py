"""What the knobs make go wrong, and that it looks as it does on EC2."""
import time
import uuid

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError
from refusals import refused


def asked_until_throttled(call, most: int) -> int:
    """How many calls are let through before one is throttled."""
    for count in range(most + 1):
        try:
            call()
        except Exception as error:
            assert error.response["Error"]["Code"] == "RequestLimitExceeded", error
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
            return count
    return most + 1


def test_launches_have_a_bucket_of_five_that_gains_two_a_second(bed):
    bed.knobs(buckets=True)
    for full, pause in ((5, 1.1), (2, 0)):
        begun = time.monotonic()
        let_through = asked_until_throttled(bed.launch, 10)
        # On a busy machine more come in while they are being launched.
        assert full <= let_through <= full + 1 + 2 * (time.monotonic() - begun)
        time.sleep(pause)


@pytest.mark.parametrize("call, size, refill", [
    (lambda bed: bed.ec2.describe_instances(), 50, 10),
    (lambda bed: bed.ec2.describe_instances(Filters=[{"Name": "tag:x", "Values": ["y"]}]), 100, 20),
    (lambda bed: bed.ec2.create_tags(Resources=["i-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "b"}]), 100, 10),
    (lambda bed: bed.ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"]), 100, 5),
])
def test_every_kind_of_request_has_a_bucket(bed, call, size, refill):
    """By the endpoint's own count of what it let through, as fast as it can be asked."""
    from ec2.knobs import Limits
    from ec2.requests import Call
    seen: list = []
    bed.ec2.meta.events.register("before-send.ec2", lambda request, **_: seen.append(request.body))
    try:
        call(bed)
    except Exception as error:
        assert "RequestLimitExceeded" not in str(error)
    from urllib.parse import parse_qsl
    parameters = dict(parse_qsl(seen[0].decode() if isinstance(seen[0], bytes) else seen[0]))
    limits, made = Limits(), Call("ec2", "us-east-1", parameters["Action"], parameters)
    let_through, begun = 0, time.monotonic()
    while limits.allow(made):
        let_through += 1
    # What came in meanwhile: next to nothing, unless something else was done in between.
    assert size <= let_through <= size + 1 + refill * (time.monotonic() - begun)
    elsewhere = Call("ec2", "eu-west-1", parameters["Action"], parameters)
    assert limits.allow(elsewhere), "regions have buckets of their own"


def test_a_share_of_all_calls_is_throttled(bed):
    bed.knobs(throttle=0.5)
    refusals = 0
    for _ in range(60):
        try:
            bed.ec2.describe_images()
        except Exception as error:
            assert error.response["Error"] == {"Code": "RequestLimitExceeded", "Message": "Request limit exceeded."}
            refusals += 1
    assert 10 < refusals < 50
    bed.knobs(throttle=1.0)
    with refused("ThrottlingException"):
        bed.client("ssm").get_parameter(Name="/aws/service/testkit/docker/28.5/ami-id")


def test_latency(bed):
    bed.knobs(latency_ms=300)
    begun = time.monotonic()
    bed.ec2.describe_regions()
    assert time.monotonic() - begun >= 0.3


def test_no_capacity_by_type_and_zone(bed):
    bed.knobs(capacity=[{"type": "t3.medium", "zone": "us-east-1a"}, {"type": "m5.large"}])
    subnets = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in bed.ec2.describe_subnets()["Subnets"]}
    with refused("InsufficientInstanceCapacity", "We currently do not have sufficient t3.medium capacity in the Availability "
                 "Zone you requested (us-east-1a)", status=500):
        bed.launch(SubnetId=subnets["us-east-1a"])
    with refused("InsufficientInstanceCapacity"):
        bed.launch(Placement={"AvailabilityZone": "us-east-1a"})
    bed.launch(SubnetId=subnets["us-east-1b"])
    bed.launch(InstanceType="t3a.medium")
    for zone in ("us-east-1a", "us-east-1b"):
        with refused("InsufficientInstanceCapacity"):
            bed.launch(InstanceType="m5.large", SubnetId=subnets[zone])


def test_unauthorized(bed):
    bed.knobs(unauthorized=["ec2:RunInstances", "CreateSecurityGroup", "ssm:*"])
    with refused("UnauthorizedOperation", "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:",
                 "is not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:us-east-1:123456789012:instance/*",
                 status=403):
        bed.launch()
    with refused("UnauthorizedOperation", "ec2:CreateSecurityGroup"):
        bed.ec2.create_security_group(GroupName="x", Description="x")
    with refused("AccessDeniedException", "ssm:GetParameter"):
        bed.client("ssm").get_parameter(Name="/aws/service/testkit/docker/28.5/ami-id")
    bed.ec2.describe_instances()
    bed.knobs(unauthorized=[])
    bed.launch()


@pytest.fixture
def empty(bed):
    """A region without instances."""
    ec2 = bed.client("ec2", "ca-central-1")
    yield lambda instance_type="t3.medium", **more: bed.launch(ec2, InstanceType=instance_type, **more)
    left = [i["InstanceId"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    ec2.terminate_instances(InstanceIds=left or ["i-0123456789abcdef0"])
    bed.until("the region empty", lambda: {bed.state(i) for i in left} == {"terminated"})


def test_a_quota_counts_vcpus(bed, empty):
    bed.knobs(vcpu_limit=10)
    with refused("VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of 10 allows for the instance bucket "
                 "that the specified instance type belongs to.", status=400):
        empty("m5.4xlarge")
    empty("m5.2xlarge")
    [one] = empty("t3.medium")
    with refused("VcpuLimitExceeded"):
        empty("c5.large")
    bed.client("ec2", "ca-central-1").terminate_instances(InstanceIds=[one["InstanceId"]])
    bed.until_state(one["InstanceId"], "terminated")
    empty("c5.large")


def test_every_family_has_its_quota(bed, empty):
    bed.knobs(vcpu_limit={"Standard": 2, "G": 0})
    empty("t3.medium")
    with refused("VcpuLimitExceeded", "limit of 0"):
        empty("g4dn.xlarge")
    with refused("VcpuLimitExceeded", "limit of 2"):
        empty("r5.large")
    empty("x1.16xlarge")
    bed.knobs(vcpu_limit=64)
    empty("g4dn.xlarge")
    assert bed.refused("knobs", "PUT", {"vcpu_limit": {"T": 3}})[0] == 400


def test_spot_has_quotas_of_its_own(bed, empty):
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    bed.knobs(vcpu_limit=2, spot_vcpu_limit=4)
    empty(), empty(**spot), empty(**spot)
    with refused("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded", status=400):
        empty(**spot)
    with refused("VcpuLimitExceeded"):
        empty()


def test_as_many_are_launched_as_the_quota_has_room_for(bed, empty):
    bed.knobs(vcpu_limit=5)
    assert len(empty(MinCount=1, MaxCount=4)) == 2


def test_what_there_is_no_room_for_is_not_started_all_or_none(bed, empty):
    ec2 = bed.client("ec2", "ca-central-1")
    small, large = empty()[0]["InstanceId"], empty("c5.xlarge")[0]["InstanceId"]
    for one in (small, large):
        bed.until_state(one, "running")
    ec2.stop_instances(InstanceIds=[small, large])
    for one in (small, large):
        bed.until_state(one, "stopped")
    both = lambda: ec2.start_instances(InstanceIds=[small, large])
    zone = next(i["Placement"]["AvailabilityZone"] for r in ec2.describe_instances(InstanceIds=[large])["Reservations"] for i in r["Instances"])
    for knobs, code, words, status in (
            ({"capacity": [{"type": "c5.xlarge", "zone": zone}]}, "InsufficientInstanceCapacity", "Insufficient capacity.", 500),
            # Each by itself would do.
            ({"vcpu_limit": 5}, "VcpuLimitExceeded", "current vCPU limit of 5", 400)):
        bed.knobs(**{"capacity": [], "vcpu_limit": None} | knobs)
        with refused(code, words, status=status):
            both()
        assert [bed.state(one) for one in (small, large)] == ["stopped", "stopped"]
    bed.knobs(vcpu_limit=6)
    both()
    for one in (small, large):
        bed.until_state(one, "running")
    # What runs already needs no more room.
    bed.knobs(vcpu_limit=0)
    both()


def test_calls_are_counted(bed):
    bed.ec2.describe_instances()
    bed.ec2.describe_instances()
    bed.launch()
    assert bed.control("calls") == {"DescribeInstances": 2, "RunInstances": 1}
    bed.control("calls/reset", "POST")
    assert bed.control("calls") == {}


def test_knobs_are_checked(bed):
    code, words = bed.refused("knobs", "PUT", {"throtle": 0.5})
    assert code == 400 and "'throtle'" in words and "throttle" in words
    code, words = bed.refused("knobs", "PUT", {"throttle": "half"})
    assert code == 400 and "'half'" in words
    assert bed.control("knobs")["throttle"] == 0
    assert bed.refused("hosts/i-0123456789abcdef0/kill")[0] == 409
    assert bed.refused("nothing")[0] == 404


@pytest.mark.parametrize("code, status, words", [
    ("InternalError", 500, "An internal error has occurred"), ("Unavailable", 503, "The server is overloaded"),
    ("ServiceUnavailable", 503, "temporary failure"), ("RequestLimitExceeded", 503, "Request limit exceeded.")])
def test_the_next_calls_of_an_action_fail(bed, code, status, words):
    bed.knobs(fail=[{"action": "RunInstances", "code": code, "times": 2}])
    before = len(bed.control("instances?all=1"))
    for _ in range(2):
        bed.ec2.describe_instances()
        with refused(code, words, status=status):
            bed.launch()
    assert len(bed.control("instances?all=1")) == before
    bed.launch()
    assert bed.control("knobs")["fail"][0]["times"] == 0


def test_calls_fail_by_pattern_region_and_share(bed):
    bed.knobs(fail=[{"action": "ec2:Describe*", "code": "InternalError", "region": "eu-central-1"},
                    {"action": "ssm:*", "code": "InternalServerError", "status": 500, "message": "An error occurred on the server side."}])
    bed.ec2.describe_instances()
    with refused("InternalError"):
        bed.client("ec2", "eu-central-1").describe_instances()
    with refused("InternalServerError", "server side", status=500):
        bed.client("ssm").get_parameter(Name="/aws/service/testkit/docker/28.5/ami-id")
    bed.knobs(fail=[{"code": "InternalError", "share": 0.5}])
    failed = 0
    for _ in range(60):
        try:
            bed.ec2.describe_vpcs()
        except Exception as error:
            assert error.response["Error"]["Code"] == "InternalError"
            failed += 1
    assert 10 < failed < 50


def test_an_answer_is_lost_and_its_work_is_done(bed):
    token = uuid.uuid4().hex
    bed.knobs(fail=[{"action": "RunInstances", "lost": True, "times": 1}])
    with pytest.raises(ConnectionClosedError):
        bed.launch(ClientToken=token)
    [made] = [i["id"] for i in bed.control("instances") if i["token"] == token]
    assert [i["InstanceId"] for i in bed.launch(ClientToken=token)] == [made]


def test_one_region_is_gone(bed):
    elsewhere = bed.client("ec2", "eu-central-1")
    bed.control("outage?seconds=4&region=eu-central-1", "POST")
    with pytest.raises(ConnectionClosedError):
        elsewhere.describe_instances()
    bed.ec2.describe_instances()
    bed.until("the region again", lambda: answers(elsewhere))


def test_the_endpoint_is_gone_for_a_while(bed):
    begun = time.monotonic()
    bed.control("outage?seconds=4", "POST")
    with pytest.raises(EndpointConnectionError):
        bed.ec2.describe_instances()
    bed.until("the endpoint again", lambda: answers(bed.ec2))
    assert time.monotonic() - begun >= 3.9
    assert bed.refused("outage?seconds=soon")[0] == 400


def answers(ec2) -> bool:
    try:
        return bool(ec2.describe_instances())
    except (ConnectionClosedError, EndpointConnectionError):
        return False


@pytest.mark.parametrize("entry", [{"action": "RunInstances"}, {"code": "InternalError", "lost": True}, {"code": "InternalError", "time": 3}, "x"])
def test_what_cannot_fail(bed, entry):
    assert bed.refused("knobs", "PUT", {"fail": [entry]})[0] == 400
