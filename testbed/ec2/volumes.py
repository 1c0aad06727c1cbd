"""The volumes a launch asks for: their devices, types and sizes, as EC2 takes them."""
import re

from . import amis
from .requests import Call, Refusal

_MAPPING = "BlockDeviceMapping"
# In GiB, by type (EbsBlockDevice in the EC2 API reference).
_SIZES = {"gp2": (1, 16384), "gp3": (1, 65536), "io1": (4, 16384), "io2": (4, 65536), "st1": (125, 16384), "sc1": (125, 16384),
          "standard": (1, 1024)}
_WITH_IOPS, _ONLY_WITH_IOPS = ("gp3", "io1", "io2"), ("io1", "io2")
# On an instance of virtualization type hvm ("Device names for volumes" in the EC2 user guide).
_DEVICE = re.compile("/dev/(sda1|sd[b-z]|xvd[a-z]|xvd[b-d][a-z])")


def complete(call: Call) -> None:
    """An AMI's root volume is always there, ends with the instance unless told not to, and has the AMI's size and type."""
    devices = call.fields(_MAPPING, "DeviceName")
    number = next((number for number, device in devices if device == amis.ROOT_DEVICE), None)
    if number is None:
        number = str(max((int(number) for number, _ in devices), default=0) + 1)
        call.parameters[f"{_MAPPING}.{number}.DeviceName"] = amis.ROOT_DEVICE
    ebs = f"{_MAPPING}.{number}.Ebs"
    call.parameters.setdefault(f"{ebs}.DeleteOnTermination", "true")
    call.parameters.setdefault(f"{ebs}.VolumeType", "gp3")
    call.parameters.setdefault(f"{ebs}.VolumeSize", str(amis.ROOT_GIB))


def check(call: Call) -> None:
    """Of a launch that is complete."""
    seen = set()
    for number in sorted({name.split(".")[1] for name in call.parameters if name.startswith(f"{_MAPPING}.")}):
        device = call.parameters.get(f"{_MAPPING}.{number}.DeviceName")
        if not device:
            raise Refusal("InvalidBlockDeviceMapping", "Missing device name")
        if not _DEVICE.fullmatch(device):
            raise Refusal("InvalidBlockDeviceMapping", f"Invalid device name {device}")
        if device in seen:
            raise Refusal("InvalidBlockDeviceMapping", f"The device '{device}' is used in more than one block-device mapping")
        seen.add(device)
        _check_volume({what: call.parameters.get(f"{_MAPPING}.{number}.Ebs.{what}") for what in
                       ("VolumeType", "VolumeSize", "Iops", "Throughput")}, device == amis.ROOT_DEVICE)


def _check_volume(asked: dict, is_root: bool) -> None:
    kind, size, iops = asked["VolumeType"] or "gp2", int(asked["VolumeSize"] or 0), asked["Iops"]
    # The image's own root volume comes with IOPS, and these are asked for on a slow disk, too, without anybody saying so.
    if (iops or is_root and kind in ("st1", "sc1")) and kind not in _WITH_IOPS:
        raise Refusal("InvalidParameterCombination", f"The parameter iops is not supported for {kind} volumes.")
    if kind in _ONLY_WITH_IOPS and not iops:
        raise Refusal("InvalidParameterCombination", f"The parameter iops must be specified for {kind} volumes.")
    if asked["Throughput"] and kind != "gp3":
        raise Refusal("InvalidParameterCombination", "throughput can only be specified for volumeType gp3.")
    least, most = _SIZES[kind]
    if size > most:
        raise Refusal("InvalidParameterValue", f"Volume of {size}GiB is too large for volume type {kind}; maximum is {most}GiB")
    if is_root and size < amis.ROOT_GIB:
        raise Refusal("InvalidBlockDeviceMapping", f"Volume of size {size}GB is smaller than snapshot, expect size >= {amis.ROOT_GIB}GB")
    if size and size < least:
        raise Refusal("InvalidParameterValue", f"Volume of {size}GiB is too small for volume type {kind}; minimum is {least}GiB")
