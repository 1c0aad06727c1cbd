"""What tags may be: of what is being made, and of what is there."""
import re

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from . import resources
from .requests import Call, Refusal

_MOST, _LONGEST_KEY, _LONGEST_VALUE = 50, 128, 256
# What a call that makes several things may tag; others tag the one thing they make, which moto knows.
_TAGGED = {"RunInstances": ("instance", "network-interface", "spot-instances-request", "volume", "elastic-gpu"),
           "CreateSecurityGroup": ("security-group",)}
# A tag is a path of the metadata service ("View tags for your EC2 instances using instance metadata" in the user guide).
_IN_METADATA = r"([0-9a-zA-Z\-_+=,.@:]{1,255})"
_RESERVED_IN_METADATA = (".", "..", "_index")
# How EC2 calls what is to be tagged and is not there. Ids of other kinds are `not valid`.
_NOT_FOUND = {"image": ("InvalidAMIID", "image id '[{}]'"), "instance": ("InvalidInstanceID", "instance ID '{}'"),
              "key-pair": ("InvalidKeyPair", "key pair '{}'"), "launch-template": ("InvalidLaunchTemplateId", "launch template '{}'"),
              "network-interface": ("InvalidNetworkInterfaceID", "networkInterface ID '{}'"), "security-group": ("InvalidGroup", "security group '{}'"),
              "snapshot": ("InvalidSnapshot", "snapshot '{}'"), "subnet": ("InvalidSubnetID", "subnet ID '{}'"),
              "volume": ("InvalidVolume", "volume '{}'"), "vpc": ("InvalidVpcID", "vpc ID '{}'")}
_MOST_RESOURCES = 1000


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


def check_resources(call: Call) -> None:
    """Whether everything is there that a call is to tag, or to take tags from: all of it, or nothing is done."""
    if call.action not in ("CreateTags", "DeleteTags"):
        return
    backend, wanted = ec2_backends[DEFAULT_ACCOUNT_ID][call.region], call.many("ResourceId")
    if len(wanted) > _MOST_RESOURCES:
        raise Refusal("InvalidParameterValue", f"The maximum number of resources in one request is {_MOST_RESOURCES}.")
    for name in wanted:
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(name), "")
        if not re.fullmatch("[a-z-]+-([0-9a-f]{8}|[0-9a-f]{17})", name) or resources.existing(backend, kind, name) is None:
            code, what = _NOT_FOUND.get(kind, ("", "")) if re.fullmatch("[a-z-]+-[0-9a-f]+", name) else ("", "")
            raise Refusal(f"{code}.NotFound", f"The {what.format(name)} does not exist") if code else Refusal(
                "InvalidID", f"The ID '{name}' is not valid")


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
