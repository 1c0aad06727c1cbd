"""What EC2 refuses, delays or lacks is lived with, or said on the object in EC2's words."""
from world import cluster, told, until


def test_throttled_slow_and_without_capacity_for_the_first_type(space, knobs):
    knobs(throttle=0.5, latency_ms=500, capacity=[{"type": "t3.medium"}])
    space.apply(cluster("slow", managers=1, workers=1))
    space.wait("swarmcluster", "slow", "Ready", 400)
    # The throttle is for the operator; what was launched is looked at without it.
    knobs(throttle=0, latency_ms=0, capacity=[])
    assert {i["InstanceType"] for i in space.instances("slow")} == {"t3a.medium"}
    space.delete("swarmcluster", "slow")
    assert space.leftovers("slow") == []


def test_a_missing_permission_is_named_and_its_grant_is_enough(space, knobs):
    knobs(unauthorized=["RunInstances"])
    space.apply(cluster("poor", managers=1, workers=0))
    until("the condition names the permission", lambda: "ec2:RunInstances" in space.condition("swarmcluster", "poor", "Ready")["message"], 60)
    ready = space.condition("swarmcluster", "poor", "Ready")
    assert ready["reason"] == "Unauthorized" and "iam-policy.json" in ready["message"], ready
    assert told(space, "Unauthorized")
    knobs(unauthorized=[])
    space.wait("swarmcluster", "poor", "Ready", 240)
