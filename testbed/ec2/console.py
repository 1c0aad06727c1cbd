"""GetConsoleOutput: what a host wrote, its kernel, its cloud-init and its user-data, in all its boots; the last 64 KiB.

As EC2 has it on Nitro: `Latest` gives it as it is now. Without that it is what was posted last, which happens a while after
a boot, and when the instance stops or ends. What a terminated instance wrote stays for as long as the instance is listed.
"""
import base64
import threading

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance
from moto.ec2.responses.general import General

from .fleet import Fleet
from .knobs import Knobs
from .requests import Refusal


class Consoles:
    def __init__(self, knobs: Knobs, fleet: Fleet):
        self._knobs, self._fleet = knobs, fleet

    def install(self) -> None:
        consoles = self

        def get_console_output(response: General) -> ActionResult:
            instance = response.ec2_backend.get_instance(response._get_param("InstanceId"))
            return ActionResult(consoles._output(instance, response._get_bool_param("Latest", False)))

        General.get_console_output = get_console_output

    def booted(self, instance: Instance) -> None:
        """Its console is posted in a while, unless it has ended by then."""
        timer = threading.Timer(self._knobs.console_posted_after_s, self.post, [instance])
        timer.daemon = True
        timer.start()

    def post(self, instance: Instance) -> None:
        if machine := self._fleet.machine(instance.id):
            instance.console = machine.console(), utcnow()

    @staticmethod
    def ended(instance: Instance, console: bytes) -> None:
        instance.console = console, utcnow()

    def _output(self, instance: Instance, latest: bool) -> dict:
        if latest and INSTANCE_TYPES.get(instance.instance_type, {}).get("Hypervisor") != "nitro":
            raise Refusal("UnsupportedOperation", "This instance type does not support retrieving the latest console logs.")
        machine = self._fleet.machine(instance.id) if latest else None
        console, posted = (machine.console(), utcnow()) if machine else getattr(instance, "console", (b"", instance.launch_time))
        return {"InstanceId": instance.id, "Timestamp": posted, "Output": base64.b64encode(console).decode()}
