"""Instances that were launched and then end without anybody asking for it, for the reasons EC2 gives; what spot
instances are told before.
"""
import fnmatch
import json
import threading
from datetime import datetime, timedelta, timezone

from moto.core.utils import utcnow
from moto.ec2.models.instances import Instance, StateReason

# EC2's codes ("Troubleshoot instance termination" in its user guide) with the words of DescribeInstances.
REASONS = {
    "Client.InstanceInitiatedShutdown": "Instance initiated shutdown",
    "Client.InternalError": "Client error on launch",
    "Client.InvalidSnapshot.NotFound": "The specified snapshot was not found",
    "Client.UserInitiatedShutdown": "User initiated shutdown",
    "Client.VolumeLimitExceeded": "Volume limit exceeded",
    "Server.InsufficientInstanceCapacity": "Insufficient capacity to satisfy instance request",
    "Server.InternalError": "Internal error on launch",
    "Server.ScheduledStop": "Stopped due to scheduled retirement",
    "Server.SpotInstanceTermination": "Spot instance termination",
}
_BY_A_USER = ("Client.InstanceInitiatedShutdown", "Client.UserInitiatedShutdown")
# EC2 gives two minutes.
NOTICE_S = 120.0


_ENTRY = {"reason", "name", "times", "after_s"}


def check(reason: str) -> str:
    if reason not in REASONS:
        raise ValueError(f"EC2 ends no instance for {reason!r}; it does for {', '.join(REASONS)}")
    return reason


def check_knob(entries: list) -> None:
    """What the knob `deaths` may hold; the message says what is wrong with it."""
    for entry in entries:
        if not isinstance(entry, dict) or not {"reason"} <= set(entry) <= _ENTRY:
            raise ValueError(f'an entry of deaths has a "reason", and may have name, times and after_s; this one is {entry!r}')
        check(entry["reason"])


def due(entries: list, name: str) -> "dict | None":
    """The entry that an instance of this name falls under; each of its `times` is used up by one instance."""
    for entry in entries:
        if entry.get("times", 1) > 0 and fnmatch.fnmatchcase(name, entry.get("name", "*")):
            if "times" in entry:
                entry["times"] -= 1
            return entry
    return None


def explain(instance: Instance, reason: str) -> None:
    """Puts a reason on an instance, as DescribeInstances then has it."""
    instance.state_reason = StateReason(f"{reason}: {REASONS[reason]}", reason)
    instance._reason = f"User initiated ({utcnow():%Y-%m-%d %H:%M:%S} GMT)" if reason in _BY_A_USER else reason


def announce(instance: Instance, seconds: float) -> None:
    """Has the metadata service of a spot instance say that it ends. `notices` are paths under `meta-data/`."""
    at = _moment(seconds)
    instance.notices |= {"spot/instance-action": json.dumps({"action": "terminate", "time": at}), "spot/termination-time": at}


def recommend_rebalance(instance: Instance) -> None:
    instance.notices["events/recommendations/rebalance"] = json.dumps({"noticeTime": _moment(0)})


def _moment(seconds: float) -> str:
    return f"{datetime.now(timezone.utc) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def later(seconds: float, work) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
