"""Clusters on machines that exist: the bed's hosts, launched here and not by the operator."""
import shlex
import subprocess
from pathlib import Path

import pytest
from attached import attach
from test_lifecycle import load
from test_members import listed
from world import kubectl, run, until

pytestmark = pytest.mark.long

ENGINE = "resolve:ssm:/aws/service/testkit/docker/28.5/ami-id"
NONE = "resolve:ssm:/aws/service/testkit/debian/14/ami-id"
# The third one's sshd listens there, too.
PORT = 2222


class Lab:
    """Hosts with one key to log in, each with a host key of its own, in a group that lets them reach each other."""

    def __init__(self, space, folder):
        self.space, self.folder, self.hosts, self.inner = space, Path(folder), {}, None
        self.key = self.make("login")
        [vpc] = space.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        self.group = space.ec2.create_security_group(GroupName=space.name, Description="a lab", VpcId=vpc["VpcId"])["GroupId"]
        rule = lambda protocol, first, last, **peer: {"IpProtocol": protocol, "FromPort": first, "ToPort": last, **peer}
        mine = {"UserIdGroupPairs": [{"GroupId": self.group}]}
        anybody = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        space.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[
            rule("tcp", 1, 65535, **mine), rule("udp", 1, 65535, **mine), rule("tcp", 22, 22, **anybody), rule("tcp", PORT, PORT, **anybody)])

    def make(self, name):
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return path

    def inner_group(self):
        """A group that nobody gets into but from the first one."""
        [vpc] = self.space.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        self.inner = self.space.ec2.create_security_group(GroupName=f"{self.space.name}-inner", Description="behind a lab", VpcId=vpc["VpcId"])["GroupId"]
        self.space.ec2.authorize_security_group_ingress(GroupId=self.inner, IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": self.group}]}])
        return self.inner

    def launch(self, name, image=ENGINE, group=None):
        host_key = self.make(f"host-{name}")
        script = (
            "#!/bin/bash\nset -eu\numask 077\nmkdir -p /root/.ssh /etc/ssh/sshd_config.d\n"
            f"echo {shlex.quote(self.key.with_suffix('.pub').read_text().strip())} > /root/.ssh/authorized_keys\n"
            f"printf %s {shlex.quote(host_key.read_text())} > /etc/ssh/ssh_host_ed25519_key\n"
            "rm -f /etc/ssh/ssh_host_ed25519_key.pub\n"
            f"printf 'Port 22\\nPort {PORT}\\nMaxSessions 256\\nMaxStartups 64:30:256\\n' > /etc/ssh/sshd_config.d/00-lab.conf\n"
            "systemctl try-restart ssh sshd >/dev/null 2>&1 || service ssh restart >/dev/null 2>&1 || true\n"
        )
        [instance] = self.space.ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.medium", SecurityGroupIds=[group or self.group], UserData=script,
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": f"{self.space.name}-{name}"}]}])["Instances"]
        self.hosts[name] = (instance["InstanceId"], instance["PrivateIpAddress"])
        return self.address(name)

    def address(self, name):
        return self.hosts[name][1]

    def known_hosts(self):
        (self.folder / "known").write_text("".join(
            f"{address},[{address}]:{PORT} {(self.folder / f'host-{name}.pub').read_text()}" for name, (_, address) in self.hosts.items()))
        return self.folder / "known"

    def secret(self, name="lab"):
        made = kubectl("create", "secret", "generic", name, "-n", self.space.name, "--type=kubernetes.io/ssh-auth", "--dry-run=client", "-o", "json",
                       f"--from-file=ssh-privatekey={self.key}", f"--from-file=known_hosts={self.known_hosts()}")
        kubectl("apply", "-f", "-", stdin=made.stdout)

    def ssh(self, name, *command):
        """By this test's own key: whatever the operator has done with its Secret."""
        done = subprocess.run(
            ["ssh", "-F", "none", "-i", self.key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5",
             "-o", f"UserKnownHostsFile={self.known_hosts()}", "-o", "GlobalKnownHostsFile=none", f"root@{self.address(name)}", *command],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"ssh {name} {' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def state(self, name):
        return self.ssh(name, "docker", "info", "--format", "'{{.Swarm.LocalNodeState}}'")

    def end(self):
        ids = [id for id, _ in self.hosts.values()]
        if ids:
            self.space.ec2.terminate_instances(InstanceIds=ids)
            self.space.ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        for group in filter(None, (self.inner, self.group)):
            self.space.ec2.delete_security_group(GroupId=group)


@pytest.fixture
def lab(space, tmp_path):
    lab = Lab(space, tmp_path)
    yield lab
    # What is on them goes first, as a person would have it.
    kubectl("delete", "swarmclusters", "--all", "-n", space.name, "--timeout=150s", timeout=180)
    lab.end()


def machine(lab, name, role, **more):
    return {"name": name, "address": lab.address(name), "role": role, **more}


def on(name, machines, **spec):
    return {
        "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster", "metadata": {"name": name},
        "spec": {"unhealthyAfter": "30s", **spec, "provider": {"hosts": {"secretRef": {"name": "lab"}, "machines": machines}}},
    }


def roles(space, name, home):
    """The nodes as a manager lists them: slot -> role."""
    return {slot: role for slot, role, _, _ in listed(space, name, home).values()}


def plugin(space, *words, timeout=60):
    done = subprocess.run(["kubectl", "testkit", words[0], "-n", space.name, *words[1:]], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"kubectl testkit {' '.join(words)}: {done.stderr}"
    return done.stdout


def test_machines_become_a_cluster_are_used_and_are_left_as_they_were(space, lab, tmp_path):
    for name in ("alpha", "beta", "gamma"):
        lab.launch(name)
    alpha = lab.address("alpha")
    three = [machine(lab, "alpha", "Manager"), machine(lab, "beta", "Worker"), machine(lab, "gamma", "Worker", port=PORT)]

    # Without the Secret it says so, and goes on by itself when it is there.
    space.apply(on("foo", three))
    until("the Secret is missed", lambda: "Secret lab" in space.condition("swarmcluster", "foo", "Stalled")["message"], 60)
    lab.secret()
    space.wait("swarmcluster", "foo", "Ready", 180)
    status = space.status("swarmcluster", "foo")
    assert (status["managers"], status["workers"], status["endpoint"]) == ("1/1", "2/2", alpha), status
    assert {n["name"]: (n["instanceId"], n.get("port")) for n in status["nodes"]} == {
        "foo-m0": ("host/alpha", None), "foo-w0": ("host/beta", None), "foo-w1": ("host/gamma", PORT)}
    assert roles(space, "foo", alpha) == {"m0": "manager", "w0": "worker", "w1": "worker"}

    # Runs, shells and the socket work as on any cluster, by the key that was given.
    assert plugin(space, "ssh", "foo", "gamma", "--", "hostname").strip() == lab.ssh("gamma", "hostname")
    assert plugin(space, "attach", "foo", "--", "sh", "-c", 'curl -sf --unix-socket "${DOCKER_HOST#unix://}" http://docker/_ping') == "OK"
    with attach(space, "foo", tmp_path) as sock:
        assert len(sock.json("GET", "/nodes")) == 3
    load(space, "foo")
    space.apply(run("nightly", "foo"))
    space.wait("e2erun", "nightly", "Complete", 300)

    # Roles change by promotion and demotion: nobody leaves, and the nodes are those that were.
    before = set(listed(space, "foo", alpha))
    swapped = [machine(lab, "alpha", "Worker"), machine(lab, "beta", "Manager"), machine(lab, "gamma", "Worker", port=PORT)]
    space.apply(on("foo", swapped))
    beta = lab.address("beta")
    until("beta manages and alpha does not", lambda: sorted(roles(space, "foo", beta).values()) == ["manager", "worker", "worker"] and listed(space, "foo", beta).keys() == before
          and space.status("swarmcluster", "foo").get("endpoint") == beta, 90)
    space.wait("swarmcluster", "foo", "Ready", 60)

    # A machine that is sick is waited for, and nothing is done to it.
    subprocess.run(["kubectl", "testkit", "ssh", "foo", "gamma", "-n", space.name, "--", "systemctl stop docker docker.socket"], check=True, timeout=60)
    until("the sick one is told of", lambda: "host/gamma" in space.condition("swarmcluster", "foo", "Stalled")["message"]
          and space.condition("swarmcluster", "foo", "Stalled")["status"] == "True", 120)
    lab.ssh("gamma", "systemctl start docker")
    space.wait("swarmcluster", "foo", "Ready", 90)
    assert listed(space, "foo", beta).keys() == before

    # One that is taken off the list leaves, and is let go.
    space.apply(on("foo", swapped[:2]))
    until("gamma is in no swarm", lambda: lab.state("gamma") == "inactive", 120)
    space.wait("swarmcluster", "foo", "Ready", 60)
    assert space.status("swarmcluster", "foo")["workers"] == "1/1"

    # What was formed is dissolved with the object; the machines run on.
    space.delete("swarmcluster", "foo", 120)
    assert {name: lab.state(name) for name in lab.hosts} == {name: "inactive" for name in lab.hosts}
    assert all(i["State"]["Name"] == "running" for r in space.ec2.describe_instances(InstanceIds=[id for id, _ in lab.hosts.values()])["Reservations"] for i in r["Instances"])


def test_a_swarm_that_is_there_is_adopted_where_it_agrees_and_left_alone(space, lab, tmp_path):
    for name in ("alpha", "beta", "gamma"):
        lab.launch(name)
    lab.secret()
    alpha = lab.address("alpha")
    until("the engines answer", lambda: all(lab.state(name) == "inactive" for name in lab.hosts), 90)
    lab.ssh("alpha", "docker", "swarm", "init", "--advertise-addr", alpha)
    token = lab.ssh("alpha", "docker", "swarm", "join-token", "-q", "worker")
    for name in ("beta", "gamma"):
        lab.ssh(name, "docker", "swarm", "join", "--advertise-addr", lab.address(name), "--token", token, f"{alpha}:2377")
    lab.ssh("alpha", "docker", "service", "create", "-d", "--name", "theirs", "--network", "host", "busybox", "sleep", "1000")
    swarm = lab.ssh("alpha", "docker", "info", "--format", "'{{.Swarm.Cluster.ID}}'")
    nodes = set(lab.ssh("alpha", "docker", "node", "ls", "-q").split())

    # A spec that it does not agree with: told, and nothing is touched.
    space.apply(on("one", [machine(lab, "alpha", "Manager"), machine(lab, "beta", "Worker")]))
    told = until("the difference is told", lambda: (c := space.condition("swarmcluster", "one", "Stalled"))["reason"] == "SwarmDiffers" and c, 90)
    assert "is none of the machines of the spec" in told["message"], told
    assert "testkit.dev" not in lab.ssh("alpha", "docker", "node", "inspect", *nodes, "--format", "'{{json .Spec.Labels}}'")

    # Corrected, it is adopted.
    all_three = [machine(lab, "alpha", "Manager"), machine(lab, "beta", "Worker"), machine(lab, "gamma", "Worker")]
    space.apply(on("one", all_three))
    space.wait("swarmcluster", "one", "Ready", 120)
    assert listed(space, "one", alpha).keys() == nodes

    # A second object does not take what is the first one's.
    space.apply(on("two", all_three))
    told = until("it is the other's", lambda: (c := space.condition("swarmcluster", "two", "Stalled"))["reason"] == "SwarmDiffers" and c, 90)
    assert f"belongs to SwarmCluster {space.name}/one" in told["message"], told

    # The first one goes, the swarm stays, and the second one adopts it.
    space.delete("swarmcluster", "one", 90)
    space.wait("swarmcluster", "two", "Ready", 120)
    assert lab.ssh("alpha", "docker", "info", "--format", "'{{.Swarm.Cluster.ID}}'") == swarm
    with attach(space, "two", tmp_path) as sock:
        assert {n["ID"] for n in sock.json("GET", "/nodes")} == nodes
    space.delete("swarmcluster", "two", 90)
    assert set(lab.ssh("alpha", "docker", "node", "ls", "-q").split()) == nodes
    assert "theirs" in lab.ssh("alpha", "docker", "service", "ls")
    assert "testkit.dev" not in lab.ssh("alpha", "docker", "node", "inspect", *nodes, "--format", "'{{json .Spec.Labels}}'")


def test_a_machine_behind_a_jump_host_is_reached_through_it_alone(space, lab, tmp_path):
    lab.launch("door")
    lab.launch("alpha", group=lab.inner_group())
    lab.secret()
    made = on("inner", [machine(lab, "alpha", "Manager")])
    space.apply(made)
    until("there is no way to it", lambda: "alpha" in space.condition("swarmcluster", "inner", "Ready")["message"], 60)
    made["spec"]["provider"]["hosts"]["jumpHost"] = {"address": lab.address("door")}
    space.apply(made)
    space.wait("swarmcluster", "inner", "Ready", 180)

    # What comes from elsewhere still is not let in: runs, shells and the socket go through the jump host as well.
    assert subprocess.run(["timeout", "3", "bash", "-c", f"exec 3<>/dev/tcp/{lab.address('alpha')}/22"], capture_output=True).returncode
    assert plugin(space, "ssh", "inner", "--", "hostname").strip() != lab.ssh("door", "hostname")
    with attach(space, "inner", tmp_path) as sock:
        assert [n["Status"]["Addr"] for n in sock.json("GET", "/nodes")] == [lab.address("alpha")]
    load(space, "inner")
    space.apply(run("nightly", "inner"))
    space.wait("e2erun", "nightly", "Complete", 300)


def test_an_engine_is_installed_where_that_is_said(space, lab):
    lab.launch("alpha", NONE)
    lab.secret()
    space.apply(on("bare", [machine(lab, "alpha", "Manager")]))
    until("the engine is missed", lambda: "installEngine" in space.condition("swarmcluster", "bare", "Stalled")["message"], 120)
    made = on("bare", [machine(lab, "alpha", "Manager")], bootTimeout="10m")
    made["spec"]["provider"]["hosts"]["installEngine"] = True
    space.apply(made)
    space.wait("swarmcluster", "bare", "Ready", 600)
