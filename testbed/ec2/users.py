"""Who may call, and what: users with access keys, each with a policy, as IAM has them.

`administrator` may do everything. The others are made over `/_bed/users`. A call is known by its access key and checked by
its signature; then every permission it needs must be allowed by its user's policy.
"""
import base64
import fnmatch
import hashlib
import threading
import uuid
import zlib
from dataclasses import dataclass

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.sts.models import STSBackend

from .policies import ALLOWED, DENIED, NOT_ALLOWED, Ask, Policy
from .requests import ACCOUNT, Call, Refusal

ADMINISTRATOR = "administrator"
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@dataclass
class User:
    name: str
    key_id: str
    secret: str
    policy: Policy

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:user/{self.name}"

    def as_dict(self) -> dict:
        return {"name": self.name, "accessKeyId": self.key_id, "secretAccessKey": self.secret, "policy": self.policy.document}


class Users:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        # What a person types; keys of the others are of the form that AWS gives them.
        self._users = {ADMINISTRATOR: User(ADMINISTRATOR, "testbed", "testbed", Policy(_EVERYTHING))}

    def install(self) -> None:
        """Who asks who he is, is told so."""
        users = self

        def get_caller_identity(backend, access_key_id, region) -> tuple:
            # moto reads keys of AWS's form only, which the administrator's is not.
            user = next((user for user in users.every() if user.key_id == access_key_id), users.get(ADMINISTRATOR))
            return "AIDA" + _keys(f"{user.name}'s id")[0][4:], user.arn, ACCOUNT

        STSBackend.get_caller_identity = get_caller_identity

    def put(self, name: str, document: dict) -> User:
        """A new user, or a new policy for one: its keys stay as they are, in every run of the endpoint."""
        if name == ADMINISTRATOR:
            raise ValueError(f"{ADMINISTRATOR} may do everything, always")
        user = User(name, *_keys(name), Policy(document))
        with self._lock:
            self._users[name] = user
        return user

    def get(self, name: str) -> "User | None":
        return self._users.get(name)

    def remove(self, name: str) -> None:
        if name == ADMINISTRATOR:
            raise ValueError(f"{ADMINISTRATOR} stays")
        with self._lock:
            self._users.pop(name, None)

    def every(self) -> list:
        with self._lock:
            return list(self._users.values())

    def caller(self, call: Call) -> User:
        """Whose call it is; refused when the key is nobody's or the signature is not that of its secret."""
        if not call.key_id:
            raise Refusal("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        user = next((user for user in self.every() if user.key_id == call.key_id), None)
        # Keys of a user that go with a session's token are none: most often the token is left over from another pair.
        if user is None or "x-amz-security-token" in call.headers:
            raise call.unknown_key()
        if _signature(call, user) != call.signature:
            raise call.wrong_signature()
        call.check_time()
        return user


def authorize(user: User, asks: list, withheld: list) -> None:
    """`withheld` are actions that nobody's policy is to allow just now, such as `ec2:RunInstances` or `RunInstances`."""
    for ask in asks:
        none = any(fnmatch.fnmatchcase(ask.action, name if ":" in name else f"ec2:{name}") for name in withheld)
        verdict = NOT_ALLOWED if none else user.policy.judge(ask)
        if verdict != ALLOWED:
            raise _refusal(user, ask, verdict)


def _refusal(user: User, ask: Ask, verdict: str) -> Refusal:
    why = (f"with an explicit deny in an identity-based policy: {user.arn}" if verdict == DENIED
           else f"because no identity-based policy allows the {ask.action} action")
    # EC2 names no resource, and encodes nothing, of what has none.
    bare = ask.action.startswith("ec2:") and ask.resource in ("*", None)
    of = "" if bare else f" on resource: {ask.resource}"
    words = f"User: {user.arn} is not authorized to perform: {ask.action}{of} {why}"
    return Refusal("UnauthorizedOperation", words, 403, encoded="" if bare else _encoded(ask, verdict))


def _encoded(ask: Ask, verdict: str) -> str:
    """Opaque, as AWS's, and long."""
    said = f"{uuid.uuid4()} {ask.action} {ask.resource} {verdict} {ask.context}"
    return base64.urlsafe_b64encode(zlib.compress(said.encode())).decode().rstrip("=")


def _keys(name: str) -> tuple:
    """Made of the name, so that a program goes on with its keys when the endpoint is started anew."""
    digest = hashlib.sha256(f"a user of the test bed: {name}".encode()).digest()
    return "AKIA" + base64.b32encode(digest)[:16].decode(), base64.b64encode(digest[::-1])[:40].decode()


def _signature(call: Call, user: User) -> str:
    headers = {name: call.headers[name] for name in call.signed_headers if name in call.headers}
    request = AWSRequest(method=call.method, url=call.url, data=call.body, headers=headers)
    request.context["timestamp"] = call.headers.get("x-amz-date", "")
    auth = SigV4Auth(Credentials(user.key_id, user.secret), call.service, call.region)
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
