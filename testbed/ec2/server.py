"""The endpoint: one port for EC2 (and what else moto knows: SSM, STS) and for the test bed's control.

A call is counted, delayed, refused by chance, rate or permission, then made exact by the layer and handed to moto. Whose
call it is and whether it is allowed, AWS's IAM would say: here the modules users, permissions (with resources) and policies.
Calls run one after the other, as moto's state is one; what takes time is done aside.
"""
import threading
import time
import traceback
from pathlib import Path

from moto import settings
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import Client
from werkzeug.wrappers import Response

from . import addresses, amis, dependencies, filters, groups, listing, model, pages, permissions, tags, templates, transitions, volumes
from .control import Control
from .door import Door
from .faults import Faults, cut
from .fleet import Fleet
from .knobs import Knobs, Limits, refuse_by_luck_or_rate
from .launches import Launches
from .lifecycle import Lifecycle
from .metadata import Metadata
from .mirror import Mirror
from .network import Network, NetworkError
from .requests import Call, Refusal
from .users import User, Users, authorize

_READS = ("Describe", "Get", "List")


class Endpoint:
    def __init__(self, fleet: Fleet):
        self.knobs, self._limits, self._lock = Knobs(), Limits(), threading.RLock()
        amis.Ubuntu.has_engine = staticmethod(lambda: self.knobs.ubuntu_has_engine)
        self.life, self._users = Lifecycle(self.knobs, fleet, self._lock), Users()
        self._launches = Launches(self.knobs, fleet, self.life)
        self._faults = Faults(self.knobs)
        self._mirror: "Mirror | None" = None
        self._control = Control(self.knobs, self._limits, self.life, self._users, self._faults)
        settings.EC2_ENABLE_INSTANCE_TYPE_VALIDATION = settings.ENABLE_KEYPAIR_VALIDATION = True
        self._users.install()
        amis.install()
        addresses.install(fleet.network, fleet.at)
        groups.install()
        self.life.install()
        self.life.consoles.install()
        # Around the life cycle's own changes: these come first.
        self._launches.install()
        filters.install()
        pages.install(self.knobs)
        listing.install(self.life)
        dependencies.install()
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"].startswith("/_bed/"):
            answer = self._control(environ, start_response)
            if environ["REQUEST_METHOD"] != "GET":
                with self._lock:
                    self.life.settle()
            return answer
        call = Call.read(environ)
        self._control.calls[call.action or environ["PATH_INFO"]] += 1
        if self.knobs.latency_ms:
            time.sleep(self.knobs.latency_ms / 1000)
        try:
            if self._faults.is_gone(call.region):
                cut(environ)
            user = self._users.caller(call)
            refuse_by_luck_or_rate(self.knobs, self._limits, call)
            fault = self._faults.strike(call)
            if fault and not fault.get("lost"):
                raise self._faults.refusal(fault)
            if call.service == "ec2":
                model.check(call)
            with self._lock:
                self._judge(call, user)
                if call.service == "ec2":
                    self._make_exact(call, environ)
                answer = self._ask_moto(call, environ)(environ, start_response)
                if not call.action.startswith(_READS):
                    self.life.settle()
            if fault:
                cut(environ)
            return answer
        except Refusal as refusal:
            return call.refuse(refusal)(environ, start_response)
        except NetworkError as error:
            return call.refuse(Refusal("InternalError", str(error), 500))(environ, start_response)

    def _judge(self, call: Call, user: User) -> None:
        """Permissions are of what is really asked for, a launch template's part of it among that."""
        if call.service == "ec2" and call.action == "RunInstances":
            templates.complete(call)
        if call.service == "ec2":
            tags.check(call)
        authorize(user, permissions.asks(call, user.arn), self.knobs.unauthorized)

    def _make_exact(self, call: Call, environ: dict) -> None:
        self._launches.forget()
        listing.require_seen(call, self.life)
        tags.check_resources(call)
        if call.action == "CreateVolume":
            volumes.check_new(call)
        if call.action == "RunInstances":
            self._launches.prepare(call)
        if call.action == "StartInstances":
            transitions.require_room(self.life, call)
        if pages.take(call) or call.action == "RunInstances":
            call.write(environ)
        if call.parameters.get("DryRun") == "true":
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)

    def _ask_moto(self, call: Call, environ: dict) -> Response:
        """What moto does not know or trips over it answers with a page for people, which no client can read, or not at all."""
        why = ""
        try:
            answer = Response.from_app(self._moto, environ)
            if answer.status_code < 500 or answer.mimetype != "text/html":
                return answer
        except (Refusal, NetworkError):
            raise
        except Exception as error:
            traceback.print_exc()
            why = f" ({type(error).__name__}: {error})"
        raise Refusal("InternalFailure", f"The test bed cannot do {call.service}:{call.action} as it is asked to{why}", 501)

    def serve_hosts(self, run: Path, images: Path, network: Network) -> None:
        """What hosts ask. Before the first call."""
        self._mirror = self._control.mirror = Mirror(run, images, network)
        self.life.metadata = Metadata(run, network, self.life, self._mirror)
        self._mirror.start()
        self.life.metadata.start()

    def end_services(self) -> None:
        for service in filter(None, (self.life.metadata, self._mirror)):
            service.end()

    def attach(self, door: Door) -> None:
        """The socket that the endpoint listens on."""
        self._control.door = door

    def warm_up(self) -> None:
        """moto loads its models at the first call of a service, which would be somebody's."""
        client = Client(self._moto)
        for service, action, version in (("ec2", "DescribeImages", "2016-11-15"), ("ec2", "DescribeInstances", "2016-11-15"),
                                         ("sts", "GetCallerIdentity", "2011-06-15")):
            scope = f"AWS4-HMAC-SHA256 Credential=warm/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
            client.post("/", data={"Action": action, "Version": version}, headers={"Authorization": scope})
        with self._lock:
            self.life.settle()

