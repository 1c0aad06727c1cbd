"""Tests that share what their module makes are run by one worker, and the others by whoever is free."""
import os
import subprocess
import sys
from pathlib import Path

import together

TESTBED = Path(together.__file__).parent
ROWS = """
import os
from pathlib import Path

import pytest

WORKERS = Path(__file__).with_name("workers")


@pytest.fixture(scope="module")
def rows():
    with WORKERS.open("a") as file:
        file.write(f"made by {os.environ['PYTEST_XDIST_WORKER']}\\n")


@pytest.mark.parametrize("row", range(6))
def test_row(rows, row):
    pass


def test_beside():
    pass
"""


def test_what_a_module_makes_is_made_once(tmp_path):
    (tmp_path / "conftest.py").write_text("from together import pytest_xdist_make_scheduler\n")
    for file in (*together.FILES, "test_other.py"):
        folder = tmp_path / file.removesuffix(".py")
        folder.mkdir()
        (folder / file).write_text(ROWS)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--numprocesses", "2", tmp_path]
    done = subprocess.run(command, env=clean | {"PYTHONPATH": str(TESTBED)}, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{7 * (len(together.FILES) + 1)} passed" in done.stdout, done.stdout
    for file in together.FILES:
        made = (tmp_path / file.removesuffix(".py") / "workers").read_text().splitlines()
        assert len(made) == 1, made
