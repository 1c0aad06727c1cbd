"""One call of the API as it comes over the wire, and the answers the layer gives in moto's place."""
import json
import uuid
from dataclasses import dataclass, field
from io import BytesIO
from urllib.parse import parse_qsl, urlencode

from moto.core.exceptions import ServiceException
from werkzeug.wrappers import Response

ACCOUNT = "123456789012"
_EC2_ERROR = ("<?xml version='1.0' encoding='UTF-8'?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}"
              "</Message></Error></Errors><RequestID>{request}</RequestID></Response>")


class Refusal(ServiceException):
    """The layer refuses a call itself. As one of moto's own errors it may be raised within moto, too (status 400 there)."""

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(code, message)
        self.status = status


@dataclass
class Call:
    """`parameters` are EC2's flat ones, such as `Filter.1.Name`; other services' bodies stay unread."""

    service: str
    region: str
    action: str
    parameters: dict = field(default_factory=dict)

    @classmethod
    def read(cls, environ: dict) -> "Call":
        service, region = _scope(environ.get("HTTP_AUTHORIZATION", ""))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        target = environ.get("HTTP_X_AMZ_TARGET")
        if target:
            return cls(service, region, target.rpartition(".")[2])
        parameters = dict(parse_qsl(environ.get("QUERY_STRING", "") + "&" + body.decode("utf-8", "replace"),
                                    keep_blank_values=True))
        return cls(service, region, parameters.get("Action", ""), parameters)

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

    def has(self, prefix: str) -> bool:
        return any(key == prefix or key.startswith(f"{prefix}.") for key in self.parameters)

    def refuse(self, refusal: Refusal) -> Response:
        """In the form the service's clients understand."""
        if self.service == "ec2":
            body = _EC2_ERROR.format(code=refusal.code, message=_escaped(refusal.message), request=uuid.uuid4())
            return Response(body, status=refusal.status, content_type="text/xml;charset=UTF-8")
        code = {"UnauthorizedOperation": "AccessDeniedException", "RequestLimitExceeded": "ThrottlingException"}
        body = json.dumps({"__type": code.get(refusal.code, refusal.code), "message": refusal.message})
        return Response(body, status=400, content_type="application/x-amz-json-1.1")


def _scope(authorization: str) -> tuple:
    """Service and region of a signature: `Credential=KEY/DATE/REGION/SERVICE/aws4_request`."""
    _, _, credential = authorization.partition("Credential=")
    parts = credential.split(",")[0].split("/")
    return (parts[3], parts[2]) if len(parts) == 5 else ("ec2", "us-east-1")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
