"""DescribeInstances in full, and what moto's other lists lack: who may see an instance yet, filters, pages, speed."""
import copy
import time

from moto.core.responses import ActionResult
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.elastic_block_store import VolumeAttachment
from moto.ec2.models.instances import Instance, Reservation
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, filter_dict_attribute_mapping, get_prefix, passes_filter_dict

from . import filters
from .lifecycle import Lifecycle
from .pages import read_token, require, write_token
from .requests import Call, Refusal

MOST_IDS = 1000
_PAGE = range(5, 1001)
# Filters by attribute that moto does not have.
_MORE_FILTERS = {
    "client-token": lambda i: i.client_token or "",
    "instance-lifecycle": lambda i: i.lifecycle or "",
    "instance-state-code": lambda i: str(i.state_code),
    "launch-index": lambda i: str(i.ami_launch_index),
    "metadata-options.http-tokens": lambda i: i.metadata_options.http_tokens,
    "network-interface.vpc-id": lambda i: i.vpc_id or "",
    "root-device-name": lambda i: i.root_device_name,
    "tenancy": lambda i: i.placement.tenancy,
}


def install(life: Lifecycle) -> None:
    def describe_instances(response: InstanceResponse) -> ActionResult:
        return _describe_instances(response, life)

    InstanceResponse.describe_instances = describe_instances
    TaggedEC2Resource.get_tags = _tags
    VolumeAttachment.delete_on_termination = property(_ends_with_instance)


def require_seen(call: Call, life: Lifecycle) -> None:
    """A new instance is not known everywhere at once: what asks for it by its id, to change it too, may be told that there is none."""
    if call.action == "DescribeInstances":
        return
    named = [value for name, value in call.parameters.items() if name.split(".")[0] in ("InstanceId", "ResourceId")]
    newest = time.monotonic() - life.knobs.visible_after_s
    require([known for known in named if known in life.instances and life.instances[known].born > newest],
            "InvalidInstanceID.NotFound", "instance ID")


def _as_listed(instance: Instance, newest: float) -> Instance:
    """Lists are late: what was told to start, stop or end is for a while in the state it was told so in."""
    if instance.left is None or instance.left.at <= newest:
        return instance
    late = copy.copy(instance)
    late._state, late._reason, late.state_reason = instance.left.state, instance.left.reason, instance.left.state_reason
    return late


def _tags(resource) -> list:
    """A look-up, where moto matches every tag of the region against a pattern for each resource."""
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource.id), "") if resource.id else ""
    return [{"resource_id": resource.id, "key": key, "value": value, "resource_type": kind}
            for key, value in resource.ec2_backend.tags.get(resource.id, {}).items()]


def _ends_with_instance(attachment: VolumeAttachment) -> bool:
    """DescribeVolumes says it, too; moto keeps it with the instance alone."""
    block = attachment.instance.block_device_mapping.get(attachment.device)
    return bool(block and block.delete_on_termination)


def _describe_instances(response: InstanceResponse, life: Lifecycle) -> ActionResult:
    backend = response.ec2_backend
    life.forget(backend)
    ids, most = response._get_param("InstanceIds", []), response._get_param("MaxResults")
    token, asked = response._get_param("NextToken"), response._filters_from_querystring()
    newest = time.monotonic() - life.knobs.visible_after_s
    seen = {instance.id: (reservation, _as_listed(instance, newest)) for reservation in backend.reservations.values()
            for instance in reservation.instances if instance.born <= newest}
    if ids:
        _check_ids(ids, most, seen)
    wanted = [seen[i] for i in dict.fromkeys(ids)] if ids else list(seen.values())
    matching = [(reservation, instance) for reservation, instance in wanted if _passes(reservation, instance, asked)]
    matching.sort(key=lambda pair: pair[1].order)
    page, next_token = _page(matching, most, token)
    return ActionResult({"Reservations": _by_reservation(page), "NextToken": next_token})


def _check_ids(ids: list, most, seen: dict) -> None:
    if most is not None:
        raise Refusal("InvalidParameterCombination",
                      "The parameter instancesSet cannot be used with the parameter maxResults")
    if len(ids) > MOST_IDS:
        raise Refusal("InvalidParameterValue", f"At most {MOST_IDS} instance IDs can be given; there are {len(ids)}")
    require([wanted for wanted in ids if wanted not in seen], "InvalidInstanceID.NotFound", "instance ID")


def _passes(reservation: Reservation, instance: Instance, wanted: dict) -> bool:
    for name, patterns in wanted.items():
        if name == "reservation-id" or name in _MORE_FILTERS:
            value = reservation.id if name == "reservation-id" else _MORE_FILTERS[name](instance)
            if not any(filters.matches(pattern, value) for pattern in patterns):
                return False
        elif name in filter_dict_attribute_mapping or name in ("tag-key", "tag-value") or name.startswith("tag:"):
            if not passes_filter_dict(instance, {name: patterns}):
                return False
        else:
            raise NotImplementedError(name)
    return True


def _page(matching: list, most, token: "str | None") -> tuple:
    """Pages count instances, as EC2's do, and go on behind the last one seen, whatever came or went meanwhile."""
    if token:
        try:
            last = int(read_token(token, "instances"))
        except ValueError:
            raise Refusal("InvalidNextToken", "The specified NextToken is not valid.") from None
        matching = [pair for pair in matching if pair[1].order > last]
    if most is None:
        size = _PAGE[-1]
    elif int(most) in _PAGE:
        size = int(most)
    else:
        raise Refusal("InvalidParameterValue", f"Value ( {most} ) for parameter maxResults is invalid. "
                                               f"Expecting a value between {_PAGE[0]} and {_PAGE[-1]}.")
    page = matching[:size]
    return page, write_token("instances", page[-1][1].order) if len(matching) > size else None


def _by_reservation(page: list) -> list:
    """A reservation that a page cuts stands on both pages, with the instances of each."""
    found: dict = {}
    for reservation, instance in page:
        part = found.setdefault(reservation.id, Reservation(reservation.id, reservation.owner_id))
        part.instances.append(instance)
    return list(found.values())
