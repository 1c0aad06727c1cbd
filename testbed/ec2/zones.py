"""Availability zones are a little apart: what a host sends to a subnet of another zone of its VPC takes longer.

The hosts' own kernels see to it, by the same means as faults (machine), since the machine's kernel may lack netem. A host
knows those zones only in which there are hosts: a cluster in one zone pays nothing.
"""
# Each way, so that there and back takes a millisecond more, as between two zones of a region.
APART_MS = 0.5


def settle(placed: list) -> None:
    """`placed` are pairs of an instance and its machine."""
    where = {machine: (subnet.vpc_id, subnet.availability_zone, subnet.cidr_block)
             for machine, subnet in ((machine, instance.nics[0].subnet) for instance, machine in placed)}
    for machine, (vpc, zone, _) in where.items():
        machine.keep_apart(tuple(sorted({block for other, elsewhere, block in where.values()
                                         if other == vpc and elsewhere != zone})))
