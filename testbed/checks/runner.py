"""Runs the commands of stages: shown while they run, logged, within a deadline, and with all their processes ended after them."""
import os
import subprocess
import sys
import time
from pathlib import Path

from bed_cli.process import Daemon

# A group that was told to end may have something to clean up.
GRACE = 20


class Running:
    """A command that was begun."""

    def __init__(self, daemon: Daemon, command: list, seconds: float, cwd: Path, env: dict):
        self.daemon, self.seconds, self.deadline = daemon, seconds, time.monotonic() + seconds
        daemon.log.parent.mkdir(parents=True, exist_ok=True)
        daemon.log.write_bytes(b"")
        self.process = daemon.start(command, env=env, cwd=cwd)

    def followed(self) -> tuple[int, str]:
        """Shows what it wrote and writes until it ends: its exit code and all of it. 124 when it ran out of time."""
        with self.daemon.log.open("rb") as log:
            try:
                code = self._follow(log)
            finally:
                self.end()
            _show(log)
        if code == 124:
            print(f"{self.daemon.name}: out of time after {self.seconds / 60:.0f} min", flush=True)
        return code, self.daemon.log.read_text(errors="replace")

    def _follow(self, log) -> int:
        while True:
            try:
                return self.process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                _show(log)
                if time.monotonic() > self.deadline:
                    return 124

    def end(self) -> None:
        if self.process.poll() is None:
            self.daemon.stop(grace=GRACE)
            self.process.wait()
        else:
            # Its leader is gone; what it started in its group may not be.
            _kill_group(self.process.pid)
        self.daemon.record.unlink(missing_ok=True)


class Runner:
    """`folder` holds logs and, while a command runs, its record: a later run ends what a killed one left behind."""

    def __init__(self, folder: Path, deadline: float):
        self.folder, self.deadline = folder, deadline

    def clean_up_after_a_crash(self) -> None:
        for left in Daemon.recorded(self.folder):
            if left.pid():
                print(f"ending {left.name} (process {left.pid()}) of an earlier run", flush=True)
            left.stop(grace=GRACE)

    def begin(self, name: str, command: list, seconds: float, cwd: Path, env: dict | None = None) -> Running:
        """Lets it run beside what comes next; whoever began it follows or ends it."""
        seconds = min(seconds, self.deadline - time.monotonic())
        return Running(Daemon(self.folder, name), command, seconds, cwd, os.environ | (env or {}))

    def run(self, name: str, command: list, seconds: float, cwd: Path, env: dict | None = None) -> tuple[int, str]:
        """The exit code and everything it wrote. 124 when it ran out of time."""
        return self.begin(name, command, seconds, cwd, env).followed()


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
