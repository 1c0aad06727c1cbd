"""Volumes, those of a launch and others: their devices, types, sizes and speeds, as EC2 takes them."""
import re
from dataclasses import dataclass

from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.models.instances import Instance

from . import amis
from .requests import Call, Refusal

_MAPPING = "BlockDeviceMapping"
# In GiB, by type (EbsBlockDevice in the EC2 API reference).
_SIZES = {"gp2": (1, 16384), "gp3": (1, 65536), "io1": (4, 16384), "io2": (4, 65536), "st1": (125, 16384), "sc1": (125, 16384),
          "standard": (1, 1024)}
# The least, the most, and the most for each GiB ("Amazon EBS volume types" in the EBS user guide).
_IOPS = {"gp3": (3000, 80000, 500), "io1": (100, 64000, 50), "io2": (100, 256000, 1000)}
_ONLY_WITH_IOPS = ("io1", "io2")
# In MiB/s, the least, the most, and the most for each of the IOPS.
_THROUGHPUT = (125, 2000, 0.25)
# On an instance of virtualization type hvm ("Device names for volumes" in the EC2 user guide).
_DEVICE = re.compile("/dev/(sda1|sd[b-z]|xvd[a-z]|xvd[b-d][a-z])")


def complete(call: Call) -> None:
    """An AMI's own disks are always there, end with the instance if the AMI says so, and have the AMI's size and type, unless the launch says otherwise."""
    for disk in amis.disks_of(call):
        devices = call.fields(_MAPPING, "DeviceName")
        number = next((number for number, device in devices if device == disk["DeviceName"]), None)
        if number is None:
            number = str(max((int(number) for number, _ in devices), default=0) + 1)
            call.parameters[f"{_MAPPING}.{number}.DeviceName"] = disk["DeviceName"]
        for name in ("DeleteOnTermination", "VolumeType", "VolumeSize"):
            call.parameters.setdefault(f"{_MAPPING}.{number}.Ebs.{name}", str(disk["Ebs"][name]).lower())


def install(speeds) -> None:
    """`speeds()`: of the launch under way, the Speed of each device. moto makes the volumes of a launch without them."""
    plain_create = EBSBackend.create_volume

    def add_block_device(instance: Instance, size, device_path, snapshot_id, encrypted, delete_on_termination, kms_key_id, volume_type) -> None:
        speed = speeds().get(device_path) or Speed()
        volume = instance.ec2_backend.create_volume(size=size, zone_name=instance.placement.zone, snapshot_id=snapshot_id, encrypted=encrypted,
                                                    kms_key_id=kms_key_id, volume_type=volume_type, iops=speed.iops, throughput=speed.throughput)
        instance.ec2_backend.attach_volume(volume.id, instance.id, device_path, delete_on_termination)

    def create_volume(backend, *args, **named):
        volume = plain_create(backend, *args, **named)
        if volume.volume_type == "gp2":
            # Nobody chooses those.
            volume.iops = max(100, min(3 * int(volume.size), 16000))
        if volume.volume_type == "gp3":
            volume.throughput = volume.throughput or _THROUGHPUT[0]
        return volume

    Instance.add_block_device = add_block_device
    # EC2Backend inherits it.
    EBSBackend.create_volume = create_volume


@dataclass(frozen=True)
class Speed:
    iops: "int | None" = None
    throughput: "int | None" = None


def check(call: Call) -> dict:
    """Of a launch that is complete: the Speed of each device."""
    speeds: dict = {}
    sizes = {disk["DeviceName"]: disk["Ebs"]["VolumeSize"] for disk in amis.disks_of(call)}
    for number in sorted({name.split(".")[1] for name in call.parameters if name.startswith(f"{_MAPPING}.")}):
        device = call.parameters.get(f"{_MAPPING}.{number}.DeviceName")
        if not device:
            raise Refusal("InvalidBlockDeviceMapping", "Missing device name")
        if not _DEVICE.fullmatch(device):
            raise Refusal("InvalidBlockDeviceMapping", f"Invalid device name {device}")
        if device in speeds:
            raise Refusal("InvalidBlockDeviceMapping", f"The device '{device}' is used in more than one block-device mapping")
        asked = {what: call.parameters.get(f"{_MAPPING}.{number}.Ebs.{what}") for what in ("VolumeType", "VolumeSize", "Iops", "Throughput")}
        speeds[device] = _check_volume(asked["VolumeType"], asked["VolumeSize"], asked["Iops"], asked["Throughput"], sizes.get(device))
    return speeds


def check_new(call: Call) -> None:
    """Of a CreateVolume."""
    given = call.parameters
    if not given.get("Size") and not given.get("SnapshotId"):
        raise Refusal("MissingParameter", "The request must contain the parameter size/snapshotId")
    _check_volume(given.get("VolumeType"), given.get("Size"), given.get("Iops"), given.get("Throughput"))


def _check_volume(kind: "str | None", size: "str | None", iops: "str | None", throughput: "str | None", of_image: "int | None" = None) -> Speed:
    """`of_image`: the size of the snapshot, where it is a disk that the image brings."""
    kind, size = kind or "gp2", int(size or 0)
    speed = Speed(int(iops) if iops else None, int(throughput) if throughput else None)
    # The image's own disks come with IOPS, and these are asked for on a slow disk, too, without anybody saying so.
    if (speed.iops or of_image and kind in ("st1", "sc1")) and kind not in _IOPS:
        raise Refusal("InvalidParameterCombination", f"The parameter iops is not supported for {kind} volumes.")
    if kind in _ONLY_WITH_IOPS and not speed.iops:
        raise Refusal("InvalidParameterCombination", f"The parameter iops must be specified for {kind} volumes.")
    if speed.throughput and kind != "gp3":
        raise Refusal("InvalidParameterCombination", "throughput can only be specified for volumeType gp3.")
    least, most = _SIZES[kind]
    if size > most:
        raise Refusal("InvalidParameterValue", f"Volume of {size}GiB is too large for volume type {kind}; maximum is {most}GiB")
    if of_image and size < of_image:
        raise Refusal("InvalidBlockDeviceMapping", f"Volume of size {size}GB is smaller than snapshot, expect size >= {of_image}GB")
    if size and size < least:
        raise Refusal("InvalidParameterValue", f"Volume of {size}GiB is too small for volume type {kind}; minimum is {least}GiB")
    if speed.iops:
        _check_iops(kind, size, speed.iops)
    if speed.throughput:
        _check_throughput(speed.throughput, speed.iops or _IOPS[kind][0])
    return speed


def _check_iops(kind: str, size: int, iops: int) -> None:
    least, most, for_each = _IOPS[kind]
    if iops < least:
        raise Refusal("InvalidParameterValue", f"Volume iops of {iops} is too low; minimum is {least}.")
    if iops > most:
        raise Refusal("InvalidParameterValue", f"Volume iops of {iops} is too high; maximum is {most}.")
    # What every gp3 volume has, a small one has, too.
    if size and iops > size * for_each and not (kind == "gp3" and iops == least):
        raise Refusal("InvalidParameterValue", f"Iops to volume size ratio of {iops / size:.6f} is too high; maximum is {for_each:.6f}")


def _check_throughput(throughput: int, iops: int) -> None:
    least, most, for_each = _THROUGHPUT
    if not least <= throughput <= most:
        how, limit = ("low; minimum", least) if throughput < least else ("high; maximum", most)
        raise Refusal("InvalidParameterValue", f"Throughput of {throughput} is too {how} is {limit}.")
    if throughput > iops * for_each:
        raise Refusal("InvalidParameterValue", f"Throughput (MiBps) to iops ratio of {throughput / iops:.6f} is too high; maximum is "
                                               f"{for_each:.6f} MiBps per iops.")
