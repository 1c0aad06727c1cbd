"""The listening socket of the endpoint, which can be closed for a while: connections are refused then, as when all is down."""
import threading

from werkzeug.serving import WSGIRequestHandler, make_server

from .deaths import later


class Door:
    """Listens already; port 0 takes a free one."""

    def __init__(self, endpoint, port: int):
        self._endpoint, self._lock = endpoint, threading.Lock()
        self._server = self._make(port)
        self.port = self._server.server_port

    def open(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def shut(self, seconds: float) -> None:
        """Returns when it is shut. Calls that are being answered are answered; each has a connection of its own."""
        with self._lock:
            self._server.shutdown()
            self._server.server_close()
            later(seconds, self._reopen)

    def _reopen(self) -> None:
        with self._lock:
            self._server = self._make(self.port)
            self.open()

    def _make(self, port: int):
        return make_server("127.0.0.1", port, self._endpoint, threaded=True, request_handler=_Quiet)


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_) -> None:
        """Calls are counted, not logged."""
