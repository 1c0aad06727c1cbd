"""A Docker Engine that errs: it stands before a real one, passes everything on, and does what its rules say otherwise.

Here is only HTTP. What is wrong with the engine is a scenario's.
"""
import json
import re
import socket
import socketserver
import threading
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

PIECE = 64 << 10


@dataclass
class Request:
    method: str
    path: str
    query: dict
    headers: list
    body: bytes

    @property
    def json(self):
        return json.loads(self.body or b"null")

    @json.setter
    def json(self, value):
        self.body = json.dumps(value).encode()

    @property
    def filters(self):
        return json.loads(self.query.get("filters") or "{}")

    @filters.setter
    def filters(self, value):
        self.query["filters"] = json.dumps(value)


@dataclass
class Answer:
    status: int
    body: bytes = b""
    json_type: bool = True

    @classmethod
    def of(cls, status, value):
        return cls(status, json.dumps(value).encode() if value is not None else b"")

    @property
    def json(self):
        return json.loads(self.body or b"null")


@dataclass
class Rule:
    """What is done to requests of a method and path (without the API's version): `GET /services`."""

    where: str
    # Changes the request; an Answer is given instead of asking the engine.
    ask: Callable[[Request], Answer | None] | None = None
    # Changes the answer.
    answer: Callable[[Request, Answer], Answer] | None = None
    pattern: re.Pattern = field(init=False)

    def __post_init__(self):
        self.pattern = re.compile(self.where)

    def meant(self, request):
        return self.pattern.fullmatch(f"{request.method} {re.sub(r'^/v[0-9.]+', '', request.path)}")


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves at `path` until the end of its block what the engine at `real` would, but for the rules."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self, path: Path, real: Path, rules: list[Rule]):
        path.unlink(missing_ok=True)
        super().__init__(str(path), Conversation)
        self.path, self.real, self.rules = path, str(real), rules

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
        self.path.unlink(missing_ok=True)


class Conversation(socketserver.StreamRequestHandler):
    """One request a connection: every answer says that the connection ends."""

    def handle(self):
        try:
            self.converse()
        except (OSError, ValueError):
            # Either side may go as it likes.
            pass

    def converse(self):
        head = self.rfile.readline().decode()
        if not head:
            return
        method, target, _ = head.split()
        headers = list(iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ""))
        kept = [line for line in headers if not re.match("(connection|content-length|transfer-encoding):", line, re.I)]
        upgrade = any(line.lower().startswith("upgrade:") for line in headers)
        url = urllib.parse.urlsplit(target)
        request = Request(method, url.path, dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True)), kept, body_of(self.rfile, headers))
        rules = [rule for rule in self.server.rules if rule.meant(request)]
        for rule in rules:
            told = rule.ask and rule.ask(request)
            if told:
                return self.tell(told)
        query = urllib.parse.urlencode(request.query)
        lines = [f"{method} {request.path}{'?' + query if query else ''} HTTP/1.1", *request.headers]
        lines += [f"Content-Length: {len(request.body)}", "Connection: Upgrade" if upgrade else "Connection: close", "", ""]
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(self.server.real)
            real.sendall("\r\n".join(lines).encode() + request.body)
            changes = [rule.answer for rule in rules if rule.answer]
            if changes:
                answer = answer_of(real.makefile("rb"))
                for change in changes:
                    answer = change(request, answer)
                return self.tell(answer)
            if upgrade:
                threading.Thread(target=copy, args=(self.rfile.read1, real.sendall), daemon=True).start()
            copy(real.recv, self.wfile.write)
            if upgrade:
                # Ends the other direction too, which holds what is to be closed.
                self.connection.shutdown(socket.SHUT_RDWR)

    def tell(self, answer):
        kind = "application/json" if answer.json_type else "application/vnd.docker.raw-stream"
        length = "" if answer.status == 204 else f"Content-Length: {len(answer.body)}\r\n"
        self.wfile.write(f"HTTP/1.1 {answer.status} As told\r\nContent-Type: {kind}\r\n{length}Connection: close\r\n\r\n".encode() + answer.body)


def copy(read, write):
    try:
        while piece := read(PIECE):
            write(piece)
    except OSError:
        pass


def body_of(file, headers):
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in headers)}
    if "chunked" in fields.get("transfer-encoding", ""):
        body = b""
        while size := int(file.readline().split(b";")[0], 16):
            body += file.read(size)
            file.readline()
        file.readline()
        return body
    return file.read(int(fields.get("content-length") or 0))


def answer_of(file):
    status = int(file.readline().split()[1])
    headers = list(iter(lambda: file.readline().decode().rstrip("\r\n"), ""))
    framed = any(re.match("(content-length|transfer-encoding):", line, re.I) for line in headers)
    return Answer(status, body_of(file, headers) if framed or status == 204 else file.read())
