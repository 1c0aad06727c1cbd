"""Runs one command of a stage: shown while it runs, logged, within a deadline, and with all its processes ended after it."""
import os
import subprocess
import sys
import time
from pathlib import Path

from bed_cli.process import Daemon

# A group that was told to end may have something to clean up.
GRACE = 20


class Runner:
    """`folder` holds logs and, while a command runs, its record: a later run ends what a killed one left behind."""

    def __init__(self, folder: Path, deadline: float):
        self.folder, self.deadline = folder, deadline
        self.current: Daemon | None = None

    def clean_up_after_a_crash(self) -> None:
        for left in Daemon.recorded(self.folder):
            if left.pid():
                print(f"ending {left.name} (process {left.pid()}) of an earlier run", flush=True)
            left.stop(grace=GRACE)

    def run(self, name: str, command: list, seconds: float, cwd: Path, env: dict | None = None) -> tuple[int, str]:
        """The exit code and everything it wrote. 124 when it ran out of time."""
        daemon = Daemon(self.folder, name)
        daemon.log.parent.mkdir(parents=True, exist_ok=True)
        daemon.log.write_bytes(b"")
        ends = min(time.monotonic() + seconds, self.deadline)
        self.current = daemon
        with daemon.log.open("rb") as log:
            process = daemon.start(command, env=os.environ | (env or {}), cwd=cwd)
            try:
                code = self._follow(process, log, ends)
            finally:
                self._end(process)
            _show(log)
        if code == 124:
            print(f"{name}: out of time after {seconds / 60:.0f} min", flush=True)
        return code, daemon.log.read_text(errors="replace")

    def _follow(self, process: subprocess.Popen, log, ends: float) -> int:
        while True:
            try:
                return process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                _show(log)
                if time.monotonic() > ends:
                    return 124

    def _end(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            self.current.stop(grace=GRACE)
            process.wait()
        else:
            # Its leader is gone; what it started in its group may not be.
            _kill_group(process.pid)
        self.current.record.unlink(missing_ok=True)
        self.current = None


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, 9)
    except ProcessLookupError:
        pass


def _show(log) -> None:
    text = log.read()
    if text:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
