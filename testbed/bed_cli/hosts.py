"""The verbs about hosts, pairs of hosts and faults: one HTTP request each to the EC2 endpoint's /_bed/ door."""
import json
import os
import sys
import urllib.parse

from . import http
from .beds import Bed
from .errors import BedError

# Verb, the number it takes, its help.
HOST_VERBS = (
    ("kill", None, "end it at once, as a power cut does"),
    ("reboot", None, "end it and boot it again from its disk"),
    ("freeze", None, "stop its kernel; it neither answers nor ends"),
    ("thaw", None, "let a frozen host go on"),
    ("partition", None, "cut it off from every other host and from this machine"),
    ("heal", None, "undo partition"),
    ("delay", "ms", "delay what it sends, in milliseconds"),
    ("loss", "percent", "lose this share of what it sends"),
    ("clear", None, "undo delay and loss"),
)
PAIR_VERBS = (("cut", None, "no packet passes between the two"), ("heal", None, "undo whatever was done to the pair"),
              ("delay", "ms", "delay between the two, in milliseconds"), ("loss", "percent", "lose this share between the two"))


class Hosts:
    def __init__(self, bed: Bed):
        self.url = bed.endpoint_url()

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

    def pair(self, one: str, other: str, verb: str, number: tuple[str, str] | None) -> None:
        a, b = self.find(one)["id"], self.find(other)["id"]
        http.call(f"{self.url}/_bed/pair/{a}/{b}/{verb}{_query(number)}", method="POST", timeout=60)

    def knobs(self, settings: list[str]) -> dict:
        if settings:
            http.call(f"{self.url}/_bed/knobs", method="PUT", body=dict(_setting(word) for word in settings))
        return http.call(f"{self.url}/_bed/knobs")

    def calls(self):
        return http.call(f"{self.url}/_bed/calls")

    def console(self, word: str, run) -> None:
        """What its kernel and its init wrote, as it is kept in the run directory."""
        host = self.find(word)
        files = sorted(run.rglob(f"{host['id']}*console*")) or sorted(run.rglob(f"{host['id']}/*console*"))
        if not files:
            raise BedError(f"no console of {host['id']} under {run}")
        sys.stdout.write(files[0].read_text(errors="replace"))


def _names(host: dict) -> list[str]:
    return [str(host[key]) for key in ("id", "ip", "name") if host.get(key)]


def _query(number: tuple[str, str] | None) -> str:
    return "?" + urllib.parse.urlencode([number]) if number else ""


def _setting(word: str) -> tuple[str, object]:
    key, equals, value = word.partition("=")
    if not equals:
        raise BedError(f"{word!r} is not KEY=VALUE; `testbed/bed knobs` lists the keys and what they are now")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def ssh(address: str, key: str, user: str, command: list[str]) -> None:
    """Becomes ssh. No pinning: the addresses are this machine's own, and the hosts behind them come and go."""
    os.execvp("ssh", ["ssh", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
                      "-o", "IdentitiesOnly=yes", f"{user}@{address}", *command])
