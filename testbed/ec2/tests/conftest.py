"""Starts the endpoint as a user would, as a process; what the tests share to talk to it."""
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import long_tests
import pytest
from botocore.config import Config
from long_tests import pytest_addoption, pytest_collection_modifyitems  # noqa: F401 (pytest finds them here)

TESTBED = Path(__file__).resolve().parents[2]
UBUNTU = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


def pytest_configure(config):
    long_tests.pytest_configure(config)
    config.addinivalue_line("markers", "hosts: boots real hosts (root, a built host image, about a minute)")


# What is waited for comes in a moment, or on a machine that is busy with others some time later.
PATIENCE = 60


def until(what: str, right, seconds: float = PATIENCE):
    deadline = time.monotonic() + seconds
    while not (answer := right()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return answer


class Bed:
    """A running endpoint and a client of it that does not retry, so that tests see every answer."""

    def __init__(self, run: Path, *options: str):
        self.run = run
        if "--images" in options:
            options += ("--kernel", *shlex.split(os.environ["TESTKIT_HOST_KERNEL"]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ec2", "--run", str(run), "--port", "0", *options], cwd=TESTBED, stdout=subprocess.PIPE,
            text=True, env=os.environ | {"PYTHONPATH": str(TESTBED), "PYTHONDONTWRITEBYTECODE": "1"})
        words = self.process.stdout.readline().split()
        assert words[:1] == ["ready"], f"the endpoint did not start: {words}"
        self.url = words[1]
        self.ec2 = self.client("ec2")
        if "--images" in options:
            # Hosts are looked at as soon as they are launched.
            self.knobs(visible_after_s=0)
            # Who launches a host without a group wants to reach it; its neighbours are in the default group, too.
            [group] = self.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
            self.allow(group["GroupId"], "tcp", 22, CidrIp="0.0.0.0/0")

    def allow(self, group: str, protocol: str, port: int, verb: str = "authorize", way: str = "ingress", **peer):
        """A rule for a port; `peer` is a CidrIp or a GroupId."""
        peers = {"IpRanges": [peer]} if "CidrIp" in peer else {"UserIdGroupPairs": [peer]}
        getattr(self.ec2, f"{verb}_security_group_{way}")(
            GroupId=group, IpPermissions=[{"IpProtocol": protocol, "FromPort": port, "ToPort": port, **peers}])

    def client(self, service: str, region: str = "us-east-1"):
        return boto3.client(service, endpoint_url=self.url, region_name=region, aws_access_key_id="testbed",
                            aws_secret_access_key="testbed", config=Config(retries={"total_max_attempts": 1}))

    def control(self, path: str, method: str = "GET", body=None):
        request = urllib.request.Request(f"{self.url}/_bed/{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def refused(self, path: str, method: str = "POST", body=None) -> tuple:
        with pytest.raises(urllib.error.HTTPError) as raised:
            self.control(path, method, body)
        return raised.value.code, json.load(raised.value)["error"]

    def knobs(self, **wanted):
        return self.control("knobs", "PUT", wanted)

    def launch(self, ec2=None, **more) -> list:
        asked = {"ImageId": UBUNTU, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.medium"} | more
        return (ec2 or self.ec2).run_instances(**asked)["Instances"]

    def state(self, instance_id: str) -> str:
        return next(i["state"] for i in self.control("instances?all=1") if i["id"] == instance_id)

    @staticmethod
    def until(what: str, right, seconds: float = PATIENCE):
        return until(what, right, seconds)

    def until_state(self, instance_id: str, state: str, seconds: float = PATIENCE):
        self.until(f"{instance_id} {state}", lambda: self.state(instance_id) == state, seconds)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


def plain(knobs: dict) -> dict:
    """The knobs at which nothing goes wrong and nothing takes time."""
    return knobs | {"buckets": False, "visible_after_s": 0, "pending_s": 0.05, "stopping_s": 0.05, "shutting_down_s": 0.05}


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory):
    bed = Bed(tmp_path_factory.mktemp("bed"), "--namespace", "ec2test", "--no-hosts")
    bed.at_start = bed.control("knobs")
    yield bed
    assert bed.end() == 0


@pytest.fixture
def bed(endpoint):
    """The endpoint without hosts, with plain knobs whatever the test before turned."""
    endpoint.knobs(**plain(endpoint.at_start))
    endpoint.control("calls/reset", "POST")
    yield endpoint
    endpoint.knobs(**plain(endpoint.at_start))
