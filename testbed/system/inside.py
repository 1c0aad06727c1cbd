"""What a person does with `kubectl testkit` on a cluster that runs: files, failed cases again, a bundle to give to others."""
import base64
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from world import kubectl


def plugin(space, *args, **how):
    return kubectl("testkit", *args, "-n", space.name, **how)


def files_travel(space, cluster, folder: Path):
    """A tree comes back as it was, by way of one node and of a stream to another."""
    source, back = folder / "tree", folder / "back"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "big").write_bytes(os.urandom(3_000_000))
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o751)
    (source / "link").symlink_to("run.sh")
    plugin(space, "cp", str(source), f"{cluster}/w0:/srv/tree")
    archive = subprocess.run(["kubectl", "testkit", "cp", f"{cluster}/w0:/srv/tree", "-", "-n", space.name], capture_output=True, check=True, timeout=120)
    subprocess.run(["kubectl", "testkit", "cp", "-", f"{cluster}:/srv", "-n", space.name], input=archive.stdout, check=True, timeout=120)
    plugin(space, "cp", f"{cluster}:/srv/tree", str(back))
    assert subprocess.run(["diff", "-r", "--no-dereference", source, back]).returncode == 0
    assert (back / "run.sh").stat().st_mode & 0o7777 == 0o751 and (back / "link").is_symlink()
    gone = plugin(space, "cp", f"{cluster}:/no/such", str(folder), check=False)
    assert gone.returncode == 1 and "there is no file or directory" in gone.stderr, gone.stderr


def counts_are_those_of_the_junit(space, run):
    """Status, the JUnit that the suite wrote, and what it says of itself; the counts."""
    junit = ElementTree.fromstring(plugin(space, "results", run, "-o", "junit").stdout)
    cases = list(junit.iter("testcase"))
    failed, skipped = (sum(case.find(tag) is not None for case in cases) for tag in ("failure", "skipped"))
    counts = (len(cases) - failed - skipped, failed, skipped)
    status = space.status("e2erun", run)
    assert tuple(status[key] for key in ("passed", "failed", "skipped")) == counts, (status, counts)
    suite = next(junit.iter("testsuite"))
    assert tuple(int(suite.get(key)) for key in ("tests", "failures", "skipped")) == (len(cases), failed, skipped), suite.attrib
    return counts


def only_what_failed_runs_again(space, run, case):
    """The failed case alone, with the run's environment; it fails again, and says so with its exit code."""
    again = plugin(space, "rerun", run, "--failed", "--name", f"{run}-again", check=False, timeout=300)
    assert again.returncode == 1, (again.stdout, again.stderr)
    status = space.status("e2erun", f"{run}-again")
    assert (status["passed"], status["failed"], status["failures"][0]["name"]) == (0, 1, case), status


def a_bundle_tells_no_secret(space, cluster, folder: Path):
    """Not even where a node's own logs do: they are given every secret first."""
    nodes = space.status("swarmcluster", cluster)["nodes"]
    leader = next(n["address"] for n in nodes if n.get("leader"))
    log, init = "/var/log/docker.log", "/var/log/cloud-init-output.log"
    space.ssh(cluster, leader, f"(docker swarm join-token worker; docker swarm join-token -q manager; echo planted) >> {log}; cat /etc/ssh/ssh_host_ed25519_key >> {init}")
    tokens = [space.ssh(cluster, leader, "docker", "swarm", "join-token", "-q", role).strip() for role in ("worker", "manager")]
    data = {key: base64.b64decode(value) for key, value in space.get("secret", f"{cluster}-ssh")["data"].items()}
    private = folder / "planted"
    private.write_bytes(data["ssh-privatekey"] + b"planted seed " + base64.b64encode(data["host-seed"]) + b"\n")
    plugin(space, "cp", str(private), f"{cluster}:/root/planted")
    # As a journal has it, and without its first line, as a log that was cut has it.
    space.ssh(cluster, leader, f"(sed 's/^/ip-10-0-0-1 cloud-init[7]: /' /root/planted; tail -n +2 /root/planted) >> {init}; rm /root/planted")
    host_key = space.ssh(cluster, leader, "cat /etc/ssh/ssh_host_ed25519_key").encode()

    bundle = folder / "bundle"
    said = plugin(space, "diagnose", cluster, "-o", str(bundle))
    assert said.stdout.strip() == str(bundle), said.stdout
    texts = {str(path.relative_to(bundle)): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    for node in nodes:
        for file in ("docker-info.txt", "docker-ps.txt", "engine.log", "kernel.log", "cloud-init.log"):
            assert texts[f"nodes/{node['name']}/{file}"], (node["name"], file)
    name = next(n["name"] for n in nodes if n.get("leader"))
    assert b"planted" in texts[f"nodes/{name}/engine.log"] and b"planted seed [cut]" in texts[f"nodes/{name}/cloud-init.log"]
    assert b"Leader" in texts[f"nodes/{name}/docker-node-ls.txt"]
    assert b"ssh-privatekey" in texts["secret.txt"]

    secret = {key: value for key, value in data.items() if key not in ("ssh-publickey", "known_hosts")}
    forms = {f"token {number}": token.encode() for number, token in enumerate(tokens)}
    for key, value in [*secret.items(), ("host key", host_key)]:
        forms |= {key: value.strip(), f"{key} in base64": base64.b64encode(value), f"{key} in hex": value.hex().encode()}
        if b"PRIVATE KEY" in value:
            forms |= {f"line {n} of {key}": line for n, line in enumerate(value.splitlines()) if not line.startswith(b"-----")}
    found = [(what, file) for what, form in forms.items() for file, text in texts.items() if form in text]
    assert not found, found
    assert not [file for file, text in texts.items() if b"SWMTKN-" in text or b"PRIVATE KEY-----" in text]
