"""The figures of `make bench`. Each is a ratio against a baseline of the same run, or a cost in its own unit; none is judged here.

ready_ratio          apply to Ready of 3 managers, over the hand-made way (floor.py) for the same hosts; medians of alternating runs
operator_rss_mib     resident memory of the operator with one Ready cluster
ec2_calls_per_minute with one and with ten idle Ready clusters
run_…, log_…, collect_…  see measure_runs.py
attach_…             see measure_attach.py
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import measure_attach
import measure_runs
from bed_cli.arguments import one_of
from told import Told
from world import Namespace, Operator, cluster, kubectl

BED = os.environ["TESTBED_URL"]
FIGURES = ("ready_ratio", "operator_rss_mib", "ec2_calls_per_minute")
PARTS = ("operator", "runs", "attach")


@dataclass(frozen=True)
class Effort:
    """How much is measured. `rounds`: how often the operator and the floor take turns; `many`: idle clusters in the end.

    Five minutes are a whole round of the collector of orphans, which must be in it for one and for ten clusters; `settled`:
    seconds, beyond the sweeps that follow a launch.
    """

    managers: int = 3
    rounds: int = 3
    minutes: float = 5
    many: int = 10
    settled: float = 20
    runs: measure_runs.Effort = measure_runs.Effort()
    attach: measure_attach.Effort = measure_attach.Effort()


# Everything once, for the sake of the way and not of the figures.
SMOKE = Effort(managers=1, rounds=1, minutes=0.05, many=2, settled=0,
               runs=measure_runs.Effort(runs=1, rounds=1, log_mib=1, together=2, kept_mib=1, cases=100),
               attach=measure_attach.Effort(mib=2, rounds=1, pings=2, stalled=2, many=4))


def figures(parts):
    """The names of all that a measurement of these parts has to come out with."""
    of = {"operator": FIGURES, "runs": measure_runs.FIGURES, "attach": measure_attach.figures()}
    return tuple(name for part in PARTS if part in parts for name in of[part])


def ask(path, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(BED + path, method=method), timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def ready_seconds(space, n, managers):
    name = f"ready-{n}"
    told = Told(space.name, "swarmclusters", "Ready")
    began = time.monotonic()
    space.apply(cluster(name, managers=managers, workers=0))
    seconds = told.wait(400) - began
    space.delete("swarmcluster", name)
    return seconds


def floor_seconds(managers):
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("floor.py")), "--endpoint", BED, "--count", str(managers)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])["seconds"]


def resident_mib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(l for l in status.splitlines() if l.startswith("VmRSS")).split()[1]) / 1024


def calls_a_minute(minutes):
    ask("/_bed/calls/reset", "POST")
    time.sleep(60 * minutes)  # The length of what is measured, not a wait for something.
    calls = ask("/_bed/calls")
    return round(sum(calls.values()) / minutes, 1), calls


def measure_operator(space, operator, effort, note):
    floors, readies = [], []
    for n in range(effort.rounds):
        floors.append(floor_seconds(effort.managers))
        readies.append(ready_seconds(space, n, effort.managers))
        print(f"round {n + 1} of {effort.rounds}: by hand {floors[-1]:.1f} s, apply to Ready {readies[-1]:.1f} s", flush=True)
    note(ready_ratio=round(statistics.median(readies) / statistics.median(floors), 3), floor_s=floors, ready_s=readies)

    space.apply(cluster("idle-0", managers=1, workers=0))
    space.wait("swarmcluster", "idle-0", "Ready", 400)
    one, by_action_one = calls_a_minute(effort.minutes)
    note(operator_rss_mib=round(resident_mib(operator.process.pid), 1))
    for n in range(1, effort.many):
        space.apply(cluster(f"idle-{n}", managers=1, workers=0))
    for n in range(1, effort.many):
        space.wait("swarmcluster", f"idle-{n}", "Ready", 300)
    time.sleep(effort.settled)
    ten, by_action_ten = calls_a_minute(effort.minutes)
    note(ec2_calls_per_minute={"one": one, "ten": ten}, ec2_calls_in_5_minutes={"one": by_action_one, "ten": by_action_ten},
         operator_rss_mib_ten_clusters=round(resident_mib(operator.process.pid), 1))


def measure_runs_of(space, image, operator, effort, note):
    space.apply(cluster("runs", managers=1, workers=0))
    space.wait("swarmcluster", "runs", "Ready", 400)
    measure_runs.measure(space, "runs", image, operator, effort, note)


def measure_the_plugin(space, effort, note):
    space.apply(cluster("attached", managers=effort.managers, workers=0))
    space.wait("swarmcluster", "attached", "Ready", 400)
    measure_attach.measure(space, "attached", effort.attach, note)


def clear(space):
    kubectl("delete", "swarmclusters", "--all", "-n", space.name, "--timeout=180s", timeout=200)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help="how often the operator and the floor take turns")
    parser.add_argument("--smoke", action="store_true", help="everything once and as little of it as can be: do the measurements themselves work?")
    parser.add_argument("parts", nargs="*", type=one_of(PARTS), metavar="PART", help=f"what to measure: {', '.join(PARTS)} [default: all]")
    options = parser.parse_args()
    parts, effort = options.parts or PARTS, SMOKE if options.smoke else Effort(rounds=options.rounds)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    operator = Operator(Path(options.output).with_name("bench-operator.log")).start()
    measured = {}

    def note(**new):
        measured.update(new)
        for name, value in new.items():
            print(f"{name}: {json.dumps(value)}", flush=True)

    try:
        space = Namespace(f"bench-{int(time.time())}")
        if "operator" in parts:
            measure_operator(space, operator, effort, note)
            clear(space)
        if "runs" in parts:
            measure_runs_of(space, options.image, operator, effort.runs, note)
            clear(space)
        if "attach" in parts:
            measure_the_plugin(space, effort, note)
            clear(space)
    finally:
        operator.stop()
        Path(options.output).write_text(json.dumps(measured, indent=1) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
