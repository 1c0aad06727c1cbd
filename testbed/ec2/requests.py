"""One call of the API as it comes over the wire, and the answers the layer gives in moto's place."""
import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from io import BytesIO
from urllib.parse import parse_qsl, urlencode

from moto.core.exceptions import ServiceException
from werkzeug.wrappers import Response

ACCOUNT = "123456789012"
_TIME = "%Y%m%dT%H%M%SZ"
# How far a signature's time may be off ("Error codes for the Amazon EC2 API"; IAM's "Elements of a request signature").
_EC2_PATIENCE, _PATIENCE = timedelta(minutes=15), timedelta(minutes=5)
_EC2_ERROR = ("<?xml version='1.0' encoding='UTF-8'?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}"
              "</Message></Error></Errors><RequestID>{request}</RequestID></Response>")
_QUERY_ERROR = ("<?xml version='1.0' encoding='UTF-8'?>\n<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}"
                "</Message></Error><RequestId>{request}</RequestId></ErrorResponse>")
# What services with JSON say in the place of EC2's codes.
_JSON_CODES = {"UnauthorizedOperation": "AccessDeniedException", "RequestLimitExceeded": "ThrottlingException",
               "MissingAuthenticationToken": "MissingAuthenticationTokenException"}
_QUERY_CODES = {"UnauthorizedOperation": "AccessDenied", "RequestLimitExceeded": "Throttling"}


class Refusal(ServiceException):
    """The layer refuses a call itself. As one of moto's own errors it may be raised within moto, too (status 400 there).

    `encoded` is what only EC2 adds to a refusal for want of a permission.
    """

    def __init__(self, code: str, message: str, status: int = 400, encoded: str = ""):
        super().__init__(code, message)
        self.status, self.encoded = status, encoded


@dataclass
class Call:
    """`parameters` are those of the query protocol, such as EC2's `Filter.1.Name`; `names` those of a JSON call to SSM."""

    service: str
    region: str
    action: str
    parameters: dict = field(default_factory=dict)
    names: list = field(default_factory=list)
    # What it is signed with, and what is signed. Names of headers are in lower case.
    key_id: str = ""
    signature: str = ""
    signed_headers: tuple = ()
    method: str = "POST"
    url: str = ""
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    source: str = ""
    # Of a launch: what it said itself, and the version of a launch template that says the rest.
    asked: dict = field(default_factory=dict)
    template: object = None

    @classmethod
    def read(cls, environ: dict) -> "Call":
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        key_id, region, service = _scope(authorization)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
        headers |= {name.replace("_", "-").lower(): environ[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)}
        query = environ.get("QUERY_STRING", "")
        wire = {"key_id": key_id, "signature": _part(authorization, "Signature"), "method": environ["REQUEST_METHOD"],
                "signed_headers": tuple(_part(authorization, "SignedHeaders").split(";")), "headers": headers, "body": body,
                "url": f"http://{headers.get('host', '')}{environ['PATH_INFO']}" + (f"?{query}" if query else ""),
                "source": environ.get("REMOTE_ADDR", "")}
        target = environ.get("HTTP_X_AMZ_TARGET")
        if target:
            return cls(service, region, target.rpartition(".")[2], names=_names(body), **wire)
        parameters = dict(parse_qsl(query + "&" + body.decode("utf-8", "replace"), keep_blank_values=True))
        return cls(service, region, parameters.get("Action", ""), parameters, **wire)

    def write(self, environ: dict) -> None:
        """Puts the parameters back, for moto to read them as they are now."""
        body = urlencode(self.parameters).encode()
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body)), "QUERY_STRING": "",
                    "REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8"}

    def many(self, name: str) -> list:
        """The values of `name.1`, `name.2` and so on, in their order."""
        found = [(int(key[len(name) + 1:]), value) for key, value in self.parameters.items()
                 if key.startswith(f"{name}.") and key[len(name) + 1:].isdigit()]
        return [value for _, value in sorted(found)]

    def fields(self, name: str, of: str) -> list:
        """The numbers and values of `name.1.of`, `name.2.of` and so on."""
        found = [(key.split(".")[1], value) for key, value in self.parameters.items()
                 if key.startswith(f"{name}.") and key.split(".", 2)[2:] == [of]]
        return sorted(found)

    def fields_of(self, name: str, of: str) -> list:
        """The values of `name.1.of` and so on, whatever parts the name has itself."""
        return [value for key, value in self.parameters.items() if re.fullmatch(rf"{re.escape(name)}\.\d+\.{of}", key)]

    def pairs(self, name: str) -> dict:
        """The tags `name.1.Key`, `name.1.Value` and so on."""
        return {value: self.parameters.get(f"{key.removesuffix('.Key')}.Value", "") for key, value in self.parameters.items()
                if key.startswith(f"{name}.") and key.endswith(".Key") and key[len(name) + 1:-4].isdigit()}

    def has(self, prefix: str) -> bool:
        return any(key == prefix or key.startswith(f"{prefix}.") for key in self.parameters)

    @property
    def is_json(self) -> bool:
        return "x-amz-target" in self.headers

    def unknown_key(self) -> Refusal:
        if self.service == "ec2":
            return _not_validated()
        code = "UnrecognizedClientException" if self.is_json else "InvalidClientTokenId"
        return Refusal(code, "The security token included in the request is invalid.", 403)

    def wrong_signature(self) -> Refusal:
        if self.service == "ec2":
            return _not_validated()
        return Refusal("InvalidSignatureException" if self.is_json else "SignatureDoesNotMatch",
                       "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
                       "Access Key and signing method. Consult the service documentation for details.", 403)

    def check_time(self) -> None:
        """A signature is good for a while: a clock that is wrong is a common reason why nothing works."""
        try:
            said = datetime.strptime(self.headers.get("x-amz-date", ""), _TIME).replace(tzinfo=timezone.utc)
        except ValueError:
            raise Refusal("IncompleteSignature", "Date must be in ISO-8601 'basic format'.", 403 if self.service != "ec2" else 400) from None
        now, patience = datetime.now(timezone.utc), _EC2_PATIENCE if self.service == "ec2" else _PATIENCE
        if abs(now - said) <= patience:
            return
        if self.service == "ec2":
            raise Refusal("RequestExpired", "Request has expired.")
        late = said < now
        edge = now - patience if late else now + patience
        raise Refusal("InvalidSignatureException" if self.is_json else "SignatureDoesNotMatch",
                      f"Signature {'expired' if late else 'not yet current'}: {said:{_TIME}} is {'now earlier' if late else 'still later'} "
                      f"than {edge:{_TIME}} ({now:{_TIME}} {'-' if late else '+'} {patience.seconds // 60} min.)", 403)

    def refuse(self, refusal: Refusal) -> Response:
        """In the form the service's clients understand."""
        if self.is_json:
            body = json.dumps({"__type": _JSON_CODES.get(refusal.code, refusal.code), "message": refusal.message})
            status = refusal.status if refusal.status >= 500 and refusal.code not in _JSON_CODES else 400
            return Response(body, status=status, content_type="application/x-amz-json-1.1")
        code, message, form = refusal.code, refusal.message, _EC2_ERROR
        if self.service != "ec2":
            code, form = _QUERY_CODES.get(code, code), _QUERY_ERROR
        elif code == "UnauthorizedOperation":
            message = f"You are not authorized to perform this operation. {message}"
            message += f". Encoded authorization failure message: {refusal.encoded}" if refusal.encoded else ""
        body = form.format(code=code, message=_escaped(message), request=uuid.uuid4())
        return Response(body, status=refusal.status, content_type="text/xml;charset=UTF-8")


def _not_validated() -> Refusal:
    return Refusal("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


def _scope(authorization: str) -> tuple:
    """Key, region and service of a signature: `Credential=KEY/DATE/REGION/SERVICE/aws4_request`."""
    parts = _part(authorization, "Credential").split("/")
    return (parts[0], parts[2], parts[3]) if len(parts) == 5 else ("", "us-east-1", "ec2")


def _part(authorization: str, name: str) -> str:
    return authorization.partition(f"{name}=")[2].split(",")[0].strip()


def _names(body: bytes) -> list:
    """The parameters that a call of SSM is about."""
    try:
        asked = json.loads(body or b"{}")
    except ValueError:
        return []
    return [str(name) for name in asked.get("Names") or [asked.get("Name")] if name] if isinstance(asked, dict) else []


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
