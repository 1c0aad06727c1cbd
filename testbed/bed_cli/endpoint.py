"""The EC2 endpoint of a bed: the daemon of testbed/ec2, which owns the hosts. Started, asked and ended here, no more."""
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import http, places
from .errors import BedError
from .process import Daemon
from .registry import Slot

READY_WITHIN = 60
# It ends its hosts, their interfaces and mounts before itself.
ENDS_WITHIN = 30


class Endpoint:
    def __init__(self, run: Path, slot: Slot):
        self.run, self.slot = run / "ec2", slot
        self.url = f"http://127.0.0.1:{slot.endpoint}"
        self.daemon = Daemon(run, "ec2")

    def pieces(self) -> list[tuple[Daemon, str, Callable[[], bool]]]:
        return [(self.daemon, self.url, self._answers)]

    def ensure(self) -> bool:
        if not self.daemon.silent(self._answers):
            return False
        self.destroy()
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.daemon.start(self._command("--images", places.images(), "--kernel", *places.host_kernel(), "--port", self.slot.endpoint, "--net", self.slot.net,
                                        "--public", self.slot.public),
                          env=self._environment())
        self.daemon.wait_for(self._answers, READY_WITHIN)
        return True

    def destroy(self) -> None:
        """Also what a killed daemon left behind: hosts, interfaces, the namespace."""
        self.daemon.stop(grace=ENDS_WITHIN)
        if not self.run.exists():
            return
        done = subprocess.run([str(word) for word in self._command("--clean")], env=self._environment(),
                              capture_output=True, text=True, cwd=self.run)
        if done.returncode:
            raise BedError(f"cannot clean up after the EC2 endpoint (namespace {self.slot.namespace}): "
                           f"{done.stderr.strip() or done.stdout.strip()}")

    def _answers(self) -> bool:
        return http.answers(f"{self.url}/_bed/hosts")

    def _command(self, *rest) -> list:
        return [places.venv() / "bin" / "python", "-m", "ec2", "--run", self.run, "--namespace", self.slot.namespace, *rest]

    def _environment(self) -> dict:
        return os.environ | {"PYTHONPATH": str(places.TESTBED), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
