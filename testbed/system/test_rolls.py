"""Machines give way to others where the spec asks for other ones: one after the other, under a service, and not past one that does not come back."""
import json
import subprocess
import threading

import pytest
from test_members import docker, ids, listed, ready_again
from world import cluster, kubectl, told, until

# Nothing but a name: what runs is the host's own, so that a host needs no registry. Hosts have /bin and /lib in /usr.
PREPARE = "tar -C / -c etc/hostname | docker import - sleeper:1 >/dev/null && mkdir -p /lib64"
SERVICE = [
    "service", "create", "--detach", "--name", "held", "--no-resolve-image", "--replicas", "4", "--replicas-max-per-node", "1",
    "--constraint", "node.labels.prepared==yes", "--stop-grace-period", "1s",
    *(word for folder in ("/usr", "/lib", "/lib64") for word in ("--mount", f"type=bind,src={folder},dst={folder},ro")),
    "sleeper:1", "/usr/bin/sleep", "86400",
]


def change(space, name, **spec):
    kubectl("patch", "swarmcluster", name, "-n", space.name, "--type=merge", "-p", json.dumps({"spec": spec}))


class Held:
    """Sees to it that new hosts may have a task of the service, and looks how many there are: the fewest that ran, the most machines."""

    def __init__(self, space, name):
        self.space, self.name, self.prepared = space, name, set()
        self.fewest, self.most, self.samples, self.done = 4, 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def prepare(self):
        """Every node of the swarm that is not prepared yet; a manager's address."""
        nodes = [n for n in self.space.status("swarmcluster", self.name)["nodes"] if n.get("nodeID") and n.get("address")]
        managers = [n["address"] for n in nodes if n["role"] == "Manager" and n["state"] == "Ready"]
        for node in nodes:
            if node["state"] == "Ready" and node["nodeID"] not in self.prepared:
                self.space.ssh(self.name, node["address"], PREPARE)
                docker(self.space, self.name, managers[0], "node", "update", "--label-add", "prepared=yes", node["nodeID"])
                self.prepared.add(node["nodeID"])
        # The last one is replaced last more often than not.
        return managers[-1]

    def running(self, manager):
        tasks = docker(self.space, self.name, manager, "service", "ps", "held", "--filter", "desired-state=running", "--format", "'{{.CurrentState}}'")
        return sum(task.startswith("Running") for task in tasks.splitlines())

    def watch(self):
        while not self.done.wait(0.25):
            try:
                live = [i for i in self.space.instances(self.name) if i["State"]["Name"] != "shutting-down"]
                self.most = max(self.most, len(live))
                self.fewest = min(self.fewest, self.running(self.prepare()))
                self.samples += 1
            except (AssertionError, IndexError, KeyError, subprocess.SubprocessError):
                continue  # That manager is just going: the next look asks another one.

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join(60)


def whole(space, name, machines):
    """As the spec asks for now: by a status that speaks of it."""
    found = space.get("swarmcluster", name)
    status = found["status"]
    (ready,) = [c for c in status["conditions"] if c["type"] == "Ready"]
    assert status["observedGeneration"] == found["metadata"]["generation"], status["observedGeneration"]
    assert ready["status"] == "True" and (status["updated"], status["outdated"]) == (machines, 0), ready
    return status


@pytest.mark.long
def test_other_machines_are_asked_for_under_a_service(space):
    space.apply(cluster("foo", managers=3, workers=2))
    ready_again(space, "foo", 240)
    before = ids(space, "foo")
    held = Held(space, "foo")
    manager = held.prepare()
    docker(space, "foo", manager, *SERVICE)
    until("four tasks run", lambda: held.running(manager) == 4, 60)
    swarm = docker(space, "foo", manager, "info", "-f", "'{{.Swarm.Cluster.ID}}'")

    with held:
        change(space, "foo", engine={"daemonJson": {"labels": ["generation=2"]}})
        until("it says that it is updating", lambda: space.condition("swarmcluster", "foo", "Ready")["reason"] == "Updating", 20)
        status = until("all are as asked for", lambda: whole(space, "foo", 5), 300, every=0.5)
    assert held.samples >= 10 and held.fewest >= 3, f"{held.fewest} of 4 tasks at the fewest, in {held.samples} looks"
    assert held.most == 6, f"{held.most} machines at the most: one beside the five that are asked for"

    after = ids(space, "foo")
    assert len(after) == 5 and not set(after) & set(before), (before, after)
    assert sorted(n["name"] for n in status["nodes"]) == ["foo-m0", "foo-m1", "foo-m2", "foo-w0", "foo-w1"]
    for node in status["nodes"]:
        assert "generation=2" in docker(space, "foo", node["address"], "info", "-f", "'{{.Labels}}'"), node["name"]
    manager = status["endpoint"]
    # Who is gone is struck off when the swarm has noticed.
    nodes = until("five nodes", lambda: len(found := listed(space, "foo", manager)) == 5 and found, 60)
    assert sum(n[2] == "reachable" for n in nodes.values()) == 3, nodes
    assert docker(space, "foo", manager, "info", "-f", "'{{.Swarm.Cluster.ID}}'") == swarm
    held.prepare()
    until("four tasks run", lambda: held.running(manager) == 4, 60)


def test_an_update_stops_at_one_that_does_not_come_back_and_is_undone_by_the_spec(space):
    made = cluster("bar", managers=1, workers=2)
    made["spec"] |= {"unhealthyAfter": "30s"}
    space.apply(made)
    ready_again(space, "bar", 300)
    before = ids(space, "bar")

    # An engine does not start with what it does not know. Only from now on that is given up soon: the first ones may take their time.
    change(space, "bar", bootTimeout="30s", engine={"daemonJson": {"no-such-option": True}})
    said = until(
        "it says where the update stops",
        lambda: "The update stops there" in (c := space.condition("swarmcluster", "bar", "Ready"))["message"] and c, 240)
    assert said["status"] == "False" and said["reason"] in ("BootFailed", "HostUnhealthy") and "bar-w0" in said["message"], said
    assert set(before) <= set(ids(space, "bar")), "what was there is left as it is"
    status = space.status("swarmcluster", "bar")
    assert (status["managers"], status["workers"], status["outdated"]) == ("1/1", "2/2", 3), status
    assert told(space, said["reason"])

    change(space, "bar", engine=None)
    until("it is as it was", lambda: whole(space, "bar", 3), 180)
    until("only the first machines are left", lambda: ids(space, "bar") == before, 180)
