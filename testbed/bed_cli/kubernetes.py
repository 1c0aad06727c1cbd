"""The control plane of a bed: etcd, kube-apiserver and kube-controller-manager on loopback.

Certificates and the administrator's token are made anew for every bed and stay in its run directory.
"""
import base64
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
# Owner references, namespaces that go away, ServiceAccounts with tokens, aggregated ClusterRoles: what an operator
# and its RBAC need. Nothing here starts pods, so no controller for them.
CONTROLLERS = ("garbage-collector-controller", "namespace-controller", "serviceaccount-controller",
               "serviceaccount-token-controller", "root-ca-certificate-publisher-controller",
               "clusterrole-aggregation-controller", "ttl-after-finished-controller")
READY_WITHIN = 60


class ControlPlane:
    def __init__(self, run: Path, slot: Slot):
        self.run, self.slot = run, slot
        self.pki = run / "pki"
        self.kubeconfig = run / "kubeconfig"
        self.url = f"https://127.0.0.1:{slot.apiserver}"
        self.etcd = Daemon(run, "etcd")
        self.apiserver = Daemon(run, "kube-apiserver")
        self.controller_manager = Daemon(run, "kube-controller-manager")

    def pieces(self) -> list[tuple[Daemon, str, Callable[[], bool]]]:
        """Each process, its address, and how to ask whether it answers there."""
        etcd, manager = (f"https://127.0.0.1:{port}" for port in (self.slot.etcd, self.slot.controller_manager))
        return [(self.etcd, etcd, lambda: http.answers(f"{etcd}/health", context=self._trust(client=True))),
                (self.apiserver, self.url, lambda: self._api("/readyz")),
                (self.controller_manager, manager, lambda: http.answers(f"{manager}/healthz", context=self._trust()))]

    def ensure(self) -> bool:
        """Everything up and answering; True when something had to be started."""
        whole = self._certificates_complete()
        down = []
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
        [*_, (_, _, works)] = self.pieces()
        self.controller_manager.wait_for(lambda: works() and self._settled(), READY_WITHIN, also=(self.etcd, self.apiserver))
        return True

    def destroy(self) -> None:
        """Nothing of it stays, so there is nothing for a graceful end to save."""
        for daemon in (self.controller_manager, self.apiserver, self.etcd):
            daemon.stop(grace=0)
        for folder in (self.pki, self.run / "etcd"):
            shutil.rmtree(folder, ignore_errors=True)
        self.kubeconfig.unlink(missing_ok=True)

    def uid_of_namespace(self, name: str) -> str:
        return http.call(f"{self.url}/api/v1/namespaces/{name}", context=self._trust(), token=self._token())["metadata"]["uid"]

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
            f"--client-ca-file={pki}/ca.crt", f"--token-auth-file={pki}/tokens.csv", "--authorization-mode=RBAC",
            f"--service-account-issuer={self.url}", f"--service-account-key-file={pki}/service-accounts.pub",
            f"--service-account-signing-key-file={pki}/service-accounts.key", "--profiling=false"])

    def _start_controller_manager(self) -> None:
        pki = self.pki
        self.controller_manager.start([
            places.kubernetes_binary("kube-controller-manager"), f"--kubeconfig={self.kubeconfig}", "--leader-elect=false",
            "--bind-address=127.0.0.1", f"--secure-port={self.slot.controller_manager}",
            f"--tls-cert-file={pki}/server.crt", f"--tls-private-key-file={pki}/server.key",
            f"--service-account-private-key-file={pki}/service-accounts.key", f"--root-ca-file={pki}/ca.crt",
            f"--controllers={','.join(CONTROLLERS)}", "--profiling=false"])

    def _certificates_complete(self) -> bool:
        """They are made in a folder of another name that is renamed at the end: there, they are whole."""
        return self.pki.is_dir()

    def _make_certificates(self) -> None:
        part = self.run / "pki.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700, parents=True)
        (part / "server.ext").write_text(
            "subjectAltName=IP:127.0.0.1,IP:10.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\n"
            "extendedKeyUsage=serverAuth,clientAuth\n")
        key = ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]
        for command in (
            key + ["ca.key"], key + ["server.key"], key + ["service-accounts.key"],
            ["req", "-x509", "-new", "-key", "ca.key", "-sha256", "-days", "3650", "-subj", "/CN=testkit-bed", "-out", "ca.crt",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
            ["req", "-new", "-key", "server.key", "-subj", "/CN=testkit-bed-server", "-out", "server.csr"],
            ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650",
             "-extfile", "server.ext", "-out", "server.crt"],
            ["ec", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub"],
        ):
            done = subprocess.run(["openssl", *command], cwd=part, capture_output=True, text=True)
            if done.returncode:
                raise BedError(f"openssl {command[0]} failed: {done.stderr.strip()}")
        tokens = part / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{secrets.token_urlsafe(32)},admin,admin,"system:masters"\n')
        for file in part.glob("*.key"):
            file.chmod(0o600)
        part.rename(self.pki)

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
