"""The operator dies at any moment, and nobody can tell from the end state."""
import subprocess

from test_lifecycle import IMAGE
from world import Count, cluster, kubectl, run, until


def test_five_deaths(space, operator):
    with Count(space, "phoenix") as count:
        # Before launch: the finalizer is there, and perhaps what is to be launched.
        space.apply(cluster("phoenix", managers=3, workers=1))
        until("the finalizer", lambda: space.get("swarmcluster", "phoenix")["metadata"].get("finalizers"), 20, every=0.02)
        operator.kill()
        operator.start()

        # Between launch and status: the endpoint has instances that status does not tell of.
        until("an instance", lambda: space.instances("phoenix"), 30, every=0.02)
        operator.kill()
        operator.start()

        # While joining: a swarm exists, and not every node is in it.
        def some_joined():
            states = [n["state"] for n in space.status("swarmcluster", "phoenix").get("nodes", [])]
            return "Ready" in states and states.count("Ready") < 4
        until("a swarm with nodes missing", some_joined, 120, every=0.05)
        operator.kill()
        operator.start()
        space.wait("swarmcluster", "phoenix", "Ready", 180)
        first = sorted(i["InstanceId"] for i in space.instances("phoenix"))
        assert len(first) == 4

        # While the run's container runs: it is the same container afterwards, with its result.
        subprocess.run(["kubectl", "testkit", "load", IMAGE, "--cluster", "phoenix", "-n", space.name], check=True, timeout=180)
        space.apply(run("survivor", "phoenix"))
        before = until("the container", lambda: space.status("e2erun", "survivor").get("containerID"), 60, every=0.05)
        operator.kill()
        operator.start()
        space.wait("e2erun", "survivor", "Complete", 180)
        status = space.status("e2erun", "survivor")
        assert status["containerID"] == before and status["failed"] == 0 and status["passed"] >= 4, status
        assert sorted(i["InstanceId"] for i in space.instances("phoenix")) == first

        # During deletion.
        kubectl("delete", "swarmcluster", "phoenix", "-n", space.name, "--wait=false")
        until("an instance on its way out", lambda: len([i for i in space.instances("phoenix") if i["State"]["Name"] == "running"]) < 4, 30, every=0.02)
        operator.kill()
        operator.start()
        space.delete("swarmcluster", "phoenix")
        assert space.leftovers("phoenix") == []
    assert count.most == {"m0": 1, "m1": 1, "m2": 1, "w0": 1}, "more than one instance for a slot at some moment"
