"""What EC2 refuses, takes away or never brings up: the operator says so, goes on by itself, and takes up a correction at once."""
import ipaddress
import json

import pytest
from world import CLUSTER_TAG, Count, asked, cluster, kubectl, told, until


def ready(space, name):
    return space.condition("swarmcluster", name, "Ready")


def says(space, name, reason, *words, timeout=120):
    """Waits until the cluster says so; the condition."""
    def look():
        now = ready(space, name)
        return now if now["reason"] == reason and all(w in now["message"] for w in words) else None
    try:
        return until(f"{reason} {words}", look, timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}; it says {ready(space, name)}") from None


def stalled(space, name):
    return space.condition("swarmcluster", name, "Stalled")["status"] == "True"


def events(space, reason):
    items = json.loads(kubectl("get", "events", "-n", space.name, "-o", "json").stdout)["items"]
    return [e["message"] for e in items if e["reason"] == reason]


def types(space, name):
    return {i["InstanceType"] for i in space.instances(name)}


def test_a_mistyped_type_is_forgotten_once_corrected(space, operator):
    with Count(space, "typo") as count:
        space.apply(cluster("typo", 1, 0, instanceTypes=["t3.mediun"]))
        says(space, "typo", "InvalidConfiguration", "t3.mediun", "spec.provider.ec2.instanceTypes")
        assert stalled(space, "typo")
        # The operator that was refused is not the one that reads the correction.
        operator.kill()
        space.apply(cluster("typo", 1, 0, instanceTypes=["t3.medium"]))
        operator.start()
        until("another type", lambda: types(space, "typo") == {"t3.medium"}, 90)
        space.wait("swarmcluster", "typo", "Ready", 300)
    assert count.most == {"m0": 1}
    assert ready(space, "typo")["message"] == "1 manager is ready"

    # The swarm's addresses are not those of the hosts.
    address = space.status("swarmcluster", "typo")["endpoint"]
    pools = json.loads(space.ssh("typo", address, "docker", "info", "-f", "'{{json .Swarm.Cluster.DefaultAddrPool}}'"))
    ingress = space.ssh("typo", address, "docker", "network", "inspect", "ingress", "-f", "'{{(index .IPAM.Config 0).Subnet}}'").strip()
    assert pools and not any(ipaddress.ip_address(address) in ipaddress.ip_network(p) for p in pools), pools
    assert any(ipaddress.ip_network(ingress).subnet_of(ipaddress.ip_network(p)) for p in pools), (ingress, pools)


def test_the_image_that_is_not_named_has_no_engine_and_gets_one(space, knobs):
    knobs(ubuntu_has_engine=False)
    made = cluster("plain", 1, 0)
    # An installation on a busy machine may take longer than the five minutes that a boot has otherwise.
    made["spec"]["bootTimeout"] = "15m"
    space.apply(made)
    says(space, "plain", "Booting")
    space.wait("swarmcluster", "plain", "Ready", 900)
    (instance,) = space.instances("plain")
    console = space.ec2.get_console_output(InstanceId=instance["InstanceId"], Latest=True)["Output"]
    assert "testkit: there is no engine here: installing it by https://get.docker.com" in console
    assert events(space, "BootFailed") == [] and space.status("swarmcluster", "plain")["engineVersion"].startswith("28.5")


def test_over_quota_for_one_type_the_next_is_taken(space, knobs):
    knobs(fail=[{"action": "RunInstances", "code": "VcpuLimitExceeded", "times": 1}])
    space.apply(cluster("narrow", 1, 0))
    until("the second type", lambda: types(space, "narrow") == {"t3a.medium"}, 90)

    # With no type to be had, it is said by who can end it, and its end is noticed.
    knobs(fail=[{"action": "RunInstances", "code": "VcpuLimitExceeded"}])
    space.apply(cluster("none", 1, 0))
    says(space, "none", "QuotaExceeded", "t3.medium, t3a.medium", "VcpuLimitExceeded", "raise the quota")
    assert stalled(space, "none")
    knobs(fail=[])
    # How long a want of quota is remembered doubles each time, from 15 s on.
    until("it is launched", lambda: space.instances("none"), 200)


FREE = "The specified instance type is not eligible for Free Tier. For a list of Free Tier instance types, run 'describe-instance-types' with the filter 'free-tier-eligible=true'."


@pytest.mark.parametrize("name, wrong", [
    ("accepted", {"deaths": [{"reason": "Server.InsufficientInstanceCapacity", "name": "accepted-m0", "times": 1}]}),
    ("free", {"fail": [{"action": "RunInstances", "code": "InvalidParameterCombination", "message": FREE, "times": 1}]})])
def test_what_one_type_lacks_another_one_has(space, knobs, name, wrong):
    knobs(**wrong)
    space.apply(cluster(name, 1, 0))
    until("the second type", lambda: types(space, name) == {"t3a.medium"}, 90)


@pytest.mark.long
def test_a_stopped_instance_that_there_is_no_room_for_is_replaced(space, knobs):
    made = cluster("stuck", 1, 1, instanceTypes=["t3.medium", "t3a.medium"])
    made["spec"]["unhealthyAfter"] = "30s"
    space.apply(made)
    space.wait("swarmcluster", "stuck", "Ready", 240)
    slot = lambda i: next(t["Value"] for t in i["Tags"] if t["Key"] == "testkit.dev/slot")
    (worker,) = [i["InstanceId"] for i in space.instances("stuck") if slot(i) == "w0"]
    knobs(capacity=[{"type": "t3.medium"}])
    space.ec2.stop_instances(InstanceIds=[worker])
    says(space, "stuck", "InsufficientCapacity", f"starting {worker}", "InsufficientInstanceCapacity")
    until("another type", lambda: {i["InstanceType"] for i in space.instances("stuck") if slot(i) == "w0"} == {"t3a.medium"}, 90)
    unhealthy = events(space, "HostUnhealthy")
    assert len(unhealthy) == 1 and worker in unhealthy[0] and "InsufficientInstanceCapacity" in unhealthy[0], unhealthy
    space.wait("swarmcluster", "stuck", "Ready", 240)

    # The only manager is none that may go.
    (manager,) = [i["InstanceId"] for i in space.instances("stuck") if slot(i) == "m0"]
    space.ec2.stop_instances(InstanceIds=[manager])
    with pytest.raises(AssertionError, match="not within"):
        until("it is replaced", lambda: [i for i in space.instances("stuck") if slot(i) == "m0" and i["InstanceId"] != manager], 60)
    knobs(capacity=[])
    space.wait("swarmcluster", "stuck", "Ready", 120)


def test_instances_that_die_are_replaced_ever_more_slowly_and_told(space, knobs):
    knobs(deaths=[{"reason": "Client.VolumeLimitExceeded", "name": "frail-m0", "times": 3}])
    space.apply(cluster("frail", 1, 0))
    said = says(space, "frail", "InstanceEnded", "frail-m0", "Client.VolumeLimitExceeded", "number 3 in a row", timeout=240)
    assert stalled(space, "frail"), said
    ended = told(space, "InstanceEnded", 3)
    assert len(ended) == 3 and all("Client.VolumeLimitExceeded" in t and len(t.encode()) <= 1024 for t in ended), ended
    # A person changes something, and is not kept waiting.
    space.apply({**cluster("frail", 1, 0), "spec": {**cluster("frail", 1, 0)["spec"], "bootTimeout": "10m"}})
    until("a fourth one", lambda: space.instances("frail"), 90)
    space.wait("swarmcluster", "frail", "Ready", 300)
    assert not stalled(space, "frail")


def test_a_host_that_is_no_engine_in_time_is_replaced_with_its_last_words(space):
    def mute(level, boot_timeout):
        made = cluster("mute", 1, 0)
        made["spec"] |= {"bootTimeout": boot_timeout, "engine": {"daemonJson": {"log-level": level}}}
        return made

    # An engine that does not start with what its configuration says.
    space.apply(mute("deafening", "30s"))
    until("an instance", lambda: space.instances("mute"), 90)
    (first,) = [i["InstanceId"] for i in space.instances("mute")]
    said = says(space, "mute", "BootFailed", "mute-m0", first, "30s", "its console ", timeout=180)
    assert all(c.isprintable() for c in said["message"]), said
    assert space.condition("swarmcluster", "mute", "Reconciling")["status"] == "True"
    failed = told(space, "BootFailed")
    assert sum(first in t for t in failed) == 1, failed
    until("another one", lambda: [i for i in space.instances("mute") if i["InstanceId"] != first], 90)

    # Corrected: what still boots by the wrong configuration is not waited for.
    space.apply(mute("debug", "5m"))
    space.wait("swarmcluster", "mute", "Ready", 300)


def test_a_group_that_is_used_elsewhere_is_named_with_what_uses_it(space):
    space.apply(cluster("bound", 1, 0))
    until("an instance", lambda: space.instances("bound"), 90)
    instance = space.instances("bound")[0]
    mine = [g["GroupId"] for g in instance["SecurityGroups"]]
    interface = space.ec2.create_network_interface(SubnetId=instance["SubnetId"], Groups=mine)["NetworkInterface"]["NetworkInterfaceId"]
    try:
        kubectl("delete", "swarmcluster", "bound", "-n", space.name, "--wait=false")
        said = says(space, "bound", "InUse", "it is used by", interface, timeout=180)
        assert "instances are left" not in said["message"], said
    finally:
        space.ec2.delete_network_interface(NetworkInterfaceId=interface)
    space.delete("swarmcluster", "bound")
    assert space.leftovers("bound") == []


@pytest.mark.long
def test_lists_that_are_late_are_lived_with(space, knobs):
    """EC2 knows a new instance nowhere for a while, and shows one that was told to end as it was before."""
    knobs(visible_after_s=5)
    of = lambda name, which="": [i["id"] for i in asked(f"instances{which}") if i["tags"].get(CLUSTER_TAG) == f"{space.name}/{name}"]
    space.apply(cluster("late", 1, 1))
    space.wait("swarmcluster", "late", "Ready", 240)
    assert len(of("late", "?all=1")) == 2
    # Told to end before it is known.
    space.apply(cluster("brief", 1, 0))
    until("it is launched", lambda: of("brief"), 60, every=0.05)
    space.delete("swarmcluster", "brief")
    assert of("brief") == []
    # And an old one that no list has for a minute is nobody's reason for another.
    knobs(visible_after_s=3600)
    until("no list has them", lambda: not space.instances("late"), 10)
    with pytest.raises(AssertionError, match="not within"):
        until("others are launched", lambda: len(of("late", "?all=1")) > 2, 60)
    knobs(visible_after_s=0)
    space.wait("swarmcluster", "late", "Ready", 60)
    space.delete("swarmcluster", "late")
    assert of("late") == []
