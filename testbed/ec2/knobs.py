"""What can be made to go wrong with the API, by a person or a test; and what goes wrong by itself, like rate limits."""
import random
import threading
import time
from dataclasses import asdict, dataclass, field, fields

from . import deaths, faults, quotas
from .requests import Call, Refusal

# What those hold that are more than a number.
_CHECKS = {"fail": faults.check, "deaths": deaths.check_knob, "vcpu_limit": quotas.check, "spot_vcpu_limit": quotas.check}


@dataclass
class Knobs:
    """Read on every call. Times are in seconds unless the name says otherwise."""

    # The share of all calls that is refused for no reason, 0 to 1.
    throttle: float = 0.0
    # Real EC2's token buckets for each kind of request.
    buckets: bool = True
    # Every call takes this much longer.
    latency_ms: float = 0.0
    # What there is no capacity for, to launch or to start it: [{"type": "t3.medium", "zone": "us-east-1a"}], or without a zone: nowhere.
    capacity: list = field(default_factory=list)
    # Calls that fail: [{"action": "RunInstances", "code": "InternalError", "times": 2}]. Of an entry, `action` is a pattern (such
    # as "ec2:Describe*"; all without), `times` how many calls (all without), `share` which part of them, `region` where;
    # `message` and `status` when EC2's own for the code will not do. "lost": true in place of a code: the call is
    # carried out, and its answer never arrives.
    fail: list = field(default_factory=list)
    # Instances that end soon after their launch: [{"reason": "Client.InternalError", "name": "foo-m0*", "times": 1}]. `name` is
    # a pattern for the tag Name, `after_s` when; without it the instance never gets beyond pending.
    deaths: list = field(default_factory=list)
    # Actions that nobody's policy allows just now, such as "ec2:RunInstances" or "RunInstances"; * is allowed.
    unauthorized: list = field(default_factory=list)
    # The account's limit on vCPUs that run in a region, on demand and spot: a number for each of EC2's quotas (all standard
    # types count against one), or {"Standard": 32, "P": 0}; None for none.
    vcpu_limit: "int | dict | None" = None
    spot_vcpu_limit: "int | dict | None" = None
    # How long no call knows a new instance by its id, nor a list, and DescribeInstances shows one that was told to start, stop or
    # end in the state it was told so in.
    visible_after_s: float = 0.5
    # The same for a new security group, in lists.
    groups_visible_after_s: float = 0.0
    pending_s: float = 1.0
    stopping_s: float = 1.0
    shutting_down_s: float = 1.0
    # When GetConsoleOutput without Latest has what a boot wrote.
    console_posted_after_s: float = 30.0
    # Whether Canonical's images have an engine. In the world they have none, and every host waits for one to be installed.
    ubuntu_has_engine: bool = True
    # How long a terminated instance is still listed.
    forgotten_after_s: float = 3600.0
    # False: instances are entries in a list without a host, for tests of API use alone.
    boot: bool = True

    def change(self, wanted: dict) -> None:
        kinds = {"float": (int, float), "int | dict | None": (int, dict, type(None)), "bool": (bool,), "list": (list,)}
        known = {knob.name: kinds[str(knob.type).strip("\"'") if isinstance(knob.type, str) else knob.type.__name__]
                 for knob in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ValueError(f"there is no knob {name!r}; there are {', '.join(known)}")
            if not isinstance(value, known[name]) or (isinstance(value, bool) and bool not in known[name]):
                raise ValueError(f"knob {name!r} cannot be {value!r}: it takes {' or '.join(k.__name__ for k in known[name])}")
            if name in _CHECKS:
                _CHECKS[name](value)
        for name, value in wanted.items():
            setattr(self, name, value)

    def lacks(self, instance_type: str, zone: str) -> bool:
        return any(shortage.get("type", instance_type) == instance_type and shortage.get("zone", zone) == zone
                   for shortage in self.capacity)

    def vcpus(self, spot: bool) -> "int | dict | None":
        """The account's limit for instances of this kind."""
        return self.spot_vcpu_limit if spot else self.vcpu_limit

    def as_dict(self) -> dict:
        return asdict(self)


class Bucket:
    """Holds at most `size` tokens and gains `refill` of them a second."""

    def __init__(self, size: float, refill: float):
        self.size, self.refill, self.tokens, self.filled = size, refill, size, time.monotonic()

    def take(self, count: float = 1) -> bool:
        now = time.monotonic()
        self.tokens = min(self.size, self.tokens + (now - self.filled) * self.refill)
        self.filled = now
        if self.tokens < count:
            return False
        self.tokens -= count
        return True


# Size and refill a second, from the EC2 developer guide's pages on request throttling.
_OWN = {"RunInstances": (5, 2), "TerminateInstances": (100, 5), "StartInstances": (5, 2), "StopInstances": (5, 2),
        "CreateTags": (100, 10), "AuthorizeSecurityGroupIngress": (50, 5)}
_DESCRIBE, _UNFILTERED, _MUTATING = (100, 20), (50, 10), (50, 5)
_LAUNCHED_INSTANCES = (1000, 2)


class Limits:
    """The buckets of every region."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict = {}

    def reset(self) -> None:
        with self._lock:
            self._buckets.clear()

    def allow(self, call: Call) -> bool:
        with self._lock:
            if not self._bucket(call, *_kind(call)).take():
                return False
            if call.action == "RunInstances":
                count = call.parameters.get("MaxCount", "1")
                return self._bucket(call, "instances", _LAUNCHED_INSTANCES).take(int(count) if count.isdigit() else 1)
            return True

    def _bucket(self, call: Call, name: str, size: tuple) -> Bucket:
        return self._buckets.setdefault((call.region, name), Bucket(*size))


def _kind(call: Call) -> tuple:
    """The bucket a call draws from. Actions that are not named elsewhere have one each."""
    if call.action in _OWN:
        return call.action, _OWN[call.action]
    if call.action == "DescribeInstances" and not any(
            call.has(narrower) for narrower in ("Filter", "InstanceId", "MaxResults", "NextToken")):
        return "unfiltered", _UNFILTERED
    if call.action.startswith(("Describe", "Get")):
        return call.action, _DESCRIBE
    return call.action, _MUTATING


def refuse_by_luck_or_rate(knobs: Knobs, limits: Limits, call: Call) -> None:
    if knobs.throttle and random.random() < knobs.throttle or knobs.buckets and call.service == "ec2" and not limits.allow(call):
        raise Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)


def refuse_for_capacity(knobs: Knobs, instance_type: str, zone: str, words: "str | None" = None) -> None:
    """`words`: where they are not those of a launch."""
    if knobs.lacks(instance_type, zone):
        raise Refusal("InsufficientInstanceCapacity",
                      words or f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you "
                      f"requested ({zone}). Our system will be working on provisioning additional capacity. You can "
                      f"currently get {instance_type} capacity by not specifying an Availability Zone in your request "
                      "or choosing another Availability Zone.", 500)
