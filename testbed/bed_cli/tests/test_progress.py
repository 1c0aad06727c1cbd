"""Steps as processes: side by side, one after the other where they must, and gone when the work is."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bed_cli.errors import BedError
from bed_cli.progress import Progress, Step

TESTBED = Path(__file__).resolve().parents[2]
BURN = "import time; e = time.process_time() + 1.0\nwhile time.process_time() < e: pass"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TESTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def timed(folder, name, beside=None):
    """A command that writes when it began and ended: not before the one that is to run beside it has begun, unless that does not come."""
    lasts = f"for _ in $(seq 300); do [ -s {folder}/{beside}.began ] && break; sleep 0.1; done" if beside else "sleep 0.5"
    return ["sh", "-c", f"date +%s.%N > {folder}/{name}.began; {lasts}; date +%s.%N > {folder}/{name}.ended"]


def when(folder, what):
    return float((folder / what).read_text())


def test_steps_wait_for_what_they_come_after_and_for_nothing_else(tmp_path):
    Progress([Step("a", timed(tmp_path, "a", beside="b"), 1), Step("c", timed(tmp_path, "c"), 1, after=("a", "not in this work")), Step("b", timed(tmp_path, "b"), 1)]).run()
    assert when(tmp_path, "b.began") < when(tmp_path, "a.ended") <= when(tmp_path, "c.began")


def test_busy_steps_keep_the_order_of_the_plan(tmp_path):
    """The third of three for two processors waits, even while the first cannot begin yet."""
    steps = [Step("light", timed(tmp_path, "light"), 1), *(Step(name, timed(tmp_path, name), 1, threads=2, after=after) for name, after in (("one", ("light",)), ("two", ()), ("three", ())))]
    progress = Progress(steps)
    progress.cores = 2
    progress.run()
    assert when(tmp_path, "light.ended") <= when(tmp_path, "three.began")
    assert min(when(tmp_path, "one.ended"), when(tmp_path, "two.ended")) <= when(tmp_path, "three.began")


def test_the_processor_time_of_a_step_and_of_its_children_is_known_the_next_time(cache):
    Progress([Step("burn", ["sh", "-c", f'{sys.executable} -c "$1"; {sys.executable} -c "$1"', "burn", BURN], 5)]).run()
    known = json.loads((cache / "timings.json").read_text())
    # Two seconds, and what it takes to begin twice; of one alone it would be half, and counted twice the double.
    assert 1.9 <= known["burn"]["cpu"] < 3.5
    assert Progress([]).known["burn"] == known["burn"]["cpu"]


def test_a_failure_says_what_was_said_and_ends_the_others(tmp_path):
    began = time.monotonic()
    with pytest.raises(BedError, match=r"bad failed \(exit code 3\).*\n  no such thing"):
        Progress([Step("long", ["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"], 60), Step("bad", ["sh", "-c", f"until [ -s {tmp_path}/pid ]; do sleep 0.1; done; echo no such thing; exit 3"], 1)]).run()
    assert time.monotonic() - began < 50
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_terminated_setup_leaves_no_process(tmp_path):
    """What a shell of a step runs, too."""
    script = ("import signal\nfrom bed_cli.progress import Progress, Step\nsignal.signal(signal.SIGTERM, signal.default_int_handler)\n"
              f"Progress([Step('long', ['sh', '-c', 'sleep 60 & echo $! > {tmp_path}/pid; wait'], 60)]).run()")
    process = subprocess.Popen([sys.executable, "-c", script], cwd=TESTBED, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait(50)
    pid = (tmp_path / "pid").read_text().strip()
    deadline = time.monotonic() + 30
    while Path("/proc", pid).exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)
