"""Alerts and dashboard ask for metrics, labels and values that exist: those of docs/metrics.md, which src/metrics/tests.rs holds against the code."""
import json
import re

import promql_parser
import pytest

import pages
from bed_cli import places
from manifests import DEPLOY
from test_pages import alerts

# What Prometheus adds to every sample of a pod.
OF_TARGETS = {"namespace", "pod", "job", "instance"}
# Grafana's own, as it fills them in.
VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
STATES = set(re.findall(r'"(\w+)"', re.search(r"const STATES: .*?= \[(.*?)\];", (places.CHECKOUT / "src" / "metrics" / "clusters.rs").read_text())[1]))
VALUES = {"state": STATES, "verdict": {"Complete", "Failed"}, "reason": pages.reasons(), "kind": {"SwarmCluster", "E2ERun"}}


def series() -> dict[str, set[str]]:
    """Every name that a sample has, with its labels."""
    found = {}
    for row in pages.cells("metrics.md"):
        name, labels = row["Name"].strip("`"), set(re.findall(r"`(\w+)`", row["Labels"]))
        for suffix in SUFFIXES.get(row["Type"], ("",)):
            found[name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def wrong(expression: str) -> list[str]:
    """What an expression asks for that does not exist. One that is none raises ValueError."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    said = []

    def look(part) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            said.extend(of_selector(part))
        elif isinstance(part, promql_parser.AggregateExpr) and part.modifier:
            there = set().union(*(labels for _, labels in selected(part.expr)))
            said.extend(f"by {name}: nothing there has that label" for name in part.modifier.labels if name not in there)

    promql_parser.walk(promql_parser.parse(expression), look)
    return said


def selected(expression) -> list[tuple[str, set[str]]]:
    """The metrics that an expression asks for, with their labels."""
    found = []

    def look(part) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            found.append((part.name, OF_TARGETS | series().get(part.name, set())))

    promql_parser.walk(expression, look)
    return found


def of_selector(selector) -> list[str]:
    known, name = series(), selector.name
    if name not in known:
        return [f"there is no metric {name}"]
    said = []
    for matcher in selector.matchers.matchers:
        if matcher.name not in known[name] | OF_TARGETS:
            said.append(f"{name} has no label {matcher.name}")
        elif matcher.name in VALUES:
            said += [f"{matcher.name} is never {one}" for one in matcher.value.split("|") if one not in VALUES[matcher.name]]
    return said


def expressions() -> dict[str, str]:
    board = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    found = {rule["alert"]: rule["expr"] for rule in alerts()}
    found |= {f"panel {panel['title']} {target['refId']}": target["expr"] for panel in board["panels"] for target in panel["targets"]}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
            found[f"variable {variable['name']}"] = f"sum by ({label}) ({metric})"
    return found


def test_every_expression_asks_for_what_exists():
    everything = {where: wrong(expression) for where, expression in expressions().items()}
    assert len(everything) > 20
    assert not {where: said for where, said in everything.items() if said}


def test_every_metric_is_shown():
    text = " ".join(expressions().values())
    unseen = {name for name in series() if name not in text and not name.endswith(("_sum", "_count"))}
    assert not unseen, "neither an alert nor a panel has these metrics"


@pytest.mark.parametrize(("expression", "said"), [
    ("testkit_clusterz", "there is no metric testkit_clusterz"), ("testkit_runs", "there is no metric testkit_runs"), ("up", "there is no metric up"),
    ('testkit_clusters{state="broken"}', "state is never broken"), ('testkit_clusters{kind="SwarmCluster"}', "testkit_clusters has no label kind"),
    ('sum by (operation) (testkit_runs_total{verdict="Failed"})', "by operation: nothing there has that label"),
    ('testkit_runs_total{reason=~"CasesFailed|TestsFailed"}', "reason is never TestsFailed"),
    ("sum by (le) (rate(testkit_reconcile_seconds_count[5m]))", "by le: nothing there has that label"),
])
def test_what_does_not_exist_is_found(expression, said):
    assert wrong(expression) == [said]


@pytest.mark.parametrize("expression", ["sum by (kind) testkit_leader)", "rate(testkit_runs_total)", "histogram_quantile(0.9)"])
def test_what_is_no_expression_is_none(expression):
    with pytest.raises(ValueError):
        wrong(expression)


def test_alerts_say_who_and_what():
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning") and rule["annotations"].keys() == {"summary", "description"}
        for label in re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), f"{rule['alert']} tells of {label}, which its expression does not keep"


def test_the_dashboard_is_in_order():
    board = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    places_taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places_taken and at["x"] + at["w"] <= 24, panel["title"]
        places_taken |= cells
