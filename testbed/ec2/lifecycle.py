"""The life of an instance, with the time each step takes, laid over moto's Instance, where all is instant.

pending -> running -> stopping -> stopped -> pending ...; any of them -> shutting-down -> terminated. The host behind the
instance is booted with `pending`, asked to power off with `stopping` and killed with `shutting-down`. A host that dies
leaves its instance `running`, as a crashed kernel does.
"""
import copy
import itertools
import secrets
import threading
import time
from dataclasses import dataclass, field

from moto.ec2.models.instances import Instance, InstanceBackend, StateReason
from moto.ec2.responses.instances import InstanceResponse
from moto.core.responses import ActionResult

from . import deaths, transitions, zones
from .amis import engine_of
from .console import Consoles
from .firewall import rules
from .fleet import Fleet
from .groups import state
from .knobs import Knobs
from .network import Port
from .node import Node

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
ENDED = ("shutting-down", "terminated")
_order = itertools.count(1)


@dataclass(frozen=True)
class Left:
    """The state that an instance was told to leave, why it was in it, and when."""

    state: object
    reason: str
    state_reason: object
    at: float = field(default_factory=time.monotonic)

    @classmethod
    def by(cls, instance: Instance) -> "Left":
        return cls(copy.copy(instance._state), instance._reason, instance.state_reason)


class Lifecycle:
    """`lock` guards all of moto's state; the timers and hosts' threads take it as requests do."""

    def __init__(self, knobs: Knobs, fleet: Fleet, lock: threading.RLock):
        self.knobs, self.fleet, self.lock = knobs, fleet, lock
        self.consoles = Consoles(knobs, fleet)
        self.node = Node(fleet)
        self.instances: dict = {}
        # What the hosts ask for their metadata, where there are hosts (a `metadata.Metadata`).
        self.metadata = None

    def install(self) -> None:
        plain_init, plain_stop, plain_terminate = Instance.__init__, Instance.stop, Instance.terminate
        life, self._plain_terminate = self, plain_terminate

        def init(instance: Instance, ec2_backend, *args, **kwargs) -> None:
            plain_init(instance, ec2_backend, *args, **kwargs)
            life._born(instance)

        def start(instance: Instance):
            return life._start(instance)

        def stop(instance: Instance):
            return life._stop(instance, plain_stop)

        def terminate(instance: Instance):
            return life._terminate(instance, plain_terminate, life.knobs.shutting_down_s)

        def reboot(instance: Instance) -> None:
            life._reboot(instance)

        Instance.__init__, Instance.start, Instance.stop = init, start, stop
        Instance.terminate, Instance.reboot = terminate, reboot
        transitions.install()
        for verb, name in (("start", "StartingInstances"), ("stop", "StoppingInstances"), ("terminate", "TerminatingInstances")):
            setattr(InstanceResponse, f"{verb}_instances", _answer(verb, name))
        # moto's answers hold the state an action leads to in the end, whatever the instance's is.
        InstanceResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER = {
            path: transform for path, transform in InstanceResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.items()
            if path != "RunInstances.Reservation.Instances.Instance.State"}
        for name in ("private_ip_address", "private_dns_name", "subnet_id", "vpc_id"):
            setattr(Instance, name, _gone_with_the_instance(getattr(Instance, name)))
        Instance.network_interfaces = _gone_with_the_instance(Instance.network_interfaces, list)

    def running(self, region: str, spot: bool) -> list:
        """The types of the instances that count against the quotas."""
        return [instance.instance_type for instance in self.instances.values() if instance.state in ("pending", "running")
                and instance.region_name == region and (instance.lifecycle == "spot") == spot]

    def settle(self) -> None:
        """Puts in force in the hosts' network, and tells the metadata service, what the books say: under the lock, after whatever may have changed them."""
        network = self.fleet.network
        if network.is_up:
            placed = [(self.instances[machine.name], machine) for machine in self.fleet.machines() if machine.name in self.instances]
            network.filter(rules(state(network, [(instance, machine.port) for instance, machine in placed], self.node.rules())))
            zones.settle(placed)
        if self.metadata:
            self.metadata.publish()

    # -- transitions --------------------------------------------------------------------------------------------

    def _born(self, instance: Instance) -> None:
        instance.order, instance.born, instance.ended, instance.left, instance.notices = next(_order), time.monotonic(), None, None, {}
        self.instances[instance.id] = instance
        for index, nic in instance.nics.items():
            nic.delete_on_termination = index not in instance.keeps_interfaces
        if self.knobs.boot:
            engine, nic = engine_of(instance.image_id, instance.region_name), instance.nics[0]
            port = Port(self.fleet.network, nic.private_ip_address, nic.subnet.cidr)
            nic.mac_address = port.mac
            machine = self.fleet.create(instance.id, engine.version, port, self._powered_off)
        self._become(instance, "pending")
        self._after(self.knobs.pending_s, instance, "pending", "running")
        if self.knobs.boot:
            self._aside(lambda: (machine.create(), machine.boot()))
            self.consoles.booted(instance)

    def launched(self, instance: Instance) -> None:
        """It has its tags now."""
        if instance.lifecycle == "spot":
            instance.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"
        death = deaths.due(self.knobs.deaths, instance.ec2_backend.tags.get(instance.id, {}).get("Name", ""))
        if death:
            deaths.later(death.get("after_s", self.knobs.pending_s / 2), lambda: self.die(instance, death["reason"]))

    def die(self, instance: Instance, reason: str) -> None:
        """Ends an instance that nobody asked to end. One that is still pending is terminated at once."""
        with self.lock:
            if instance.state in ENDED:
                return
            pending = instance.state == "pending"
            self._terminate(instance, self._plain_terminate, 0 if pending else self.knobs.shutting_down_s)
            if pending:
                self._become(instance, "terminated")
            deaths.explain(instance, reason)

    def interrupt(self, instance: Instance, seconds: float) -> None:
        """A spot instance is told that it ends, and ends."""
        deaths.announce(instance, seconds)
        deaths.later(seconds, lambda: self.die(instance, "Server.SpotInstanceTermination"))

    def _start(self, instance: Instance):
        previous = copy.copy(instance._state)
        if instance.state != "stopped":
            return previous
        instance.left = Left.by(instance)
        self._become(instance, "pending")
        for nic in instance.nics.values():
            nic.start()
        instance._reason, instance.state_reason = "", StateReason()
        self._after(self.knobs.pending_s, instance, "pending", "running")
        if machine := self.fleet.machine(instance.id):
            self._aside(machine.boot)
            self.consoles.booted(instance)
        return previous

    def _stop(self, instance: Instance, plain_stop):
        previous = copy.copy(instance._state)
        if instance.state != "running":
            return previous
        instance.left = Left.by(instance)
        plain_stop(instance)
        self._become(instance, "stopping")
        self._stop_host(instance)
        return previous

    def _terminate(self, instance: Instance, plain_terminate, seconds: float):
        previous = copy.copy(instance._state)
        if instance.state in ENDED:
            return previous
        instance.left = Left.by(instance)
        # moto removes volumes and network interfaces here.
        plain_terminate(instance)
        self._become(instance, "shutting-down")
        self._aside(lambda: self._end(instance, time.monotonic() + seconds))
        return previous

    def _reboot(self, instance: Instance) -> None:
        if instance.state == "running" and (machine := self.fleet.machine(instance.id)):
            self._aside(lambda: (machine.shut_down(), machine.boot()))
            self.consoles.booted(instance)

    def _powered_off(self, machine) -> None:
        """The guest powered itself off: `poweroff` within a host is a stop, or an end if the launch said so."""
        with self.lock:
            instance = self.instances.get(machine.name)
            if instance is None or instance.state not in ("pending", "running"):
                return
            if instance.instance_initiated_shutdown_behavior == "terminate":
                instance.terminate()
            else:
                for nic in instance.nics.values():
                    nic.stop()
                self._become(instance, "stopping")
                self._stop_host(instance)
            deaths.explain(instance, "Client.InstanceInitiatedShutdown")
            self.settle()

    # -- time ---------------------------------------------------------------------------------------------------

    def _stop_host(self, instance: Instance) -> None:
        until = time.monotonic() + self.knobs.stopping_s

        def work() -> None:
            if machine := self.fleet.machine(instance.id):
                machine.shut_down()
                self.consoles.post(instance)
            time.sleep(max(0.0, until - time.monotonic()))
            with self.lock:
                if instance.state == "stopping":
                    self._become(instance, "stopped")

        self._aside(work)

    def _end(self, instance: Instance, until: float) -> None:
        self.consoles.ended(instance, self.fleet.destroy(instance.id))
        time.sleep(max(0.0, until - time.monotonic()))
        with self.lock:
            self._become(instance, "terminated")
            instance.ended = time.monotonic()
            for nic in instance.nics.values():
                # Those that are to stay do, in moto's books, and are free again.
                nic.instance, nic.attachment_id, nic.attach_time, nic.status = None, None, None, "available"
            self.settle()

    def _after(self, seconds: float, instance: Instance, expected: str, state: str) -> None:
        def go() -> None:
            with self.lock:
                if instance.state == expected:
                    self._become(instance, state)

        deaths.later(seconds, go)

    @staticmethod
    def _become(instance: Instance, state: str) -> None:
        instance._state.name, instance._state.code = state, CODES[state]

    @staticmethod
    def _aside(work) -> None:
        threading.Thread(target=work, daemon=True).start()

    # -- memory -------------------------------------------------------------------------------------------------

    def forget(self, backend: InstanceBackend) -> None:
        """Terminated instances leave every list after a while."""
        horizon = time.monotonic() - self.knobs.forgotten_after_s
        for reservation in list(backend.reservations.values()):
            gone = [i for i in reservation.instances if i.ended is not None and i.ended < horizon]
            for instance in gone:
                reservation.instances.remove(instance)
                self.instances.pop(instance.id, None)
                backend.tags.pop(instance.id, None)
            if not reservation.instances:
                del backend.reservations[reservation.id]


def _gone_with_the_instance(plain: property, nothing=lambda: None) -> property:
    """EC2 lists no address and no network for an instance that is terminated."""
    return property(lambda instance: nothing() if instance.state == "terminated" else plain.fget(instance))


def _answer(verb: str, name: str):
    """As moto's answer, with the state each instance is in: one that is terminated stays so."""
    def answer(response: InstanceResponse) -> ActionResult:
        told = getattr(response.ec2_backend, f"{verb}_instances")(response._get_param("InstanceIds", []))
        return ActionResult({name: [{"InstanceId": instance.id, "CurrentState": instance._state, "PreviousState": previous}
                                    for instance, previous in told]})

    return answer
