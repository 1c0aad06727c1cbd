"""The operator in pods, installed by Helm on the bed's node: what it does there, how it is replaced, and that clusters and runs notice nothing."""
import json
import re

import pytest
import world
from bed_cli import places
from conftest import BED as COMMAND
from pods import BED, OPERATOR, SYSTEM, Release, last_commits_chart, tell
from test_lifecycle import load
from test_members import events, ids
from world import cluster, kubectl, run, until

pytestmark = pytest.mark.long
# What boots hosts and starts pods on a machine that may be busy.
READY_WITHIN = 400


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The operator's image on the node of a bed of its own, and what a chart needs to be installed."""
    tell(COMMAND, "setup", "demo", "node")
    folder, programs = tmp_path_factory.mktemp("image"), places.CHECKOUT / "target" / "bin"
    try:
        tell(COMMAND, "up", "--node", "--name", BED.name)
        tell(COMMAND, "install", "--name", BED.name, programs / "kubectl-testkit")
        tag = tell(places.TESTBED / "node" / "operator-image", programs / "testkit-operator", folder / "operator.tar").strip()
        tell(COMMAND, "node-load", "--name", BED.name, folder / "operator.tar")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (BED.shell() | {"KUBECACHEDIR": str(folder / "discovered")}).items():
                patch.setenv(name, value)
            yield Release(tag)
    finally:
        tell(COMMAND, "down", "--name", BED.name)


@pytest.fixture
def space(release, request):
    """A namespace of the test's own; the operator that the test has installed deletes what is left in it."""
    namespace = world.Namespace(re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-"))
    yield namespace
    if getattr(request.node, "failed", True):
        print(kubectl("get", "pods", "-A", "-o", "wide", check=False).stdout, kubectl("describe", "pods", "-n", SYSTEM, check=False).stdout[-6000:],
              kubectl("logs", OPERATOR, "-n", SYSTEM, "--all-pods=true", "--tail=60", check=False).stdout, kubectl("get", "events", "-A", check=False).stdout[-6000:])
    if not release.names():
        release.install()
    clusters = json.loads(kubectl("get", "swarmclusters", "-n", namespace.name, "-o", "json").stdout)["items"]
    kubectl("delete", "namespace", namespace.name, "--timeout=300s", timeout=330)
    for each in clusters:
        assert namespace.leftovers(each["metadata"]["name"]) == []


def warnings(space):
    return [event for event in events(space) if event["type"] == "Warning"]


def test_in_a_pod_it_does_what_it_does_elsewhere(release, space):
    release.install()
    assert len(release.names()) == 2
    leader = release.led_by(release.names())
    space.apply(cluster("pod", managers=1, workers=1), run("nightly", "pod"))
    space.wait("swarmcluster", "pod", "Ready", READY_WITHIN)
    load(space, "pod")
    space.wait("e2erun", "nightly", "Complete", READY_WITHIN)
    status = space.status("e2erun", "nightly")
    assert status["failed"] == 0 and status["passed"] >= 4, status
    space.delete("swarmcluster", "pod")
    assert space.leftovers("pod") == []
    assert warnings(space) == []

    # Its log is lines of JSON, and there is no shell in its image to be had.
    lines = [json.loads(line) for line in kubectl("logs", leader, "-n", SYSTEM).stdout.splitlines()]
    assert any("operator at work" in json.dumps(line) for line in lines), lines[:20]
    assert not [line for line in lines if line["level"] == "ERROR"], lines
    refused = kubectl("exec", leader, "-n", SYSTEM, "--", "sh", check=False)
    assert refused.returncode != 0 and "executable file not found" in refused.stderr, refused
    assert re.match(r"testkit \d", kubectl("exec", leader, "-n", SYSTEM, "--", "/testkit-operator", "--version").stdout)
    # The namespace takes no pod that might do more.
    refused = kubectl("run", "more", "--image=testkit-operator", "-n", SYSTEM, "--dry-run=server", check=False)
    assert refused.returncode != 0 and 'violates PodSecurity "restricted' in refused.stderr, refused


def test_pods_are_replaced_and_killed_while_a_cluster_lives(release, space):
    release.install()
    before = release.names()
    release.led_by(before)
    space.apply(cluster("kept", managers=1, workers=1))
    until("an instance", lambda: space.instances("kept"), 60)
    kubectl("rollout", "restart", OPERATOR, "-n", SYSTEM)
    release.rolled_out()
    until("the pods before are gone", lambda: len(release.pods()) == 2 and not before & release.names(), 120)
    leader = release.led_by(release.names())
    space.wait("swarmcluster", "kept", "Ready", READY_WITHIN)
    first = ids(space, "kept")
    assert len(first) == 2

    release.kill(leader)
    until("its container is started anew", lambda: release.restarts(leader) == 1, 120)
    (other,) = release.names() - {leader}
    release.led_by({other})
    release.rolled_out()
    # Who leads now works: what is asked for is done.
    kubectl("patch", "swarmcluster", "kept", "-n", space.name, "--type=merge", "-p", '{"spec": {"workers": 2}}')
    until("one more", lambda: len(ids(space, "kept")) == 3, 120)
    space.wait("swarmcluster", "kept", "Ready", READY_WITHIN)
    assert set(first) < set(ids(space, "kept"))
    assert warnings(space) == []


def test_an_upgrade_from_the_last_commits_chart_while_a_cluster_forms_and_a_run_runs(release, space, tmp_path):
    earlier = last_commits_chart(tmp_path)
    if earlier is None:
        pytest.skip("this checkout has no commit before its last one")
    release.uninstall()
    release.install(earlier)
    before = release.names()
    space.apply(cluster("ready", managers=1, workers=0))
    space.wait("swarmcluster", "ready", "Ready", READY_WITHIN)
    load(space, "ready")
    space.apply(run("through", "ready"))
    container = until("its container", lambda: space.status("e2erun", "through").get("containerID"), 120)
    space.apply(cluster("forms", managers=1, workers=1))
    until("an instance", lambda: space.instances("forms"), 60)
    launched = set(ids(space, "forms"))

    # Also where the two charts are the same the pods are others.
    release.install(podAnnotations__upgraded="yes")
    until("the pods before are gone", lambda: len(release.pods()) == 2 and not before & release.names(), 120)
    space.wait("swarmcluster", "forms", "Ready", READY_WITHIN)
    assert launched <= set(ids(space, "forms")) and len(ids(space, "forms")) == 2
    space.wait("e2erun", "through", "Complete", READY_WITHIN)
    status = space.status("e2erun", "through")
    assert status["containerID"] == container and status["failed"] == 0 and status["passed"] >= 4, status
    assert warnings(space) == []

    # Clusters outlive the release, and the next one goes on with them.
    kept = ids(space, "forms")
    release.uninstall()
    assert ids(space, "forms") == kept and space.get("swarmcluster", "forms")["metadata"].get("deletionTimestamp") is None
    # Unless it is told to take them with it.
    release.install(uninstall__clusters="Delete")
    space.wait("swarmcluster", "forms", "Ready", READY_WITHIN)
    assert ids(space, "forms") == kept
    release.uninstall()
    left = json.loads(kubectl("get", "swarmclusters", "-A", "-o", "json").stdout)["items"]
    assert left == [] and space.leftovers("forms") + space.leftovers("ready") == []
    assert space.status("e2erun", "through")["passed"] == status["passed"], "what has ended stays, to be read"
    kept = kubectl("get", "jobs,serviceaccounts", "-n", SYSTEM, "-o", "name").stdout
    assert "uninstall" not in kept and "operator" not in kept, kept
