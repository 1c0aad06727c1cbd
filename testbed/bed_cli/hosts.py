"""The verbs about hosts, pairs of hosts and faults: one HTTP request each to the EC2 endpoint's /_bed/ door."""
import base64
import json
import os
import subprocess
import urllib.parse
from pathlib import Path

from . import http, node
from .beds import Bed
from .errors import BedError

CLUSTER_TAG = "testkit.dev/cluster"
# Verb, the number it takes, its help.
HOST_VERBS = (
    ("kill", None, "end it at once, as a power cut does"),
    ("reboot", None, "end it and boot it again from its disk"),
    ("freeze", None, "stop its kernel; it neither answers nor ends"),
    ("thaw", None, "let a frozen host go on"),
    ("explain", None, "have its kernel write on its console its timers, its memory, and what waits for a disk"),
    ("partition", None, "cut it off from every other host and from this machine"),
    ("heal", None, "undo partition"),
    ("delay", "ms", "delay what it sends, in milliseconds"),
    ("loss", "percent", "lose this share of what it sends"),
    ("clear", None, "undo delay and loss"),
)
# What is done inside a host, over SSH: verb, command, its help. They read standard input.
GUEST_VERBS = (
    ("restart-engine", ("sv", "-w", "90", "restart", "docker"), "stop its Docker Engine and start it again"),
    ("unlock", ("docker", "swarm", "unlock"), "unlock its swarm manager, with the key from standard input"),
    ("leave", ("docker", "swarm", "leave"), "have it leave its swarm, unless that takes force"),
)
PAIR_VERBS = (("cut", None, "no packet passes between the two"), ("heal", None, "undo whatever was done to the pair"),
              ("delay", "ms", "delay between the two, in milliseconds"), ("loss", "percent", "lose this share between the two"))

INSTANCE_VERBS = (
    ("die", "reason", "Server.InternalError", "end it as EC2 ends instances that nobody asked to end"),
    ("interrupt", "seconds", "120", "tell a spot instance through its metadata service that it ends, and end it then"),
    ("rebalance", None, None, "tell a spot instance that it may be interrupted soon"),
)


class Hosts:
    def __init__(self, bed: Bed):
        self.bed, self.url = bed, bed.endpoint_url()

    def every(self) -> list[dict]:
        return http.call(f"{self.url}/_bed/hosts")

    def find(self, word: str) -> dict:
        """A host by instance id, address, or name; a beginning of its id will do when only one host has it."""
        hosts = self.every()
        found = [host for host in hosts if word in _names(host)] or [host for host in hosts if host["id"].startswith(word)]
        if len(found) == 1:
            return found[0]
        known = "\n  ".join(" ".join(_names(host)) for host in hosts) or "(none)"
        raise BedError(f"{'no host is' if not found else 'several hosts are'} {word!r}; the hosts:\n  {known}")

    def act(self, word: str, verb: str, number: tuple[str, str] | None) -> None:
        host = self.find(word)
        http.call(f"{self.url}/_bed/hosts/{host['id']}/{verb}{_query(number)}", method="POST", timeout=60)

    def instances(self) -> list[dict]:
        return http.call(f"{self.url}/_bed/instances?all=1")

    def tell_instance(self, word: str, verb: str, query: tuple[str, str] | None) -> None:
        """An instance by id, address, or name; a beginning of its id will do when only one instance has it."""
        found = [one for one in self.instances() if word in _names(one)] or [one for one in self.instances() if one["id"].startswith(word)]
        if len(found) != 1:
            raise BedError(f"{'no instance is' if not found else 'several instances are'} {word!r}; `testbed/bed instance ls` lists them")
        http.call(f"{self.url}/_bed/instances/{found[0]['id']}/{verb}{_query(query)}", method="POST")

    def outage(self, seconds: float, region: str | None) -> None:
        query = urllib.parse.urlencode({"seconds": f"{seconds:g}"} | ({"region": region} if region else {}))
        http.call(f"{self.url}/_bed/outage?{query}", method="POST")

    def pair(self, one: str, other: str, verb: str, number: tuple[str, str] | None) -> None:
        a, b = self.find(one)["id"], self.find(other)["id"]
        http.call(f"{self.url}/_bed/pair/{a}/{b}/{verb}{_query(number)}", method="POST", timeout=60)

    def knobs(self, settings: list[str]) -> dict:
        if settings:
            http.call(f"{self.url}/_bed/knobs", method="PUT", body=dict(_setting(word, "knobs") for word in settings))
        return http.call(f"{self.url}/_bed/knobs")

    def mirror(self, settings: list[str]) -> dict:
        if settings:
            http.call(f"{self.url}/_bed/mirror", method="PUT", body=dict(_setting(word, "mirror") for word in settings))
        return http.call(f"{self.url}/_bed/mirror")

    def calls(self, reset: bool) -> dict[str, int]:
        counts = http.call(f"{self.url}/_bed/calls")
        if reset:
            http.call(f"{self.url}/_bed/calls/reset", method="POST")
        return counts

    def console(self, word: str) -> str:
        """What its kernel and its init wrote, in all its boots."""
        return Path(self.find(word)["console"]).read_text(errors="replace")

    def ssh(self, word: str, user: str, command: list[str]) -> None:
        """Becomes ssh."""
        words = self._ssh(word, user, command)
        os.execvp(words[0], words)

    def inside(self, word: str, command: tuple[str, ...]) -> None:
        done = subprocess.run(self._ssh(word, "root", list(command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise BedError(f"{' '.join(command)} on {word}: exit code {done.returncode}: {done.stdout.strip()}")

    def _ssh(self, word: str, user: str, command: list[str]) -> list:
        """ssh with the key and the host keys that the operator keeps in the Secret of the host's cluster."""
        host = self.find(word)
        if host["id"] == node.NAME:
            return self.bed.node().ssh(user, command)
        tags = next(instance["tags"] for instance in self.instances() if instance["id"] == host["id"])
        namespace, _, cluster = tags.get(CLUSTER_TAG, "").partition("/")
        if not cluster:
            raise BedError(f"{host['id']} belongs to no SwarmCluster (it has no tag {CLUSTER_TAG}): use ssh {user}@{host['ip']} with the key it was launched with")
        asked = subprocess.run([self.bed.bin / "kubectl", "get", "secret", f"{cluster}-ssh", "--namespace", namespace, "--output=json"],
                               capture_output=True, text=True, env=os.environ | self.bed.environment())
        if asked.returncode:
            raise BedError(f"no key for {host['id']} of SwarmCluster {namespace}/{cluster}: {asked.stderr.strip()}")
        files = self.bed.run / "ssh" / f"{namespace}-{cluster}"
        files.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("ssh-privatekey", "known_hosts"):
            part = files / f"{name}.part"
            part.unlink(missing_ok=True)
            part.touch(mode=0o600)
            part.write_bytes(base64.b64decode(json.loads(asked.stdout)["data"].get(name, "")))
            part.replace(files / name)
        return ["ssh", "-i", files / "ssh-privatekey", "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={files / 'known_hosts'}",
                "-o", "StrictHostKeyChecking=yes", f"{user}@{host['ip']}", *command]


def _names(host: dict) -> list[str]:
    return [str(host[key]) for key in ("id", "ip", "public_ip", "name") if host.get(key)]


def hurt(host: dict) -> str:
    """What was done to a host, in words."""
    words = [word for word in ("frozen", "partitioned") if host[word]]
    words += [f"{what} {amount:g}" for what, amount in host["faults"]["all"].items()]
    words += [f"{what} {amount:g} to {peer}" for peer, faults in host["faults"]["peers"].items() for what, amount in faults.items()]
    return ", ".join(words) or "-"


def _query(number: tuple[str, str] | None) -> str:
    return "?" + urllib.parse.urlencode([number]) if number else ""


def _setting(word: str, verb: str) -> tuple[str, object]:
    key, equals, value = word.partition("=")
    if not equals:
        raise BedError(f"{word!r} is not KEY=VALUE; `testbed/bed {verb}` lists the keys and what they are now")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value

