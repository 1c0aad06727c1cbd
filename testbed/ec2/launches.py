"""RunInstances before moto sees it: what is asked for is made exact, refused, or recognized as asked for before."""
import base64
import threading

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance, InstanceBackend, Reservation
from moto.iam.models import iam_backends

from . import amis, catalogue, quotas, templates, volumes
from .addresses import require_network
from .fleet import Fleet, NoImage
from .knobs import Knobs, refuse_for_capacity
from .lifecycle import Lifecycle
from .metadata_options import MetadataDefaults
from .requests import Call, Refusal

# In bytes, before they are encoded (RunInstances in the EC2 API reference).
MOST_USER_DATA = 16384


class Launches:
    def __init__(self, knobs: Knobs, fleet: Fleet, life: Lifecycle):
        self._knobs, self._fleet, self._life = knobs, fleet, life
        # (region, token) -> (what was asked for, what came of it)
        self._tokens: dict = {}
        self._current = threading.local()
        self._metadata = MetadataDefaults()

    def install(self) -> None:
        plain_run, plain_init = InstanceBackend.run_instances, Instance.__init__
        launches = self

        def run_instances(backend, image_id, count, user_data, security_group_names, **kwargs):
            return launches._once(backend, lambda: plain_run(
                backend, image_id, count, user_data, security_group_names, **kwargs))

        def init(instance, ec2_backend, *args, **kwargs):
            instance.keeps_interfaces = launches._current.kept_interfaces
            instance.spot_type = launches._current.spot_type
            plain_init(instance, ec2_backend, *args, **kwargs)

        self._metadata.install()
        templates.install()
        volumes.install(lambda: self._current.speeds)
        # EC2Backend inherits it.
        InstanceBackend.run_instances, Instance.__init__ = run_instances, init

    def forget(self) -> None:
        """Of a call that is no launch: what moto launches for it in other ways (a fleet, a spot request) the bed cannot do, and
        must not take for the launch that came before it on the same connection."""
        self._current.__dict__.clear()

    def prepare(self, call: Call) -> None:
        """Refuses, or makes exact. `_once` needs what the caller said, before any of it is changed."""
        asked = {name: value for name, value in call.asked.items() if name not in ("ClientToken", "DryRun", "Action", "Version")}
        given, token = dict(call.parameters), call.parameters.get("ClientToken")
        if token is not None and (len(token) > 64 or not token.isascii() or not token):
            raise Refusal("InvalidParameterValue", f"Value ({token}) for parameter clientToken is invalid. "
                                                   "A client token has 1 to 64 ASCII characters.")
        self._current.launch = (call.region, token, asked)
        # An interface that is made with its instance ends with it, unless told not to; one that was there stays, unless told not to.
        self._current.kept_interfaces = {
            int(index) for number, index in call.fields("NetworkInterface", "DeviceIndex")
            if given.get(f"NetworkInterface.{number}.DeleteOnTermination", str(f"NetworkInterface.{number}.NetworkInterfaceId" not in given)).lower() == "false"}
        self._current.interface_tags = {} if call.has("NetworkInterface.1.NetworkInterfaceId") else next(
            (call.pairs(f"TagSpecification.{number}.Tag") for number, kind in call.fields("TagSpecification", "ResourceType")
             if kind == "network-interface"), {})
        self._current.spot_type = given.get("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time")
        self._current.template = call.template
        templates.leave_out(call)
        # moto mistakes a launch without a token for one with the token ABCDE.
        call.parameters.setdefault("ClientToken", "")
        if token and (call.region, token) in self._tokens:
            # Nothing is launched, so nothing can be missing for it; but moto reads the disks first.
            volumes.complete(call)
            self._current.speeds = {}
            return
        self._check_count(call)
        self._check_image(call)
        self._check_interfaces(call)
        self._check_user_data(call)
        volumes.complete(call)
        self._current.speeds = volumes.check(call)
        self._check_spot(call)
        self._check_profile(call)
        self._metadata.complete(call)
        # What is wrong with a launch comes before what there is no room for.
        self._check_type(call)

    def _once(self, backend, launch) -> Reservation:
        region, token, asked = self._current.launch
        if token and (region, token) in self._tokens:
            before, reservation = self._tokens[region, token]
            if before != asked:
                raise Refusal("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with "
                                                             "arguments used in previous request(s).")
            if all(instance.state == "terminated" for instance in reservation.instances) or not reservation.instances:
                raise Refusal("IdempotentInstanceTerminated", "The client token you have provided is associated with a "
                                                              "terminated instance. Please use a different client token.")
            return reservation
        known = set(backend.reservations)
        try:
            reservation = launch()
        except BaseException:
            # All or nothing: moto keeps the instances it made before the one that failed.
            for new in set(backend.reservations) - known:
                for instance in backend.reservations[new].instances:
                    instance.terminate()
                del backend.reservations[new]
            raise
        if token:
            self._tokens[region, token] = (asked, reservation)
        for instance in reservation.instances:
            if self._current.template:
                instance.add_tags(templates.tags(self._current.template))
            for nic in instance.nics.values():
                nic.add_tags(self._current.interface_tags)
            self._life.launched(instance)
        return reservation

    # -- what was asked for -------------------------------------------------------------------------------------

    @staticmethod
    def _check_count(call: Call) -> None:
        for name in ("MinCount", "MaxCount"):
            if int(call.parameters[name]) < 1:
                raise Refusal("InvalidParameterValue", f"Value ({call.parameters[name]}) for parameter {name} is invalid.")
        if int(call.parameters["MinCount"]) > int(call.parameters["MaxCount"]):
            raise Refusal("InvalidParameterValue", "minCount must not be greater than maxCount.")

    def _check_image(self, call: Call) -> None:
        image = call.parameters.get("ImageId", "")
        if not image:
            raise Refusal("MissingParameter", "The request must contain the parameter ImageId")
        if image.startswith(amis.BY_PARAMETER):
            found = amis.image_of(call)
            if not found:
                raise Refusal("SsmInvalidParameter", f"The following aliases are invalid: {image.removeprefix(amis.BY_PARAMETER)}")
            image = call.parameters["ImageId"] = found
        if image not in ec2_backends[DEFAULT_ACCOUNT_ID][call.region].amis:
            raise Refusal("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
        if self._knobs.boot:
            engine = amis.engine_of(image, call.region)
            if engine is None:
                raise Refusal("InvalidAMIID.Unavailable", f"The test bed has no disk for image '{image}': it boots its own only")
            try:
                self._fleet.require_image(engine.version)
            except NoImage as error:
                raise Refusal("InvalidAMIID.Unavailable", f"The image id '[{image}]' is not available: {error}") from None

    @staticmethod
    def _check_interfaces(call: Call) -> None:
        for name, what in (("SubnetId", "subnet ID"), ("SecurityGroupId", "security groups"), ("SecurityGroup", "security groups"),
                           ("PrivateIpAddress", "private IP address")):
            if call.has("NetworkInterface") and call.has(name):
                raise Refusal("InvalidParameterCombination", f"Network interfaces and an instance-level {what} may not be "
                                                             "specified on the same request")
        backend = ec2_backends[DEFAULT_ACCOUNT_ID][call.region]
        numbers = {name.split(".")[1] for name in call.parameters if name.startswith("NetworkInterface.")}
        indexes = [index for _, index in call.fields("NetworkInterface", "DeviceIndex")]
        if len(indexes) < len(numbers):
            raise Refusal("InvalidParameterValue", "Each network interface requires a device index.")
        if len(set(indexes)) < len(indexes):
            raise Refusal("InvalidParameterValue", "Each network interface requires a unique device index.")
        if len(numbers) > 1 and call.fields("NetworkInterface", "AssociatePublicIpAddress"):
            raise Refusal("InvalidParameterCombination", "The associatePublicIPAddress parameter cannot be specified when launching with "
                                                         "multiple network interfaces.")
        for _, known in call.fields("NetworkInterface", "NetworkInterfaceId"):
            if known in backend.enis and backend.enis[known].attachment_id:
                raise Refusal("InvalidNetworkInterface.InUse", f"Interface: '{known}' in use.")
        for name in call.many("SecurityGroup"):
            if backend.get_security_group_by_name_or_id(name) is None:
                raise Refusal("InvalidGroup.NotFound", f"The security group '{name}' does not exist")

    @staticmethod
    def _check_user_data(call: Call) -> None:
        given = call.parameters.get("UserData", "")
        try:
            content = base64.b64decode("".join(given.split()), validate=True)
        except ValueError:
            raise Refusal("InvalidParameterValue", "Invalid BASE64 encoding of user data.") from None
        if len(content) > MOST_USER_DATA:
            raise Refusal("InvalidParameterValue", f"User data is limited to {MOST_USER_DATA} bytes")

    @staticmethod
    def _check_profile(call: Call) -> None:
        for what, words in (("Name", "name"), ("Arn", "ARN")):
            named = call.parameters.get(f"IamInstanceProfile.{what}")
            if named and not any(named == getattr(profile, what.lower())
                                 for profile in iam_backends[DEFAULT_ACCOUNT_ID]["aws"].instance_profiles.values()):
                raise Refusal("InvalidParameterValue", f"Value ({named}) for parameter iamInstanceProfile.{what.lower()} is invalid. "
                                                       f"Invalid IAM Instance Profile {words}")

    def _check_spot(self, call: Call) -> None:
        """Spot requests that are made by a launch are one-time, unless told otherwise."""
        kind = self._current.spot_type
        behavior = call.parameters.get("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate")
        if kind == "one-time" and behavior != "terminate":
            raise Refusal("InvalidParameterCombination", f"The request with type '{kind}' is not supported when "
                                                         f"instanceInterruptionBehavior is set to '{behavior}'.")

    def _check_type(self, call: Call) -> None:
        """Whether the type exists, fits the image, is to be had where it is wanted, and as often as it is wanted."""
        wanted = call.parameters.setdefault("InstanceType", "m1.small")
        catalogue.check_type(wanted)
        image = ec2_backends[DEFAULT_ACCOUNT_ID][call.region].amis[call.parameters["ImageId"]]
        catalogue.check_architecture(wanted, image.architecture)
        zone = self._zone(call)
        if zone is None:
            zone = self._zone_of_its_choice(call, wanted)
            call.parameters["Placement.AvailabilityZone"] = zone
        catalogue.check_zone(wanted, call.region, zone)
        self._place(call, zone)
        refuse_for_capacity(self._knobs, wanted, zone)
        spot = call.parameters.get("InstanceMarketOptions.MarketType") == "spot"
        least, most = int(call.parameters["MinCount"]), int(call.parameters["MaxCount"])
        room = quotas.room(self._knobs.vcpus(spot), self._life.running(call.region, spot), wanted, least, spot)
        # As many as there is room for; moto would launch the least.
        call.parameters["MinCount"] = call.parameters["MaxCount"] = str(most if room is None else min(most, room))

    @staticmethod
    def _subnet(call: Call) -> tuple:
        """The id of the subnet a launch names, itself or by an interface that is there already, and the subnet."""
        backend = ec2_backends[DEFAULT_ACCOUNT_ID][call.region]
        nic = backend.enis.get(call.parameters.get("NetworkInterface.1.NetworkInterfaceId"))
        named = nic.subnet.id if nic else call.parameters.get("SubnetId") or call.parameters.get("NetworkInterface.1.SubnetId")
        return named, next((subnets[named] for subnets in backend.subnets.values() if named in subnets), None)

    def _zone(self, call: Call) -> "str | None":
        """Where it is wanted, if that is said. A subnet that is not there is moto's to refuse."""
        named, subnet = self._subnet(call)
        if subnet:
            return subnet.availability_zone
        return call.parameters.get("Placement.AvailabilityZone") or (f"{call.region}a" if named else None)

    def _place(self, call: Call, zone: str) -> None:
        """In the default subnet of its zone, when nothing else is said."""
        named, subnet = self._subnet(call)
        if named is None and (subnet := ec2_backends[DEFAULT_ACCOUNT_ID][call.region].get_default_subnets().get(zone)):
            call.parameters["NetworkInterface.1.SubnetId" if call.has("NetworkInterface.1") else "SubnetId"] = subnet.id
        elif call.has("NetworkInterface.1.NetworkInterfaceId"):
            # moto knows the zone by nothing else.
            call.parameters["Placement.AvailabilityZone"] = zone
        if subnet and self._knobs.boot:
            require_network(self._fleet.network, subnet)

    def _zone_of_its_choice(self, call: Call, instance_type: str) -> str:
        """EC2 chooses among the default subnets' zones, and not one where it cannot be."""
        zones = sorted(ec2_backends[DEFAULT_ACCOUNT_ID][call.region].get_default_subnets()) or [f"{call.region}a"]
        offered = [zone for zone in zones if zone in catalogue.zones_with(instance_type, call.region)]
        free = [zone for zone in offered if not self._knobs.lacks(instance_type, zone)]
        return (free or offered or zones)[0]
