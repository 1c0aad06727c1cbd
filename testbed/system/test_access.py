"""Who may reach hosts: what nobody says is not opened, and what a cluster has stays when nobody says it any more."""
import json

import pytest
import world
from test_members import events, ids
from world import cluster, kubectl, until

REASON = "NoAccessCIDRs"


@pytest.fixture
def operator(bed, tmp_path):
    """One without the bed's default of who may reach hosts."""
    operator = world.Operator(tmp_path / "operator.log", without=("TESTKIT_ACCESS_CIDRS",))
    yield operator.start()
    operator.stop()


def may_come(space, name):
    """From where the cluster's group lets SSH in."""
    groups = space.ec2.describe_security_groups(Filters=[{"Name": f"tag:{world.CLUSTER_TAG}", "Values": [f"{space.name}/{name}"]}])["SecurityGroups"]
    rules = [rule for group in groups for rule in group["IpPermissions"] if rule.get("FromPort") == 22]
    return sorted(block["CidrIp"] for rule in rules for block in rule["IpRanges"])


def say(space, name, cidrs):
    kubectl("patch", "swarmcluster", name, "-n", space.name, "--type=merge", "-p", json.dumps({"spec": {"accessCIDRs": cidrs}}))


def said(space, name, status, reason):
    """Whether the Ready condition speaks so of the spec as it is."""
    now = space.get("swarmcluster", name)
    ready = next((c for c in now.get("status", {}).get("conditions", []) if c["type"] == "Ready"), {})
    current = ready.get("observedGeneration") == now["metadata"]["generation"]
    return ready if current and (ready["status"], ready["reason"]) == (status, reason) else None


def test_nothing_is_opened_that_nobody_said(space, operator):
    space.apply(cluster("mute", managers=1, workers=0))
    ready = until("it says what is missing", lambda: said(space, "mute", "False", REASON), 30)
    for part in ("spec.accessCIDRs", "203.0.113.0/24", "--access-cidrs"):
        assert part in ready["message"], ready
    assert space.condition("swarmcluster", "mute", "Stalled")["status"] == "True"
    told = until("an Event", lambda: [e for e in events(space) if e["reason"] == REASON], 10)
    assert told[0]["type"] == "Warning", told
    assert space.leftovers("mute") == []

    # To write it is enough.
    say(space, "mute", ["0.0.0.0/0"])
    until("it is ready", lambda: said(space, "mute", "True", "ClusterReady"), 120)
    first = ids(space, "mute")
    assert may_come(space, "mute") == ["0.0.0.0/0"]

    # What it had stays when it is not written any more, and that is said.
    say(space, "mute", None)
    ready = until("it says that nobody says it", lambda: said(space, "mute", "True", REASON), 30)
    assert "0.0.0.0/0" in ready["message"], ready
    assert space.condition("swarmcluster", "mute", "Stalled")["status"] == "False"
    assert may_come(space, "mute") == ["0.0.0.0/0"]

    # An operator with a default says it from then on, and its default is what is open.
    operator.stop()
    operator.options = ("--access-cidrs", "0.0.0.0/1,128.0.0.0/1")
    operator.start()
    until("it is as the default says", lambda: said(space, "mute", "True", "ClusterReady"), 60)
    until("its group is, too", lambda: may_come(space, "mute") == ["0.0.0.0/1", "128.0.0.0/1"], 10)
    assert ids(space, "mute") == first
