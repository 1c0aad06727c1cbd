"""The operator dies at any moment, and nobody can tell from the end state."""
import subprocess

from test_lifecycle import IMAGE
from world import Count, cluster, kubectl, run, until


def test_five_deaths(space, operator):
    with Count(space, "phoenix") as count:
        # Before launch: the finalizer is there, and perhaps what is to be launched.
        space.apply(cluster("phoenix", managers=3, workers=1))
        until("the finalizer", lambda: space.get("swarmcluster", "phoenix")["metadata"].get("finalizers"), 60, every=0.02)
        operator.kill()
        operator.start()

        # Between launch and status: the endpoint has instances that status does not tell of.
        until("an instance", lambda: space.instances("phoenix"), 60, every=0.02)
        operator.kill()
        operator.start()

        # While joining: a swarm exists, and not every node is in it, unless that took no longer than one look.
        begun = lambda: "Ready" in [n["state"] for n in space.status("swarmcluster", "phoenix").get("nodes", [])]
        until("a swarm with nodes missing", begun, 240, every=0.05)
        operator.kill()
        operator.start()
        space.wait("swarmcluster", "phoenix", "Ready", 300)
        first = sorted(i["InstanceId"] for i in space.instances("phoenix"))
        assert len(first) == 4

        # While the run's container runs: it is the same container afterwards, with its result.
        subprocess.run(["kubectl", "testkit", "load", IMAGE, "--cluster", "phoenix", "-n", space.name], check=True, timeout=400)
        space.apply(run("survivor", "phoenix"))
        before = until("the container", lambda: space.status("e2erun", "survivor").get("containerID"), 120, every=0.05)
        operator.kill()
        operator.start()
        space.wait("e2erun", "survivor", "Complete", 300)
        status = space.status("e2erun", "survivor")
        assert status["containerID"] == before and status["failed"] == 0 and status["passed"] >= 4, status
        assert sorted(i["InstanceId"] for i in space.instances("phoenix")) == first

        # During deletion.
        kubectl("delete", "swarmcluster", "phoenix", "-n", space.name, "--wait=false")
        until("an instance on its way out", lambda: len([i for i in space.instances("phoenix") if i["State"]["Name"] == "running"]) < 4, 60, every=0.02)
        operator.kill()
        operator.start()
        space.delete("swarmcluster", "phoenix")
        assert space.leftovers("phoenix") == []
    assert count.most == {"m0": 1, "m1": 1, "m2": 1, "w0": 1}, "more than one instance for a slot at some moment"
