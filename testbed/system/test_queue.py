"""Runs take their turns on a cluster, and a run may make its cluster itself. docs/runs.md names the checks."""
import json
import time
from datetime import datetime

from test_runs import HELD, IMAGES, PASSED, ends, let_go, log, patch, probe, runs_on, verdict
from test_runs import made as made_cluster
from world import cluster, kubectl, until

FAILED = """echo said no; printf '<testsuite><testcase name="one"><failure message="no"/></testcase></testsuite>' > $TESTKIT_RESULTS/junit.xml"""


def alone(name, script, **spec):
    return probe(name, "queue", script, **{"sharing": "Exclusive", **spec})


def at(status, moment):
    return datetime.fromisoformat(status[moment]).timestamp()


def places(space):
    """Who has a place, by what is written on the cluster."""
    annotations = space.get("swarmcluster", "queue")["metadata"].get("annotations", {})
    return [guest["name"] for guest in json.loads(annotations.get("testkit.dev/runs", "[]"))]


def queued(space, name, *words):
    def look():
        reason, message = verdict(space, name)
        return reason == "Queued" and all(word in message for word in words)

    until(f"{name} says {words}", look, 150)


def each_has_its_turn(space, operator, on_host):
    """An exclusive run, then another, then two that share, then an exclusive one: with the operator killed meanwhile."""
    held = {"timeout": "10m"}
    space.apply(alone("a", f"{HELD}; {PASSED}", **held))
    runs_on(space, "a")
    assert places(space) == ["a"]
    space.apply(
        alone("b", f"sleep 2; {PASSED}"),
        alone("c", f"{HELD}; {PASSED}", sharing="Shared", **held),
        alone("d", f"{HELD}; {PASSED}", sharing="Shared", **held),
        alone("e", PASSED),
        alone("f", PASSED, pendingTimeout="3s"),
        alone("g", PASSED),
    )
    queued(space, "b", "waits behind a; 1st in line for SwarmCluster queue since")
    queued(space, "c", "waits behind a; 2nd in line")
    ends(space, "f", "Failed", "PendingTimeoutExceeded", "spec.pendingTimeout (3s)", "waits behind")
    patch(space, "e2erun", "g", {"cancel": True})
    ends(space, "g", "Failed", "Cancelled")
    operator.kill()
    operator.start()
    let_go(space, on_host, "a")
    # They run beside each other: neither ends before both run. The one after them waits, though nothing else is in its way.
    for name in "cd":
        runs_on(space, name)
    queued(space, "e", "1st in line")
    assert sorted(places(space)) == ["c", "d"]
    let_go(space, on_host, "c", "d")
    a, b, c, d, e = (ends(space, name, "Complete", "CasesPassed", passed=1) for name in "abcde")
    # Who waits is woken; by itself it looks every minute.
    assert 0 <= at(b, "startedAt") - at(a, "finishedAt") <= 30, ("the next one begins when the one before ends", a, b)
    assert at(b, "finishedAt") <= min(at(c, "startedAt"), at(d, "startedAt")), (b, c, d)
    assert max(at(c, "finishedAt"), at(d, "finishedAt")) <= at(e, "startedAt"), (c, d, e)
    assert b["queued"] and "queued" not in a, (a, b)
    until("nobody has a place any more", lambda: not places(space), 60)


def a_run_that_is_torn_away_keeps_nobody_waiting(space, on_host):
    space.apply(alone("torn", "sleep 600"))
    runs_on(space, "torn")
    space.apply(alone("next", PASSED))
    queued(space, "next", "waits behind torn")
    kubectl("delete", "e2erun", "torn", "-n", space.name, "--wait=false")
    kubectl("patch", "e2erun", "torn", "-n", space.name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}', check=False)
    ends(space, "next", "Complete", "CasesPassed", passed=1)
    on_host("docker rm -f $(docker ps -aq --filter label=testkit.dev/run=%s/torn)" % space.name)


def runs_of_one_key_are_one_run(space):
    space.apply(alone("leads", "sleep 600", dedupeKey="main-1", gracePeriod="1s"))
    runs_on(space, "leads")
    space.apply(alone("joins", f"sleep 6; {PASSED}", dedupeKey="main-1"), alone("joins-too", "exit 1", dedupeKey="main-1"))
    for name in ("joins", "joins-too"):
        until(f"{name} joins leads", lambda n=name: space.status("e2erun", n).get("joined") == "leads", 60)
        assert verdict(space, name)[0] == "Deduplicated" and not space.get("e2erun", name)["metadata"].get("finalizers")
    patch(space, "e2erun", "leads", {"cancel": True})
    ends(space, "leads", "Failed", "Cancelled")
    ends(space, "joins", "Complete", "CasesPassed", passed=1)
    said = ends(space, "joins-too", "Complete", "CasesPassed", "as E2ERun joins: ", passed=1, joined="joins", results="joins-results")
    assert said["containerID"] == space.status("e2erun", "joins")["containerID"]


def test_runs_take_their_turns(space, operator):
    on_host = made_cluster(space, "queue")
    each_has_its_turn(space, operator, on_host)
    runs_of_one_key_are_one_run(space)
    a_run_that_is_torn_away_keeps_nobody_waiting(space, on_host)


def own(name, script, **spec):
    """A run with a cluster of its own, of one manager."""
    it = probe(name, "nobody", script, **spec)
    del it["spec"]["clusterRef"]
    it["spec"]["clusterTemplate"] = {"metadata": {"labels": {"made": "for-a-run"}}, "spec": cluster("x", 1, 0)["spec"]}
    return it


def made_by(space, name):
    """The cluster that a run makes, by name."""
    return until(f"{name} says its cluster", lambda: space.status("e2erun", name).get("cluster"), 60)


def there(space, name):
    return kubectl("get", "swarmcluster", name, "-n", space.name, check=False).returncode == 0


def brings_its_image(space, name):
    """The image as soon as the cluster of a run can take it."""
    of = made_by(space, name)
    space.wait("swarmcluster", of, "Ready", 300)
    space.ssh(of, space.status("swarmcluster", of)["endpoint"], IMAGES)
    return of


def test_a_run_makes_its_cluster_and_disposes_of_it(space):
    space.apply(
        own("passes", PASSED),
        own("fails", FAILED, clusterPolicy="KeepOnFailure", holdFor="25s"),
        own("dropped", PASSED, clusterPolicy="Keep"),
    )
    dropped = made_by(space, "dropped")
    until("it has a machine", lambda: space.instances(dropped), 120)
    kubectl("delete", "e2erun", "dropped", "-n", space.name, "--timeout=120s", timeout=150)

    passes = brings_its_image(space, "passes")
    assert space.get("swarmcluster", passes)["metadata"]["labels"]["made"] == "for-a-run"
    ends(space, "passes", "Complete", "CasesPassed", passed=1, cluster=passes)
    fails = brings_its_image(space, "fails")
    ends(space, "fails", "Failed", "CasesFailed", f"SwarmCluster {fails} is kept until", "spec.holdFor (25s)", failed=1)
    # Of the operator's clock, which is this machine's: what is looked at within holdFor of it is not let go yet.
    ended = datetime.fromisoformat(space.condition("e2erun", "fails", "Failed")["lastTransitionTime"]).timestamp()
    kept = there(space, fails) and not space.get("swarmcluster", fails)["metadata"].get("deletionTimestamp")
    assert kept or time.time() - ended >= 20, "it is kept for holdFor"
    until("an Event says so", lambda: "ClusterKept" in kubectl("get", "events", "-n", space.name).stdout, 60)
    for name in (passes, dropped):
        until(f"{name} is gone", lambda n=name: not there(space, n), 180)
        assert space.leftovers(name) == []
    until(f"{fails} is let go", lambda: not there(space, fails), 180)
    assert time.time() - ended >= 20 and space.leftovers(fails) == []
    assert space.status("e2erun", "fails")["results"] == "fails-results" and "said no" in log(space, "fails"), "the evidence outlives the cluster"


def test_a_cluster_that_cannot_be_made_is_the_end_of_its_run(space):
    typo = own("typo", PASSED)
    typo["spec"]["clusterTemplate"]["spec"]["provider"]["ec2"]["ami"] = {"id": "ami-00000000000000000"}
    space.apply(typo)
    ends(space, "typo", "Failed", "ClusterFailed", "ami-00000000000000000")
    of = space.status("e2erun", "typo")["cluster"]
    until("its cluster is gone", lambda: not there(space, of), 120)
    assert space.leftovers(of) == []
