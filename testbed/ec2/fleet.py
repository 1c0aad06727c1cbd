"""The instances' hosts: which machine is behind which instance. Boots, stops and ends them, off the API's thread."""
import shutil
import threading
from pathlib import Path

from . import processes
from .machine import IMAGES, Machine
from .network import Network, Port
from .services import Service


class NoImage(Exception):
    """The image of an engine has not been built."""


class Fleet:
    def __init__(self, run: Path, images: Path, kernel: list[str], network: Network):
        self.run, self.images, self.kernel, self.network = run, images, kernel, network
        self._machines: dict = {}
        self._lock = threading.Lock()

    def clean(self) -> None:
        """Ends what an earlier daemon of the same run directory left: hosts, network, files."""
        for noted in self.run.glob("hosts/*/process.json"):
            processes.kill_recorded(noted, self.run)
        Service.clean(self.run)
        self.network.down()
        shutil.rmtree(self.run / "hosts", ignore_errors=True)
        shutil.rmtree(self.run / "uml", ignore_errors=True)
        (self.run / IMAGES).unlink(missing_ok=True)

    def up(self) -> None:
        (self.run / "uml").mkdir(parents=True, exist_ok=True)
        (self.run / IMAGES).symlink_to(self.images)
        self.network.up()

    def down(self) -> None:
        for machine in self.machines():
            machine.kill()
        self.clean()

    def require_image(self, engine: str) -> None:
        if not (self.images / f"ami-{engine}.ext4").is_file():
            raise NoImage(f"the host image for engine {engine} is not built: run `testbed/bed setup --engine {engine}`")

    def create(self, instance_id: str, engine: str, port: Port, exited, **more) -> Machine:
        """A machine that is not booted yet; `more` is the Machine's."""
        machine = Machine(instance_id, self.run, self.kernel, engine, port, exited, **more)
        with self._lock:
            self._machines[instance_id] = machine
        return machine

    def destroy(self, instance_id: str) -> bytes:
        """What was on its console stays."""
        with self._lock:
            machine = self._machines.pop(instance_id, None)
        return machine.destroy() if machine else b""

    def machine(self, instance_id: str) -> "Machine | None":
        with self._lock:
            return self._machines.get(instance_id)

    def machines(self) -> list:
        with self._lock:
            return list(self._machines.values())

    def at(self, address: str) -> "str | None":
        """The instance whose host has an address."""
        return next((machine.name for machine in self.machines() if machine.port.address == address), None)
