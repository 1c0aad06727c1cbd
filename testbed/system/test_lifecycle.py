"""From apply to Ready, runs of every ending, and deletion that leaves nothing."""
import json
import os
import re
import subprocess
from pathlib import Path

import inside
import interrupted
from world import cluster, kubectl, run, told, until

IMAGE = os.environ.get("TESTKIT_E2E_IMAGE", "")


def nodes_by_the_swarm(space, name, address):
    """Node name in the cluster -> (status, role, leader), as a manager lists them."""
    ids = space.ssh(name, address, "docker", "node", "ls", "-q").split()
    nodes = json.loads(space.ssh(name, address, "docker", "node", "inspect", *ids))
    return {
        f"{name}-{n['Spec']['Labels']['testkit.dev/slot']}": (n["ID"], n["Status"]["State"], n["Spec"]["Role"], n.get("ManagerStatus", {}).get("Leader", False))
        for n in nodes
    }


def load(space, name):
    subprocess.run(["kubectl", "testkit", "load", IMAGE, "--cluster", name, "-n", space.name], check=True, timeout=400)


def ended(space, name, condition, timeout=300):
    space.wait("e2erun", name, condition, timeout)
    return space.status("e2erun", name), space.condition("e2erun", name, condition)


def two_zones(space):
    """A subnet in each of two zones, with the zone."""
    found = space.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    zones = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in found}
    return {zones[zone]: zone for zone in sorted(zones)[:2]}


def test_a_cluster_its_runs_and_its_end(space, tmp_path):
    subnets = two_zones(space)
    space.apply(cluster("foo", managers=3, workers=2, subnets=list(subnets)), run("nightly", "foo"))
    until("the run says what it waits for", lambda: "foo" in space.status("e2erun", "nightly").get("message", ""), 60)
    space.wait("swarmcluster", "foo", "Ready", 300)

    # What status says is what the swarm says.
    status = space.status("swarmcluster", "foo")
    told = {n["name"]: (n["nodeID"], n["state"].lower(), n["role"].lower(), n.get("leader", False)) for n in status["nodes"]}
    assert told == nodes_by_the_swarm(space, "foo", status["endpoint"])
    assert (status["managers"], status["workers"], len(told)) == ("3/3", "2/2", 5)
    zones = [subnets[i["SubnetId"]] for i in space.instances("foo")]
    assert sorted(zones.count(zone) for zone in subnets.values()) == [2, 3], zones
    row = kubectl("get", "swarmclusters", "foo", "-n", space.name).stdout.splitlines()
    assert row[0].split() == ["NAME", "READY", "MANAGERS", "WORKERS", "ENGINE", "ENDPOINT", "AGE"]
    assert re.match(r"foo +True +3/3 +2/2 +28\.5\.\S+ +[\d.]+ ", row[1]), row

    # The image reaches every node by `load`, and the run that waited for it goes on by itself.
    load(space, "foo")
    status, condition = ended(space, "nightly", "Complete")
    assert status["failed"] == 0 and status["passed"] >= 4 and status["exitCode"] == 0, status
    row = kubectl("get", "e2eruns", "nightly", "-n", space.name).stdout.splitlines()
    assert row[0].split() == ["NAME", "CLUSTER", "PHASE", "PASSED", "FAILED", "FLAKY", "SKIPPED", "DURATION", "AGE"]
    assert row[1].split()[1:4] == ["foo", "Complete", str(status["passed"])]
    log = kubectl("testkit", "logs", "nightly", "-n", space.name).stdout
    assert "ServicesCreate" in log, log[-2000:]

    # Four runs that do not pass, each with an end a person can act on, and one of which half is skipped.
    space.apply(
        run("skips", "foo", args=["SelftestSkip", "ClusterNodeAvailable"], env=[{"name": "E2E_SELFTEST", "value": "skip"}]),
        run("fails", "foo", args=["SelftestFail", "ClusterNodeAvailable"], env=[{"name": "E2E_SELFTEST", "value": "fail"}]),
        run("silent", "foo", args=["noop"]),
        run("endless", "foo", args=["hang"], timeout="10s", gracePeriod="2s"),
        run("absent", "foo", image="dockerswarm/no-such-image:1", imagePullTimeout="10s"),
    )
    status, condition = ended(space, "fails", "Failed")
    assert condition["reason"] == "CasesFailed" and status["failed"] == 1 and status["failures"][0]["message"], status
    status, condition = ended(space, "silent", "Failed")
    assert condition["reason"] == "NoResults" and status["exitCode"] == 0, status
    status, condition = ended(space, "endless", "Failed")
    assert condition["reason"] == "DeadlineExceeded" and "10s" in condition["message"], status
    status, condition = ended(space, "absent", "Failed")
    assert condition["reason"] == "ImageUnavailable" and "dockerswarm/no-such-image:1" in condition["message"], status
    assert "kubectl testkit load" in condition["message"], condition

    # The counts are those of the JUnit.
    ended(space, "skips", "Complete")
    counts = [inside.counts_are_those_of_the_junit(space, name) for name in ("nightly", "fails", "skips")]
    assert (counts[0][1:], counts[1], counts[2]) == ((0, 0), (1, 1, 0), (1, 0, 1)), counts

    # The suite by itself says where it cannot run.
    interrupted.only_managers_will_do("foo", "-n", space.name)
    interrupted.the_next_run_removes_what_a_killed_one_left("foo", "-n", space.name)

    # What a person does after that.
    inside.files_travel(space, "foo", tmp_path)
    inside.only_what_failed_runs_again(space, "fails", "SelftestFail")
    inside.a_bundle_tells_no_secret(space, "foo", tmp_path)

    # No run's container is left on any node, and no cluster object after the cluster's deletion.
    for node in space.status("swarmcluster", "foo")["nodes"]:
        left = until("no container of a run is left", lambda n=node: space.ssh("foo", n["address"], "docker ps -aq --filter label=testkit.dev/run-uid") == "", 60)
        assert left
    space.delete("swarmcluster", "foo")
    assert space.leftovers("foo") == []
    assert "ServicesCreate" in kubectl("testkit", "logs", "nightly", "-n", space.name).stdout, "the log outlives the cluster"
    assert "asked to fail" in kubectl("testkit", "logs", "fails", "--case", "SelftestFail", "-n", space.name).stdout


def test_a_wrong_image_is_on_the_condition_and_heals_when_corrected(space):
    space.apply(cluster("typo", 1, 0, ami={"id": "ami-00000000000000000"}))
    until("the condition has EC2's words", lambda: "ami-00000000000000000" in space.condition("swarmcluster", "typo", "Ready")["message"], 60)
    assert space.condition("swarmcluster", "typo", "Stalled")["status"] == "True"
    assert told(space, "InvalidConfiguration"), "an Event tells it too"
    space.apply(cluster("typo", 1, 0))
    space.wait("swarmcluster", "typo", "Ready", 240)


def test_a_lost_instance_is_replaced_and_a_smaller_spec_keeps_the_swarm(space):
    space.apply(cluster("flux", managers=3, workers=1))
    space.wait("swarmcluster", "flux", "Ready", 300)

    def worker():
        return [i["InstanceId"] for i in space.instances("flux") if {"Key": "testkit.dev/slot", "Value": "w0"} in i["Tags"] and i["State"]["Name"] == "running"]

    # Somebody ends the worker behind the operator's back.
    (old,) = worker()
    space.ec2.terminate_instances(InstanceIds=[old])
    # Before anything else is looked at: it is ready again as soon as the other one is.
    space.wait("swarmcluster", "flux", "Ready=False", 90)
    (new,) = until("another worker", lambda: [i for i in worker() if i != old], 120)
    space.wait("swarmcluster", "flux", "Ready", 240)
    assert worker() == [new]
    status = space.status("swarmcluster", "flux")
    until("the old node is out of the swarm", lambda: len(nodes_by_the_swarm(space, "flux", status["endpoint"])) == 4, 120)

    # Two managers go, one after the other, and what is left is a swarm that answers.
    space.apply(cluster("flux", managers=1, workers=1))
    until("one manager and one worker", lambda: len(space.instances("flux")) == 2, 240)
    space.wait("swarmcluster", "flux", "Ready", 240)
    status = space.status("swarmcluster", "flux")
    assert (status["managers"], status["workers"]) == ("1/1", "1/1")
    # The leader goes last, whichever it is.
    until("two nodes in the swarm", lambda: sorted(n[5] for n in nodes_by_the_swarm(space, "flux", status["endpoint"])) == ["m", "w"], 90)


def test_the_page_names_scenarios_that_there_are():
    here = Path(__file__).resolve().parent
    code = "".join(path.read_text() for path in here.glob("test_*.py"))
    tests = re.findall(r"^def (test_\w+)", code, re.MULTILINE) + re.findall(r'parametrize\("what", \[(.+)\]\)', code)
    page = (here.parents[1] / "docs" / "lifecycle.md").read_text().partition("## Played on real hosts")[2]
    names = [name for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for name in re.findall("`([^`]+)`", row)]
    assert len(names) > 15 and [name for name in names if not any(name in test for test in tests)] == []
