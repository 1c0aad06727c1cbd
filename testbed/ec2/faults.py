"""Calls that fail, and answers that never arrive: what the knob `fail` asks for, and outages of a region or of everything."""
import fnmatch
import random
import socket
import threading
import time

from .requests import Call, Refusal

# EC2's words and HTTP status ("Error codes for the Amazon EC2 API").
_WORDS = {
    "InternalError": (500, "An internal error has occurred"),
    "InternalFailure": (500, "The request processing has failed because of an unknown error, exception or failure."),
    "RequestLimitExceeded": (503, "Request limit exceeded."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "Unavailable": (503, "The server is overloaded and can't handle the request."),
}
_ENTRY = {"action", "code", "message", "status", "times", "share", "region", "lost"}


def check(entries: list) -> None:
    """What the knob may hold; the message says what is wrong with it."""
    for entry in entries:
        if not isinstance(entry, dict) or not set(entry) <= _ENTRY or bool(entry.get("code")) == bool(entry.get("lost")):
            raise ValueError(f'an entry of fail has a "code" or "lost": true, and may have {", ".join(sorted(_ENTRY - {"code", "lost"}))}; '
                             f"this one is {entry!r}")


class Faults:
    def __init__(self, knobs):
        self._knobs, self._lock = knobs, threading.Lock()
        # Region -> until when it is gone.
        self._gone: dict = {}

    def take_away(self, region: str, seconds: float) -> None:
        self._gone[region] = time.monotonic() + seconds

    def is_gone(self, region: str) -> bool:
        return self._gone.get(region, 0) > time.monotonic()

    def strike(self, call: Call) -> "dict | None":
        """The entry that this call falls under; each of its `times` is used up by one call."""
        with self._lock:
            for entry in self._knobs.fail:
                wanted = entry.get("action", "*")
                if (entry.get("times", 1) > 0 and entry.get("region", call.region) == call.region
                        and fnmatch.fnmatchcase(f"{call.service}:{call.action}", wanted if ":" in wanted else f"*:{wanted}")
                        and random.random() < entry.get("share", 1)):
                    if "times" in entry:
                        entry["times"] -= 1
                    return entry
        return None

    @staticmethod
    def refusal(entry: dict) -> Refusal:
        status, words = _WORDS.get(entry["code"], (400, f"The request failed: {entry['code']}"))
        return Refusal(entry["code"], entry.get("message", words), entry.get("status", status))


def cut(environ: dict) -> None:
    """Ends the connection of a call without an answer; werkzeug takes it for a client that went away."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("cut off")
