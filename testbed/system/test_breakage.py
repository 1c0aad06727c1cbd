"""The page of the scenarios under which cases of the suite fail; the scenarios themselves are played by hand."""
from pathlib import Path

from breakage.main import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "breakage.md"


def test_the_page_is_what_the_scenarios_are():
    assert PAGE.read_text() == table(), "testbed/break --table > docs/breakage.md"
