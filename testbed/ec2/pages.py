"""Lists that EC2 gives in pages, where moto gives all at once; and ids that are asked for and not there, in EC2's words."""
import base64
import binascii
import time

from moto.core.responses import ActionResult
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces
from moto.ec2.responses.security_groups import SecurityGroups
from moto.ec2.responses.subnets import Subnets
from moto.ec2.responses.vpcs import VPCs

from .knobs import Knobs
from .requests import Refusal

# The list of an answer, the ids a call may name, what there is of it, and how EC2 calls one that is not there. (Groups: see below.)
_LISTS = (
    (SecurityGroups, "SecurityGroups", "GroupIds", None, "InvalidGroup.NotFound", "security group"),
    (ElasticNetworkInterfaces, "NetworkInterfaces", "NetworkInterfaceIds", lambda backend: backend.enis,
     "InvalidNetworkInterfaceID.NotFound", "networkInterface ID"),
    (Subnets, "Subnets", "SubnetIds", lambda backend: {known for of_zone in backend.subnets.values() for known in of_zone},
     "InvalidSubnetID.NotFound", "subnet ID"),
    (VPCs, "Vpcs", "VpcIds", lambda backend: backend.vpcs, "InvalidVpcID.NotFound", "vpc ID"),
    (AmisResponse, "Images", "ImageIds", lambda backend: {*backend.amis, *backend.deleted_amis}, "InvalidAMIID.NotFound", "image id"),
)


def install(knobs: Knobs) -> None:
    _hide_young_groups(knobs)
    for responses, name, *rest in _LISTS:
        action = f"describe_{''.join('_' + c.lower() if c.isupper() else c for c in name).strip('_')}"
        setattr(responses, action, _describe(getattr(responses, action), name, *rest))


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


def _describe(plain, name: str, ids: str, there_are, code: str, what: str):
    def describe(response) -> ActionResult:
        asked, most, token = response._get_param(ids, []), response._get_param("MaxResults"), response._get_param("NextToken")
        known = there_are(response.ec2_backend) if there_are else asked
        require([one for one in asked or [] if one not in known], code, what)
        if most is None and token is None:
            return plain(response)
        # By their ids, so that a page goes on where it was whatever comes and goes.
        found = sorted(plain(response).result[name], key=lambda one: one.id)
        found = [one for one in found if token is None or one.id > read_token(token, name)]
        size = int(most or len(found))
        return ActionResult({name: found[:size], "NextToken": write_token(name, found[size - 1].id) if len(found) > size else None})

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
