"""An operator with a price table says what clusters and runs cost, and says what it has no price for. docs/cost.md."""
import json
from datetime import datetime, timezone
from decimal import Decimal

import pytest
import world
from test_runs import IMAGES, PASSED, ends, patch, probe
from world import cluster, kubectl, until

HOURLY = Decimal("3.6")  # A thousandth of a dollar a second.
TABLE = {"regions": {"us-east-1": {"instances": {"t3.medium": {"onDemand": str(HOURLY)}}}}}


@pytest.fixture
def operator(bed, tmp_path):
    """In place of that of all other tests: one with a table."""
    table = tmp_path / "prices.yaml"
    table.write_text(json.dumps(TABLE))
    operator = world.Operator(tmp_path / "operator.log", "--prices", str(table))
    yield operator.start()
    operator.stop()


def time_of(text):
    return datetime.fromisoformat(text).timestamp()


def cost(space, name):
    return space.status("swarmcluster", name).get("cost", {})


def wants(space, name, what, timeout=60):
    return until(f"{name} costs {what}", lambda: (said := cost(space, name)).items() >= what.items() and said, timeout)


def within(amount, seconds):
    """Amounts are rounded to a millionth at each change, and times are whole seconds."""
    return abs(Decimal(amount) - HOURLY * Decimal(seconds) / 3600) <= Decimal("0.000005")


def test_what_clusters_and_runs_cost(space, operator):
    space.apply(cluster("priced", 1, 1, instanceTypes=["t3.medium"]), cluster("unknown", 1, 0, instanceTypes=["t3a.medium"]))
    space.wait("swarmcluster", "priced", "Ready", 180)
    assert set(wants(space, "unknown", {"unpriced": ["t3a.medium"]})) == {"currency", "unpriced"}, "no amount where a price is missing"

    # From each machine's launch, as EC2 tells it.
    said = wants(space, "priced", {"hourly": "7.20", "currency": "USD"})
    launched = [i["LaunchTime"].replace(tzinfo=timezone.utc).timestamp() for i in space.instances("priced")]
    assert within(said["accrued"], sum(time_of(said["accruedAt"]) - int(at) for at in launched)), (said, launched)
    row = kubectl("get", "swarmclusters", "priced", "-n", space.name, "-o", "wide").stdout
    assert "HOURLY" in row and " 7.20" in row, row

    # The plugin tells what it comes to now.
    told = kubectl("testkit", "describe", "priced", "-n", space.name).stdout
    [line] = [line for line in told.splitlines() if line.startswith("Cost:")]
    assert line.split()[1:4] == ["7.20", "USD", "an"] and Decimal(line.split()[5]) >= Decimal(said["accrued"]), line
    told = kubectl("testkit", "describe", "unknown", "-n", space.name).stdout
    assert "not known: the operator's price table has no price for t3a.medium" in told, told

    # A run that has the cluster to itself, and one that shares it. Nothing else changes, so the object is not written for what time costs.
    address = space.status("swarmcluster", "priced")["endpoint"]
    space.ssh("priced", address, IMAGES)
    workers = [n["address"] for n in space.status("swarmcluster", "priced")["nodes"] if n["role"] == "Worker"]
    space.ssh("priced", workers[0], IMAGES)
    space.apply(probe("alone", "priced", f"sleep 5; {PASSED}", sharing="Exclusive"), probe("beside", "priced", PASSED))
    status = ends(space, "alone", "Complete", "CasesPassed")
    seconds = time_of(status["finishedAt"]) - time_of(status["startedAt"])
    assert seconds >= 5 and status["cost"] == {"amount": f"{HOURLY * 2 / 3600 * int(seconds):.3f}".removesuffix("0"), "currency": "USD"}, status
    assert "cost" not in ends(space, "beside", "Complete", "CasesPassed")
    assert cost(space, "priced") == said

    # Another operator goes on from there, and a machine that goes is paid for to its end.
    operator.kill()
    operator.start()
    patch(space, "swarmcluster", "priced", {"workers": 0})
    after = wants(space, "priced", {"hourly": "3.60", "since": said["since"]}, 90)
    passed = time_of(after["accruedAt"]) - time_of(said["accruedAt"])
    assert passed > 0 and within(Decimal(after["accrued"]) - Decimal(said["accrued"]), 2 * passed), (said, after)
