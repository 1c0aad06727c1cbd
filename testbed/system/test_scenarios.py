"""What becomes of a cluster whose machines, swarm, spec or objects something happened to: rows of docs/lifecycle.md.

`make scenario NAME=frozen` plays one of them. They take minutes, so `make test` leaves them out.
"""
import json
import subprocess
import time

import pytest
from conftest import BED
from test_lifecycle import load
from test_members import docker, events, ids, listed, ready_again
from world import asked, cluster, kubectl, until

pytestmark = pytest.mark.long


def patient(name, managers, workers, **spec):
    """A cluster whose hosts are given up as early as the API lets them be."""
    made = cluster(name, managers, workers)
    made["spec"] |= {"unhealthyAfter": "30s", **spec}
    return made


def host(verb, *words):
    subprocess.run([BED, "host", verb, *words], check=True, capture_output=True, timeout=60)


def instance(space, name, slot):
    """The living instance of a slot; an empty word when there is none."""
    found = [i for i in space.instances(name) if {"Key": "testkit.dev/slot", "Value": slot} in i["Tags"] and i["State"]["Name"] in ("pending", "running")]
    return found[0]["InstanceId"] if len(found) == 1 else ""


def node(space, name, slot):
    return next(n for n in space.status("swarmcluster", name)["nodes"] if n["name"] == f"{name}-{slot}")


def told(space, reason):
    return [e for e in events(space) if e["reason"] == reason]


def ready_swarm(space, name, managers, workers):
    """Every node the swarm lists is ready, and they are as many as are meant."""
    address = node(space, name, "m0")["address"]

    def whole():
        nodes = listed(space, name, address).values()
        roles = [role for _, role, _, state in nodes if state == "ready"]
        return len(nodes) == len(roles) and (roles.count("manager"), roles.count("worker")) == (managers, workers)

    until("the swarm lists all of them, ready, and nobody else", whole, 60, every=1)


def serve(space, name, replicas, *more):
    """A service of the suite's image, running everywhere it should."""
    load(space, name)
    address = node(space, name, "m0")["address"]
    docker(space, name, address, "service", "create", "--name", "web", "--detach", "--replicas", str(replicas), *more, "dockerswarm/e2e:latest", "test-server")
    until("its tasks run", lambda: replicas_of(space, name, address) == f"{replicas}/{replicas}", 60)
    return address


def replicas_of(space, name, address):
    return docker(space, name, address, "service", "ls", "--filter", "name=web", "--format", "'{{.Replicas}}'").strip()


@pytest.mark.parametrize("what", ["frozen", "cut-off", "engine-stopped"])
def test_a_worker_that_does_not_come_back_is_replaced(space, what):
    space.apply(patient("sick", 1, 1))
    ready_again(space, "sick", 240)
    before = instance(space, "sick", "w0")
    if what == "engine-stopped":
        space.ssh("sick", node(space, "sick", "w0")["address"], "kill -STOP $(pidof dockerd)")
    else:
        host({"frozen": "freeze", "cut-off": "partition"}[what], before)
    space.wait("swarmcluster", "sick", "Ready=False", 60)
    (said,) = until("it is given up", lambda: told(space, "HostUnhealthy"), 150)
    assert "sick-w0" in said["message"], said
    until("another one", lambda: instance(space, "sick", "w0") not in ("", before), 60)
    ready_again(space, "sick", 180)
    ready_swarm(space, "sick", 1, 1)
    assert len(told(space, "HostUnhealthy")) == 1


def test_a_frozen_manager_is_replaced_and_the_service_stays(space):
    space.apply(patient("hold", 3, 1))
    ready_again(space, "hold", 300)
    leader = next(n["name"] for n in space.status("swarmcluster", "hold")["nodes"] if n.get("leader"))
    slot = next(s for s in ("m2", "m1") if leader != f"hold-{s}")
    address = serve(space, "hold", 2, "--constraint", "node.role==worker")
    before = instance(space, "hold", slot)
    host("freeze", before)
    until("another one", lambda: instance(space, "hold", slot) not in ("", before), 240)
    ready_again(space, "hold", 240)
    ready_swarm(space, "hold", 3, 1)
    assert replicas_of(space, "hold", address) == "2/2"


def test_a_lost_majority_is_forced_to_a_new_one(space):
    space.apply(patient("force", 3, 1))
    ready_again(space, "force", 300)
    serve(space, "force", 2, "--constraint", "node.role==worker")
    kept, *gone = (instance(space, "force", slot) for slot in ("m0", "m1", "m2"))
    space.ec2.terminate_instances(InstanceIds=gone)
    until("it is stalled", lambda: space.condition("swarmcluster", "force", "Stalled")["status"] == "True", 150)
    said = space.condition("swarmcluster", "force", "Ready")
    assert said["reason"] == "NoQuorum" and "ForceNewCluster" in said["message"], said
    assert {kept, instance(space, "force", "w0")} <= set(ids(space, "force")), "nothing is done to what is left of it"

    kubectl("patch", "swarmcluster", "force", "-n", space.name, "--type=merge", "-p", '{"spec": {"recovery": "ForceNewCluster"}}')
    ready_again(space, "force", 300)
    assert instance(space, "force", "m0") == kept
    ready_swarm(space, "force", 3, 1)
    until("the service lives on", lambda: replicas_of(space, "force", node(space, "force", "m0")["address"]) == "2/2", 60)


def test_hands_on_its_nodes(space, operator):
    space.apply(patient("hands", 1, 2))
    ready_again(space, "hands", 300)
    first, home = ids(space, "hands"), node(space, "hands", "m0")["address"]
    on = lambda *words: docker(space, "hands", home, *words)
    of = lambda slot: node(space, "hands", slot)["nodeID"]

    # What a person drained stays so, through an operator's restart too, and is shown.
    on("node", "update", "--availability", "drain", of("w0"))
    until("it is shown", lambda: "drain" in json.dumps(node(space, "hands", "w0")).lower(), 30)
    operator.kill()
    operator.start()
    time.sleep(10)
    assert on("node", "inspect", of("w0"), "-f", "'{{.Spec.Availability}}'").strip() == "drain"
    assert space.condition("swarmcluster", "hands", "Ready")["status"] == "True"
    on("node", "update", "--availability", "active", of("w0"))

    # A role is what the spec says.
    on("node", "promote", of("w1"))
    until("it is a worker again", lambda: on("node", "inspect", of("w1"), "-f", "'{{.Spec.Role}}'").strip() == "worker", 60)
    ready_again(space, "hands")

    # One that was removed joins again, and so does one that left.
    removed = of("w0")
    docker(space, "hands", node(space, "hands", "w0")["address"], "swarm", "leave")
    on("node", "rm", "--force", removed)
    until("it has joined again", lambda: of("w0") not in ("", removed), 90)
    ready_again(space, "hands")
    assert ids(space, "hands") == first

    # One that is in a swarm of somebody else's is not followed there.
    stranger, address = instance(space, "hands", "w1"), node(space, "hands", "w1")["address"]
    docker(space, "hands", address, "swarm", "leave", "--force", "&&", "docker", "swarm", "init", "--advertise-addr", address)
    until("another one", lambda: instance(space, "hands", "w1") not in ("", stranger), 180)
    ready_again(space, "hands", 180)
    ready_swarm(space, "hands", 1, 2)


def test_a_smaller_cluster_has_its_tasks_elsewhere_first(space):
    space.apply(cluster("less", 1, 2))
    ready_again(space, "less", 300)
    address = serve(space, "less", 4, "--constraint", "node.role==worker")
    going = instance(space, "less", "w1")
    kubectl("patch", "swarmcluster", "less", "-n", space.name, "--type=merge", "-p", '{"spec": {"workers": 1}}')
    replicas = ""

    def ended():
        nonlocal replicas
        state = space.ec2.describe_instances(InstanceIds=[going])["Reservations"][0]["Instances"][0]["State"]["Name"]
        if state in ("shutting-down", "terminated"):
            return True
        replicas = replicas_of(space, "less", address)
        return False

    until("its instance ends", ended, 120)
    assert replicas == "4/4", replicas
    ready_again(space, "less")
    ready_swarm(space, "less", 1, 1)


def test_a_spot_worker_that_is_taken_back_is_replaced_ahead_of_time(space):
    made = patient("lent", 1, 2)
    made["spec"]["provider"]["ec2"]["spot"] = True
    space.apply(made)
    ready_again(space, "lent", 300)
    address = serve(space, "lent", 2, "--constraint", "node.role==worker", "--stop-grace-period", "1s")
    going, stays = instance(space, "lent", "w0"), instance(space, "lent", "w1")

    # EC2 recommends first, which is told and not followed.
    asked(f"instances/{going}/rebalance", "POST")
    until("it is told", lambda: "EC2 recommends" in node(space, "lent", "w0").get("message", ""), 90)
    assert space.condition("swarmcluster", "lent", "Ready")["status"] == "True" and instance(space, "lent", "w0") == going

    asked(f"instances/{going}/interrupt?seconds=120", "POST")
    ends = time.monotonic() + 120
    said = until("it is told", lambda: (c := space.condition("swarmcluster", "lent", "Ready"))["reason"] == "SpotInterruption" and c, 15)
    assert f"lent-w0's instance {going} is taken back by EC2 at " in said["message"], said
    fewest = 2

    def replaced():
        nonlocal fewest
        fewest = min(fewest, int(replicas_of(space, "lent", address).split("/")[0]))
        return space.condition("swarmcluster", "lent", "Ready")["status"] == "True"

    until("another one is ready in its place", replaced, max(1, ends - time.monotonic()))
    next_ = instance(space, "lent", "w0")
    assert next_ not in ("", going) and instance(space, "lent", "w1") == stays
    state = space.ec2.describe_instances(InstanceIds=[going])["Reservations"][0]["Instances"][0]
    assert state["StateReason"]["Code"] == "Client.UserInitiatedShutdown", "it is ended by the operator, and not by EC2"
    assert fewest >= 1, "the tasks of the other one run on, and those of this one elsewhere before it ends"
    until("the service is whole", lambda: replicas_of(space, "lent", address) == "2/2", 30)
    (event,) = told(space, "SpotInterruption")
    assert going in event["message"] and not told(space, "InstanceEnded")
    ready_swarm(space, "lent", 1, 2)


def test_the_journal_is_destroyed(space, operator):
    space.apply(cluster("amnesia", 1, 1))
    ready_again(space, "amnesia", 240)
    first, keys = ids(space, "amnesia"), space.get("secret", "amnesia-ssh")["data"]
    kubectl("patch", "secret", "amnesia-journal", "-n", space.name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    kubectl("delete", "secret", "amnesia-journal", "-n", space.name)
    until("it is there again", lambda: kubectl("get", "secret", "amnesia-journal", "-n", space.name, check=False).returncode == 0, 60)
    operator.kill()
    operator.start()
    time.sleep(10)
    ready_again(space, "amnesia")
    assert (ids(space, "amnesia"), space.get("secret", "amnesia-ssh")["data"]) == (first, keys)


def test_the_cloud_is_away_for_a_while(space):
    space.apply(cluster("outage", 1, 1))
    ready_again(space, "outage", 240)
    first, since = ids(space, "outage"), space.condition("swarmcluster", "outage", "Ready")["lastTransitionTime"]
    subprocess.run([BED, "outage", "40"], check=True, capture_output=True, timeout=100)
    time.sleep(45)
    assert ids(space, "outage") == first
    said = space.condition("swarmcluster", "outage", "Ready")
    assert (said["status"], said["lastTransitionTime"]) == ("True", since), said


def test_a_paused_cluster_is_left_alone(space):
    space.apply(patient("rest", 1, 1))
    ready_again(space, "rest", 240)
    kubectl("patch", "swarmcluster", "rest", "-n", space.name, "--type=merge", "-p", '{"spec": {"paused": true}}')
    until("it says so", lambda: space.condition("swarmcluster", "rest", "Ready")["reason"] == "Paused", 30)
    gone = instance(space, "rest", "w0")
    space.ec2.terminate_instances(InstanceIds=[gone])
    time.sleep(40)
    assert len(ids(space, "rest")) == 1, "nobody is launched for it"
    kubectl("patch", "swarmcluster", "rest", "-n", space.name, "--type=merge", "-p", '{"spec": {"paused": false}}')
    until("another one", lambda: instance(space, "rest", "w0") not in ("", gone), 60)
    ready_again(space, "rest", 180)
