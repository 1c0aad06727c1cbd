"""Instance types: which there are, where they are offered, what they fit, and which quota they count against.

The types and their offerings are moto's, which are AWS's own lists.
"""
import re
from functools import lru_cache

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from .requests import Refusal

# The quotas of EC2 ("Running On-Demand … instances", "All … Spot Instance Requests") and the families in each, by the letters
# a type begins with. A family that stands in none has a quota of its own name.
STANDARD = "Standard"
_FAMILIES = {**dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), STANDARD),
             "dl": "DL", "f": "F", "g": "G", "gr": "G", "vt": "G", "hpc": "HPC", "inf": "Inf", "p": "P", "trn": "Trn", "u": "High Memory", "x": "X"}
QUOTAS = tuple(dict.fromkeys(_FAMILIES.values()))


def vcpus(instance_type: str) -> int:
    return INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"]


def quota_of(instance_type: str) -> str:
    family = re.match("[a-z]+", instance_type).group()
    return _FAMILIES.get(family, family)


def check_type(instance_type: str) -> None:
    if instance_type not in INSTANCE_TYPES:
        raise Refusal("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")


@lru_cache(maxsize=None)
def zones_with(instance_type: str, region: str) -> frozenset:
    """The zones of a region that offer a type."""
    return frozenset(offer["Location"] for offer in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, ())
                     if offer["InstanceType"] == instance_type)


def check_zone(instance_type: str, region: str, zone: str) -> None:
    offered = zones_with(instance_type, region)
    if not offered:
        raise Refusal("Unsupported", "The requested configuration is currently not supported. Please check the documentation for "
                                     "supported configurations.")
    if zone not in offered:
        raise Refusal("Unsupported", f"Your requested instance type ({instance_type}) is not supported in your requested Availability "
                                     f"Zone ({zone}). Please retry your request by not specifying an Availability Zone or choosing "
                                     f"{', '.join(sorted(offered))}.")


def check_architecture(instance_type: str, image: str) -> None:
    """`image` is the architecture of an image."""
    supported = INSTANCE_TYPES[instance_type]["ProcessorInfo"]["SupportedArchitectures"]
    if image not in supported:
        raise Refusal("InvalidParameterValue",
                      f"The architecture '{','.join(supported)}' of the specified instance type does not match the architecture "
                      f"'{image}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and "
                      "try again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the "
                      "instance type or AMI.")
