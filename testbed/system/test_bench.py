"""`make bench` to its end, everything once: it measures, and writes every figure that it names. No figure is judged."""
import json
import math
import os
import subprocess
import sys
from pathlib import Path

TESTBED = Path(__file__).resolve().parents[1]


def numbers(figure):
    return [number for value in figure.values() for number in numbers(value)] if isinstance(figure, dict) else [figure]


def test_the_bench_measures_all_that_it_names(bed, tmp_path):
    import measure  # It wants a bed, which the fixture asks for in better words.

    output = tmp_path / "bench.json"
    log = tmp_path / "log"
    with log.open("w") as said:
        bench = subprocess.Popen([sys.executable, TESTBED / "measure.py", "--smoke", "--image", os.environ["TESTKIT_E2E_IMAGE"], "--output", output],
                                 env={**os.environ, "PYTHONPATH": f"{TESTBED}:{TESTBED / 'system'}"}, stdout=said, stderr=said)
    try:
        code = bench.wait(900)
    except subprocess.TimeoutExpired:
        # It ends its operator, which the next test would have beside its own.
        bench.terminate()
        code = f"{bench.wait(60)} after 900 s"
    assert code == 0, f"exit code {code}: {log.read_text(errors='replace')[-3000:]}"
    measured = json.loads(output.read_text())
    for name in measure.figures(measure.PARTS):
        assert name in measured, f"{name} was not measured: {sorted(measured)}"
        for number in numbers(measured[name]):
            assert math.isfinite(number), f"{name}: {measured[name]}"
