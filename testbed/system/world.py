"""What the system tests look through: kubectl, the EC2 API, SSH, and the operator's process. Nothing here decides what is right."""
import base64
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

CLUSTER_TAG = "testkit.dev/cluster"
LIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
# How long the sshd of a host that is well may take to say who it is, where the machine is busy with others.
SSHD_WITHIN = 30


def kubectl(*args, stdin=None, check=True, timeout=120):
    done = subprocess.run(["kubectl", *args], input=stdin, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise AssertionError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
    return done


def until(what, look, timeout, every=0.2):
    """Looks until `look` answers with something true; the last answer or error is part of the failure."""
    deadline, last = time.monotonic() + timeout, None
    while time.monotonic() < deadline:
        try:
            last = look()
            if last:
                return last
        except (AssertionError, OSError, KeyError, subprocess.SubprocessError) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"{what}: not within {timeout} s; last seen: {last!r}")


def told(space, reason, count=1):
    """The messages of the Events with this reason, once there are so many: an Event is written after the status that it tells of."""
    def look():
        items = json.loads(kubectl("get", "events", "-n", space.name, "-o", "json").stdout)["items"]
        found = [e["message"] for e in items if e["reason"] == reason]
        return found if len(found) >= count else None

    return until(f"{count} Events {reason}", look, 60)


def user(name):
    """A user of the EC2 endpoint: its keys and its policy."""
    with urllib.request.urlopen(f"{os.environ['TESTBED_URL']}/_bed/users/{name}", timeout=30) as answer:
        return json.load(answer)


def asked(path, method="GET", body=None):
    """What the bed's own interface answers, which knows all that EC2 may not yet."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{os.environ['TESTBED_URL']}/_bed/{path}", data, method=method), timeout=30) as answer:
        return json.load(answer)


class Operator:
    """The operator as a process of its own, that can be killed as a machine dies. Its policy is the one that is shipped.

    `without` names variables of the bed that it is not given.
    """

    def __init__(self, log: Path, *options, without=()):
        self.log, self.options, self.without, self.process = log, options, without, None

    def start(self):
        keys = user("operator")
        keys = {"AWS_ACCESS_KEY_ID": keys["accessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["secretAccessKey"]}
        bed = {name: value for name, value in os.environ.items() if name not in self.without}
        with open(self.log, "ab") as log:
            log.write(b"--- start\n")
            self.process = subprocess.Popen(
                ["testkit-operator", "--listen", "127.0.0.1:0", *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**bed, **keys, "RUST_LOG": "info,testkit=debug"},
            )
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("the operator did not end within 20 s of SIGTERM")


class Namespace:
    """A namespace of a test's own, and what a person asks about the objects in it."""

    def __init__(self, name):
        self.name = name
        # The endpoint's token buckets are for everyone: a look that is refused is asked again.
        self.ec2 = boto3.client(
            "ec2", region_name="us-east-1", endpoint_url=os.environ["AWS_ENDPOINT_URL_EC2"],
            config=Config(retries={"mode": "standard", "max_attempts": 10}),
        )
        kubectl("create", "namespace", name)

    def apply(self, *objects):
        for o in objects:
            kubectl("apply", "-n", self.name, "-f", "-", stdin=json.dumps(o))

    def get(self, kind, name):
        return json.loads(kubectl("get", kind, name, "-n", self.name, "-o", "json").stdout)

    def status(self, kind, name):
        return self.get(kind, name).get("status", {})

    def condition(self, kind, name, type_):
        found = [c for c in self.status(kind, name).get("conditions", []) if c["type"] == type_]
        return found[0] if found else {"status": "Unknown", "reason": "", "message": ""}

    def wait(self, kind, name, condition, timeout):
        """kubectl's own wait; what the object says is part of the failure."""
        done = kubectl("wait", kind, name, "-n", self.name, f"--for=condition={condition}", f"--timeout={timeout}s", check=False, timeout=timeout + 30)
        if done.returncode:
            raise AssertionError(f"{kind} {name} is not {condition} after {timeout} s: {json.dumps(self.status(kind, name), indent=1)}")

    def instances(self, cluster):
        """Instances of a cluster that are not terminated, by the EC2 API."""
        pages = self.ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": f"tag:{CLUSTER_TAG}", "Values": [f"{self.name}/{cluster}"]}, {"Name": "instance-state-name", "Values": list(LIVE)}]
        )
        return [i for page in pages for r in page["Reservations"] for i in r["Instances"]]

    def leftovers(self, cluster):
        """What the account still holds of a cluster."""
        mine = [{"Name": f"tag:{CLUSTER_TAG}", "Values": [f"{self.name}/{cluster}"]}]
        groups = self.ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
        volumes = self.ec2.describe_volumes(Filters=mine)["Volumes"]
        return [i["InstanceId"] for i in self.instances(cluster)] + [g["GroupId"] for g in groups] + [v["VolumeId"] for v in volumes]

    def key(self, cluster, folder):
        """The cluster's key and host keys as files for ssh."""
        data = self.get("secret", f"{cluster}-ssh")["data"]
        for file, key in (("id", "ssh-privatekey"), ("known_hosts", "known_hosts")):
            path = Path(folder) / file
            path.write_bytes(base64.b64decode(data[key]))
            path.chmod(0o600)
        return ["-i", f"{folder}/id", "-o", f"UserKnownHostsFile={folder}/known_hosts", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={SSHD_WITHIN}"]

    def ssh(self, cluster, address, *command):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["ssh", *self.key(cluster, folder), f"root@{address}", *command], capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, f"ssh {address} {' '.join(command)}: {done.stderr}"
        return done.stdout

    def delete(self, kind, name, timeout=180):
        done = kubectl("delete", kind, name, "-n", self.name, f"--timeout={timeout}s", "--ignore-not-found", check=False, timeout=timeout + 30)
        if done.returncode:
            raise AssertionError(f"{kind} {name} is not gone after {timeout} s: {json.dumps(self.get(kind, name), indent=1)}")


class Count:
    """Counts the live instances of a cluster while something goes on: the most there ever were, by slot."""

    def __init__(self, namespace, cluster):
        self.namespace, self.cluster, self.most, self.done = namespace, cluster, {}, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.done.wait(0.25):
            now = {}
            for i in self.namespace.instances(self.cluster):
                if i["State"]["Name"] != "shutting-down":
                    slot = next(t["Value"] for t in i["Tags"] if t["Key"] == "testkit.dev/slot")
                    now[slot] = now.get(slot, 0) + 1
            for slot, n in now.items():
                self.most[slot] = max(n, self.most.get(slot, 0))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join(10)


def cluster(name, managers=3, workers=2, **ec2):
    return {
        "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster", "metadata": {"name": name},
        "spec": {"managers": managers, "workers": workers, "provider": {"ec2": {"region": "us-east-1", **ec2}}},
    }


# The first cases of the suite, a minute in all.
CASES = ["ClusterNodeAvailable", "ServicesCreate", "ServicesScale", "NetworkExternalLb"]


def run(name, of, **spec):
    return {
        "apiVersion": "testkit.dev/v1alpha1", "kind": "E2ERun", "metadata": {"name": name},
        "spec": {"clusterRef": {"name": of}, "image": "dockerswarm/e2e:latest", "args": CASES, "timeout": "5m", **spec},
    }
