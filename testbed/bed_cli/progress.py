"""Long work shown to a person: one live line with an estimate on a terminal, plain lines anywhere else.

How long a step took last time is kept in the cache and is the next estimate.
"""
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import places
from .errors import BedError


@dataclass(frozen=True)
class Step:
    """One command of a longer work. `estimate`: seconds on two cores, until this machine has told better."""

    name: str
    command: list
    estimate: float
    env: dict | None = None
    cwd: Path | None = None


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    def __init__(self, steps: list[Step]):
        self.steps = steps
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.logs = places.cache() / "logs"
        self.timings = places.cache() / "timings.json"
        self.known = _read(self.timings)

    def run(self) -> None:
        began = time.monotonic()
        for number, step in enumerate(self.steps):
            self._run(number, step)
        if self.steps:
            self._line(f"ready after {clock(time.monotonic() - began)}")

    def _run(self, number: int, step: Step) -> None:
        place = f"[{number + 1}/{len(self.steps)}] {step.name}"
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"setup-{step.name.replace(' ', '-').replace('/', '-')}.log"
        began = time.monotonic()
        if not self.live:
            self._line(f"{place} … ({self._left(number, 0)} left in all)")
        with log.open("wb") as output:
            # It ends with this process however that ends, or it would hold locks and go on writing unseen.
            process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *(str(word) for word in step.command)],
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                                       env=os.environ | (step.env or {}), cwd=step.cwd)
            try:
                while True:
                    try:
                        code = process.wait(timeout=1)
                        break
                    except subprocess.TimeoutExpired:
                        took = time.monotonic() - began
                        if self.live:
                            print(f"\r\x1b[K{place} {clock(took)} · {self._left(number, took)} left in all", end="", file=sys.stderr, flush=True)
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise
        took = time.monotonic() - began
        if code:
            if self.live:
                print(file=sys.stderr)
            tail = "".join(f"\n  {line}" for line in log.read_text(errors="replace").splitlines()[-12:])
            raise BedError(f"{step.name} failed (exit code {code}); the end of {log}:{tail}")
        self.known[step.name] = took
        part = self.timings.with_suffix(".part")
        part.write_text(json.dumps(self.known, indent=1))
        part.rename(self.timings)
        self._line(f"{place} done in {clock(took)}")

    def _left(self, number: int, took: float) -> str:
        estimates = [self.known.get(step.name, step.estimate) for step in self.steps[number:]]
        left = max(estimates[0] - took, 0) + sum(estimates[1:])
        return "less than a minute" if left < 50 else f"about {round(left / 60) or 1} min"

    def _line(self, text: str) -> None:
        print(f"\r\x1b[K{text}" if self.live else text, file=sys.stderr, flush=True)


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
