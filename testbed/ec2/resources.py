"""EC2's resources as IAM sees them: their ARNs, and what is known of each as condition keys. Reads moto, changes nothing."""
from dataclasses import dataclass, replace

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends

from .amis import image_of
from .requests import Call

# Nobody's account stands in their ARNs.
_SHARED = ("image", "snapshot")


@dataclass(frozen=True)
class Resource:
    kind: str
    arn: str
    # Condition keys, of which an action sees those that AWS gives it.
    facts: dict

    def with_facts(self, more: dict) -> "Resource":
        return replace(self, facts=self.facts | more)


def arn(region: str, kind: str, name: str) -> str:
    return f"arn:aws:ec2:{region}:{'' if kind in _SHARED else DEFAULT_ACCOUNT_ID}:{kind}/{name}"


def existing(backend, kind: str, name: str) -> "Resource | None":
    """A resource by its id; None when there is none of it. Of a kind that is not known here, there is whatever is asked for."""
    find = _FACTS.get(kind)
    facts = find(backend, name) if find else {} if kind else None
    if facts is None:
        return None
    for tag, value in backend.tags.get(name, {}).items():
        facts |= {f"aws:ResourceTag/{tag}": value, f"ec2:ResourceTag/{tag}": value}
    return Resource(kind, arn(backend.region_name, kind, name), facts)


def of_launch(call: Call, backend) -> tuple:
    """What RunInstances uses, and what it makes: kinds with their facts."""
    given = call.parameters
    subnet_id = given.get("SubnetId") or next((value for _, value in call.fields("NetworkInterface", "SubnetId")), None)
    subnet = next((zone[subnet_id] for zone in backend.subnets.values() if subnet_id in zone), None)
    vpc = backend.vpcs.get(subnet.vpc_id) if subnet else backend.get_default_vpc()
    zone = subnet.availability_zone if subnet else given.get("Placement.AvailabilityZone")
    groups = call.many("SecurityGroupId") + [value for number, _ in call.fields("NetworkInterface", "DeviceIndex")
                                             for value in call.many(f"NetworkInterface.{number}.SecurityGroupId")]
    named = [group.id for name in call.many("SecurityGroup") if (group := backend.get_security_group_by_name_or_id(name))]
    if not groups and not named and vpc and (default := backend.get_default_security_group(vpc.id)):
        groups = [default.id]
    template_id = given.get("LaunchTemplate.LaunchTemplateId") or backend.launch_template_name_to_ids.get(
        given.get("LaunchTemplate.LaunchTemplateName"))
    wanted = [("image", image_of(call)), ("subnet", subnet_id), ("key-pair", given.get("KeyName")), ("launch-template", template_id),
              ("placement-group", given.get("Placement.GroupName")), *(("security-group", group) for group in groups + named),
              *(("snapshot", value) for _, value in call.fields("BlockDeviceMapping", "Ebs.SnapshotId")),
              *(("network-interface", value) for _, value in call.fields("NetworkInterface", "NetworkInterfaceId"))]
    used = [found for kind, name in wanted if name and (found := existing(backend, kind, name))]
    template = lambda kind: _of_template(call, kind)
    made = [("instance", _instance_to_be(call, zone))]
    if not call.fields("NetworkInterface", "NetworkInterfaceId"):
        public = next((value for _, value in call.fields("NetworkInterface", "AssociatePublicIpAddress")), None)
        made.append(("network-interface", {
            "ec2:AssociatePublicIpAddress": public, "ec2:AvailabilityZone": zone,
            "ec2:Subnet": subnet and arn(call.region, "subnet", subnet.id), "ec2:Vpc": vpc and arn(call.region, "vpc", vpc.id)}))
    # The root volume is made whether it is mentioned or not.
    volumes = [number for number, _ in call.fields("BlockDeviceMapping", "Ebs.VolumeSize")] or [""]
    made += [("volume", _volume_to_be(call, number, zone)) for number in volumes]
    return ([resource.with_facts(template(resource.kind)) for resource in used], [(kind, facts | template(kind)) for kind, facts in made])


# What a launch says to have a resource of its own choice in the place of the one that its template names.
_SAID_BY = {"image": ("ImageId",), "instance": ("InstanceType",), "key-pair": ("KeyName",), "network-interface": ("NetworkInterface",),
            "placement-group": ("Placement",), "security-group": ("SecurityGroupId", "SecurityGroup", "NetworkInterface"),
            "snapshot": ("BlockDeviceMapping",), "subnet": ("SubnetId", "NetworkInterface"), "volume": ("BlockDeviceMapping",)}


def _of_template(call: Call, kind: str) -> dict:
    """Which template a launch is made from, and whether it leaves the choice of a resource to it."""
    if call.template is None:
        return {}
    own = {name.split(".")[0] for name in call.asked}
    return {"ec2:IsLaunchTemplateResource": not own.intersection(_SAID_BY.get(kind, ())),
            "ec2:LaunchTemplate": arn(call.region, "launch-template", call.template.template.id)}


def roles_of_profile(parameters: dict) -> list:
    """The ARNs of the roles that a launch hands to its instance."""
    name = parameters.get("IamInstanceProfile.Name") or parameters.get("IamInstanceProfile.Arn", "").rpartition("/")[2]
    profiles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].instance_profiles.values()
    return [role.arn for profile in profiles if name and profile.name == name for role in profile.roles]


def _instance_to_be(call: Call, zone: "str | None") -> dict:
    given = call.parameters
    profile = given.get("IamInstanceProfile.Arn") or given.get("IamInstanceProfile.Name")
    if profile and not profile.startswith("arn:"):
        profile = f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:instance-profile/{profile}"
    return {
        "ec2:AvailabilityZone": zone, "ec2:EbsOptimized": given.get("EbsOptimized", "false"),
        "ec2:InstanceMarketType": given.get("InstanceMarketOptions.MarketType", "on-demand"),
        "ec2:InstanceMetadataTags": given.get("MetadataOptions.InstanceMetadataTags"), "ec2:InstanceProfile": profile,
        "ec2:InstanceType": given.get("InstanceType", "m1.small"), "ec2:MetadataHttpEndpoint": given.get("MetadataOptions.HttpEndpoint"),
        "ec2:MetadataHttpPutResponseHopLimit": given.get("MetadataOptions.HttpPutResponseHopLimit"),
        "ec2:MetadataHttpTokens": given.get("MetadataOptions.HttpTokens"), "ec2:RootDeviceType": "ebs",
        "ec2:Tenancy": given.get("Placement.Tenancy", "default")}


def _volume_to_be(call: Call, number: str, zone: "str | None") -> dict:
    ebs = f"BlockDeviceMapping.{number}.Ebs"
    given = call.parameters
    return {"ec2:AvailabilityZone": zone, "ec2:Encrypted": given.get(f"{ebs}.Encrypted", "false"),
            "ec2:ParentSnapshot": given.get(f"{ebs}.SnapshotId"), "ec2:VolumeIops": given.get(f"{ebs}.Iops"),
            "ec2:VolumeSize": given.get(f"{ebs}.VolumeSize"), "ec2:VolumeThroughput": given.get(f"{ebs}.Throughput"),
            "ec2:VolumeType": given.get(f"{ebs}.VolumeType")}


# -- what is there already ----------------------------------------------------------------------------------------


def _instance(backend, name: str) -> "dict | None":
    instance = next((i for i in backend.all_instances() if i.id == name), None)
    return instance and {
        "ec2:AvailabilityZone": instance.placement.zone, "ec2:EbsOptimized": instance.ebs_optimized or False, "ec2:InstanceID": name,
        "ec2:InstanceMarketType": instance.lifecycle or "on-demand", "ec2:InstanceType": instance.instance_type,
        "ec2:MetadataHttpEndpoint": instance.metadata_options.http_endpoint, "ec2:RootDeviceType": "ebs",
        "ec2:MetadataHttpPutResponseHopLimit": instance.metadata_options.http_put_response_hop_limit,
        "ec2:MetadataHttpTokens": instance.metadata_options.http_tokens, "ec2:Tenancy": instance.placement.tenancy}


def _security_group(backend, name: str) -> "dict | None":
    group = backend.get_security_group_from_id(name)
    return group and {"ec2:SecurityGroupID": name, "ec2:Vpc": arn(backend.region_name, "vpc", group.vpc_id)}


def _subnet(backend, name: str) -> "dict | None":
    subnet = next((zone[name] for zone in backend.subnets.values() if name in zone), None)
    return subnet and {"ec2:AvailabilityZone": subnet.availability_zone, "ec2:SubnetID": name,
                       "ec2:Vpc": arn(backend.region_name, "vpc", subnet.vpc_id)}


def _vpc(backend, name: str) -> "dict | None":
    vpc = backend.vpcs.get(name)
    return vpc and {"ec2:VpcID": name, "ec2:Tenancy": "default"}


def _image(backend, name: str) -> "dict | None":
    image = backend.amis.get(name)
    return image and {"ec2:ImageID": name, "ec2:ImageType": "machine", "ec2:Owner": image.owner_id,
                      "ec2:Public": bool(image.is_public), "ec2:RootDeviceType": "ebs"}


def _volume(backend, name: str) -> "dict | None":
    volume = backend.volumes.get(name)
    return volume and {"ec2:AvailabilityZone": volume.zone.name if hasattr(volume.zone, "name") else volume.zone, "ec2:VolumeID": name,
                       "ec2:Encrypted": volume.encrypted or False, "ec2:VolumeSize": volume.size, "ec2:VolumeType": volume.volume_type}


def _network_interface(backend, name: str) -> "dict | None":
    nic = backend.enis.get(name)
    return nic and {"ec2:AvailabilityZone": nic.availability_zone, "ec2:NetworkInterfaceID": name,
                    "ec2:Subnet": arn(backend.region_name, "subnet", nic.subnet_id), "ec2:Vpc": arn(backend.region_name, "vpc", nic.vpc_id)}


def _snapshot(backend, name: str) -> "dict | None":
    snapshot = backend.snapshots.get(name)
    return snapshot and {"ec2:SnapshotID": name, "ec2:Owner": snapshot.owner_id}


def _key_pair(backend, name: str) -> "dict | None":
    return {"ec2:KeyPairName": name} if name in backend.key_pairs else None


def _launch_template(backend, name: str) -> "dict | None":
    return {} if name in backend.launch_templates else None


_FACTS = {"instance": _instance, "security-group": _security_group, "subnet": _subnet, "vpc": _vpc, "image": _image, "volume": _volume,
          "network-interface": _network_interface, "snapshot": _snapshot, "key-pair": _key_pair, "launch-template": _launch_template}
