"""Each action of each statement of the shipped policy is taken away from a user of its own: the object names what it misses.

Every row is a SwarmCluster with credentials of its own (spec.provider.ec2.credentials). All of them are there at once, with
instances that have no hosts, and go when their users have the whole policy again: so one worker runs them all (together.py).
docs/aws.md has the table.
"""
import copy
import json
import re
from pathlib import Path

import pytest
import world
from world import asked, cluster, kubectl, until

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = json.loads((REPOSITORY / "deploy" / "iam-policy.json").read_text())
# When the operator asks for an action: at once, unless something else stands here.
STARTS, CIDRS, ENDS = "when it is applied", "when `spec.accessCIDRs` changes", "when it is deleted"
STOPS, USED = "when somebody stopped an instance", "when it is deleted, and something else uses its group"
MUTE = "when a host does not become an engine in time"
WHEN = {"ec2:RevokeSecurityGroupIngress": CIDRS, "ec2:StartInstances": STOPS, "ec2:DeleteSecurityGroup": ENDS, "ec2:TerminateInstances": ENDS,
        "ec2:DescribeNetworkInterfaces": USED, "ec2:GetConsoleOutput": MUTE}
# Of these the user never has the action.
FROM_THE_START = (STARTS, MUTE)
# What the operator only asks to tell more of something else, which is the reason then.
REASONS = {USED: "InUse", MUTE: "BootFailed"}
# What a spec needs for the action to be asked for: of the provider, and beside it.
SPECS = {"ec2:DescribeImages": {"ami": {"name": "testkit-docker-28.5-*", "owner": "210987654321"}}}
BESIDE = {"ec2:GetConsoleOutput": {"bootTimeout": "30s"}}


def actions(statement):
    return [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]


ROWS = [(statement["Sid"], action) for statement in SHIPPED["Statement"] for action in actions(statement)]


def name_of(sid, action):
    """Of the row's user, Secret and cluster."""
    return re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", f"{action.partition(':')[2]}{sid}").strip("-")[:40].strip("-")


def without(sid, action):
    document = copy.deepcopy(SHIPPED)
    statement = next(statement for statement in document["Statement"] if statement["Sid"] == sid)
    # IAM takes no statement without an action.
    statement["Action"] = [other for other in actions(statement) if other != action] or "none:None"
    return document


@pytest.fixture(scope="module")
def rows(bed, tmp_path_factory):
    """Applies the cluster of every row and gives their namespace, and the function that gives a row's user a policy."""
    before = asked("knobs")
    asked("knobs", "PUT", {"boot": False, "buckets": False})
    uid = json.loads(kubectl("get", "namespace", "kube-system", "-o", "json").stdout)["metadata"]["uid"]
    permit = lambda row, document: asked(f"users/{name_of(*row)}", "PUT", json.loads(json.dumps(document).replace("INSTALLATION", uid)))
    space = world.Namespace("permissions")
    subnet = space.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1a"]}])["Subnets"][0]["SubnetId"]
    objects = []
    for sid, action in ROWS:
        keys = permit((sid, action), without(sid, action) if WHEN.get(action, STARTS) in FROM_THE_START else SHIPPED)
        name = name_of(sid, action)
        spec = {"subnets": [subnet]} if action == "ec2:DescribeSubnets" else SPECS.get(action, {})
        objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {
            "aws_access_key_id": keys["accessKeyId"], "aws_secret_access_key": keys["secretAccessKey"]}})
        objects.append(cluster(name, managers=1, workers=0, credentials={"name": name}, **spec))
        objects[-1]["spec"] |= BESIDE.get(action, {})
    operator = world.Operator(tmp_path_factory.mktemp("permissions") / "operator.log").start()
    try:
        space.apply({"apiVersion": "v1", "kind": "List", "items": objects})
        yield space, permit
        # What is granted again is enough for everything to go. The namespace goes last: with it go the Secrets with the keys.
        for row in ROWS:
            permit(row, SHIPPED)
        kubectl("delete", "swarmclusters", "--all", "-n", space.name, "--timeout=360s", timeout=390)
        kubectl("delete", "namespace", space.name, "--timeout=300s", timeout=330)
        left = {name_of(*row): space.leftovers(name_of(*row)) for row in ROWS}
        assert not any(left.values()), left
    finally:
        operator.stop()
        for row in ROWS:
            asked(f"users/{name_of(*row)}", "DELETE")
        asked("knobs", "PUT", before)


@pytest.fixture
def foreign(rows):
    """Makes network interfaces that are none of a cluster's, in its security group; they are gone at the end."""
    ec2, made = rows[0].ec2, []

    def make(instance):
        groups = [group["GroupId"] for group in instance["SecurityGroups"]]
        interface = ec2.create_network_interface(SubnetId=instance["SubnetId"], Groups=groups)["NetworkInterface"]
        made.append(interface["NetworkInterfaceId"])

    yield make
    for interface in made:
        ec2.delete_network_interface(NetworkInterfaceId=interface)


@pytest.mark.parametrize("sid, action", ROWS)
def test_what_is_missed_is_named_on_the_object(rows, foreign, sid, action):
    space, permit = rows
    name, when = name_of(sid, action), WHEN.get(action, STARTS)
    if when not in FROM_THE_START:
        # One that is still pending cannot be stopped.
        until("its instance runs", lambda: [i["State"]["Name"] for i in space.instances(name)] == ["running"], 180)
        permit((sid, action), without(sid, action))
        if when is CIDRS:
            change = json.dumps({"spec": {"accessCIDRs": ["203.0.113.0/24"]}})
            kubectl("patch", "swarmcluster", name, "-n", space.name, "--type=merge", f"--patch={change}")
        elif when is STOPS:
            space.ec2.stop_instances(InstanceIds=[i["InstanceId"] for i in space.instances(name)])
        else:
            if when is USED:
                foreign(space.instances(name)[0])
            kubectl("delete", "swarmcluster", name, "-n", space.name, "--wait=false")

    def named():
        said = space.condition("swarmcluster", name, "Ready")
        # In the operator's words, or in AWS's.
        assert re.search(rf"not authorized to perform:? {action}\b", said["message"]), said
        return said

    said = until(f"a condition names {action}", named, 180)
    assert (said["status"], said["reason"]) == ("False", REASONS.get(when, "Unauthorized")), said


def test_the_page_has_every_row():
    """docs/aws.md tells when each is missed, and has no row more."""
    page = (REPOSITORY / "docs" / "aws.md").read_text()
    told = dict(re.findall(r"^\| (\w+, `[^`]+`) \| (.+) \|$", page, re.MULTILINE))
    assert told == {f"{sid}, `{action}`": WHEN.get(action, STARTS) for sid, action in ROWS}
