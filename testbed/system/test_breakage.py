"""Cases of the suite fail when what they test is broken: the cheap ones of the scenarios, and the page of all."""
from pathlib import Path

from attached import attach
from breakage.main import SUITE, play, table
from breakage.scenarios import SCENARIOS
from test_lifecycle import load
from world import cluster

PAGE = Path(__file__).resolve().parents[2] / "docs" / "breakage.md"
# Those that take seconds on one node.
CHEAP = ("virtual-address-forced", "list-late", "names-kept", "all-accepted", "balancer-lost")


def test_the_page_is_what_the_scenarios_are():
    assert PAGE.read_text() == table(), "testbed/break --table > docs/breakage.md"


def test_cases_fail_when_they_should(space, tmp_path):
    space.apply(cluster("broken", managers=1, workers=0))
    space.wait("swarmcluster", "broken", "Ready", 300)
    load(space, "broken")
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    with attach(space, "broken", tmp_path) as sock:
        wrong = {name: play(scenarios[name], SUITE, sock.path, None, tmp_path)[0] for name in CHEAP}
    assert not any(wrong.values()), wrong
