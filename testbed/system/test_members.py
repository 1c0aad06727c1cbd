"""Whatever happens to a cluster's members, it comes back or says what there is to choose, and loses nothing by our hand."""
import json
import time

import world
from world import cluster, kubectl, until


def docker(space, name, address, *command):
    return space.ssh(name, address, "docker", *command)


def listed(space, name, address):
    """The nodes as a manager lists them: id -> (slot, role, votes and is reached, status)."""
    ids = docker(space, name, address, "node", "ls", "-q").split()
    nodes = json.loads(docker(space, name, address, "node", "inspect", *ids))
    return {
        n["ID"]: (n["Spec"]["Labels"].get("testkit.dev/slot"), n["Spec"]["Role"], n.get("ManagerStatus", {}).get("Reachability"), n["Status"]["State"])
        for n in nodes
    }


def address_of(space, name, slot):
    return next(n["address"] for n in space.status("swarmcluster", name)["nodes"] if n["name"] == f"{name}-{slot}")


def ready_again(space, name, timeout=240):
    space.wait("swarmcluster", name, "Ready", timeout)


def ids(space, name):
    return sorted(i["InstanceId"] for i in space.instances(name))


def events(space):
    return json.loads(kubectl("get", "events", "-n", space.name, "-o", "json").stdout)["items"]


def test_accidents_of_one_cluster(space, operator):
    space.apply(cluster("hap", managers=3, workers=1))
    ready_again(space, "hap", 240)
    first = ids(space, "hap")

    # Two managers leave by force, one after the other: each comes back, and no vote is left behind.
    leader = next(n["name"] for n in space.status("swarmcluster", "hap")["nodes"] if n.get("leader"))
    left = [s for s in ("m0", "m1", "m2") if f"hap-{s}" != leader][:2]
    home = address_of(space, "hap", leader.removeprefix("hap-"))
    for slot in left:
        docker(space, "hap", address_of(space, "hap", slot), "swarm", "leave", "--force")

        def back():
            nodes = listed(space, "hap", home)
            voters = [n for n in nodes.values() if n[2]]
            assert len(voters) <= 3, f"a vote was added beside an old one: {nodes}"
            return len(nodes) == 4 and len([v for v in voters if v[2] == "reachable"]) == 3 and all(n[3] == "ready" for n in nodes.values())

        until(f"{slot} is back, and its old node is not", back, 180, every=0.5)
    ready_again(space, "hap")
    assert ids(space, "hap") == first

    # The Secret people read is made again with the same keys, and the journal cannot be deleted.
    before = space.get("secret", "hap-ssh")["data"]
    kubectl("delete", "secret", "hap-ssh", "-n", space.name)
    until("the Secret is there again", lambda: kubectl("get", "secret", "hap-ssh", "-n", space.name, check=False).returncode == 0, 90)
    assert space.get("secret", "hap-ssh")["data"] == before
    kubectl("delete", "secret", "hap-journal", "-n", space.name, "--wait=false")
    assert space.get("secret", "hap-journal")["metadata"]["deletionTimestamp"]

    # An operator that begins anew beside a cluster that is well has nothing to say.
    ready_again(space, "hap")
    space.wait("swarmcluster", "hap", "Reconciling=False", 60)
    # What it had to say of what was before it has said, or will not say any more.
    operator.kill()
    seen, told = space.get("swarmcluster", "hap")["metadata"]["resourceVersion"], len(events(space))
    operator.start()
    time.sleep(12)
    assert space.get("swarmcluster", "hap")["metadata"]["resourceVersion"] == seen, space.get("swarmcluster", "hap")["status"]
    assert len(events(space)) == told, events(space)

    # One that somebody stopped is started, and is the same one.
    (worker,) = [i["InstanceId"] for i in space.instances("hap") if {"Key": "testkit.dev/slot", "Value": "w0"} in i["Tags"]]
    space.ec2.stop_instances(InstanceIds=[worker])
    space.wait("swarmcluster", "hap", "Ready=False", 90)
    ready_again(space, "hap", 300)
    assert ids(space, "hap") == first

    # A worker goes when its tasks run elsewhere.
    kubectl("patch", "swarmcluster", "hap", "-n", space.name, "--type=merge", "-p", '{"spec": {"workers": 0}}')
    until("three instances", lambda: len(space.instances("hap")) == 3, 240)
    ready_again(space, "hap")


def test_a_lone_manager_that_ended_is_said_with_the_choices(space):
    space.apply(cluster("lone", managers=1, workers=1))
    ready_again(space, "lone", 300)
    (manager,) = [i["InstanceId"] for i in space.instances("lone") if {"Key": "testkit.dev/slot", "Value": "m0"} in i["Tags"]]
    (worker,) = [i["InstanceId"] for i in space.instances("lone") if i["InstanceId"] != manager]
    space.ec2.terminate_instances(InstanceIds=[manager])
    until("it is stalled", lambda: space.condition("swarmcluster", "lone", "Stalled")["status"] == "True", 180)
    said = space.condition("swarmcluster", "lone", "Ready")
    assert said["reason"] == "NoQuorum" and "spec.recovery" in said["message"] and "Recreate" in said["message"], said
    assert worker in ids(space, "lone"), "nothing is done to its hosts"

    kubectl("patch", "swarmcluster", "lone", "-n", space.name, "--type=merge", "-p", '{"spec": {"recovery": "Recreate"}}')
    ready_again(space, "lone", 300)
    assert worker in ids(space, "lone"), "the worker is in the new swarm"
    assert any(e["reason"] == "SwarmLost" for e in events(space)), events(space)


def test_a_namespace_with_the_credentials_in_it_ends(bed, operator, knobs):
    knobs(boot=False)
    space = world.Namespace("credentials")
    keys = world.user("cluster")
    space.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws"}, "stringData": {
            "aws_access_key_id": keys["accessKeyId"], "aws_secret_access_key": keys["secretAccessKey"]}},
        cluster("kept", managers=1, workers=0, credentials={"name": "aws"}),
    )
    until("an instance", lambda: space.instances("kept"), 120)
    # The last good ones are known to no operator that begins now, and the Secret is held.
    operator.kill()
    kubectl("delete", "namespace", space.name, "--wait=false")
    until("the Secret is being deleted", lambda: space.get("secret", "aws")["metadata"].get("deletionTimestamp"), 60)
    operator.start()
    until("the namespace is gone", lambda: kubectl("get", "namespace", space.name, check=False).returncode, 240)
    assert space.leftovers("kept") == []


def test_what_a_finalizer_taken_off_left_behind_is_found(bed, tmp_path, knobs):
    knobs(boot=False)
    operator = world.Operator(tmp_path / "operator.log", "--collect-every", "5s")
    operator.start()
    try:
        space = world.Namespace("orphans")
        space.apply(cluster("torn", managers=1, workers=1))
        until("two instances", lambda: len(space.instances("torn")) == 2, 120)
        operator.kill()
        kubectl("patch", "swarmcluster", "torn", "-n", space.name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        kubectl("delete", "swarmcluster", "torn", "-n", space.name)
        operator.start()
        until("nothing is left", lambda: not space.leftovers("torn"), 300)
        kubectl("delete", "namespace", space.name, "--timeout=120s", timeout=150)
    finally:
        operator.stop()
