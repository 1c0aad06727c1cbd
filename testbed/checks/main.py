"""`testbed/test`: runs the stages, whatever fails, and says the sum on its last line."""
import argparse
import os
import signal
import subprocess
import time

from bed_cli import places, registry, rust
from bed_cli.errors import BedError
from bed_cli.main import settle

from . import counting
from .counting import Count
from .runner import Runner
from .stages import BESIDE, EC2, SYSTEM, Stages

# All stages end by then, and the bed is taken down after it.
DEADLINE = 78 * 60
GROUPS = {"lint": ("fmt", "clippy", "fuzz", "deny")}
# The stages that have tests which take minutes.
LONG = (EC2, SYSTEM)


def main(argv: list[str] | None = None) -> int:
    settle()
    os.environ.update(rust.environment())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lock = places.runs() / "locks" / f"{places.checkout_id()}-checks"
    with registry.locked(lock, "another `make test` of this checkout"):
        subprocess.run([places.TESTBED / "claim-target"], check=True)
        return _run(argv)


def _run(argv: list[str] | None) -> int:
    stages = Stages(Runner(places.runs() / "checks" / places.checkout_id(), time.monotonic() + DEADLINE))
    every = stages.every()
    parser = argparse.ArgumentParser(prog="testbed/test", description="Every check and test of the project. The last line is the sum.")
    parser.add_argument("--only", action="append", choices=[*every, *GROUPS], help="this stage alone; may be repeated")
    parser.add_argument("--long", action="store_true", help=f"the tests that take minutes each, and no others, of {' and '.join(LONG)}")
    parser.add_argument("-k", metavar="WORDS", help="of the tests that drive the bed, those whose names match, as pytest has it; such as -k locked")
    parser.add_argument("--scenario", metavar="WORDS", help=f"the {SYSTEM} tests whose names match, however long they take; such as --scenario frozen")
    options = parser.parse_args(argv)
    if options.scenario:
        options.only = [SYSTEM]
    wanted = {name for word in options.only or (LONG if options.long else every) for name in GROUPS.get(word, (word,))}
    chosen = [name for name in every if name in wanted]
    # Each from the first on of those that it runs beside.
    begin = {name: next(other for other in chosen if other in (*others, name)) for name, others in BESIDE.items() if name in chosen}
    stages.selection = (["--any", "-k", options.scenario] if options.scenario else []) + (["--long"] if options.long else []) + (["-k", options.k] if options.k else [])
    total, code = Count(), 0
    try:
        stages.runner.clean_up_after_a_crash()
        stages.tear_down()
        total += stages.setup()
        for name in chosen:
            for other in (other for other, at in begin.items() if at == name):
                total += stages.begin(other)
            total += _stage(name, every[name])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        total += counting.one_failure("interrupted")
        code = 130
    finally:
        total += _tear_down(stages)
    for failure in total.failures:
        print(f"FAILED {failure}")
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return code or (1 if total.failed or not total.passed else 0)


def _stage(name: str, run) -> Count:
    began = time.monotonic()
    print(f"=== {name}", flush=True)
    count = run()
    print(f"=== {name}: {count.passed} passed, {count.failed} failed ({time.monotonic() - began:.0f} s)", flush=True)
    return count


def _tear_down(stages: Stages) -> Count:
    # A second signal must not leave half a bed behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    count, ends = Count(), {"ending what ran beside": stages.end_what_runs_beside}
    if stages.bed_used:
        ends["taking the test bed down"] = stages.tear_down
    for what, end in ends.items():
        try:
            end()
        except BedError as error:
            count += counting.one_failure(f"{what}: {error}")
    return count
