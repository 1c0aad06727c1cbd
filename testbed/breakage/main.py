"""Breaks one thing at a time on a SwarmCluster of the bed, and looks whether the cases of the suite that are about it fail,
with words that name it, and others do not. `testbed/break --list` tells what there is.
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack
from pathlib import Path

import attached

from .engine import Engine
from .hosts import Hosts
from .scenarios import SCENARIOS, SEEN_FILE

CHECKOUT = Path(__file__).resolve().parents[2]
# The suite's program on this machine.
SUITE = Path(os.environ.get("CARGO_TARGET_DIR", CHECKOUT / "target")) / "debug" / "e2e"
# Seconds. Cases that wait in vain for a node to be down take a minute and a half each, one after the other.
RUN_WITHIN = 900


def every_case(suite):
    listed = subprocess.run([suite, "--list"], capture_output=True, text=True, check=True).stdout
    return [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]


def results(suite, socket, scenario, folder, everything):
    """Case -> None when it passed, its message when it failed, False when it was skipped."""
    report = folder / f"{scenario.name}.xml"
    # Disruptive cases are run where a row names them.
    chosen = [] if everything else ["--disruptive", "--exact", *scenario.fail, *scenario.good]
    power = ["--hosts", scenario.power] if scenario.power else []
    command = [suite, *power, "--host", f"unix://{socket}", "--image", "dockerswarm/e2e:latest", "--junit", report, "--test-threads", str(scenario.threads), *chosen]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_WITHIN)
    assert done.returncode in (0, 1), f"the suite could not run: {done.stderr[-1000:]}"
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failure, skipped = case.find("failure"), case.find("skipped")
        found[case.get("name")] = failure.get("message") if failure is not None else False if skipped is not None else None
    return found


def judge(scenario, found):
    """What is not as the table says: lines for a person."""
    wrong = []
    for case, words in scenario.fail.items():
        said = found.get(case, False)
        if said is None:
            wrong.append(f"{case} passed all the same")
        elif said is False:
            wrong.append(f"{case} was skipped")
        elif words not in said:
            wrong.append(f"{case} failed without {words!r}: {said[:600]}")
    for case, said in found.items():
        if case not in scenario.fail and said:
            wrong.append(f"{case} failed too: {said[:600]}")
    return wrong


def play(scenario, suite, real, hosts, folder, everything=False):
    """Breaks, runs, mends; what was wrong with the outcome."""
    with ExitStack() as after:
        socket = real
        if scenario.hosts:
            do, undo = scenario.hosts
            after.callback(undo, hosts)
            do(hosts)
        if scenario.rules:
            socket = after.enter_context(Engine(folder / f"{scenario.name}.sock", real, scenario.rules())).path
        found = results(suite, socket, scenario, folder, everything)
    return judge(scenario, found), found


def record(name, right):
    """Keeps that a scenario came out as its row says, or that it no longer does."""
    seen = set(SEEN_FILE.read_text().split()) - {name} | ({name} if right else set())
    SEEN_FILE.write_text("".join(f"{s.name}\n" for s in SCENARIOS if s.name in seen))


def without(cases):
    """Cases that have no scenario."""
    covered = {case for s in SCENARIOS for case in s.fail}
    return [case for case in cases if case not in covered]


def table():
    rows = [f"| `{s.name}` | {s.broken} | {'engine' if s.rules else 'hosts' if s.hosts else 'command'} | {', '.join(f'`{case}`' for case in s.fail)} | {'yes' if s.seen else 'not yet'} |" for s in SCENARIOS]
    return "\n".join([
        "# Every case fails when it should", "",
        "Each scenario breaks one thing under a swarm of the [test bed](../testbed/README.md), and the cases that are about it have to fail,",
        "with words of `testbed/breakage/scenarios.py` in their messages; some that are not about it run beside them and have to pass.",
        "Of *hosts* the hosts themselves are broken; of *engine* it is the engine as the suite sees it: a process before the real one that",
        "changes a request or an answer on its way; of *command* it is the command for hosts that is given to the suite. `testbed/break CLUSTER",
        "[NAME…]` plays them, and with `--record` keeps which came out as their row says; some are played by every `make test`.",
        "`testbed/break --list` names the cases for which there is no scenario yet.",
        "", "This page is generated: `testbed/break --table > docs/breakage.md`.", "",
        "| Scenario | What is wrong | Where | Cases that fail | Seen so |", "|---|---|---|---|---|", *rows, "",
    ])


def main():
    parser = argparse.ArgumentParser(prog="testbed/break", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", nargs="?", help="a SwarmCluster of the bed with workers that have the suite's image: two and a manager, or one and three managers")
    parser.add_argument("scenario", nargs="*", help="names of scenarios (default: all that this cluster is for)")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--suite", type=Path, default=SUITE, help="the suite's program on this machine")
    parser.add_argument("--image", type=Path, default=CHECKOUT / "target" / "e2e.tar", help="the suite's image, to bring back where it was taken away")
    parser.add_argument("--everything", action="store_true", help="run all cases under each scenario, not those of its row alone")
    parser.add_argument("--record", action="store_true", help="keep which of those that were played came out as their row says")
    parser.add_argument("--list", action="store_true", help="the scenarios, and the cases that have none")
    parser.add_argument("--table", action="store_true", help="print docs/breakage.md")
    args = parser.parse_intermixed_args()
    if args.table:
        print(table(), end="")
        return 0
    cases = every_case(args.suite)
    unknown = {case for s in SCENARIOS for case in (*s.fail, *s.good)} - set(cases)
    assert not unknown, f"the table names cases that do not exist: {sorted(unknown)}"
    if args.list:
        for s in SCENARIOS:
            print(f"{s.name:24} {len(s.fail):2} cases  {s.broken}")
        missing = without(cases)
        print(f"cases for which there is no scenario yet ({len(missing)} of {len(cases)}): {', '.join(missing) or 'none'}")
        return 0
    if not args.cluster:
        parser.error("which SwarmCluster?")
    wanted = [s for s in SCENARIOS if not args.scenario or s.name in args.scenario]
    if strange := set(args.scenario) - {s.name for s in wanted}:
        parser.error(f"no such scenario: {sorted(strange)}; --list names them")
    # What is broken is mended also when this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    good, took, plugin = 0, [], ("-n", args.namespace)
    with tempfile.TemporaryDirectory() as folder, attached.Socket(["kubectl-testkit", "attach", args.cluster, *plugin, "--socket", f"{folder}/real.sock"], f"{folder}/real.sock") as real:
        hosts = Hosts(args.cluster, plugin, args.image)
        if not args.scenario:
            wanted = [s for s in wanted if (s.managers > 1) == (hosts.managers > 1)]
        for number, scenario in enumerate(wanted, 1):
            left = f", about {round(sum(took) / len(took) * (len(wanted) + 1 - number) / 60)} min left" if took else ""
            print(f"[{number}/{len(wanted)}] {scenario.name}: {scenario.broken}{left}", file=sys.stderr, flush=True)
            began = time.monotonic()
            try:
                assert scenario.managers <= hosts.managers, f"it needs {scenario.managers} managers"
                wrong, found = play(scenario, args.suite, real.path, hosts, Path(folder), args.everything)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                wrong, found = [f"it could not be played: {error}"], {}
            took.append(time.monotonic() - began)
            good += not wrong
            if args.record:
                record(scenario.name, not wrong)
            failed = sum(bool(said) for said in found.values())
            print(f"{'WRONG' if wrong else 'right'}  {scenario.name}: {failed} of {len(found)} cases failed, {time.monotonic() - began:.0f} s", flush=True)
            for line in wrong:
                print(f"       {line}", flush=True)
    print(f"{good} of {len(wanted)} scenarios were as the table says")
    return int(good < len(wanted))


if __name__ == "__main__":
    sys.exit(main())
