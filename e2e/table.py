"""Writes a table of cases by engine from JUnit files of the suite, several runs of each engine.

usage: table.py COLUMN=FILE[,FILE…] … > docs/suite.md
"""

import statistics
import sys
import xml.etree.ElementTree as xml

HEAD = """# The suite by engine

Each case on three hosts of the test bed, by engine: the median of its time in seconds over the runs, or why it was
skipped. `n/m` are runs that passed. Written by `e2e/table.py` from the suite's JUnit.
"""


def cases(path):
    for case in xml.parse(path).iter("testcase"):
        if (skipped := case.find("skipped")) is not None:
            yield case.get("name"), "skipped: " + skipped.get("message", ""), None
        else:
            yield case.get("name"), "failed" if case.find("failure") is not None else "", float(case.get("time", 0))


def column(paths):
    seen = {}
    for path in paths:
        for name, end, time in cases(path):
            seen.setdefault(name, []).append((end, time))
    return seen


def cell(runs):
    if not runs:
        return "—"
    skips = {end for end, _ in runs if end.startswith("skipped")}
    if skips:
        return "; ".join(sorted(skips))
    passed = sum(end == "" for end, _ in runs)
    middle = f"{statistics.median(time for _, time in runs):.1f}"
    return middle if passed == len(runs) else f"{middle} ({passed}/{len(runs)})"


def main(arguments):
    columns = {}
    for argument in arguments:
        name, _, paths = argument.partition("=")
        columns[name] = column(paths.split(","))
    names = list(dict.fromkeys(name for of in columns.values() for name in of))
    print(HEAD)
    for name, of in columns.items():
        runs = max(len(runs) for runs in of.values())
        print(f"- {name}: {runs} runs, {sum(r[-1][0] == '' for r in of.values())} of {len(of)} cases passed in the last")
    print("\n| Case | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name in names:
        print(f"| {name} | " + " | ".join(cell(of.get(name)) for of in columns.values()) + " |")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
