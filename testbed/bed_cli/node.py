"""The node of a bed's Kubernetes: a host (`ec2/node.py`) that has on a second disk what makes it one, and its ways to the bed's servers."""
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from . import http, places
from .endpoint import Endpoint
from .errors import BedError
from .kubernetes import ControlPlane
from .process import Daemon

NAME = "node"
SOURCES = places.TESTBED / "node"
PAUSE = "testbed/pause:1"
# Of a C compiler, for a program that stands on nothing.
STATIC = ("-O2", "-static", "-nostdlib", "-fno-stack-protector")
# On a machine that boots the hosts of others at the same time.
READY_WITHIN = 240
COMES_BACK_WITHIN = 60


class Node:
    def __init__(self, run: Path, plane: ControlPlane, endpoint: Endpoint):
        self.run, self.bed_run, self.plane, self.endpoint = run / "node", run, plane, endpoint
        self.disk = self.run / "disk"
        # What Helm is to be told so that an operator in a pod finds this bed.
        self.values = self.run / "values.yaml"
        self.relay = Daemon(run, "relay")

    def pieces(self) -> list[tuple[Daemon, str, Callable[[], bool]]]:
        return [(self.relay, f"node {self._told().get('address', '')}".strip(), self._ready)]

    def ensure(self, archives: tuple[Path, ...] = ()) -> bool:
        """A node that is Ready and has the images of these archives; True when it had to be booted, or to get its way to the API server back."""
        if not self.relay.silent(self._ready):
            self._load_all(archives)
            return False
        self.relay.stop(grace=0)
        told = http.call(f"{self.endpoint.url}/_bed/node", method="PUT", body={"disk": os.path.relpath(self.disk, self.endpoint.run)})
        ports = (self.plane.slot.apiserver, self.plane.slot.endpoint)
        self.relay.start([sys.executable, Path(__file__).with_name("relay.py"), told["machine"], told["address"], *ports])
        if told["pid"] and self._knows_the_authority() and not self.relay.silent(self._ready, patience=COMES_BACK_WITHIN):
            # It only missed the way to the API server.
            self._load_all(archives)
            return True
        self._tell("kill")
        self._make_disk(told["machine"], archives)
        # What it was before it is no more, and what ran there is somebody's to start again.
        self._kubectl("delete", "node", NAME, "--ignore-not-found")
        self._kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", said=self._service(told["machine"]))
        self._tell("reboot")
        self.relay.wait_for(self._ready, READY_WITHIN)
        return True

    def _load_all(self, archives: tuple[Path, ...]) -> None:
        for archive in archives:
            self.load(archive)

    def load(self, archive: Path) -> str:
        """Gives it the images of an archive, as `docker save` writes them; what it says of them."""
        try:
            with archive.open("rb") as file:
                done = subprocess.run(self.ssh("root", ["ctr", "--namespace", "k8s.io", "images", "import", "--local", "-"]), stdin=file, capture_output=True, text=True)
        except OSError as error:
            raise BedError(f"cannot read {archive}: {error.strerror}") from error
        if done.returncode:
            raise BedError(f"the node does not take {archive}: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()

    def ssh(self, user: str, command: list) -> list:
        """ssh there, by the key that was made with its disk."""
        return ["ssh", "-F", "none", "-i", self.run / "id", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", f"HostKeyAlias={NAME}",
                "-o", f"UserKnownHostsFile={self.run / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes", f"{user}@{self.address()}", *command]

    def address(self) -> str:
        told = self._told()
        if not told:
            raise BedError("this bed has no node: `testbed/bed up --node` adds one")
        return told["address"]

    def _told(self) -> dict:
        """Where the endpoint has put it; empty when there is none, or nobody to ask."""
        try:
            return http.call(f"{self.endpoint.url}/_bed/node")
        except BedError:
            return {}

    def _tell(self, verb: str) -> None:
        http.call(f"{self.endpoint.url}/_bed/hosts/{NAME}/{verb}", method="POST", timeout=60)

    def _ready(self) -> bool:
        if not (self._told().get("pid") and self.relay.pid()):
            return False
        try:
            conditions = self.plane.ask(f"/api/v1/nodes/{NAME}")["status"].get("conditions", [])
        except BedError:
            return False
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _knows_the_authority(self) -> bool:
        """Whether its disk is of this control plane, and not of one before it."""
        known = self.run / "ca.crt"
        return known.exists() and known.read_bytes() == (self.plane.pki / "ca.crt").read_bytes()

    def _make_disk(self, machine: str, archives: tuple[Path, ...]) -> None:
        """What the guest finds at /opt/node: its programs, images, who it is to the API server, and who may log in."""
        shutil.rmtree(self.run, ignore_errors=True)
        root = self.run / "root"
        shutil.copytree(SOURCES / "guest", root)
        (root / "bin").mkdir()
        (root / "images").mkdir()
        for number, archive in enumerate(archives):
            try:
                shutil.copy(archive, root / "images" / f"{number}.tar")
            except OSError as error:
                raise BedError(f"cannot read {archive}: {error.strerror}") from error
        for program in ("kubelet", "kube-proxy"):
            shutil.copy(places.kubernetes_binary(program), root / "bin")
        _run("gcc", *STATIC, "-o", self.run / "pause", SOURCES / "pause" / "pause.c")
        _run(sys.executable, places.CHECKOUT / "e2e" / "image.py", SOURCES / "pause" / "Dockerfile", root / "images" / "pause.tar", PAUSE, "amd64", f"pause={self.run / 'pause'}")
        kubernetes = root / "etc" / "kubernetes"
        shutil.copy(self.plane.pki / "ca.crt", kubernetes)
        server = f"https://{machine}:{self.plane.slot.apiserver}"
        for name, subject in (("kubelet", f"/O=system:nodes/CN=system:node:{NAME}"), ("kube-proxy", "/CN=system:kube-proxy")):
            self.plane.issue(kubernetes, name, subject)
            (kubernetes / f"{name}.kubeconfig").write_text(json.dumps(_kubeconfig(server, f"/etc/kubernetes/{name}")))
        for name in ("id", "host"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", self.run / name)
        (root / "authorized_keys").write_text((self.run / "id.pub").read_text())
        (root / "etc" / "ssh").mkdir()
        shutil.copy(self.run / "host", root / "etc" / "ssh" / "ssh_host_ed25519_key")
        (self.run / "known_hosts").write_text(f"{NAME} {(self.run / 'host.pub').read_text()}")
        self.values.write_text(json.dumps(self._values(machine), indent=1) + "\n")
        _run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", root, self.disk, "1G")
        shutil.rmtree(root)
        shutil.copy(self.plane.pki / "ca.crt", self.run)

    def _values(self, machine: str) -> dict:
        """The EC2 endpoint, and who is to reach the hosts: the node's pods, and this machine."""
        variables = {"AWS_ENDPOINT_URL": f"http://{machine}:{self.plane.slot.endpoint}", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        return {"accessCIDRs": [self.plane.slot.net], "operator": {"env": [{"name": name, "value": value} for name, value in variables.items()]}}

    def _service(self, machine: str) -> str:
        """Where the Service `kubernetes` leads: the API server itself writes no address of loopback there."""
        return json.dumps({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "ports": [{"name": "https", "port": self.plane.slot.apiserver, "protocol": "TCP"}], "endpoints": [{"addresses": [machine], "conditions": {"ready": True}}]})

    def _kubectl(self, *arguments, said: str | None = None) -> None:
        _run(places.kubernetes_binary("kubectl"), *arguments, said=said, env=os.environ | {"KUBECONFIG": str(self.plane.kubeconfig)})


def _kubeconfig(server: str, files: str) -> dict:
    # Of the names in the API server's certificate one that is the same for every bed.
    cluster = {"server": server, "certificate-authority": "/etc/kubernetes/ca.crt", "tls-server-name": "kubernetes.default.svc"}
    return {"apiVersion": "v1", "kind": "Config", "current-context": "bed", "clusters": [{"name": "bed", "cluster": cluster}],
            "users": [{"name": NAME, "user": {"client-certificate": f"{files}.crt", "client-key": f"{files}.key"}}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": NAME}}]}


def _run(*command, said: str | None = None, env: dict | None = None) -> None:
    done = subprocess.run([str(word) for word in command], input=said, capture_output=True, text=True, env=env)
    if done.returncode:
        raise BedError(f"the node: `{' '.join(map(str, command))}` failed: {(done.stderr or done.stdout).strip()}")
