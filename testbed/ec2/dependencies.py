"""What cannot be removed because something uses it. Instances end and are gone; what outlives them stays in the lists."""
from moto.core.responses import ActionResult
from moto.ec2.models.instances import Instance
from moto.ec2.models.security_groups import SecurityGroup, SecurityGroupBackend
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces

from .requests import Refusal


def install() -> None:
    plain_group, plain_interface = SecurityGroupBackend.delete_security_group, ElasticNetworkInterfaces.delete_network_interface
    plain_vpc = VPCBackend.delete_vpc
    leaving = set()

    def delete_security_group(backend, name=None, group_id=None):
        group = backend.get_security_group_from_id(group_id) if group_id else backend.get_security_group_by_name_or_id(name)
        # A VPC that is deleted takes its default group with it.
        if group and group.is_default and group.vpc_id not in leaving:
            raise Refusal("CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted by a user')
        if group and (_is_held(backend, group) or _is_named_by_a_rule(backend, group)):
            raise Refusal("DependencyViolation", f"resource {group.id} has a dependent object")
        return plain_group(backend, name, group_id)

    def delete_vpc(backend, vpc_id):
        others = [group for group in backend.groups.get(vpc_id, {}).values() if not group.is_default]
        if others:
            raise Refusal("DependencyViolation", f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
        leaving.add(vpc_id)
        try:
            return plain_vpc(backend, vpc_id)
        finally:
            leaving.discard(vpc_id)

    def delete_network_interface(response: ElasticNetworkInterfaces) -> ActionResult:
        nic = response.ec2_backend.enis.get(response._get_param("NetworkInterfaceId"))
        if nic and nic.attachment_id:
            raise Refusal("InvalidParameterValue", f"Network interface '{nic.id}' is currently in use.")
        return plain_interface(response)

    SecurityGroupBackend.delete_security_group = delete_security_group
    VPCBackend.delete_vpc = delete_vpc
    ElasticNetworkInterfaces.delete_network_interface = delete_network_interface


def _is_held(backend, group: SecurityGroup) -> bool:
    """By an instance until it is gone, by an interface whoever has it."""
    return any(_uses(instance, group) for instance in backend.all_instances()) or any(
        held.id == group.id for nic in backend.enis.values() for held in nic.group_set)


def _uses(instance: Instance, group: SecurityGroup) -> bool:
    groups = {held.id for held in instance.security_groups} | {held.id for nic in instance.nics.values() for held in nic.group_set}
    return instance.state != "terminated" and group.id in groups


def _is_named_by_a_rule(backend, group: SecurityGroup) -> bool:
    """Of another group: its own go with it."""
    return any(rule.source_group.get("GroupId") == group.id for of_vpc in backend.groups.values() for other in of_vpc.values()
               if other.id != group.id for rule in [*other.ingress_rules, *other.egress_rules])
