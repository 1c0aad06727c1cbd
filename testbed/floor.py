"""The yardstick: the fastest hand-made way from RunInstances to a swarm, with boto3, ssh and the docker CLI alone.

Makes managers, prints JSON {"seconds", "phases", "hosts"} to stdout, and ends them. `seconds` is from RunInstances to the
moment a manager says every node is Ready; `phases` are the seconds at which each step was over.

usage: python floor.py --endpoint http://127.0.0.1:23004 --count 3 [--engine 28.5] [--keep]
"""
import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

GIVE_UP = 300.0


class Host:
    """A host and the one SSH connection to it, which all commands share."""

    def __init__(self, address: str, folder: str):
        self.address = address
        self._ssh = ["ssh", "-F", "none", "-i", f"{folder}/key", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
                     "-o", f"UserKnownHostsFile={folder}/known_hosts", "-o", "HostKeyAlias=floor", "-o", "LogLevel=ERROR",
                     "-o", "ConnectTimeout=3", "-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/{address}",
                     "-o", "ControlPersist=60", f"root@{address}"]

    def run(self, command: str) -> "str | None":
        """What the command printed; None when it, or the connection, failed."""
        done = subprocess.run([*self._ssh, command], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    def until(self, command: str, right=lambda printed: True) -> None:
        deadline = time.monotonic() + GIVE_UP
        while (printed := self.run(command)) is None or not right(printed):
            if time.monotonic() > deadline:
                sys.exit(f"floor: `{command}` on {self.address} was not right within {GIVE_UP:g} s")
            time.sleep(0.1)

    def close(self) -> None:
        subprocess.run([*self._ssh[:-1], "-O", "exit", self._ssh[-1]], capture_output=True)


def user_data(folder: str) -> str:
    """Who may log in, and the host key, so that the first connection is to a known host."""
    for name in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "floor", "-f", f"{folder}/{name}"], check=True)
    public, private = open(f"{folder}/key.pub").read().strip(), open(f"{folder}/host_key").read()
    open(f"{folder}/known_hosts", "w").write(f"floor {open(f'{folder}/host_key.pub').read()}")
    return (f"#!/bin/sh\numask 077\nmkdir -p /root/.ssh\necho {shlex.quote(public)} > /root/.ssh/authorized_keys\n"
            f"cat > /etc/ssh/ssh_host_ed25519_key <<'KEY'\n{private}KEY\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--engine", default="28.5")
    parser.add_argument("--keep", action="store_true", help="do not end the hosts")
    given = parser.parse_args()
    ec2 = boto3.client("ec2", endpoint_url=given.endpoint, region_name="us-east-1", aws_access_key_id="testbed",
                       aws_secret_access_key="testbed", config=Config(retries={"max_attempts": 8, "mode": "standard"}))
    # A socket's path is short.
    with tempfile.TemporaryDirectory(prefix="floor-", dir="/tmp") as folder:
        data = user_data(folder)
        image = f"resolve:ssm:/aws/service/testkit/docker/{given.engine}/ami-id"
        # To be reached by ssh, and to reach each other.
        group = ec2.create_security_group(GroupName=f"floor-{os.getpid()}-{time.time_ns()}", Description="hosts of floor.py")["GroupId"]
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}])
        phases, begun = {}, time.monotonic()

        def reached(phase: str) -> None:
            phases[phase] = round(time.monotonic() - begun, 2)

        launched = ec2.run_instances(
            ImageId=image, MinCount=given.count, MaxCount=given.count, InstanceType="t3.medium", UserData=data, SecurityGroupIds=[group],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "floor"}]}])
        ids = [instance["InstanceId"] for instance in launched["Instances"]]
        hosts = [Host(instance["PrivateIpAddress"], folder) for instance in launched["Instances"]]
        reached("launched")
        try:
            with ThreadPoolExecutor(given.count) as all_at_once:
                list(all_at_once.map(lambda host: host.until("true"), hosts))
                reached("ssh")
                list(all_at_once.map(lambda host: host.until("docker info > /dev/null 2>&1"), hosts))
                reached("engine")
                first, rest = hosts[0], hosts[1:]
                token = first.run(f"docker swarm init --advertise-addr {first.address} > /dev/null && "
                                  "docker swarm join-token -q manager")
                if token is None:
                    sys.exit("floor: `docker swarm init` failed")
                reached("init")
                list(all_at_once.map(lambda host: host.until(f"docker swarm join --token {token} {first.address}:2377"), rest))
                reached("joined")
                first.until("docker node ls --format '{{.Status}}'", lambda lines: lines.split().count("Ready") == given.count)
                reached("ready")
            for host in hosts:
                host.close()
        finally:
            if not given.keep:
                ec2.terminate_instances(InstanceIds=ids)
                ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
                ec2.delete_security_group(GroupId=group)
    print(json.dumps({"seconds": phases["ready"], "phases": phases, "hosts": [host.address for host in hosts]}))


if __name__ == "__main__":
    main()
