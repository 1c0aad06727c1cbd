"""The account's limits on vCPUs: those of instances that run, by quota of the type, in each region, on demand and spot."""
from . import catalogue
from .requests import Refusal


def check(limits: object) -> None:
    """What the knobs may hold; the message says what is wrong with it."""
    if isinstance(limits, dict) and not all(name in catalogue.QUOTAS and isinstance(limit, int) for name, limit in limits.items()):
        raise ValueError(f"a limit is a number of vCPUs, or one for each of {', '.join(catalogue.QUOTAS)}; this one is {limits!r}")


def room(limits: object, running: list, instance_type: str, least: int, spot: bool) -> "int | None":
    """How many more instances of a type there may be; None without a limit. Refused where there is no room for the `least`."""
    quota = catalogue.quota_of(instance_type)
    limit = limits.get(quota) if isinstance(limits, dict) else limits
    if limit is None:
        return None
    used = sum(catalogue.vcpus(other) for other in running if catalogue.quota_of(other) == quota)
    left = max(0, limit - used) // catalogue.vcpus(instance_type)
    if left >= least:
        return left
    if spot:
        raise Refusal("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    raise Refusal("VcpuLimitExceeded",
                  f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance bucket that "
                  "the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an "
                  "adjustment to this limit.")
