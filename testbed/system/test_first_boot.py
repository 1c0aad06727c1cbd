"""Clusters from an image without an engine, as most people's are: what an installation meets on its way, and what is said of it."""
import json
import os
import urllib.request

import pytest
from test_strictness import events, ready, says, stalled
from world import cluster, until

PLAIN = {"ami": {"ssmParameter": "/aws/service/testkit/debian/14/ami-id"}}
WORKS = {"script_fails": 0, "packages_fails": 0, "how": "503", "bytes_per_s": None, "package_lock_s": 0}

pytestmark = pytest.mark.long


@pytest.fixture
def mirror(bed):
    """Sets what goes wrong where the hosts get their engine from; nothing does at the end."""
    def change(**faults):
        body = json.dumps(WORKS | faults).encode()
        urllib.request.urlopen(urllib.request.Request(f"{bed}/_bed/mirror", body, method="PUT"), timeout=10).close()

    change()
    yield change
    change()


def console(space, name):
    """Of the only instance."""
    (instance,) = [i["InstanceId"] for i in space.instances(name)]
    return space.ec2.get_console_output(InstanceId=instance, Latest=True).get("Output", "")


def engine(space, name):
    return space.ssh(name, space.status("swarmcluster", name)["endpoint"], "docker", "version", "-f", "'{{.Server.Version}}'")


def test_a_locked_package_manager_is_waited_for(space, mirror):
    mirror(package_lock_s=40)
    space.apply(cluster("locked", 1, 0, **PLAIN))
    space.wait("swarmcluster", "locked", "Ready", 600)
    assert "(unattended-upgr)" in console(space, "locked"), "apt's own words"
    assert engine(space, "locked").startswith("28.5") and events(space, "BootFailed") == []


def test_a_script_that_fails_twice_works_the_third_time(space, mirror):
    mirror(script_fails=2)
    space.apply(cluster("third", 1, 1, **PLAIN))
    space.wait("swarmcluster", "third", "Ready", 600)
    assert engine(space, "third").startswith("28.5") and events(space, "BootFailed") == []


def test_a_script_that_fails_for_ever_stalls_the_cluster_with_the_consoles_words(space, mirror):
    mirror(script_fails="always")
    made = cluster("never", 1, 0, **PLAIN)
    made["spec"]["bootTimeout"] = "1m"
    space.apply(made)
    said = says(space, "never", "BootFailed", "never-m0", "number 3 in a row", "testkit: giving up: downloading https://get.docker.com failed", timeout=600)
    assert stalled(space, "never") and all(c.isprintable() for c in said["message"]), said
    assert len(events(space, "BootFailed")) == 3
    # It is tried on: what was wrong elsewhere is mended without a word to us.
    mirror()
    made["spec"]["bootTimeout"] = "10m"
    space.apply(made)
    space.wait("swarmcluster", "never", "Ready", 600)
    assert not stalled(space, "never"), ready(space, "never")


def test_twenty_clusters_at_once_are_ready_without_a_replaced_host(space):
    names = [f"one-{number}" for number in range(20)]
    space.apply({"apiVersion": "v1", "kind": "List", "items": [cluster(name, 1, 0) for name in names]})
    first = {}

    def launched():
        first.update({name: space.instances(name)[0]["InstanceId"] for name in names if name not in first})
        return len(first) == len(names)

    until("an instance of each", launched, 120)
    for name in names:
        space.wait("swarmcluster", name, "Ready", 900)
    assert {name: [i["InstanceId"] for i in space.instances(name)] for name in names} == {name: [first[name]] for name in names}
