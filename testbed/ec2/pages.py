"""Lists that EC2 gives in pages, where moto gives all at once or cuts them off; and ids that are asked for and not there, in EC2's
words.

Which calls have pages, and of what, is AWS's own model of each action: moto never sees that a page was asked for. A page
goes on behind the last one seen, by its id, whatever came or went meanwhile.
"""
import base64
import binascii
import re
import threading
import time
from dataclasses import dataclass
from functools import lru_cache

from botocore.loaders import Loader
from moto.core.responses import ActionResult
from moto.core.utils import get_service_model
from moto.ec2.models.instances import Instance
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces
from moto.ec2.responses.security_groups import SecurityGroups
from moto.ec2.responses.subnets import Subnets
from moto.ec2.responses.vpcs import VPCs

from .knobs import Knobs
from .requests import Call, Refusal

_ACTIONS = get_service_model("ec2")
_PAGINATORS = Loader().load_service_model("ec2", "paginators-1")["pagination"]
# Its pages count what is in the list's entries (`listing`).
_OF_ITS_OWN = "DescribeInstances"
# Where neither the model nor its words say it.
_PAGE = (5, 1000)
# The ids a call may name, what there is of them, and how EC2 calls one that is not there. (Groups: see below.)
_LISTS = (
    (SecurityGroups, "SecurityGroups", "GroupIds", None, "InvalidGroup.NotFound", "security group"),
    (ElasticNetworkInterfaces, "NetworkInterfaces", "NetworkInterfaceIds", lambda backend: backend.enis,
     "InvalidNetworkInterfaceID.NotFound", "networkInterface ID"),
    (Subnets, "Subnets", "SubnetIds", lambda backend: {known for of_zone in backend.subnets.values() for known in of_zone},
     "InvalidSubnetID.NotFound", "subnet ID"),
    (VPCs, "Vpcs", "VpcIds", lambda backend: backend.vpcs, "InvalidVpcID.NotFound", "vpc ID"),
    (AmisResponse, "Images", "ImageIds", lambda backend: {*backend.amis, *backend.deleted_amis}, "InvalidAMIID.NotFound", "image id"),
    (ElasticBlockStore, "Volumes", "VolumeIds", lambda backend: backend.volumes, "InvalidVolume.NotFound", "volume"),
)
_asked = threading.local()


@dataclass(frozen=True)
class _Page:
    """Of the list with this name in an answer; `most` and `token` as they were asked for."""

    of: str
    most: "int | None" = None
    token: "str | None" = None


def install(knobs: Knobs) -> None:
    _hide_young_groups(knobs)
    for responses, name, *rest in _LISTS:
        action = f"describe_{''.join('_' + c.lower() if c.isupper() else c for c in name).strip('_')}"
        setattr(responses, action, _known(getattr(responses, action), *rest))
    EC2BaseResponse.serialized = _cut(EC2BaseResponse.serialized, knobs)


def take(call: Call) -> bool:
    """Takes out of a call what it says of pages, before moto sees it; whether it said anything. To be called for every call."""
    _asked.page = None
    if call.service != "ec2" or call.action == _OF_ITS_OWN or (of := _list_of(call.action)) is None:
        return False
    most, token = call.parameters.pop("MaxResults", None), call.parameters.pop("NextToken", None)
    _asked.page = _Page(of, None if most is None else _size(call, int(most)), token or None)
    if call.action == "DescribeLaunchTemplateVersions":
        # moto gives 15, and no word of the others.
        call.parameters["MaxResults"] = str(_PAGE[1] ** 2)
        return True
    return most is not None or token is not None


def _size(call: Call, most: int) -> int:
    shape = _ACTIONS.operation_model(call.action).input_shape.members["MaxResults"]
    ids = re.search(r"cannot specify this parameter and the ([A-Za-z -]+) IDs? parameter in the same request", shape.documentation)
    named = next((name for name in call.parameters if ids and name.endswith(".1") and name[:-2].endswith("Id")), None)
    if named:
        what = named[:-4].replace("Instance", "Instances")
        raise Refusal("InvalidParameterCombination",
                      f"The parameter {what[:1].lower()}{what[1:]}Set cannot be used with the parameter maxResults")
    if "min" in shape.metadata:
        # `model` has looked.
        return most
    said = re.search(r"between (\d+) and (\d+)", shape.documentation)
    least, limit = map(int, said.groups()) if said else _PAGE
    if most < least or said and most > limit:
        raise Refusal("InvalidParameterValue", f"Value ( {most} ) for parameter maxResults is invalid. Expecting a value between {least} and {limit}.")
    return min(most, limit)


@lru_cache(maxsize=None)
def _list_of(action: str) -> "str | None":
    """The list that the pages of an action are of; None when it has no pages."""
    operation = _ACTIONS.operation_model(action)
    members = operation.input_shape.members if operation.input_shape else {}
    if not {"MaxResults", "NextToken"} <= set(members):
        return None
    known = _PAGINATORS.get(action, {}).get("result_key")
    if isinstance(known, str):
        return known
    lists = [name for name, shape in operation.output_shape.members.items() if shape.type_name == "list"]
    return lists[0] if len(lists) == 1 else None


def _cut(plain, knobs: Knobs):
    """Of an answer, the page that was asked for, without what is not to be seen yet."""
    def serialized(response, answer: ActionResult):
        page, _asked.page = getattr(_asked, "page", None), None
        if page is None or isinstance(answer.result, Exception):
            return plain(response, answer)
        found = answer.result.get(page.of) if isinstance(answer.result, dict) else None
        if found is None and (page.most or page.token):
            raise NotImplementedError(f"pages of {page.of}")
        if found is None:
            return plain(response, answer)
        newest = time.monotonic() - knobs.visible_after_s
        seen = [one for one in found if (owner := _instance_of(one)) is None or owner.born <= newest]
        try:
            return plain(response, ActionResult(answer.result | dict(zip((page.of, "NextToken"), _page(seen, page)))))
        except Refusal as refusal:
            # moto looks for errors before it writes an answer.
            return plain(response, ActionResult(refusal))

    return serialized


def _page(found: list, page: _Page) -> tuple:
    """One page, and the token of the next one."""
    if page.most is None and page.token is None:
        return found, None
    last = None if page.token is None else read_token(page.token, page.of)
    ids = [getattr(one, "id", None) for one in found]
    if None in ids:
        # Such as offers and tags: by where they stand.
        ids = [f"{number:09}" for number in range(len(found))]
    rest = sorted((known, place) for place, known in enumerate(ids) if last is None or known > last)
    size = page.most or len(rest)
    return [found[place] for _, place in rest[:size]], write_token(page.of, rest[size - 1][0]) if len(rest) > size else None


def _instance_of(one) -> "Instance | None":
    """Whose a volume or an interface is, or what a status tells of."""
    if isinstance(one, Instance):
        return one
    found = getattr(getattr(one, "attachment", None), "instance", None) or getattr(one, "instance", None)
    return found if isinstance(found, Instance) else None


def _hide_young_groups(knobs: Knobs) -> None:
    """Whoever asks by an id or a name that is there, but not to be seen yet, is told that it is not."""
    plain = SecurityGroupBackend.describe_security_groups

    def describe_security_groups(backend, group_ids=None, groupnames=None, filters=None):
        newest = time.monotonic() - knobs.groups_visible_after_s
        seen = [group for group in plain(backend) if group.born <= newest]
        for asked, known in ((group_ids, {group.id for group in seen}), (groupnames, {group.name for group in seen})):
            require([one for one in asked or [] if one not in known], "InvalidGroup.NotFound", "security group")
        return [group for group in seen if (not group_ids or group.id in group_ids) and (not groupnames or group.name in groupnames)
                and (not filters or group.matches_filters(filters))]

    SecurityGroupBackend.describe_security_groups = describe_security_groups


def _known(plain, ids: str, there_are, code: str, what: str):
    def describe(response) -> ActionResult:
        asked = response._get_param(ids, []) or []
        known = there_are(response.ec2_backend) if there_are else asked
        require([one for one in asked if one not in known], code, what)
        return plain(response)

    return describe


def require(missing: list, code: str, what: str) -> None:
    """Images are named in brackets."""
    if not missing:
        return
    names = ", ".join(missing)
    names = f"[{names}]" if what.startswith("image") else names
    raise Refusal(code, f"The {what}s '{names}' do not exist" if len(missing) > 1 else f"The {what} '{names}' does not exist")


def write_token(of: str, last: object) -> str:
    return base64.urlsafe_b64encode(f"{of} after {last}".encode()).decode()


def read_token(token: str, of: str) -> str:
    try:
        words = base64.b64decode(token, altchars=b"-_", validate=True).decode().rpartition(" ")
        if words[0] == f"{of} after":
            return words[2]
    except (binascii.Error, ValueError):
        pass
    raise Refusal("InvalidNextToken", "The specified NextToken is not valid.")
