"""What an instance may be told to do in which state, and whether there is room for it. A call that tells several is carried out for
all of them or for none.
"""
from moto.ec2.models.instances import Instance, InstanceBackend

from . import quotas
from .knobs import refuse_for_capacity
from .requests import Call, Refusal

_WORDS = {"start": "started", "stop": "stopped", "reboot": "rebooted"}
# Where it does something, or nothing. Who is gone is not rebooted, and nobody says so.
_STATES = {"start": ("pending", "running", "stopped"), "stop": ("running", "stopping", "stopped"),
           "reboot": ("running", "shutting-down", "terminated")}


def install() -> None:
    for verb in ("start", "stop", "reboot", "terminate"):
        setattr(InstanceBackend, f"{verb}_instances", _for_all(verb, getattr(InstanceBackend, f"{verb}_instances")))


def require_room(life, call: Call) -> None:
    """Of a StartInstances: what is stopped counts against no quota and has a place nowhere, so to start it is as much as to launch it."""
    told = (life.instances.get(one) for one in call.many("InstanceId"))
    admitted: dict = {False: [], True: []}
    for instance in (one for one in told if one and one.region_name == call.region and one.state == "stopped"):
        kind, spot = instance.instance_type, instance.lifecycle == "spot"
        refuse_for_capacity(life.knobs, kind, instance.placement.zone, "Insufficient capacity.")
        quotas.room(life.knobs.vcpus(spot), life.running(call.region, spot) + admitted[spot], kind, 1, spot)
        admitted[spot].append(kind)


def _for_all(verb: str, plain):
    def tell(backend, instance_ids):
        for instance in backend.get_multi_instances_by_id(instance_ids):
            _require(instance, verb)
        return plain(backend, instance_ids)

    return tell


def _require(instance: Instance, verb: str) -> None:
    if verb == "terminate":
        if instance.disable_api_termination in (True, "true"):
            raise Refusal("OperationNotPermitted", f"The instance '{instance.id}' may not be terminated. Modify its "
                                                   "'disableApiTermination' instance attribute and try again.")
        return
    if instance.state not in _STATES[verb]:
        raise Refusal("IncorrectInstanceState",
                      f"The instance '{instance.id}' is not in a state from which it can be {_WORDS[verb]}.")
    if verb == "stop" and instance.lifecycle == "spot" and instance.spot_type == "one-time":
        raise Refusal("UnsupportedOperation", f"You can't stop the Spot Instance '{instance.id}' because it is associated with a "
                                              "one-time Spot Instance request. You can only stop Spot Instances associated with "
                                              "persistent Spot Instance requests.")
