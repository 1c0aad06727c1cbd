"""Long work shown to a person: steps side by side and what is left in all, on one live line of a terminal, and in plain lines anywhere else.

What a step took last time is kept in the cache and is the next estimate.
"""
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import forecast, places
from .errors import BedError

# So often, in seconds, plain lines say where the work is.
TELL = 60


@dataclass(frozen=True)
class Step:
    """One command of a longer work.

    `cpu` and `wait` are its seconds of processor, and of waiting for a network or a disk, until this machine has told better.
    `threads`: how many processors it keeps busy, but for the last `tail` seconds of processor, which are one's alone; `after`: steps
    that have to be done before it, where the work has them;
    `always`: what it runs knows itself whether there is anything to do; `debian`: it is made of packages of Debian's mirror.
    """

    name: str
    command: list
    cpu: float
    wait: float = 0
    threads: int = 1
    after: tuple[str, ...] = ()
    always: bool = False
    tail: float = 0
    debian: bool = False


class Running:
    """A step under way. Its processes are one session; it ends with this process however that ends."""

    def __init__(self, step: Step, label: str, log: Path):
        self.step, self.label, self.log, self.cpu = step, label, log, 0.0
        self.began = time.monotonic()
        with log.open("wb") as output:
            # Otherwise it would hold locks and go on writing unseen.
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *(str(word) for word in step.command)],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)

    def took(self) -> float:
        return time.monotonic() - self.began

    def ended(self) -> bool:
        """Its exit code is left where it is: until that is taken, the system knows what it used."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        self.process.wait()


class Progress:
    """`then`: seconds of what comes after these steps and belongs to what is left in all."""

    def __init__(self, steps: list[Step], then: float = 0):
        self.steps, self.then = steps, then
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.logs, self.timings = places.cache() / "logs", places.cache() / "timings.json"
        # A figure of another kind is from an older version of this file.
        self.known = {name: said["cpu"] for name, said in _read(self.timings).items() if isinstance(said, dict)}
        self.cores = len(os.sched_getaffinity(0))
        self.supply = forecast.Supply(self.cores)
        self.running: list[Running] = []
        # Seconds of processor of each.
        self.done: dict[str, float] = {}
        self.looked = self.told = time.monotonic()
        self.ours, self.idle = 0.0, _idle()

    def run(self) -> None:
        began = time.monotonic()
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            while len(self.done) < len(self.steps):
                self._start()
                time.sleep(0.1)
                if time.monotonic() - self.looked >= 1:
                    self._look()
                for running in [running for running in self.running if running.ended()]:
                    self._look()
                    self._finish(running)
        finally:
            for running in self.running:
                running.end()
        if self.steps:
            self._line(f"ready after {clock(time.monotonic() - began)}")

    def _start(self) -> None:
        """What can run does, in the order of the plan. Of those that keep processors busy no more run than there are processors, for each
        wants memory too; one that cannot run yet keeps its place, so that the longest begin first."""
        begun = set(self.done) | {running.step.name for running in self.running}
        waited_for = {step.name for step in self.steps} - set(self.done)
        places_left = max(self.cores, 2) - sum(running.step.threads > 1 for running in self.running)
        for number, step in enumerate(self.steps):
            if step.name in begun or step.threads > 1 and places_left <= 0:
                continue
            places_left -= step.threads > 1
            if waited_for.intersection(step.after):
                continue
            label = f"[{number + 1}/{len(self.steps)}] {step.name}"
            if not self.live:
                self._line(f"{label} … ({self._left()} left in all)")
            self.running.append(Running(step, label, self.logs / f"setup-{step.name.replace(' ', '-').replace('/', '-')}.log"))

    def _look(self) -> None:
        """What the steps have used since, and what the machine had to give."""
        now, used, idle = time.monotonic(), _used(), _idle()
        for running in self.running:
            running.cpu = max(running.cpu, used.get(running.process.pid, 0))
        ours = sum(self.done.values()) + sum(running.cpu for running in self.running)
        self.supply.seen(now - self.looked, ours - self.ours, idle - self.idle)
        self.looked, self.ours, self.idle = now, ours, idle
        doing = ", ".join(f"{running.step.name} {clock(running.took())}" for running in self.running)
        if self.live:
            print(f"\r\x1b[K[{len(self.done)}/{len(self.steps)}] {doing} · {self._left()} left in all", end="", file=sys.stderr, flush=True)
        elif now - self.told >= TELL:
            self._line(f"  {doing} ({self._left()} left in all)")

    def _finish(self, running: Running) -> None:
        self.running.remove(running)
        code, took, name = running.process.wait(), running.took(), running.step.name
        if code:
            if self.live:
                print(file=sys.stderr)
            tail = "".join(f"\n  {line}" for line in running.log.read_text(errors="replace").splitlines()[-12:])
            raise BedError(f"{name} failed (exit code {code}); the end of {running.log}:{tail}")
        self.done[name] = running.cpu
        part = self.timings.with_suffix(".part")
        part.write_text(json.dumps(_read(self.timings) | {name: {"seconds": round(took, 1), "cpu": round(running.cpu, 1)}}, indent=1))
        part.rename(self.timings)
        self._line(f"{running.label} done in {clock(took)} ({clock(running.cpu)} of a processor)")

    def _left(self) -> str:
        under_way, work = {running.step.name: running for running in self.running}, {}
        unknown = [step for step in self.steps if step.name not in self.known]
        pace = forecast.pace([(step.cpu, self.done[step.name]) for step in unknown if step.name in self.done],
                             [(step.cpu, under_way[step.name].cpu) for step in unknown if step.name in under_way])
        for step in self.steps:
            if step.name in self.done:
                continue
            cpu, wait = self.known.get(step.name, step.cpu * pace), step.wait
            if running := under_way.get(step.name):
                cpu, wait = forecast.rest(cpu, running.cpu), max(wait - running.took(), 0)
            work[step.name] = forecast.Work(cpu, wait, step.threads, step.after, step.tail)
        return forecast.words(forecast.left(work, self.supply.now, self.cores) + self.then * self.cores / self.supply.now)

    def _line(self, text: str) -> None:
        self.told = time.monotonic()
        print(f"\r\x1b[K{text}" if self.live else text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _used() -> dict[int, float]:
    """Seconds of processor by session, with those of its processes that have ended."""
    sessions, tick = {}, os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        sessions[int(fields[3])] = sessions.get(int(fields[3]), 0) + sum(map(int, fields[11:15])) / tick
    return sessions


def _idle() -> float:
    """Seconds in which a processor of this machine had nothing to do, or waited for a disk."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")
