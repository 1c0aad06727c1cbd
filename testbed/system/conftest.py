"""The bed the tests run on is named by the environment (`eval "$(testbed/bed env)"`); the operator is theirs."""
import json
import os
import re
import urllib.request
from pathlib import Path

import pytest

import world


@pytest.fixture(scope="session")
def bed():
    missing = [v for v in ("KUBECONFIG", "AWS_ENDPOINT_URL_EC2", "TESTBED_URL") if v not in os.environ]
    assert not missing, f'{", ".join(missing)} not set: run testbed/bed up, then eval "$(testbed/bed env)"'
    crds = Path(__file__).resolve().parents[2] / "crds"
    world.kubectl("apply", "--server-side", "-f", str(crds))
    world.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(crds))
    return os.environ["TESTBED_URL"]


@pytest.fixture
def knobs(bed):
    """Sets faults of the EC2 endpoint; they are as before at the end."""
    def request(method, body=None):
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(urllib.request.Request(f"{bed}/_bed/knobs", data, method=method), timeout=10) as answer:
            return json.load(answer)

    before = request("GET")
    yield lambda **faults: request("PUT", faults)
    request("PUT", before)


@pytest.fixture
def operator(bed, tmp_path):
    operator = world.Operator(tmp_path / "operator.log")
    yield operator.start()
    operator.stop()
    log = operator.log.read_text(errors="replace")
    assert "panicked" not in log, log[log.index("panicked") - 200 :][:2000]


@pytest.fixture
def space(bed, operator, request):
    """A namespace of the test's own. What the test leaves in it is deleted through the operator, and must be gone then."""
    namespace = world.Namespace(re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-"))
    yield namespace
    if operator.process.poll() is not None:
        operator.start()
    clusters = json.loads(world.kubectl("get", "swarmclusters", "-n", namespace.name, "-o", "json").stdout)["items"]
    world.kubectl("delete", "namespace", namespace.name, "--timeout=120s", timeout=150)
    for cluster in clusters:
        assert namespace.leftovers(cluster["metadata"]["name"]) == []
