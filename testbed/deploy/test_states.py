"""What the real kstatus, and Argo CD's health check in the real Lua, make of every state that docs/lifecycle.md and docs/runs.md have.

The statuses are written as src/cluster/status.rs, src/run/report.rs and src/status.rs write them.
"""
import json
import re
import subprocess
from dataclasses import dataclass

import pytest
import yaml

import pages
from bed_cli import places
from manifests import DEPLOY

CLUSTER, RUN, SCHEDULE, MATRIX = KINDS = "SwarmCluster", "E2ERun", "E2ESchedule", "E2EMatrix"


@dataclass(frozen=True)
class Means:
    """What a state is for those who wait: kstatus, and Argo CD."""

    kstatus: str
    argo: str
    # Of the conditions, those that are true.
    holds: tuple[str, ...]


READY = Means("Current", "Healthy", ("Ready",))
WORKS = Means("InProgress", "Progressing", ("Reconciling",))
# All is as it should be, and something beside it is being tried again.
TRIES = Means("InProgress", "Progressing", ("Ready", "Reconciling"))
STUCK = Means("Failed", "Degraded", ("Stalled",))
PAUSED = SUSPENDED = Means("Current", "Suspended", ("Ready",))
PAUSED_UNWELL = Means("InProgress", "Suspended", ())
COMPLETE = Means("Current", "Healthy", ("Ready", "Complete"))
FAILED = Means("Failed", "Degraded", ("Stalled", "Failed"))
# Of objects on their way out, Argo CD itself says Progressing before it asks a script.
GOES = Means("Terminating", "Progressing", ("Reconciling",))
GOES_STUCK = Means("Terminating", "Degraded", ("Stalled",))

# Kind, the reason of Ready, and everything that it can come with.
STATES = [
    (CLUSTER, "Launching", WORKS), (CLUSTER, "Booting", WORKS), (CLUSTER, "Joining", WORKS), (CLUSTER, "Updating", WORKS),
    (CLUSTER, "ClusterReady", READY), (CLUSTER, "NodeNotReady", WORKS), (CLUSTER, "VotersDiffer", WORKS),
    (CLUSTER, "SpotInterruption", WORKS),
    # A machine that no other can take the place of.
    (CLUSTER, "NodeNotReady", STUCK),
    # Stalled from the third in a row on.
    (CLUSTER, "BootFailed", WORKS), (CLUSTER, "BootFailed", STUCK), (CLUSTER, "InstanceEnded", WORKS), (CLUSTER, "InstanceEnded", STUCK),
    (CLUSTER, "HostUnhealthy", WORKS), (CLUSTER, "HostUnhealthy", STUCK),
    # The majority is out of reach; it is gone; spec.recovery makes it anew.
    (CLUSTER, "NoQuorum", WORKS), (CLUSTER, "NoQuorum", STUCK),
    (CLUSTER, "NoPublicAddress", STUCK), (CLUSTER, "NoAccessCIDRs", STUCK),
    # Of one that is whole it is said beside that.
    (CLUSTER, "NoAccessCIDRs", READY),
    (CLUSTER, "Paused", PAUSED), (CLUSTER, "Paused", PAUSED_UNWELL),
    (CLUSTER, "Deleting", GOES), (CLUSTER, "InUse", GOES_STUCK),
    (CLUSTER, "InvalidConfiguration", STUCK), (CLUSTER, "Unauthorized", STUCK), (CLUSTER, "QuotaExceeded", STUCK), (CLUSTER, "SwarmDiffers", STUCK),
    (CLUSTER, "InsufficientCapacity", WORKS), (CLUSTER, "InsufficientCapacity", TRIES), (CLUSTER, "Throttled", WORKS), (CLUSTER, "Throttled", TRIES),
    (CLUSTER, "CloudError", WORKS), (CLUSTER, "CloudError", TRIES), (CLUSTER, "HostError", WORKS), (CLUSTER, "HostError", TRIES),
    (RUN, "WaitingForCluster", WORKS), (RUN, "Queued", WORKS), (RUN, "Deduplicated", WORKS), (RUN, "CreateContainerConfigError", WORKS), (RUN, "PullingImage", WORKS), (RUN, "Running", WORKS), (RUN, "Stopping", WORKS), (RUN, "HostError", WORKS),
    (RUN, "RunNotMade", WORKS), (RUN, "ResultsNotKept", WORKS), (RUN, "Deleting", GOES), (RUN, "CasesPassed", COMPLETE),
    *((RUN, reason, FAILED) for reason in (
        "CasesFailed", "NoCasesRun", "NoResults", "ContainerFailed", "OOMKilled", "InvalidConfiguration", "InfrastructureFailed", "DeadlineExceeded", "Cancelled",
        "ClusterGone", "ClusterFailed", "ClusterNameTaken", "ContainerLost", "ResultsNotKept", "ImageUnavailable", "PendingTimeoutExceeded", "RunNotMade", "ShardsOverlap")),
    (SCHEDULE, "Scheduled", READY), (SCHEDULE, "RunAlreadyActive", READY), (SCHEDULE, "Suspended", SUSPENDED),
    (SCHEDULE, "RunNotMade", WORKS), (SCHEDULE, "InvalidConfiguration", STUCK),
    (MATRIX, "Running", WORKS), (MATRIX, "RunNotMade", WORKS), (MATRIX, "RunsPassed", COMPLETE),
    (MATRIX, "RunsFailed", FAILED), (MATRIX, "Cancelled", FAILED), (MATRIX, "InvalidConfiguration", FAILED),
]


def condition(type_, holds, reason, generation):
    return {"type": type_, "status": "True" if holds else "False", "reason": reason, "message": f"{reason}: what to do", "observedGeneration": generation,
            "lastTransitionTime": "2026-11-27T10:00:00Z"}


def state(kind, reason, means, generation=2, observed=2):
    """An object of this kind in this state."""
    goes = means.kstatus == "Terminating"
    types = ["Ready", "Reconciling", "Stalled", *(type_ for type_ in ("Complete", "Failed") if type_ in means.holds)]
    conditions = [condition(type_, type_ in means.holds, reason, observed) for type_ in types]
    if kind == CLUSTER:
        conditions += [condition(type_, reason == "ClusterReady", "All" if reason == "ClusterReady" else "Some", observed) for type_ in ("Launched", "Joined")]
    gone = {"deletionTimestamp": "2026-11-27T11:00:00Z", "finalizers": ["testkit.dev/cleanup"]} if goes else {}
    return {**bare(kind), "metadata": {**bare(kind)["metadata"], "generation": generation, **gone}, "status": {"observedGeneration": observed, "conditions": conditions}}


def bare(kind):
    return {"apiVersion": "testkit.dev/v1alpha1", "kind": kind, "metadata": {"name": "foo", "namespace": "default", "generation": 1}, "spec": {}}


def judged(objects, *script):
    done = subprocess.run([places.kstatus(), *script], input=json.dumps(objects), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def health(tmp_path_factory):
    """The scripts as Argo CD is given them, by kind."""
    data = yaml.safe_load((DEPLOY / "gitops" / "argocd" / "argocd-cm.yaml").read_text())["data"]
    files = {}
    for kind in KINDS:
        files[kind] = tmp_path_factory.mktemp("health") / f"{kind}.lua"
        files[kind].write_text(data.pop(f"resource.customizations.health.testkit.dev_{kind}"))
    assert not data
    return files


def test_kstatus_and_argo_cd_see_each_state_as_it_is(health):
    objects = [state(*row) for row in STATES]
    assert [(kind, reason, said["status"]) for (kind, reason, _), said in zip(STATES, judged(objects))] == [(kind, reason, means.kstatus) for kind, reason, means in STATES]
    for kind, script in health.items():
        rows = [row for row in STATES if row[0] == kind]
        said = judged([state(*row) for row in rows], script)
        assert [(row[1], one["status"]) for row, one in zip(rows, said)] == [(row[1], row[2].argo) for row in rows]
        assert all(one["message"] == f"{row[1]}: what to do" for row, one in zip(rows, said))


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_has_looked_at_is_not_current(kind, health):
    """The schema's default of status.observedGeneration, and a status of an earlier spec, whatever that says."""
    new = {**bare(kind), "status": {"observedGeneration": -1}}
    changed = [state(kind, reason, means, generation=3) for of, reason, means in STATES if of == kind and means.kstatus != "Terminating"]
    objects = [new, *changed]
    assert {one["status"] for one in judged(objects)} == {"InProgress"}
    assert {one["status"] for one in judged(objects, health[kind])} == {"Progressing"}
    # An API server that applies the defaults never shows one without a status; kstatus alone would take it for current.
    assert judged([bare(kind)], health[kind])[0]["status"] == "Progressing"
    plural = "e2ematrices" if kind == MATRIX else f"{kind.lower()}s"
    default = re.search(r"observedGeneration: (-?\d+)", (places.CHECKOUT / "crds" / f"{plural}.yaml").read_text())
    assert default and default[1] == "-1"


def test_no_state_is_forgotten():
    states = {reason for _, reason, _ in STATES}
    assert states == pages.reasons() - pages.EVENTS, "the table of this test (left) and the reasons of src/api/conditions.rs (right)"
    of_clusters, of_runs = ({reason for kind, reason, _ in STATES if kind == of} for of in (CLUSTER, RUN))
    said = pages.in_tables("lifecycle.md", "Ready's reason")
    assert said <= of_clusters, "docs/lifecycle.md (left) and the table of this test (right)"
    ends = pages.in_tables("runs.md", "Reason")
    assert ends == {reason for kind, reason, means in STATES if kind == RUN and means in (COMPLETE, FAILED)}, "docs/runs.md (left) and the table of this test (right)"
    assert ends < of_runs


def test_the_examples_name_what_is_there():
    """Paths within this repository, and the waves that put a cluster before its run."""
    gitops = DEPLOY / "gitops"
    application = yaml.safe_load((gitops / "argocd" / "application.yaml").read_text())
    named = [application["spec"]["source"]["path"]]
    flux = list(yaml.safe_load_all((gitops / "flux" / "swarm.yaml").read_text()))
    for each in flux:
        named += [path for path in (each["spec"].get("path"), each["spec"].get("chart", {}).get("spec", {}).get("chart")) if path]
    assert len(named) == 4 and all((places.CHECKOUT / path).is_dir() for path in named)
    kinds = {each["metadata"]["name"]: each for each in flux}
    assert kinds["swarm-run"]["spec"]["dependsOn"] == [{"name": "swarm-cluster"}] and kinds["swarm-cluster"]["spec"]["wait"]
    waves = {each["kind"]: int(each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
             for file in (gitops / "swarm").rglob("*.yaml") for each in yaml.safe_load_all(file.read_text())}
    assert waves[CLUSTER] < waves[RUN]
