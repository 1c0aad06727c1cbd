"""What the endpoint tells the metadata service: for each host's address, all that the instance may learn about itself."""
import base64
import json
import math
from pathlib import Path

from . import addresses
from .lifecycle import ENDED, Lifecycle
from .mirror import Mirror
from .network import METADATA, Network
from .services import Service


class Metadata:
    def __init__(self, run: Path, network: Network, life: Lifecycle, mirror: Mirror):
        self._service, self._life, self._mirror = Service("imds", run, network.listen(METADATA, 80)), life, mirror

    def start(self) -> None:
        self._service.start()

    def publish(self) -> None:
        """After whatever may have changed an instance, under the endpoint's lock. What did not change is not told again."""
        table = {"testbed": {"package-lock": math.ceil(self._mirror.faults.package_lock_s)}}
        for machine in self._life.fleet.machines():
            instance = self._life.instances.get(machine.name)
            if instance and instance.state not in ENDED:
                table[machine.port.address] = _state(instance)
        self._service.tell(table)

    def end(self) -> None:
        self._service.end()


def _state(instance) -> dict:
    options = instance.metadata_options
    return {"instance": instance.id, "entries": _entries(instance), "dynamic": _document(instance), "user_data": base64.b64encode(user_data(instance)).decode(),
            "endpoint": options.http_endpoint, "tokens": options.http_tokens, "hops": int(options.http_put_response_hop_limit)}


def _entries(instance) -> dict:
    zone = instance.placement.zone
    entries = {
        "ami-id": instance.image_id,
        "ami-launch-index": str(instance.ami_launch_index),
        "hostname": instance.private_dns_name,
        "instance-id": instance.id,
        "instance-life-cycle": instance.lifecycle or "on-demand",
        "instance-type": instance.instance_type,
        "local-hostname": instance.private_dns_name,
        "placement/availability-zone": zone,
        "placement/region": instance.region_name,
        "security-groups": "\n".join(group.name for group in instance.security_groups),
    }
    entries |= addresses.metadata(instance)
    if instance.key_name:
        pair = instance.ec2_backend.key_pairs.get(instance.key_name)
        if pair:
            entries["public-keys"] = f"0={instance.key_name}"
            entries["public-keys/0/openssh-key"] = pair.material_public.decode().strip()
    if instance.metadata_options.instance_metadata_tags == "enabled":
        entries |= {f"tags/instance/{tag['key']}": tag["value"] for tag in instance.get_tags()}
    return entries | instance.notices


def _document(instance) -> dict:
    """The identity document, unsigned."""
    return {"instance-identity/document": json.dumps({
        "accountId": instance.owner_id, "architecture": instance.architecture, "availabilityZone": instance.placement.zone,
        "imageId": instance.image_id, "instanceId": instance.id, "instanceType": instance.instance_type,
        "pendingTime": f"{instance.launch_time:%Y-%m-%dT%H:%M:%SZ}", "privateIp": instance.private_ip_address,
        "region": instance.region_name, "version": "2017-09-30"}, indent=2)}


def user_data(instance) -> bytes:
    """What the launch brought, as bytes: it need not be text."""
    return base64.b64decode(str(instance.user_data)) if instance.user_data else b""
