"""A server in the hosts' network that is a process of its own, so that an endpoint that is busy does not hold it up.

The endpoint tells it a table, entry by entry, and asks it nothing; it serves from its copy of the table alone. Its standard
input is the line between the two, and when that ends, because the endpoint did, however it did, the server ends, too.
"""
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from . import processes

_PAUSE = 0.2


class Service:
    """`python -m ec2.MODULE LISTENER WORDS`, started anew with the same table when it dies by itself."""

    def __init__(self, module: str, run: Path, listener: socket.socket, *words: str):
        self._module, self._run, self._listener, self._words = module, run, listener, words
        self._record = run / f"{module}.json"
        self._table: dict = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._process: "subprocess.Popen | None" = None

    def start(self) -> None:
        with self._lock:
            self._begin()

    def tell(self, table: dict) -> None:
        """The whole table; what changed in it is sent."""
        with self._lock:
            for key in self._table.keys() - table.keys():
                self._send(key, None)
            for key, value in table.items():
                if self._table.get(key) != value:
                    self._send(key, value)
            self._table = dict(table)

    def end(self) -> None:
        self._over.set()
        with self._lock:
            if self._process:
                processes.kill_group(self._process.pid, self._run)
                self._process.wait()
        self._record.unlink(missing_ok=True)

    @staticmethod
    def clean(run: Path) -> None:
        """Ends what is left of the services of an endpoint that was killed: they may not have noticed yet."""
        for record in run.glob("*.json"):
            processes.kill_recorded(record, run)
            record.unlink(missing_ok=True)

    def _begin(self) -> None:
        python = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"ec2.{self._module}", str(self._listener.fileno()), *self._words], stdin=subprocess.PIPE,
            pass_fds=[self._listener.fileno()], cwd=self._run, start_new_session=True, text=True,
            env=os.environ | {"PYTHONPATH": python, "PYTHONDONTWRITEBYTECODE": "1"})
        processes.record(self._record, self._process.pid)
        for key, value in self._table.items():
            self._send(key, value)
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()

    def _send(self, key: str, value) -> None:
        try:
            self._process.stdin.write(json.dumps([key, value]) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # It has died; the next one is told everything.

    def _watch(self, process: subprocess.Popen) -> None:
        process.wait()
        # One that cannot start at all is not tried as fast as the machine can.
        if not self._over.wait(_PAUSE):
            with self._lock:
                if not self._over.is_set():
                    self._begin()


def follow(table: dict) -> None:
    """In the service: keeps its copy of the table until the endpoint is gone."""
    for line in sys.stdin:
        key, value = json.loads(line)
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
