"""The test bed's own interface, under /_bed/: hosts and what happens to them, knobs, counts of calls, users."""
import json
from collections import Counter
from dataclasses import asdict

from werkzeug.exceptions import BadRequest, HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from . import deaths, node
from .door import Door
from .faults import Faults
from .knobs import Knobs, Limits
from .lifecycle import ENDED, Lifecycle
from .machine import HostError, Machine
from .mirror import Mirror
from .network import NetworkError
from .users import Users

_ROUTES = Map([
    Rule("/_bed/hosts", endpoint="hosts", methods=["GET"]),
    Rule("/_bed/hosts/<host>/<verb>", endpoint="host", methods=["POST"]),
    Rule("/_bed/node", endpoint="node", methods=["GET", "PUT"]),
    Rule("/_bed/pair/<one>/<other>/<verb>", endpoint="pair", methods=["POST"]),
    Rule("/_bed/instances", endpoint="instances", methods=["GET"]),
    Rule("/_bed/instances/<instance>/<verb>", endpoint="instance", methods=["POST"]),
    Rule("/_bed/outage", endpoint="outage", methods=["POST"]),
    Rule("/_bed/knobs", endpoint="turn_knobs", methods=["GET", "PUT"]),
    Rule("/_bed/mirror", endpoint="change_mirror", methods=["GET", "PUT"]),
    Rule("/_bed/calls", endpoint="calls", methods=["GET"]),
    Rule("/_bed/calls/reset", endpoint="reset_calls", methods=["POST"]),
    Rule("/_bed/users", endpoint="users", methods=["GET"]),
    Rule("/_bed/users/<name>", endpoint="user", methods=["GET", "PUT", "DELETE"]),
])


class Refused(Exception):
    """What was asked cannot be done; the text says why."""


class Control:
    def __init__(self, knobs: Knobs, limits: Limits, life: Lifecycle, users: Users, faults: Faults):
        self._knobs, self._limits, self._life, self._known_users, self._faults = knobs, limits, life, users, faults
        # The endpoint's listening socket, when there is one.
        self.door: "Door | None" = None
        self.calls: Counter = Counter()
        # Where there are hosts.
        self.mirror: "Mirror | None" = None

    def __call__(self, environ, start_response):
        request = Request(environ)
        try:
            endpoint, arguments = _ROUTES.bind_to_environ(environ).match()
            answer, status = getattr(self, f"_{endpoint}")(request, **arguments), 200
        except HTTPException as error:
            answer, status = {"error": error.description}, error.code
        except (HostError, NetworkError, Refused) as error:
            answer, status = {"error": str(error)}, 409
        return Response(json.dumps(answer) + "\n", status=status, content_type="application/json")(environ, start_response)

    # -- looking ------------------------------------------------------------------------------------------------

    def _hosts(self, _request) -> list:
        """Every instance that has a host, dead ones included, and the node; `pid` is null when its kernel does not run."""
        found = []
        for instance in self._instances_now():
            machine = self._life.fleet.machine(instance.id)
            if machine:
                found.append(_seen(machine, _tag(instance, "Name"), instance.placement.zone, instance.state, instance.public_ip_address))
        machine = self._life.node.machine()
        return found + ([_seen(machine, node.NAME, node.ZONE, "running", None)] if machine else [])

    def _node(self, request: Request) -> dict:
        """PUT gives it a place, with the disk that it will have; what boots it is /_bed/hosts/node/reboot."""
        with self._life.lock:
            if request.method == "PUT":
                _change(request, lambda wanted: self._life.node.place(wanted.get("disk")))
            return self._life.node.told()

    def _instances(self, request: Request) -> list:
        everything = request.args.get("all", "0") not in ("", "0", "false")
        return [{"id": i.id, "name": _tag(i, "Name"), "state": i.state, "type": i.instance_type, "zone": i.placement.zone,
                 "ip": i.private_ip_address, "image": i.image_id, "token": i.client_token or None, "reason": i.state_reason.code or None,
                 "tags": {tag["key"]: tag["value"] for tag in i.get_tags()}}
                for i in self._instances_now() if everything or i.state != "terminated"]

    def _instances_now(self) -> list:
        with self._life.lock:
            return sorted(self._life.instances.values(), key=lambda instance: instance.order)

    # -- faults of hosts ----------------------------------------------------------------------------------------

    def _host(self, request: Request, host: str, verb: str) -> dict:
        machine = self._machine(host)
        if verb == "kill":
            machine.kill()
        elif verb == "reboot":
            # The reset button: whatever state the host is in.
            machine.kill()
            machine.boot()
        elif verb in ("freeze", "thaw", "explain", "partition", "heal"):
            getattr(machine, verb)()
        elif verb in ("delay", "loss"):
            machine.faults.all |= _amount(request, verb)
            machine.apply_faults()
        elif verb == "clear":
            machine.faults.all, machine.faults.peers = {}, {}
            machine.apply_faults()
        else:
            raise Refused(f"a host cannot be told to {verb!r}: kill, reboot, freeze, thaw, explain, partition, heal, "
                          "delay?ms=, loss?percent= or clear")
        return {"id": machine.name, "pid": machine.pid, "frozen": machine.frozen, "partitioned": machine.partitioned}

    def _pair(self, request: Request, one: str, other: str, verb: str) -> dict:
        """Packets between two hosts, in both directions."""
        machines = self._machine(one), self._machine(other)
        if verb == "cut":
            fault = {"loss": 100}
        elif verb in ("delay", "loss"):
            fault = _amount(request, verb)
        elif verb == "heal":
            fault = None
        else:
            raise Refused(f"a pair of hosts cannot be told to {verb!r}: cut, heal, delay?ms= or loss?percent=")
        if machines[0] is machines[1]:
            raise Refused(f"{one} and {other} are the same host")
        for machine, peer in (machines, machines[::-1]):
            known = machine.faults.peers.get(peer.port.address, {})
            machine.faults.peers[peer.port.address] = {} if fault is None else known | fault
            machine.apply_faults()
        return {machine.name: machine.faults.peers for machine in machines}

    def _machine(self, wanted: str) -> Machine:
        """By instance id, Name tag or address."""
        machine = self._life.node.machine()
        if machine and wanted in (machine.name, machine.port.address):
            return machine
        for instance in reversed(self._instances_now()):
            machine = self._life.fleet.machine(instance.id)
            if machine and wanted in (instance.id, _tag(instance, "Name"), machine.port.address, instance.public_ip_address):
                return machine
        raise Refused(f"there is no host {wanted!r}: GET /_bed/hosts lists them by id, name and address")

    # -- faults of instances ------------------------------------------------------------------------------------

    def _instance(self, request: Request, instance: str, verb: str) -> dict:
        found = next((i for i in reversed(self._instances_now()) if i.state not in ENDED
                      and instance in (i.id, _tag(i, "Name"), i.private_ip_address)), None)
        if found is None:
            raise Refused(f"there is no instance {instance!r} that has not ended: GET /_bed/instances lists them")
        if verb == "die":
            try:
                reason = deaths.check(request.args.get("reason", "Server.InternalError"))
            except ValueError as error:
                raise BadRequest(str(error)) from None
            self._life.die(found, reason)
        elif verb not in ("interrupt", "rebalance"):
            raise Refused(f"an instance cannot be told to {verb!r}: die?reason=, interrupt?seconds= or rebalance")
        elif found.lifecycle != "spot":
            raise Refused(f"{found.id} is not a spot instance: nothing interrupts it")
        elif verb == "interrupt":
            self._life.interrupt(found, _seconds(request, deaths.NOTICE_S))
        else:
            deaths.recommend_rebalance(found)
        return {"id": found.id, "state": found.state, "notices": found.notices}

    # -- the API ------------------------------------------------------------------------------------------------

    def _turn_knobs(self, request: Request) -> dict:
        """PUT changes the knobs it names and leaves the others as they are."""
        if request.method == "PUT":
            if "buckets" in _change(request, self._knobs.change):
                self._limits.reset()
        return self._knobs.as_dict()

    def _outage(self, request: Request) -> dict:
        """Everything refuses connections for a while, or the calls to one region end without an answer."""
        seconds, region = _seconds(request, None), request.args.get("region")
        if region:
            self._faults.take_away(region, seconds)
        else:
            self.door.shut(seconds)
        return {"seconds": seconds, "region": region}

    def _change_mirror(self, request: Request) -> dict:
        """PUT changes the faults it names and leaves the others as they are."""
        if self.mirror is None:
            raise Refused("there are no hosts, and so nothing they could find elsewhere")
        if request.method == "PUT":
            _change(request, self.mirror.change)
        return asdict(self.mirror.faults)

    def _reset_calls(self, _request) -> dict:
        self.calls.clear()
        return {}

    def _calls(self, _request) -> dict:
        return dict(self.calls)

    def _users(self, _request) -> list:
        return [user.as_dict() for user in self._known_users.every()]

    def _user(self, request: Request, name: str) -> dict:
        """PUT makes a user with the policy it brings, or gives one that is there another policy. The answer has the keys."""
        try:
            if request.method == "PUT":
                return self._known_users.put(name, json.loads(request.get_data() or b"null")).as_dict()
            user = self._known_users.get(name)
            if user is None:
                raise NotFound(f"there is no user {name!r}: PUT /_bed/users/{name} with a policy makes one")
            if request.method == "DELETE":
                self._known_users.remove(name)
            return user.as_dict()
        except ValueError as error:
            raise BadRequest(str(error)) from None


def _seen(machine: Machine, name: str, zone: str, state: str, public: "str | None") -> dict:
    return {"id": machine.name, "name": name, "ip": machine.port.address, "public_ip": public, "zone": zone, "state": state,
            "pid": machine.pid, "boots": machine.boots, "frozen": machine.frozen, "partitioned": machine.partitioned,
            "faults": {"all": machine.faults.all, "peers": machine.faults.peers}, "console": str(machine.folder / "console")}


def _change(request: Request, change) -> dict:
    """What the request wants to be changed, and is."""
    try:
        wanted = json.loads(request.get_data() or b"{}")
        if not isinstance(wanted, dict):
            raise ValueError("a JSON object is expected")
        change(wanted)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return wanted


def _amount(request: Request, verb: str) -> dict:
    name, most = {"delay": ("ms", 60_000), "loss": ("percent", 100)}[verb]
    try:
        amount = float(request.args[name])
    except (KeyError, ValueError):
        raise BadRequest(f"{verb} needs ?{name}=NUMBER") from None
    if not 0 <= amount <= most:
        raise BadRequest(f"{name} is {amount:g}; it must be between 0 and {most}")
    return {verb: amount}


def _seconds(request: Request, otherwise: "float | None") -> float:
    try:
        seconds = float(request.args.get("seconds", otherwise))
    except (TypeError, ValueError):
        raise BadRequest("this needs ?seconds=NUMBER") from None
    if not 0 <= seconds <= 3600:
        raise BadRequest(f"seconds is {seconds:g}; it must be between 0 and 3600")
    return seconds


def _tag(instance, key: str) -> str:
    return instance.ec2_backend.tags.get(instance.id, {}).get(key, "")
