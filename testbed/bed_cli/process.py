"""Daemons of a bed: started in a session of their own, recorded by pid and start time, stopped by that record.

Nothing here knows what a process is for.
"""
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from .errors import BedError, Ended


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> int | None:
    """The start time of a process in clock ticks since boot; None when it is gone.

    A zombie is gone, but not while threads of it still end: until then it holds its ports.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return None
    return None if fields[0] in "ZX" and threads <= 1 else int(fields[19])


class Daemon:
    """One process of a bed. `run` is the bed's run directory."""

    def __init__(self, run: Path, name: str):
        self.name = name
        self.record = run / "pids" / f"{name}.json"
        self.log = run / "logs" / f"{name}.log"

    @staticmethod
    def recorded(run: Path) -> list["Daemon"]:
        return [Daemon(run, path.stem) for path in sorted((run / "pids").glob("*.json"))]

    def pid(self) -> int | None:
        """The process, if it is the one that was started: pids are used again, a pid with its start time is not."""
        try:
            record = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return None
        if record["boot"] == boot_id() and record["started"] == _started(record["pid"]):
            return record["pid"]
        return None

    def start(self, argv: list, env: dict | None = None, cwd: Path | None = None) -> subprocess.Popen:
        """Starts it. The child records itself before it becomes the program.

        So a `bed` that is killed between the two leaves no process that nobody knows of. The bed's lock is
        inherited by the fork and let go by the exec: the next `bed` gets it only when the record is there.
        """
        for folder in (self.record.parent, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)

        def record() -> None:
            pid = os.getpid()
            part = self.record.with_suffix(f".{pid}")
            part.write_text(json.dumps({"pid": pid, "started": _started(pid), "boot": boot_id(), "argv0": str(argv[0])}))
            part.rename(self.record)

        with self.log.open("ab") as log:
            try:
                return subprocess.Popen([str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env=env, cwd=cwd or self.record.parent.parent,
                                        start_new_session=True, preexec_fn=record)
            except OSError as error:
                raise BedError(f"{self.name}: cannot start {argv[0]}: {error.strerror}. "
                               "`testbed/bed setup` installs what a bed needs") from error

    def stop(self, grace: float) -> None:
        """Ends it with its process group: SIGTERM, and SIGKILL when `grace` seconds did not suffice."""
        pid = self.pid()
        if pid and grace > 0:
            _signal_group(pid, signal.SIGTERM)
            if not self._gone_within(grace):
                _signal_group(pid, signal.SIGKILL)
        elif pid:
            _signal_group(pid, signal.SIGKILL)
        if pid and not self._gone_within(10):
            raise BedError(f"{self.name}: process {pid} does not end, not even by SIGKILL; look at /proc/{pid}/stack")
        self.record.unlink(missing_ok=True)

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def wait_for(self, ready, seconds: float, also: tuple["Daemon", ...] = ()) -> None:
        """Until `ready()`; an error when it, or one it stands on, ends before, or the time is over."""
        deadline = time.monotonic() + seconds
        while not ready():
            for daemon in (*also, self):
                if not daemon.pid():
                    raise Ended(f"{daemon.name} ended while starting; its last words:{daemon.last_words()}")
            if time.monotonic() > deadline:
                raise BedError(f"{self.name} is not ready after {seconds:.0f} s. On a busy machine, try again; if it stays so, "
                               f"`testbed/bed down` and `up` start from nothing. Its last words:{self.last_words()}")
            time.sleep(0.05)

    def silent(self, answers, patience: float = 10) -> bool:
        """Whether it does not answer. A process that lives is asked for a while: it may be starting, or short of CPU."""
        deadline = time.monotonic() + patience
        while not answers():
            if not self.pid() or time.monotonic() > deadline:
                return True
            time.sleep(0.1)
        return False

    def last_words(self, lines: int = 8) -> str:
        try:
            text = self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            text = []
        return "".join(f"\n  {line}" for line in text) or "\n  (it said nothing)"


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass
