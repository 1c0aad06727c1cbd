"""The images a region offers: one for each engine version and one without an engine, as a publisher of real AMIs would offer them."""
import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ssm.models import Parameter, ParameterDict, ssm_backends

from .requests import Call

PUBLISHER = "210987654321"
DEFAULT_ENGINE = "28.5"
# In place of a version: Debian as it is, which is what Ubuntu's own images are like.
NO_ENGINE = "none"
ROOT_GIB = 8
# As an image's root device is called: by Canonical, and by Amazon and Debian.
_SDA1, _XVDA = "/dev/sda1", "/dev/xvda"
# How an image begins that is named by a parameter of Systems Manager.
BY_PARAMETER = "resolve:ssm:"
_PUBLISHED = datetime(2026, 11, 1, 9, 30, tzinfo=timezone.utc)
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"


@dataclass(frozen=True)
class Engine:
    version: str
    debian: int
    root_device: str = _XVDA
    # Disks beside the root volume, which stay when their instance ends unless its launch says otherwise: how large, in GiB.
    staying: tuple = ()

    @property
    def name(self) -> str:
        if self.version == NO_ENGINE:
            return f"testkit-debian-{self.debian}-amd64-{_PUBLISHED:%Y%m%d}"
        return f"testkit-docker-{self.version}-debian-{self.debian}-amd64-{_PUBLISHED:%Y%m%d}"

    @property
    def description(self) -> str:
        return f"Debian {self.debian}" + ("" if self.version == NO_ENGINE else f" with Docker Engine {self.version}")

    @property
    def parameter(self) -> str:
        """Of Systems Manager, with the image's id in every region."""
        if self.version == NO_ENGINE:
            return f"/aws/service/testkit/debian/{self.debian}/ami-id"
        return f"/aws/service/testkit/docker/{self.version}/ami-id"

    def image_id(self, region: str) -> str:
        """The same in every run, another one in every region, as AMI ids are."""
        return "ami-0" + hashlib.sha256(f"{region}/{self.name}".encode()).hexdigest()[:16]


ENGINES = (Engine("20.10", 12, staying=(("/dev/sdb", 1),)), Engine("26.1", 13), Engine("28.5", 14, _SDA1), Engine(NO_ENGINE, 14, _SDA1))


def engine_of(image_id: str, region: str) -> "Engine | None":
    return next((engine for engine in ENGINES if engine.image_id(region) == image_id), None)


def parameters(region: str) -> dict:
    """What Systems Manager's public parameters say of images that stay."""
    return {engine.parameter: engine.image_id(region) for engine in ENGINES}


class Ubuntu(Parameter):
    """Canonical's parameter, which leads to an image with an engine or, as in the world, without."""

    has_engine = staticmethod(lambda: True)

    @property
    def value(self) -> str:
        version = DEFAULT_ENGINE if self.has_engine() else NO_ENGINE
        return next(engine for engine in ENGINES if engine.version == version).image_id(self.region)

    @value.setter
    def value(self, _: str) -> None:
        pass


def image_of(call: Call) -> "str | None":
    """The id of the image a launch asks for; None when it is named by a parameter of Systems Manager that is not there."""
    image = call.parameters.get("ImageId", "")
    if not image.startswith(BY_PARAMETER):
        return image
    found = ssm_backends[DEFAULT_ACCOUNT_ID][call.region].get_parameter(image.removeprefix(BY_PARAMETER))
    return found.value if found else None


def disks_of(call: Call) -> list:
    """What disks the image of a launch brings, the root volume first; none where there is no such image."""
    image = ec2_backends[DEFAULT_ACCOUNT_ID][call.region].amis.get(image_of(call))
    return image.block_device_mappings if image else []


def _disks(image: Ami) -> list:
    engine = engine_of(image.id, image.ec2_backend.region_name)
    disk = lambda device, gib, ends: {"DeviceName": device, "Ebs": {
        "SnapshotId": image.ebs_snapshot.id, "VolumeSize": gib, "DeleteOnTermination": ends, "VolumeType": "gp3", "Encrypted": False}}
    return [disk(image.root_device_name, ROOT_GIB, True), *(disk(device, gib, False) for device, gib in (engine.staying if engine else ()))]


def install() -> None:
    """moto's own images go, ours come, in every region."""

    def load(backend: AmiBackend) -> None:
        for engine in ENGINES:
            image = Ami(backend, engine.image_id(backend.region_name), name=engine.name, owner_id=PUBLISHER, public=True,
                        description=engine.description, architecture="x86_64",
                        virtualization_type="hvm", hypervisor="xen", root_device_type="ebs", root_device_name=engine.root_device,
                        image_location=f"{PUBLISHER}/{engine.name}", creation_date=_PUBLISHED, region_name=f"{backend.region_name}a",
                        tags={"engine": engine.version, "Name": engine.name})
            image.ena_support, image.imds_support = True, "v2.0"
            backend.amis[image.id] = image

    AmiBackend._load_amis = load
    Ami.block_device_mappings = property(_disks)

    plain = ParameterDict.__init__

    def with_ours(found: ParameterDict, account_id: str, region_name: str) -> None:
        plain(found, account_id, region_name)
        said = {"account_id": account_id, "parameter_type": "String", "description": None, "allowed_pattern": None, "keyid": None,
                "last_modified_date": _PUBLISHED, "version": 1, "data_type": "aws:ec2:image"}
        for name, image_id in parameters(region_name).items():
            found[name].append(Parameter(name=name, value=image_id, **said))
        ubuntu = Ubuntu(name=UBUNTU, value="", **said)
        ubuntu.region = region_name
        found[UBUNTU].append(ubuntu)

    ParameterDict.__init__ = with_ours
