"""Hosts that are reached through another one: `--jump`, `spec.access.jumpHost`, and `ProxyJump` of the user's OpenSSH."""
import base64
import json
import os
import shutil
import subprocess

import pytest

from world import cluster, kubectl, until


class Person:
    """A user with files of their own for ssh, who may log in to `bastion`. `ssh` reads them by its home, not by `$HOME`."""

    def __init__(self, folder, bastion, known):
        self.home, self.ssh = folder, folder / ".ssh"
        self.ssh.mkdir()
        programs = folder / "programs"
        programs.mkdir()
        wrapper = programs / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.ssh}/config "$@"\n')
        wrapper.chmod(0o755)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.ssh / "id_ed25519"], check=True)
        (self.ssh / "known_hosts").write_text(known)
        self.config = (
            f"Host bastion\n  HostName {bastion}\n  User root\n  IdentityFile {self.ssh}/id_ed25519\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.ssh}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        )
        self.write("")
        self.environment = {**os.environ, "HOME": str(folder), "PATH": f"{programs}:{os.environ['PATH']}"}
        self.environment.pop("SSH_AUTH_SOCK", None)

    def write(self, more):
        (self.ssh / "config").write_text(self.config + more)

    def plugin(self, space, *words):
        command = ["kubectl-testkit", *words[:1], "-n", space.name, *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, env=self.environment)


@pytest.fixture
def near(space):
    space.apply(cluster("near", managers=1, workers=1))
    space.wait("swarmcluster", "near", "Ready", 300)
    return space


def test_a_worker_is_reached_through_the_manager(near, tmp_path):
    listed = {node["name"]: node for node in near.status("swarmcluster", "near")["nodes"]}
    nodes = {name: node["address"] for name, node in listed.items()}
    manager, worker = nodes["near-m0"], nodes["near-w0"]
    known = base64.b64decode(near.get("secret", "near-ssh")["data"]["known_hosts"]).decode()
    person = Person(tmp_path, manager, known)
    public = (person.ssh / "id_ed25519.pub").read_text().strip()
    near.ssh("near", manager, f"echo '{public}' >> /root/.ssh/authorized_keys")

    # Where the worker sees its visitors come from tells the way.
    def comes_from(*options):
        done = person.plugin(near, "exec", "near", "--on", "w0", *options, "--", "echo from $SSH_CONNECTION")
        assert done.returncode == 0, done.stderr
        return done.stdout.split("from ")[1].split()[0]

    assert comes_from() not in nodes.values()
    assert comes_from("--jump", "bastion") == manager
    # Every verb goes the same way: one with streams of its own, and one that copies.
    told = person.plugin(near, "attach", "near", "--node", "w0", "-J", "bastion", "--",
                         "sh", "-c", 'curl -sf --unix-socket "${DOCKER_HOST#unix://}" http://docker/info')
    assert told.returncode == 0 and json.loads(told.stdout)["Name"] == "ip-" + worker.replace(".", "-"), told
    (tmp_path / "much").write_bytes(os.urandom(8 << 20))
    for words in (("cp", str(tmp_path / "much"), "near/w0:/tmp/much"), ("cp", "near/w0:/tmp/much", str(tmp_path / "back"))):
        done = person.plugin(near, *words, "--jump", "bastion")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == (tmp_path / "much").read_bytes()

    # The user's OpenSSH says it, then the cluster, and the command line above both.
    person.write(f"Host {worker}\n  ProxyJump bastion\n")
    assert comes_from() == manager
    # An ssh that does not tell is said once for all nodes, and costs the detour alone.
    person.write(f"Nonsense yes\nHost {worker}\n  ProxyJump bastion\n")
    assert comes_from() != manager
    told = person.plugin(near, "exec", "near", "--on", "all", "--", "true")
    assert told.returncode == 0 and told.stderr.count("warning:") == 1 and "configuration option" in told.stderr, told
    # So does a jump host that cannot be had, where there is no other way; and it is said how to type it.
    all_of_it = {listed["near-w0"].get(name, worker) for name in ("address", "privateAddress", "publicAddress")}
    person.write(f"Host {' '.join(all_of_it)}\n  ProxyJump root@192.0.2.9:2222\n")
    lost = person.plugin(near, "exec", "near", "--on", "all", "--", "true")
    assert lost.returncode == 255 and "ssh ssh://root@192.0.2.9:2222" in lost.stderr and "near-m0" not in lost.stderr, lost
    person.write("")
    kubectl("patch", "swarmcluster", "near", "-n", near.name, "--type=merge", "-p", '{"spec": {"access": {"jumpHost": "bastion"}}}')
    assert comes_from() == manager
    assert comes_from("--jump", "none") != manager

    # A key that is not known, or another one, is not taken on trust, and what is to be done is said.
    (person.ssh / "known_hosts").write_text("")
    refused = person.plugin(near, "exec", "near", "--on", "w0", "--", "true")
    assert refused.returncode == 1 and "is not known" in refused.stderr and "ssh bastion" in refused.stderr, refused
    (person.ssh / "known_hosts").write_text(f"{manager} {' '.join(public.split()[:2])}\n")
    refused = person.plugin(near, "ssh", "near", "w0", "--", "true")
    assert refused.returncode == 255 and "not what known_hosts has" in refused.stderr, refused


def test_addresses_in_known_hosts_are_mended(near):
    def known():
        return base64.b64decode(near.get("secret", "near-ssh")["data"]["known_hosts"]).decode()

    right = known()
    wrong = "".join(line.replace(line.split(" ")[0].split(",")[1], "198.51.100.7") for line in right.splitlines(True))
    assert wrong != right
    patch = base64.b64encode(wrong.encode()).decode()
    kubectl("patch", "secret", "near-ssh", "-n", near.name, "--type=merge", "-p", f'{{"data": {{"known_hosts": "{patch}"}}}}')
    until("the operator writes what it knows over it", lambda: known() == right, 90)
