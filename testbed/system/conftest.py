"""The bed the tests run on is named by the environment (`eval "$(testbed/bed env)"`); the operator is theirs.

An operator takes care of everything in its Kubernetes, so tests that run side by side (pytest-xdist) have a bed each:
TESTKIT_BEDS names as many as there are workers.
"""
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from bed_cli.beds import Bed
from long_tests import pytest_addoption, pytest_collection_modifyitems, pytest_configure  # noqa: F401 (pytest finds them here)
from together import pytest_xdist_make_scheduler  # noqa: F401 (likewise)

import world

BED = Path(__file__).resolve().parents[1] / "bed"

if beds := os.environ.get("TESTKIT_BEDS", "").split():
    os.environ.update(Bed(beds[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])]).shell())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed = report.failed
    return report


@pytest.fixture(scope="session")
def bed():
    missing = [v for v in ("KUBECONFIG", "AWS_ENDPOINT_URL_EC2", "TESTBED_URL") if v not in os.environ]
    assert not missing, f'{", ".join(missing)} not set: run testbed/bed up, then eval "$(testbed/bed env)"'
    crds = Path(__file__).resolve().parents[2] / "crds"
    world.kubectl("apply", "--server-side", "-f", str(crds))
    world.kubectl("wait", "--for=condition=Established", "--timeout=90s", "-f", str(crds))
    # That is told a moment before it is so.
    kinds = "swarmclusters,e2eruns,e2eschedules,e2ematrices"
    world.until("the API server serves our kinds", lambda: world.kubectl("get", kinds, "-A", check=False).returncode == 0, 60)
    return os.environ["TESTBED_URL"]


@pytest.fixture
def knobs(bed):
    """Sets faults of the EC2 endpoint; they are as before at the end."""
    def request(method, body=None):
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(urllib.request.Request(f"{bed}/_bed/knobs", data, method=method), timeout=60) as answer:
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
    if getattr(request.node, "failed", True):
        keep_evidence(namespace, request.getfixturevalue("tmp_path"))
    if operator.process.poll() is not None:
        operator.start()
    clusters = json.loads(world.kubectl("get", "swarmclusters", "-n", namespace.name, "-o", "json").stdout)["items"]
    world.kubectl("delete", "namespace", namespace.name, "--timeout=300s", timeout=330)
    for cluster in clusters:
        assert namespace.leftovers(cluster["metadata"]["name"]) == []


def keep_evidence(namespace, folder):
    """What a failed test needs and its end takes away: every cluster's bundle, and what the kernels of its hosts say."""
    tell = lambda *words: subprocess.run(list(map(str, words)), capture_output=True, text=True, errors="replace", timeout=90)
    try:
        for cluster in json.loads(world.kubectl("get", "swarmclusters", "-n", namespace.name, "-o", "json").stdout)["items"]:
            name = cluster["metadata"]["name"]
            for instance in namespace.instances(name):
                tell(BED, "host", "explain", instance["InstanceId"])
                console = tell(BED, "host", "console", instance["InstanceId"]).stdout
                (folder / f"{instance['InstanceId']}.console").write_text(console)
                print(f"--- the console of {instance['InstanceId']} ends with\n{console[-1500:]}")
            print(f"--- SwarmCluster {name}: {json.dumps(cluster.get('status', {}).get('conditions'), indent=1)}")
            done = tell("kubectl", "testkit", "diagnose", name, "-n", namespace.name, "-o", folder / f"{name}.bundle")
            print(f"--- kubectl testkit diagnose {name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"--- no more evidence: {error}")
