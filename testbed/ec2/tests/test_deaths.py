"""Instances that end by themselves, and what DescribeInstances says of it."""
import time
import uuid

import pytest
from test_instances import ids, listed, tagged

SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}
BY_ITSELF = ["Client.InternalError", "Client.InvalidSnapshot.NotFound", "Client.VolumeLimitExceeded", "Server.InsufficientInstanceCapacity",
             "Server.InternalError", "Server.SpotInstanceTermination"]


def described(bed, instance_id: str) -> dict:
    [instance] = listed(bed, InstanceIds=[instance_id])
    return instance


@pytest.mark.parametrize("reason", BY_ITSELF)
def test_a_launch_that_comes_to_nothing(bed, reason):
    bed.knobs(pending_s=1, deaths=[{"reason": reason, "times": 1}])
    [one] = bed.launch()
    assert one["State"]["Name"] == "pending"
    bed.until_state(one["InstanceId"], "terminated")
    gone = described(bed, one["InstanceId"])
    assert gone["StateReason"]["Code"] == reason and gone["StateReason"]["Message"].startswith(f"{reason}: ")
    assert gone["StateTransitionReason"] == reason and "PrivateIpAddress" not in gone
    assert not bed.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [one["InstanceId"]]}])["Volumes"]
    [other] = ids(bed.launch())
    bed.until_state(other, "running")


def test_which_instances_die_and_when(bed):
    mark = uuid.uuid4().hex
    bed.knobs(deaths=[{"reason": "Client.InternalError", "name": f"{mark}-m0*", "after_s": 3}])
    [spared] = ids(bed.launch(TagSpecifications=tagged(Name=f"{mark}-w0")))
    for _ in range(2):
        [one] = ids(bed.launch(TagSpecifications=tagged(Name=f"{mark}-m0")))
        bed.until_state(one, "running")
        bed.until_state(one, "terminated")
    assert bed.state(spared) == "running"


@pytest.mark.parametrize("reason", [*BY_ITSELF, "Client.UserInitiatedShutdown", "Client.InstanceInitiatedShutdown"])
def test_a_running_instance_dies(bed, reason):
    bed.knobs(shutting_down_s=3)
    [one] = ids(bed.launch())
    bed.until_state(one, "running")
    assert bed.control(f"instances/{one}/die?reason={reason}", "POST")["state"] == "shutting-down"
    gone = described(bed, one)
    assert gone["State"]["Name"] == "shutting-down" and gone["StateReason"]["Code"] == reason
    assert gone["StateTransitionReason"].startswith("User initiated (" if "Initiated" in reason else reason)
    bed.until_state(one, "terminated")
    assert described(bed, one)["StateReason"]["Code"] == reason
    assert bed.refused(f"instances/{one}/die")[0] == 409, "it has ended"


def test_a_spot_instance_is_told_and_ends(bed):
    [one] = bed.launch(**SPOT)
    assert one["InstanceLifecycle"] == "spot" and one["SpotInstanceRequestId"].startswith("sir-")
    one = one["InstanceId"]
    told = bed.control(f"instances/{one}/rebalance", "POST")["notices"]
    assert set(told) == {"events/recommendations/rebalance"}
    begun = time.monotonic()
    told = bed.control(f"instances/{one}/interrupt?seconds=3", "POST")["notices"]
    assert '"action": "terminate"' in told["spot/instance-action"] and told["spot/termination-time"] in told["spot/instance-action"]
    assert bed.state(one) in ("pending", "running")
    bed.until_state(one, "terminated")
    assert time.monotonic() - begun >= 3
    assert described(bed, one)["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_only_spot_instances_are_interrupted(bed):
    [one] = bed.launch()
    assert "InstanceLifecycle" not in one and "SpotInstanceRequestId" not in one
    for verb in ("interrupt", "rebalance"):
        code, words = bed.refused(f"instances/{one['InstanceId']}/{verb}")
        assert code == 409 and "not a spot instance" in words


def test_what_cannot_be_asked(bed):
    [one] = ids(bed.launch())
    code, words = bed.refused(f"instances/{one}/die?reason=Server.Tired")
    assert code == 400 and "Server.InternalError" in words
    assert bed.refused("instances/i-0123456789abcdef0/die")[0] == 409
    assert bed.refused(f"instances/{one}/sing")[0] == 409
    for wrong in ([{"name": "x"}], [{"reason": "Server.Tired"}], [{"reason": "Server.InternalError", "when": 3}]):
        assert bed.refused("knobs", "PUT", {"deaths": wrong})[0] == 400
