#!/usr/bin/env python3
"""The page of the suite's results: case by engine, with times. Nothing in its tables is typed.

usage: suite_table.py FOLDER RECORD PAGE    adds the runs of FOLDER to RECORD, and writes PAGE from that

FOLDER has the JUnit files of runs on this machine, which goes one day; RECORD has a line of JSON for each run there ever was, and
is part of the repository. A file is named ENGINE-SHAPE-TIME.xml; SHAPE is MANAGERS+WORKERS, and `-outside` where the suite ran on
the machine and not in a container, `-disruptive` where those cases ran so, and only they. A file of that name with `.slow` for
`.xml` says what took longer in it than in the rounds before. What a person has to say about the runs stands on the page before
the first table, and stays there.
"""
import json
import re
import statistics
import sys
import xml.etree.ElementTree as xml
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

ENGINES = ("28.5", "26.1", "20.10")
NAME = re.compile(r"(?P<engine>[\d.]+)-(?P<shape>\d+\+\d+)(?:-(?P<kind>outside|disruptive))?-(?P<time>\d{8}T\d{6}Z)\.xml")
HEAD = """# What the suite was seen to do

Written by `testbed/suite` from [suite-rounds.jsonl](suite-rounds.jsonl), to which it adds what the JUnit file of each run
says; in the tables no figure is typed. A run is an `E2ERun` on a cluster of the test bed, or where it says so the suite on the
machine itself, through an attached socket. Several nodes are in two zones, and what their security group does not allow does
not pass. The cluster's hosts share the two cores of one machine with each other and with whatever else runs there: times tell
how cases compare, not how fast an engine is.
"""


FIRST_TABLE = "## The runs\n"


@dataclass
class Run:
    engine: str
    shape: str
    kind: str  # empty, outside or disruptive
    time: str
    version: str
    seconds: float
    count: dict  # passed, failed, skipped
    cases: dict  # name -> (end, seconds, reason); of the runs before there was a record only those that failed, without seconds
    slower: list  # what took longer than before, in the words of `e2e compare`

    @property
    def key(self):
        return self.time, self.engine, self.shape, self.kind


def read(path: Path) -> Run:
    named = NAME.fullmatch(path.name)
    if named is None:
        sys.exit(f"{path}: the name is not ENGINE-SHAPE-TIME.xml")
    root = xml.parse(path).getroot()
    suite = root if root.tag == "testsuite" else root.find("testsuite")
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    cases = {}
    for case in suite.iter("testcase"):
        failure, skipped = case.find("failure"), case.find("skipped")
        end = "failed" if failure is not None else "skipped" if skipped is not None else "passed"
        told = failure if failure is not None else skipped
        cases[case.get("name")] = (end, float(case.get("time")), told.get("message", "") if told is not None else "")
    ends = [end for end, _, _ in cases.values()]
    count = {end: ends.count(end) for end in ("passed", "failed", "skipped")}
    slow = path.with_suffix(".slow")
    told = slow.read_text().splitlines() if slow.exists() else []
    slower = [" ".join(line.split()) for line in dict.fromkeys(told) if "->" in line or "times)" in line]
    return Run(named["engine"], named["shape"], named["kind"] or "", named["time"], properties.get("engine", "?"), float(suite.get("time")), count, cases, slower)


def recorded(record: Path) -> list:
    return [Run(**json.loads(line)) for line in record.read_text().splitlines()] if record.exists() else []


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def cell(text):
    """Words of an engine as a table takes them: one line, without what changes from run to run."""
    text = re.sub(r"e2e-[0-9a-f-]{36}-\d+-", "", text.split("\n")[0])
    return text.replace("|", "\\|").replace("`", "'")[:200]


def stamp(run):
    return f"{run.time[:4]}-{run.time[4:6]}-{run.time[6:8]} {run.time[9:11]}:{run.time[11:13]}"


def rounds(runs):
    yield FIRST_TABLE
    yield "| Engine | Managers + workers | When | Cases | Passed | Failed | Skipped | Minutes | In a row |"
    yield "|---|---|---|---|---|---|---|---|---|"
    in_a_row = defaultdict(int)
    for run in runs:
        # A run of some of the cases says nothing about a row of whole ones.
        every = sum(run.count.values())
        group = (run.engine, run.shape, run.kind, every)
        in_a_row[group] = 0 if run.count["failed"] or run.slower else in_a_row[group] + 1
        count = run.count
        shape = run.shape.replace("+", " + ") + {"": "", "outside": ", from outside", "disruptive": ", the disruptive"}[run.kind]
        yield (f"| {run.version} | {shape} | {stamp(run)} | {every} | {count['passed']} | {count['failed']} "
               f"| {count['skipped']} | {minutes(run.seconds)} | {in_a_row[group]} |")


def failures(runs):
    lines = [f"| `{name}` | {run.version}, {run.time[9:11]}:{run.time[11:13]} | {cell(reason)} |" for run in runs for name, (end, _, reason) in run.cases.items() if end == "failed"]
    if lines:
        yield "\n## What failed in them\n"
        yield "| Case | Engine, run | In its words |"
        yield "|---|---|---|"
        yield from lines


def slower(runs):
    lines = [f"| {run.version}, {run.time[9:11]}:{run.time[11:13]} | {cell(line)} |" for run in runs for line in run.slower]
    if lines:
        yield "\n## What was slower in them than in those before\n"
        yield "| Engine, run | Before and then |"
        yield "|---|---|"
        yield from lines


def table(runs):
    runs = [run for run in runs if len(run.cases) == sum(run.count.values())]
    if not runs:
        return
    engines = [engine for engine in ENGINES if any(run.engine == engine for run in runs)]
    yield "\n## Case by engine\n"
    yield f"How often a case passed of how often it ran, and the median of its seconds; why it was skipped where it never ran. Of the runs since {stamp(runs[0])}.\n"
    yield "| Case | " + " | ".join(engines) + " |"
    yield "|---" * (len(engines) + 1) + "|"
    names = dict.fromkeys(name for run in runs for name in run.cases)
    for name in names:
        cells = []
        for engine in engines:
            seen = [run.cases[name] for run in runs if run.engine == engine and name in run.cases]
            ran = [(end, seconds) for end, seconds, _ in seen if end != "skipped"]
            if ran:
                passed = sum(end == "passed" for end, _ in ran)
                cells.append(f"{passed} of {len(ran)}, {statistics.median(seconds for _, seconds in ran):.1f}")
            else:
                cells.append(f"skipped: {cell(seen[-1][2])}" if seen else "not run")
        yield f"| `{name}` | " + " | ".join(cells) + " |"


def slowest(runs):
    latest = next((run for run in reversed(runs) if run.engine == ENGINES[0] and not run.kind and len(run.cases) == sum(run.count.values())), None)
    if latest:
        yield f"\n## The slowest ten of the last run on {latest.version}\n"
        yield "| Case | Seconds |"
        yield "|---|---|"
        for name, (_, seconds, _) in sorted(latest.cases.items(), key=lambda it: -it[1][1])[:10]:
            yield f"| `{name}` | {seconds:.1f} |"


def said(page: Path) -> str:
    """What a person wrote between the head and the first table."""
    text = page.read_text() if page.exists() else ""
    begin, end = text.find("\n\n", text.find("\nWritten by ")), text.find(FIRST_TABLE)
    return text[begin:end].strip() if 0 <= begin < end else ""


def main():
    if len(sys.argv) != 4 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder, record, page = map(Path, sys.argv[1:])
    runs = {run.key: run for run in [*recorded(record), *map(read, folder.glob("*.xml"))]}
    runs = [run for _, run in sorted(runs.items())]
    if not runs:
        sys.exit(f"{folder} and {record} have no results; `testbed/suite` makes some")
    record.write_text("".join(f"{json.dumps(asdict(run))}\n" for run in runs))
    parts = [HEAD, said(page) + "\n"]
    parts += [line for part in (rounds, failures, slower, slowest, table) for line in part(runs)]
    page.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
