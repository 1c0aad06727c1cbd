"""The figures of E2ERuns; none is judged here.

run_overhead_s     apply to Complete less the container's own time, the image being there; median
log_ratio          a container's log as it is written, by `kubectl testkit logs -f`: lines a second over those of
                   `ssh HOST docker logs -f`, of two runs that write the same
log_lines_missed   how many of the lines did not come by `kubectl testkit logs -f`; …_by_ssh: by the other one
collect_rss_mib    the most memory of the operator while so many runs end together, each with a long log and many cases
"""
import json
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass

from told import Told
from world import kubectl, run, until

FIGURES = ("run_overhead_s", "log_ratio", "log_lines_missed", "log_lines_missed_by_ssh", "collect_rss_mib")
CHUNK = 1 << 20
# What writes the logs: a shell, and as many numbered lines as it is told.
IMAGE = """parts="bin/sh bin/sleep bin/seq $(ldd /bin/sh /bin/sleep /bin/seq | grep -o '/[^ ]*' | grep -v : | sort -u | sed 's,^/,,')"
tar -C / -chf - $parts | docker import - testkit/writer:v1"""
# A line is as long as most are: what a program says, with its number.
LINE = "line %08.0f of a log such as a test writes, in which each step tells what it saw"
WHEN_TOLD = "until [ -e /go ]; do sleep 0.1; done; "
PASSED = """printf '<testsuite>%s</testsuite>' "$(seq -f '<testcase name="case-%06.0f" classname="of.a.suite"/>' CASES)" > $TESTKIT_RESULTS/junit.xml"""


@dataclass(frozen=True)
class Effort:
    """How much is measured. `runs`: for the overhead; `log_mib`: of a log; `together`: runs that end at once, with `cases` each."""

    runs: int = 5
    rounds: int = 3
    log_mib: int = 200
    together: int = 10
    kept_mib: int = 20
    cases: int = 50_000


def overhead(space, of, n):
    name = f"overhead-{n}"
    told = Told(space.name, "e2eruns", "Complete")
    began = time.monotonic()
    space.apply(run(name, of, args=["ClusterNodeAvailable"]))
    seconds = told.wait(300) - began
    summary = json.loads(space.get("configmap", f"{name}-results")["data"]["summary.json"])
    space.delete("e2erun", name)
    # Under ten seconds, as this case takes, it is told to a tenth of one.
    return seconds - float(summary["duration"].removesuffix("s"))


def writer(name, of, script, **spec):
    """A run of a script that begins when it is told."""
    how = {"image": "testkit/writer:v1", "imagePullPolicy": "Never", "timeout": "20m", "sharing": "Shared", "args": ["/bin/sh", "-c", WHEN_TOLD + script]}
    return run(name, of, **{**how, **spec})


def lines_of(mib):
    return mib * (1 << 20) // (len(LINE % 0) + 1)


class Host:
    """The manager, by ssh as a person has it."""

    def __init__(self, space, of, folder):
        self.address = space.status("swarmcluster", of)["endpoint"]
        self.ssh = ["ssh", *space.key(of, folder), f"root@{self.address}"]

    def __call__(self, command):
        done = subprocess.run([*self.ssh, command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command} on {self.address}: {done.stderr}"
        return done.stdout.strip()


def container(space, name):
    until(f"{name} runs", lambda: space.status("e2erun", name).get("phase") == "Running", 120)
    return space.status("e2erun", name)["containerID"]


def followed(command, tell):
    """The seconds from `tell` to the last that came, and how many lines came."""
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    began, ended, count = time.monotonic(), None, 0
    tell()
    while chunk := reader.stdout.read1(CHUNK):
        count += chunk.count(b"\n")
        ended = time.monotonic()
    reader.wait()
    assert ended, f"{command[0]} wrote nothing"
    return ended - began, count


def log_rates(space, of, host, mib, n):
    """Lines a second by ours and by ssh, with how many each missed."""
    wanted, rates, missed = lines_of(mib), [], []
    for whose in ("theirs", "ours"):
        name = f"{whose}-{n}"
        space.apply(writer(name, of, f"seq -f '{LINE}' {wanted}; exit 0", results={"format": "ExitCode"}))
        there = container(space, name)
        command = [*host.ssh, f"docker logs -f {there}"] if whose == "theirs" else ["kubectl", "testkit", "logs", name, "-n", space.name, "-f"]
        seconds, count = followed(command, lambda: host(f"docker exec {there} /bin/sh -c '> /go'"))
        rates.append(count / seconds)
        missed.append(max(wanted - count, 0))
        space.wait("e2erun", name, "Complete", 300)
        space.delete("e2erun", name)
    return rates, missed


def peak_while_many_end(space, of, host, pid, effort):
    """They write first, and end when all of them are told to."""
    names = [f"together-{n}" for n in range(effort.together)]
    script = f"seq -f '{LINE}' {lines_of(effort.kept_mib)}; {PASSED.replace('CASES', str(effort.cases))}"
    space.apply(*(writer(name, of, script) for name in names))
    there = [container(space, name) for name in names]
    with open(f"/proc/{pid}/clear_refs", "w") as peak:
        peak.write("5")  # proc(5): the peak of resident memory begins anew.
    host("for c in %s; do docker exec $c /bin/sh -c '> /go'; done" % " ".join(there))
    for name in names:
        space.wait("e2erun", name, "Complete", 600)
    with open(f"/proc/{pid}/status") as status:
        peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024
    kubectl("delete", "e2eruns", "-n", space.name, *names, "--timeout=120s", timeout=150)
    return peak


def measure(space, of, image, operator, effort, note):
    subprocess.run(["kubectl", "testkit", "load", image, "--cluster", of, "-n", space.name], check=True)
    overheads = [overhead(space, of, n) for n in range(effort.runs)]
    note(run_overhead_s=round(statistics.median(overheads), 2), run_overheads=overheads)
    with tempfile.TemporaryDirectory(prefix="testkit-runs-") as folder:
        host = Host(space, of, folder)
        host(IMAGE)
        theirs, ours, by_ssh, by_us = [], [], [], []
        for n in range(effort.rounds):
            rates, missed = log_rates(space, of, host, effort.log_mib, n)
            for figures, one in zip((theirs, ours, by_ssh, by_us), (*rates, *missed)):
                figures.append(one)
        a, b = statistics.median(ours), statistics.median(theirs)
        note(log_ratio=round(a / b, 3), log_lines_a_second=round(a), log_lines_a_second_by_ssh=round(b),
             log_lines_missed=max(by_us), log_lines_missed_by_ssh=max(by_ssh))
        note(collect_rss_mib=round(peak_while_many_end(space, of, host, operator.process.pid, effort), 1))
