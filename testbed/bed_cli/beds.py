"""A bed as a whole: what it consists of, up, down, status, and the environment of a shell that uses it."""
import contextlib
import os
import shutil
from pathlib import Path

from . import places, registry, users
from .endpoint import Endpoint
from .errors import BedError, Ended
from .http import unproxied
from .kubernetes import ControlPlane
from .node import Node
from .process import Daemon, boot_id

# A process that someone ran in the bed, such as the operator, may have something to finish.
GUEST_ENDS_WITHIN = 15
OWN = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "ec2", "relay")


class Bed:
    """One named bed of this checkout."""

    def __init__(self, name: str):
        self.name = name
        self.run = places.run_dir(name)
        self.bin = self.run / "bin"

    @staticmethod
    def names() -> list[str]:
        """The beds of this checkout that left anything."""
        folder = places.runs() / places.checkout_id()
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    @contextlib.contextmanager
    def locked(self):
        lock = places.runs() / "locks" / f"{places.checkout_id()}-{self.name}"
        with registry.locked(lock, f"another command at work on bed {self.name!r}"):
            yield
            if not self.run.exists():
                lock.unlink(missing_ok=True)

    def parts(self) -> list:
        slot = registry.find(self.run)
        if slot is None or not self.run.is_dir():
            return []
        plane, endpoint = ControlPlane(self.run, slot, self.has_node()), Endpoint(self.run, slot)
        return [plane] + ([] if self._kubernetes_only() else [endpoint]) + ([Node(self.run, plane, endpoint)] if self.has_node() else [])

    def up(self, kubernetes_only: bool, node: bool = False, archives: tuple[Path, ...] = ()) -> list[str]:
        """Starts what does not answer; the names of what had to be started. What the bed once had it has. `archives` are of images for the node."""
        slot = registry.allocate(self.run)
        if self.run.is_dir() and not self._of_this_boot():
            # The machine went down under it: nothing runs, and the data was never synced.
            shutil.rmtree(self.run)
        self.bin.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.run.chmod(0o700)
        (self.run / "boot").write_text(boot_id())
        self._link("kubectl", places.kubernetes_binary("kubectl"))
        if node:
            (self.run / "with-node").touch()
            self._link("helm", places.helm())
        plane = ControlPlane(self.run, slot, self.has_node())
        started = []
        try:
            if plane.ensure():
                started.append("Kubernetes")
        except Ended as error:
            # What a crash left may be beyond repair; a bed from nothing is not. The second error is the caller's.
            print(f"starting the control plane anew: {error}")
            plane.destroy()
            plane.ensure()
            started.append("Kubernetes")
        if not kubernetes_only or self.has_node():
            (self.run / "with-hosts").touch()
            endpoint = Endpoint(self.run, slot)
            if endpoint.ensure():
                started.append("EC2 endpoint")
            # What the operator takes for the name of its installation, unless told another.
            users.admit(endpoint.url, plane.uid_of_namespace("kube-system"))
            if self.has_node() and Node(self.run, plane, endpoint).ensure(archives):
                started.append("node")
        return started

    def down(self) -> bool:
        """Ends and removes everything; False when there was nothing. Cut off at any moment, it can be called again."""
        slot = registry.find(self.run)
        if slot is None and not self.run.exists():
            return False
        for daemon in Daemon.recorded(self.run):
            if daemon.name not in OWN:
                daemon.stop(grace=GUEST_ENDS_WITHIN)
        if slot is not None:
            ControlPlane(self.run, slot).destroy()
            Endpoint(self.run, slot).destroy()
        for daemon in Daemon.recorded(self.run):
            daemon.stop(grace=0)
        shutil.rmtree(self.run, ignore_errors=True)
        registry.release(self.run)
        with contextlib.suppress(OSError):
            self.run.parent.rmdir()
        return True

    def status(self) -> dict:
        pieces = [{"name": daemon.name, "url": url, "pid": daemon.pid(), "log": str(daemon.log),
                   "state": "dead" if not daemon.pid() else "answers" if answers() else "silent"}
                  for part in self.parts() for daemon, url, answers in part.pieces()]
        guests = [{"name": daemon.name, "url": None, "pid": daemon.pid(), "log": str(daemon.log),
                   "state": "runs" if daemon.pid() else "dead"}
                  for daemon in Daemon.recorded(self.run) if daemon.name not in OWN]
        state = "down" if not pieces else "up" if all(piece["state"] == "answers" for piece in pieces) else "broken"
        return {"name": self.name, "state": state, "run": str(self.run), "pieces": pieces + guests}

    def environment(self, user: str = users.ADMINISTRATOR) -> dict[str, str]:
        """What a shell needs to use the bed, with the keys of a user of its EC2 endpoint."""
        variables = {"KUBECONFIG": str(self.run / "kubeconfig"), "TESTBED_NAME": self.name, "TESTBED_RUN": str(self.run),
                     "TESTKIT_LISTEN": f"127.0.0.1:{self._slot().operator}",
                     # Only this machine has a way to the hosts: specs here need not say who may reach them.
                     "TESTKIT_ACCESS_CIDRS": "0.0.0.0/0", **unproxied(os.environ)}
        if not self._kubernetes_only():
            url = self.endpoint_url()
            variables |= {"TESTBED_URL": url, "AWS_ENDPOINT_URL": url, "AWS_ENDPOINT_URL_EC2": url, "AWS_REGION": "us-east-1",
                          "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", **users.environment(url, user)}
        return variables

    def shell(self) -> dict[str, str]:
        """The same, with the bed's programs on PATH."""
        return self.environment() | {"PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}

    def endpoint_url(self) -> str:
        slot = self._slot()
        if self._kubernetes_only():
            raise BedError(f"bed {self.name!r} has no hosts: `{self._up()}` without --kubernetes-only adds them")
        return Endpoint(self.run, slot).url

    def install(self, binaries: list[Path]) -> None:
        """Copies programs into the bed's bin folder: what is built next must not replace what runs here."""
        for binary in binaries:
            part = self.bin / f".{binary.name}.part"
            try:
                shutil.copy(binary, part)
            except OSError as error:
                raise BedError(f"cannot install {binary} in bed {self.name!r}: {error.strerror}") from error
            part.replace(self.bin / binary.name)

    def start_guest(self, name: str, command: list[str]) -> int:
        """A process that belongs to the bed: it has the bed's environment, a log beside the others, and ends with it.

        At the EC2 endpoint it is the user of its own name, where there is one: the operator is the user `operator`.
        """
        if name in OWN:
            raise BedError(f"{name} is the bed's own; `testbed/bed up` starts it")
        guest = Daemon(self.run, name)
        guest.stop(grace=GUEST_ENDS_WITHIN)
        environment = {key: value for key, value in os.environ.items() if key not in ("AWS_PROFILE", "AWS_SESSION_TOKEN")}
        path = {"PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        user = users.ADMINISTRATOR if self._kubernetes_only() else users.of_daemon(self.endpoint_url(), name)
        return guest.start(command, env=environment | self.environment(user) | path, cwd=self.run).pid

    def stop_guest(self, name: str) -> None:
        if name in OWN:
            raise BedError(f"{name} is the bed's own; `testbed/bed down` ends it")
        Daemon(self.run, name).stop(grace=GUEST_ENDS_WITHIN)

    def _link(self, name: str, program: Path) -> None:
        link = self.bin / name
        link.unlink(missing_ok=True)
        link.symlink_to(program)

    def node(self) -> Node:
        slot = self._slot()
        return Node(self.run, ControlPlane(self.run, slot, True), Endpoint(self.run, slot))

    def has_node(self) -> bool:
        return (self.run / "with-node").exists()

    def _slot(self) -> registry.Slot:
        slot = registry.find(self.run)
        if slot is None or not (self.run / "kubeconfig").exists():
            raise BedError(f"bed {self.name!r} is not up: `{self._up()}` starts it")
        return slot

    def _up(self) -> str:
        return "testbed/bed up" + ("" if self.name == "default" else f" --name {self.name}")

    def _kubernetes_only(self) -> bool:
        return not (self.run / "with-hosts").exists()

    def _of_this_boot(self) -> bool:
        try:
            return (self.run / "boot").read_text() == boot_id()
        except OSError:
            return not any((self.run / "pids").glob("*"))
