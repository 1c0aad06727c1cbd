"""What hosts find at the names of Docker and Debian: the install script, and a repository of the packages it installs.

A process of its own, as the metadata service is. `mirror` tells it which faults it has; it counts for each host and each
address how often it has failed already.
"""
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from .services import follow

SCRIPT = Path(__file__).with_name("install-docker.sh")
_REPOSITORIES = {"docker.mirror.internal": "/linux/debian/", "debian.mirror.internal": "/debian/"}
_CHUNK = 64 * 1024
_HANGS_S = 600


class Mirror(ThreadingHTTPServer):
    """`folder` is what hosts/image.sh wrote beside the image; `table` holds the faults under `faults`."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, folder: Path, table: dict):
        super().__init__(listener.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket, self.folder, self.table = listener, folder, table
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "server.crt", folder / "server.key")
        self.failures: Counter = Counter()

    def finish_request(self, request: socket.socket, client_address) -> None:
        """In the connection's own thread: a client that is slow to say hello holds up nobody."""
        request.settimeout(60)
        try:
            with self.tls.wrap_socket(request, server_side=True) as connection:
                self.RequestHandlerClass(connection, client_address, self)
        except OSError:
            pass  # It went away, or does not trust us.


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        kind, file = self._wanted(host)
        faults = self.server.table.get("faults", {})
        fault = self._fault(kind, host, faults)
        if fault == "reset":
            # Without lingering, a close is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault == "hang":
            time.sleep(_HANGS_S)
            self.close_connection = True
        elif fault and fault != "garble":
            self._answer(int(fault), b"The test bed was told to fail.\n", None)
        elif file is None or not file.is_file():
            self._answer(404, b"There is no such thing in the test bed.\n", None)
        else:
            content = file.read_bytes()
            if fault == "garble" and kind == "script":
                # Half of it.
                self._answer(200, content, faults.get("bytes_per_s"), cut=len(content) // 2)
                self.close_connection = True
            else:
                self._answer(200, content[::-1] if fault else content, faults.get("bytes_per_s"))

    def _wanted(self, host: str) -> tuple:
        path = unquote(self.path.partition("?")[0])
        if host == "get.docker.com":
            return "script", SCRIPT if path == "/" else None
        folder = _REPOSITORIES.get(host)
        if folder is None or not path.startswith(folder):
            return "packages", None
        return "packages", self.server.folder / "packages" / path.rpartition("/")[2]

    def _fault(self, kind: str, host: str, faults: dict) -> "str | None":
        times = faults.get(f"{kind}_fails", 0)
        asked = (faults.get("generation"), self.client_address[0], host, self.path)
        if times == "always" or self.server.failures[asked] < times:
            self.server.failures[asked] += 1
            return faults["how"]
        return None

    def _answer(self, status: int, content: bytes, bytes_per_s: "float | None", cut: "int | None" = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        content = content[:cut]
        if not bytes_per_s:
            self.wfile.write(content)
            return
        # Ten portions a second, or a byte at a time.
        portion = max(1, min(_CHUNK, int(bytes_per_s / 10)))
        for start in range(0, len(content), portion):
            self.wfile.write(content[start:start + portion])
            time.sleep(portion / bytes_per_s)

    def log_message(self, *_) -> None:
        """Silent, as the metadata service."""


def main() -> None:
    listener, table = socket.socket(fileno=int(sys.argv[1])), {}
    threading.Thread(target=Mirror(listener, Path(sys.argv[2]), table).serve_forever, daemon=True).start()
    follow(table)


if __name__ == "__main__":
    main()
