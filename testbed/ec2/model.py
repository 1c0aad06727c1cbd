"""A call held against AWS's own model of EC2, as the SDK brings it: what an action is called, which parameters, values and
filters it knows. What is not in it EC2 refuses, and moto does not look at.
"""
import re
from functools import lru_cache

from moto.core.utils import get_service_model

from .amis import BY_PARAMETER
from .requests import Call, Refusal

_ACTIONS = get_service_model("ec2")
_MOST_FILTER_VALUES = 200
# They belong to every call.
_COMMON = ("Action", "Version", "DryRun")
# What has words of its own (`catalogue`, `tags`, `metadata_options`).
_TOLD_ELSEWHERE = ("InstanceType", "ResourceType", "HttpPutResponseHopLimit")
# The ids EC2 looks at before it looks for what they name: how they begin, and the code of one that does not.
_IDS = {"InstanceId": ("i", "InvalidInstanceID.Malformed"), "GroupId": ("sg", "InvalidGroupId.Malformed"),
        "SecurityGroupId": ("sg", "InvalidGroupId.Malformed"), "ImageId": ("ami", "InvalidAMIID.Malformed"),
        "NetworkInterfaceId": ("eni", "InvalidNetworkInterfaceId.Malformed")}


def check(call: Call) -> None:
    if call.action not in _ACTIONS.operation_names:
        raise Refusal("InvalidAction", f"The action {call.action} is not valid for this web service.")
    for name in _required(call.action):
        if not call.has(name):
            raise Refusal("MissingParameter", f"The request must contain the parameter {name}")
    for name, value in call.parameters.items():
        if name not in _COMMON:
            shape = _shape(call.action, name)
            if shape is None:
                raise Refusal("UnknownParameter", f"The parameter {name} is not recognized")
            _check_value(name, value, shape)
    _check_filters(call)


def _check_value(name: str, value: str, shape) -> None:
    last = next(part for part in reversed(name.split(".")) if not part.isdigit())
    if last in _IDS and not value.startswith(BY_PARAMETER):
        prefix, code = _IDS[last]
        if not re.fullmatch(f"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", value):
            begins = value.startswith(f"{prefix}-")
            raise Refusal(code, f'Invalid id: "{value}"' + ("" if begins else f' (expecting "{prefix}-...")'))
    limits, right = shape.metadata, True
    if shape.type_name in ("integer", "long"):
        right = bool(re.fullmatch("-?[0-9]+", value)) and (
            limits.get("min", int(value)) <= int(value) <= limits.get("max", int(value)))
    elif shape.type_name == "boolean":
        right = value.lower() in ("true", "false")
    elif last not in _TOLD_ELSEWHERE and getattr(shape, "enum", None):
        right = value in shape.enum
    if not right:
        expected = f" Expecting a value between {limits['min']} and {limits['max']}." if "min" in limits and "max" in limits else ""
        raise Refusal("InvalidParameterValue", f"Value ( {value} ) for parameter {last[:1].lower()}{last[1:]} is invalid.{expected}")


def _check_filters(call: Call) -> None:
    known = _filters(call.action)
    for _, name in call.fields("Filter", "Name"):
        if known and name not in known and not (name.startswith("tag:") and "tag" in known):
            raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
    if sum(bool(re.fullmatch(r"Filter\.\d+\.Value\.\d+", name)) for name in call.parameters) > _MOST_FILTER_VALUES:
        raise Refusal("FilterLimitExceeded",
                      f"The maximum number of filter values specified on a single call is {_MOST_FILTER_VALUES}")


@lru_cache(maxsize=None)
def _required(action: str) -> tuple:
    shape = _ACTIONS.operation_model(action).input_shape
    return tuple(_wire_name(member, shape.members[member]) for member in shape.required_members) if shape else ()


@lru_cache(maxsize=4096)
def _shape(action: str, parameter: str):
    """The kind of value a parameter takes; None when the action has no such parameter."""
    shape = _ACTIONS.operation_model(action).input_shape
    for part in parameter.split("."):
        if shape is None or shape.type_name not in ("structure", "list"):
            return None
        if shape.type_name == "list":
            shape = shape.member if part.isdigit() else None
        else:
            shape = _members(shape).get(part)
    # An empty list comes as its bare name.
    return shape if shape is None or shape.type_name != "structure" else None


def _members(shape) -> dict:
    return {_wire_name(name, member): member for name, member in shape.members.items()}


def _wire_name(name: str, member) -> str:
    """As EC2's form of the query protocol writes it."""
    given = member.serialization.get("name", name)
    return member.serialization.get("queryName", given[:1].upper() + given[1:])


@lru_cache(maxsize=None)
def _filters(action: str) -> frozenset:
    """The filters of an action, from what the model says in words. A tag is one by its key: `tag:KEY`."""
    shape = _ACTIONS.operation_model(action).input_shape
    member = shape and shape.members.get("Filters")
    found = re.findall(r"<li>\s*<p>\s*<code>([^<]+)</code>", member.documentation) if member else []
    names = {name.partition(":")[0] if name.startswith("tag:") else name for name in found}
    # An old one, which is still taken.
    return frozenset(names | ({"tag-value"} if "tag-key" in names else set()))
