"""The instance metadata service, version 2 (and 1 where the instance allows it), by the source address of the caller.

It runs as a process of its own (services) and knows what the endpoint told it (metadata). An address that it was told
nothing of is not refused, which would mean that there is no user-data: the caller is to ask again.

What stands under /testbed/ is no metadata: what the bed itself tells the hosts' images.

The answer to a token request leaves with the instance's hop limit as its TTL, so that with a limit of 1 a container
behind the host's bridge waits in vain, as on EC2.
"""
import base64
import secrets
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .services import follow

TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_LONGEST = 21600
# Each serves the same here.
_VERSIONS = ("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04",
             "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30",
             "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23",
             "2021-07-15", "2022-09-24", "2024-04-11", "latest")


class Metadata(ThreadingHTTPServer):
    """`table` has the state of the instance at each address, as `metadata` writes it."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, table: dict):
        super().__init__(listener.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.table = table
        self.tokens: dict = {}


class _Request(BaseHTTPRequestHandler):
    server_version = "EC2ws"
    timeout = 10

    def do_PUT(self) -> None:
        instance = self._instance()
        if instance is None:
            return
        if self.path.rstrip("/") != "/latest/api/token":
            return self._answer(404)
        try:
            seconds = int(self.headers.get(TTL_HEADER, ""))
        except ValueError:
            seconds = 0
        if not 1 <= seconds <= _LONGEST or self.headers.get("X-Forwarded-For"):
            return self._answer(403 if self.headers.get("X-Forwarded-For") else 400)
        token = secrets.token_urlsafe(40)
        now = time.monotonic()
        # A token is good on the instance that asked for it only.
        for old in [token for token, (_, until) in list(self.server.tokens.items()) if until <= now]:
            self.server.tokens.pop(old, None)
        self.server.tokens[token] = (instance["instance"], now + seconds)
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, instance["hops"])
        self._answer(200, token, [(TTL_HEADER, str(seconds))])

    def do_POST(self) -> None:
        self._answer(405)

    do_DELETE = do_POST

    def do_GET(self) -> None:
        if self.path.startswith("/testbed/"):
            return self._answer(200, str(self.server.table.get("testbed", {}).get(self.path.rpartition("/")[2], "")))
        instance = self._instance()
        if instance is None:
            return
        token = self.headers.get(TOKEN_HEADER)
        owner, until = self.server.tokens.get(token, (None, 0))
        good = owner == instance["instance"] and until > time.monotonic()
        if not good and (token or instance["tokens"] == "required"):
            return self._answer(401)
        path = "/".join(part for part in self.path.split("?")[0].split("/") if part)
        content = _content(instance, path)
        self._answer(404) if content is None else self._answer(200, content)

    def _instance(self) -> "dict | None":
        instance = self.server.table.get(self.client_address[0])
        if instance is None:
            self._answer(503)
        elif instance["endpoint"] == "disabled":
            instance = self._answer(403)
        return instance

    def _answer(self, status: int, body: "str | bytes" = b"", headers=()) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in [*headers, ("Content-Type", "text/plain"), ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        """Silent: what hosts ask for is nobody's news."""


def _content(instance: dict, path: str) -> "str | bytes | None":
    """What stands at a path; a folder lists its entries. None when there is nothing."""
    if not path:
        return "\n".join(_VERSIONS)
    version, _, rest = path.partition("/")
    if version not in _VERSIONS:
        return None
    if rest == "user-data":
        return base64.b64decode(instance["user_data"]) or None
    tree = {f"meta-data/{name}": value for name, value in instance["entries"].items()}
    tree |= {f"dynamic/{name}": value for name, value in instance.get("dynamic", {}).items()}
    if rest in tree:
        return tree[rest]
    under = [entry.removeprefix(f"{rest}/") if rest else entry for entry in tree if not rest or entry.startswith(f"{rest}/")]
    names = {f"{name.split('/')[0]}/" if "/" in name else name for name in under}
    # What lists its entries in words of its own is a folder all the same.
    names -= {name.rstrip("/") for name in names if name.endswith("/")}
    if not rest:
        # Without a slash, and user-data where there is some.
        names = {name.rstrip("/") for name in names} | ({"user-data"} if instance["user_data"] else set())
    return "\n".join(sorted(names)) or None


def main() -> None:
    listener, table = socket.socket(fileno=int(sys.argv[1])), {}
    threading.Thread(target=Metadata(listener, table).serve_forever, daemon=True).start()
    follow(table)


if __name__ == "__main__":
    main()
