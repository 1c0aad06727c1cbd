"""What tags may be: of what is being made, and of what is there."""
import re

from .requests import Call, Refusal

_MOST, _LONGEST_KEY, _LONGEST_VALUE = 50, 128, 256
# What a call that makes several things may tag; others tag the one thing they make, which moto knows.
_TAGGED = {"RunInstances": ("instance", "network-interface", "spot-instances-request", "volume", "elastic-gpu"),
           "CreateSecurityGroup": ("security-group",)}
# A tag is a path of the metadata service ("View tags for your EC2 instances using instance metadata" in the user guide).
_IN_METADATA = r"([0-9a-zA-Z\-_+=,.@:]{1,255})"
_RESERVED_IN_METADATA = (".", "..", "_index")


def check(call: Call) -> None:
    """Of a call as it comes: what stands twice there is not to be seen any more once it is a dictionary."""
    specifications = call.fields("TagSpecification", "ResourceType")
    kinds = [kind for _, kind in specifications]
    for kind in kinds:
        if kind not in _TAGGED.get(call.action, (kind,)):
            raise Refusal("InvalidParameterValue", f"'{kind}' is not a valid taggable resource type for this operation.")
    if len(set(kinds)) < len(kinds):
        raise Refusal("InvalidParameter", "The same resource type may not be specified more than once in tag specifications")
    for group in [f"TagSpecification.{number}.Tag" for number, _ in specifications] + ["Tag"]:
        _check_tags(call.fields_of(group, "Key"), call.fields_of(group, "Value"))


def check_metadata(call: Call) -> None:
    """Whether an instance that has its tags in its metadata may have these."""
    for number, kind in call.fields("TagSpecification", "ResourceType"):
        for key in call.pairs(f"TagSpecification.{number}.Tag") if kind == "instance" else ():
            check_key_in_metadata(key)


def check_key_in_metadata(key: str) -> None:
    if not re.fullmatch(_IN_METADATA, key) or key in _RESERVED_IN_METADATA:
        raise Refusal("InvalidParameterValue", f"'{key}' is not a valid tag key. Tag keys must match pattern {_IN_METADATA}, and "
                                               f"must not be a reserved name ('.', '..', '_index')")


def _check_tags(keys: list, values: list) -> None:
    for key in keys:
        if not key:
            raise Refusal("InvalidParameterValue", "Tag key cannot be null or empty")
        if key.lower().startswith("aws:"):
            raise Refusal("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
        if len(key) > _LONGEST_KEY:
            raise Refusal("InvalidParameterValue", f"Tag key exceeds the maximum length of {_LONGEST_KEY} characters")
        if keys.count(key) > 1:
            raise Refusal("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
    if any(len(value) > _LONGEST_VALUE for value in values):
        raise Refusal("InvalidParameterValue", f"Tag value exceeds the maximum length of {_LONGEST_VALUE} characters")
    if len(keys) > _MOST:
        raise Refusal("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
