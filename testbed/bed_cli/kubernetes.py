"""The control plane of a bed: etcd, kube-apiserver and kube-controller-manager on loopback, and kube-scheduler where there is a node.

Certificates and the administrator's token are made anew for every bed and stay in its run directory.
"""
import base64
import os
import secrets
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import http, places
from .errors import BedError
from .process import Daemon
from .registry import Slot

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "etcd", "kubectl")
# What is needed beside them where there is a node.
NODE_COMPONENTS = ("kube-scheduler", "kubelet", "kube-proxy")
# Owner references, namespaces that go away, ServiceAccounts with tokens, aggregated ClusterRoles: what an operator
# and its RBAC need. Without a node nothing starts pods, so there is no controller for them.
CONTROLLERS = ("garbage-collector-controller", "namespace-controller", "serviceaccount-controller",
               "serviceaccount-token-controller", "root-ca-certificate-publisher-controller",
               "clusterrole-aggregation-controller", "ttl-after-finished-controller")
NODE_CONTROLLERS = ("deployment-controller", "replicaset-controller", "daemonset-controller", "job-controller", "disruption-controller",
                    "endpointslice-controller", "node-lifecycle-controller", "taint-eviction-controller", "pod-garbage-collector-controller")
READY_WITHIN = 60
KEY = ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out")


class ControlPlane:
    """`node`: it is to start pods, once there is a node for them."""

    def __init__(self, run: Path, slot: Slot, node: bool = False):
        self.run, self.slot, self.node = run, slot, node
        self.pki = run / "pki"
        self.kubeconfig = run / "kubeconfig"
        self.url = f"https://127.0.0.1:{slot.apiserver}"
        self.etcd = Daemon(run, "etcd")
        self.apiserver = Daemon(run, "kube-apiserver")
        self.controller_manager = Daemon(run, "kube-controller-manager")
        self.scheduler = Daemon(run, "kube-scheduler")
        # With which controllers it was started.
        self.controllers = run / "controllers"

    def pieces(self) -> list[tuple[Daemon, str, Callable[[], bool]]]:
        """Each process, its address, and how to ask whether it answers there."""
        etcd, manager, scheduler = (f"https://127.0.0.1:{port}" for port in (self.slot.etcd, self.slot.controller_manager, self.slot.scheduler))
        pieces = [(self.etcd, etcd, lambda: http.answers(f"{etcd}/health", context=self._trust(client=True))),
                  (self.apiserver, self.url, lambda: self._api("/readyz")),
                  (self.controller_manager, manager, lambda: http.answers(f"{manager}/healthz", context=self._trust()))]
        return pieces + ([(self.scheduler, scheduler, lambda: http.answers(f"{scheduler}/healthz", context=self._trust()))] if self.node else [])

    def ensure(self) -> bool:
        """Everything up and answering; True when something had to be started."""
        whole = self._certificates_complete()
        down = []
        if self.node and self.controller_manager.pid() and self._started_with() != self._wanted():
            # It was started when there was no node.
            self.controller_manager.stop(grace=0)
        for daemon, _, answers in self.pieces():
            # Without etcd nothing answers, and what the others remember of it may not be there any more.
            if not whole or self.etcd in down or daemon.silent(answers):
                down.append(daemon)
        if not down and self._settled():
            return False
        if not whole:
            self.destroy()
            self._make_certificates()
        for daemon in down:
            daemon.stop(grace=0)
        self._write_kubeconfig()
        if self.etcd in down:
            self._start_etcd()
        if self.apiserver in down:
            self._start_apiserver()
        self.apiserver.wait_for(lambda: self._api("/readyz"), READY_WITHIN, also=(self.etcd,))
        if self.controller_manager in down:
            self._start_controller_manager()
        if self.scheduler in down:
            self._start_scheduler()
        for daemon, _, works in self.pieces()[2:]:
            daemon.wait_for(lambda: works() and self._settled(), READY_WITHIN, also=(self.etcd, self.apiserver))  # noqa: B023 (asked at once)
        return True

    def destroy(self) -> None:
        """Nothing of it stays, so there is nothing for a graceful end to save."""
        for daemon in (self.scheduler, self.controller_manager, self.apiserver, self.etcd):
            daemon.stop(grace=0)
        for folder in (self.pki, self.run / "etcd"):
            shutil.rmtree(folder, ignore_errors=True)
        self.kubeconfig.unlink(missing_ok=True)

    def uid_of_namespace(self, name: str) -> str:
        return self.ask(f"/api/v1/namespaces/{name}")["metadata"]["uid"]

    def ask(self, path: str):
        """What the API server has there, as its administrator sees it."""
        return http.call(self.url + path, context=self._trust(), token=self._token())

    def _settled(self) -> bool:
        """The controllers work when a namespace has its ServiceAccount."""
        return all(self._api(f"/api/v1/namespaces/{name}/serviceaccounts/default") for name in ("default", "kube-system"))

    def _api(self, path: str) -> bool:
        return http.answers(self.url + path, context=self._trust(), token=self._token())

    def _start_etcd(self) -> None:
        client, peer = f"https://127.0.0.1:{self.slot.etcd}", f"https://127.0.0.1:{self.slot.etcd_peer}"
        pki = self.pki
        # No fsync: the data is worth nothing after a power cut, and a slow disk must not slow the tests.
        self.etcd.start([
            places.kubernetes_binary("etcd"), f"--data-dir={self.run / 'etcd'}", "--name=bed", "--log-level=warn", "--unsafe-no-fsync",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=bed={peer}",
            "--client-cert-auth", f"--trusted-ca-file={pki}/ca.crt", f"--cert-file={pki}/server.crt", f"--key-file={pki}/server.key",
            "--peer-client-cert-auth", f"--peer-trusted-ca-file={pki}/ca.crt",
            f"--peer-cert-file={pki}/server.crt", f"--peer-key-file={pki}/server.key"])

    def _start_apiserver(self) -> None:
        pki = self.pki
        self.apiserver.start([
            places.kubernetes_binary("kube-apiserver"), "--bind-address=127.0.0.1", f"--secure-port={self.slot.apiserver}",
            "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24",
            f"--etcd-servers=https://127.0.0.1:{self.slot.etcd}", f"--etcd-cafile={pki}/ca.crt",
            f"--etcd-certfile={pki}/server.crt", f"--etcd-keyfile={pki}/server.key",
            f"--tls-cert-file={pki}/server.crt", f"--tls-private-key-file={pki}/server.key",
            f"--client-ca-file={pki}/ca.crt", f"--token-auth-file={pki}/tokens.csv",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            # Logs of pods, and what is run in them, are a node's.
            f"--kubelet-client-certificate={pki}/kubelet-client.crt", f"--kubelet-client-key={pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer={self.url}", f"--service-account-key-file={pki}/service-accounts.pub",
            f"--service-account-signing-key-file={pki}/service-accounts.key", "--profiling=false"],
            env=os.environ | http.unproxied(os.environ, self.slot.net))

    def _start_controller_manager(self) -> None:
        pki = self.pki
        self.controllers.write_text(self._wanted())
        self.controller_manager.start([
            places.kubernetes_binary("kube-controller-manager"), f"--kubeconfig={self.kubeconfig}", "--leader-elect=false",
            "--bind-address=127.0.0.1", f"--secure-port={self.slot.controller_manager}",
            f"--tls-cert-file={pki}/server.crt", f"--tls-private-key-file={pki}/server.key",
            f"--service-account-private-key-file={pki}/service-accounts.key", f"--root-ca-file={pki}/ca.crt",
            f"--controllers={self._wanted()}", "--profiling=false"])

    def _wanted(self) -> str:
        return ",".join(CONTROLLERS + (NODE_CONTROLLERS if self.node else ()))

    def _started_with(self) -> str:
        return self.controllers.read_text() if self.controllers.exists() else ""

    def _start_scheduler(self) -> None:
        pki = self.pki
        self.scheduler.start([
            places.kubernetes_binary("kube-scheduler"), f"--kubeconfig={self.kubeconfig}", "--leader-elect=false",
            "--bind-address=127.0.0.1", f"--secure-port={self.slot.scheduler}",
            f"--tls-cert-file={pki}/server.crt", f"--tls-private-key-file={pki}/server.key", "--profiling=false"])

    def _certificates_complete(self) -> bool:
        """They are made in a folder of another name that is renamed at the end: there, they are whole, but for those that a
        bed of before nodes had none of."""
        return (self.pki / "kubelet-client.crt").exists()

    def _make_certificates(self) -> None:
        part = self.run / "pki.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700, parents=True)
        (part / "server.ext").write_text(
            "subjectAltName=IP:127.0.0.1,IP:10.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\n"
            "extendedKeyUsage=serverAuth,clientAuth\n")
        (part / "client.ext").write_text("extendedKeyUsage=clientAuth\n")
        _openssl(part, *KEY, "ca.key")
        _openssl(part, "req", "-x509", "-new", "-key", "ca.key", "-sha256", "-days", "3650", "-subj", "/CN=testkit-bed", "-out", "ca.crt",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.issue(part, "server", "/CN=testkit-bed-server", part, "server.ext")
        self.issue(part, "kubelet-client", "/O=system:masters/CN=testkit-bed-kubelet-client", part)
        _openssl(part, *KEY, "service-accounts.key")
        _openssl(part, "ec", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub")
        tokens = part / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{secrets.token_urlsafe(32)},admin,admin,"system:masters"\n')
        for file in part.glob("*.key"):
            file.chmod(0o600)
        part.rename(self.pki)

    def issue(self, folder: Path, name: str, subject: str, pki: Path | None = None, extensions: str = "client.ext") -> None:
        """NAME.key and NAME.crt in a folder, by the bed's authority: for a client, unless other extensions are asked for."""
        pki = pki or self.pki
        _openssl(folder, *KEY, f"{name}.key")
        _openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-CAcreateserial", "-days", "3650",
                 "-extfile", pki / extensions, "-out", f"{name}.crt")

    def _token(self) -> str | None:
        try:
            return (self.pki / "tokens.csv").read_text().partition(",")[0]
        except OSError:
            return None

    def _trust(self, client: bool = False) -> ssl.SSLContext:
        """Trusts the bed's own authority and no other. `client`: shows the certificate that etcd asks for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._certificates_complete():
            context.load_verify_locations(self.pki / "ca.crt")
            if client:
                context.load_cert_chain(self.pki / "server.crt", self.pki / "server.key")
        return context

    def _write_kubeconfig(self) -> None:
        authority = base64.b64encode((self.pki / "ca.crt").read_bytes()).decode()
        part = self.run / "kubeconfig.part"
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text(f"""\
apiVersion: v1
kind: Config
current-context: testbed
clusters:
- name: testbed
  cluster: {{server: "{self.url}", certificate-authority-data: {authority}}}
users:
- name: admin
  user: {{token: "{self._token()}"}}
contexts:
- name: testbed
  context: {{cluster: testbed, user: admin}}
""")
        part.rename(self.kubeconfig)


def _openssl(folder: Path, *command) -> None:
    done = subprocess.run(["openssl", *map(str, command)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise BedError(f"openssl {command[0]} failed: {done.stderr.strip()}")
