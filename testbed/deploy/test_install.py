"""The chart and the overlays on a real API server: installed, changed, taken away; and what stays."""
import json
import os
import shutil
import subprocess
import time

import pytest
import yaml

from bed_cli import places
from manifests import CHART, DEPLOY, RELEASE, helm, rendered, values_file

pytestmark = pytest.mark.skipif("TESTKIT_DEPLOY" not in os.environ, reason="these change a Kubernetes of their own: testbed/test --only deploy")
NAMESPACE = "testkit-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:testkit-operator"


def kubectl(*arguments, said: str | None = None, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(["kubectl", *map(str, arguments)], input=said, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"kubectl {' '.join(map(str, arguments))}: {done.stderr}"
    return done


def get(*what) -> dict:
    return json.loads(kubectl("get", *what, "-o", "json").stdout)


def there(*what) -> bool:
    return bool(kubectl("get", *what, "--ignore-not-found", "-o", "name").stdout.strip())


def can(who: str, *what) -> bool:
    return kubectl("auth", "can-i", "--as", who, *what, check=False).returncode == 0


def release(verb: str, folder, values: dict, chart=CHART, namespace: str = NAMESPACE, own: tuple = ("--take-ownership", "--force-conflicts"), check: bool = True):
    """By default it takes over what another test applied without Helm."""
    return helm(verb, RELEASE, chart, "--namespace", namespace, "--values", values_file(folder, values), *own, check=check, env={"KUBECONFIG": os.environ["KUBECONFIG"]})


def uninstall(namespace: str = NAMESPACE) -> None:
    helm("uninstall", RELEASE, "--namespace", namespace, "--ignore-not-found", env={"KUBECONFIG": os.environ["KUBECONFIG"]})


def cluster(name: str, **spec) -> str:
    return json.dumps({"apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster", "metadata": {"name": name, "namespace": "default"},
                       "spec": {"managers": 1, "provider": {"ec2": {"region": "us-east-1"}}, **spec}})


def apply(text: str, *more) -> subprocess.CompletedProcess:
    return kubectl("apply", "-f", "-", *more, said=text, check=False)


def eventually(what, seconds: float = 90):
    """What an API server takes up by a watch of its own, such as a policy or a definition. The last answer is an assertion's."""
    deadline = time.monotonic() + seconds
    while not (answer := what()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


@pytest.fixture(scope="module", autouse=True)
def fresh_cache(tmp_path_factory):
    """What another API server at the same address once served must not matter to kubectl and Helm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECACHEDIR", str(tmp_path_factory.mktemp("discovered")))
        yield


@pytest.fixture
def restricted():
    """A namespace that enforces restricted, as docs/operating.md has it made."""
    if not there("namespace", NAMESPACE):
        kubectl("create", "namespace", NAMESPACE)
    kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    yield
    uninstall()


def test_installed_changed_and_taken_away_while_a_cluster_lives(restricted, tmp_path):
    # An earlier chart, whose definition of clusters had a column less.
    earlier = tmp_path / "earlier"
    shutil.copytree(CHART, earlier)
    file = earlier / "definitions" / "swarmclusters.yaml"
    definition = yaml.safe_load(file.read_text())
    columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
    taken = columns.pop()
    file.write_text(yaml.safe_dump(definition))
    said = release("install", tmp_path, {}, chart=earlier).stdout
    assert "--set 'accessCIDRs={10.0.0.0/8}'" in said, f"it asks for what it has no default of: {said}"
    columns = lambda: [c["name"] for c in get("crd", "swarmclusters.testkit.dev")["spec"]["versions"][0]["additionalPrinterColumns"]]  # noqa: E731
    assert taken["name"] not in columns()
    kubectl("wait", "--for=condition=Established", "--timeout=90s", "crd/swarmclusters.testkit.dev")
    assert eventually(lambda: apply(cluster("lives")).returncode == 0), apply(cluster("lives")).stderr
    before = get("swarmcluster", "lives")["metadata"]

    assert eventually(lambda: can(OPERATOR, "watch", "swarmclusters.testkit.dev", "-A")) and not can(OPERATOR, "list", "secrets", "-A")
    # Nothing here starts pods: the Deployment's is asked of the namespace by itself.
    template = get("deployment", "testkit-operator", "-n", NAMESPACE)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "one"}, "spec": template["spec"]}
    admitted = apply(json.dumps(pod), "-n", NAMESPACE, "--dry-run=server")
    assert admitted.returncode == 0, admitted.stderr

    said = release("upgrade", tmp_path, {"replicas": 2, "accessCIDRs": ["10.0.0.0/8"]}).stdout
    assert "NOTES:" in said and "accessCIDRs" not in said, said
    assert taken["name"] in columns(), "a definition is upgraded with the release"
    assert get("deployment", "testkit-operator", "-n", NAMESPACE)["spec"]["replicas"] == 2
    assert there("poddisruptionbudget", "testkit-operator", "-n", NAMESPACE) and there("priorityclass", "testkit-operator")
    same = ("uid", "resourceVersion")
    assert [get("swarmcluster", "lives")["metadata"][f] for f in same] == [before[f] for f in same]

    uninstall()
    assert [get("swarmcluster", "lives")["metadata"][f] for f in same] == [before[f] for f in same], "a cluster outlives the release"
    for gone in (("deployment", "testkit-operator", "-n", NAMESPACE), ("clusterrole", "testkit-operator"), ("priorityclass", "testkit-operator")):
        assert eventually(lambda: not there(*gone)), gone  # noqa: B023 (asked at once)
    # And the next one takes over what stayed.
    release("install", tmp_path, {})
    kubectl("delete", "swarmcluster", "lives", "-n", "default", "--wait=false")


def test_what_deletes_clusters_at_the_end_may_run_there(restricted, tmp_path):
    """Nothing here starts pods, so the hook's is asked of the namespace by itself; system/test_pod.py has one run."""
    [job] = [each for each in rendered(tmp_path, {"uninstall": {"clusters": "Delete"}}) if each["kind"] == "Job"]
    spec = job["spec"]["template"]["spec"] | {"serviceAccountName": "default"}
    assert eventually(lambda: there("serviceaccount", "default", "-n", NAMESPACE))
    admitted = apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "end"}, "spec": spec}), "-n", NAMESPACE, "--dry-run=server")
    assert admitted.returncode == 0, admitted.stderr


def test_what_was_installed_by_kustomize_is_taken_over(restricted, tmp_path):
    kubectl("apply", "--server-side", "--force-conflicts", "-k", DEPLOY / "base")
    refused = release("install", tmp_path, {}, own=(), check=False)
    assert refused.returncode != 0 and "cannot be imported into the current release" in refused.stderr
    release("install", tmp_path, {})


def test_an_overlay_that_was_applied_differs_in_nothing(restricted):
    overlay = DEPLOY / "hardened"
    kubectl("apply", "--server-side", "--force-conflicts", "-k", overlay)
    diff = lambda: kubectl("diff", "--server-side", "--force-conflicts", "-k", overlay, check=False)  # noqa: E731
    # A controller may write to what is new between two looks of kubectl.
    eventually(lambda: diff().returncode == 0, 20)
    difference = diff()
    assert (difference.returncode, difference.stdout) == (0, ""), difference.stdout + difference.stderr
    # It would refuse the clusters of other tests.
    kubectl("delete", "-f", DEPLOY / "components" / "access-policy" / "access-policy.yaml")


def test_a_tenant_installs_its_own_beside_that_of_another(restricted, tmp_path):
    release("install", tmp_path, {"scope": "Namespace"})
    other = {"scope": "Namespace", "installation": "team-b", "crds": {"install": False}, "userRoles": False, "secretsPolicy": False}
    kubectl("create", "namespace", "team-b")
    try:
        release("install", tmp_path, other, namespace="team-b")
        who = "system:serviceaccount:team-b:testkit-operator"
        assert eventually(lambda: can(who, "watch", "swarmclusters.testkit.dev", "-n", "team-b")) and not can(who, "watch", "swarmclusters.testkit.dev", "-n", NAMESPACE)
    finally:
        uninstall("team-b")
        kubectl("delete", "namespace", "team-b", "--wait=false")


def test_the_access_policy_refuses_what_the_world_may_reach(restricted, tmp_path):
    release("install", tmp_path, {})
    kubectl("wait", "--for=condition=Established", "--timeout=90s", "crd/swarmclusters.testkit.dev")
    assert eventually(lambda: apply(cluster("before", accessCIDRs=["0.0.0.0/0"])).returncode == 0)
    release("upgrade", tmp_path, {"accessPolicy": {"enabled": True, "within": ["203.0.113.0/24", "2001:db8::/32"]}})
    try:
        refused = lambda: apply(cluster("world", accessCIDRs=["0.0.0.0/0"]), "--dry-run=server").stderr  # noqa: E731
        assert eventually(lambda: "say who may reach the hosts" in refused()), refused()
        for cidrs, words in [(["203.0.113.7/32", "2001:db8:1::/48"], ""), (["203.0.113.0/24", "0.0.0.0/1"], "say who may reach"), (["::/0"], "say who may reach"),
                             (["198.51.100.0/24"], "have to be within 203.0.113.0/24"), (["203.0.112.0/23"], "have to be within")]:
            done = apply(cluster("another", accessCIDRs=cidrs), "--dry-run=server")
            assert (done.returncode == 0) == (words == "") and words in done.stderr, (cidrs, done.stderr)
        # One that does not say it has the operator's default, now and from before.
        silent = apply(cluster("silent"), "--dry-run=server")
        assert silent.returncode == 0, silent.stderr
        kubectl("patch", "swarmcluster", "before", "-n", "default", "--type=merge", "--dry-run=server", "-p", '{"spec": {"accessCIDRs": null}}')
        # One from before is left in peace, as long as nobody says anew who may reach it.
        kubectl("annotate", "swarmcluster", "before", "-n", "default", "testkit.dev/keep=w0", "--overwrite")
        assert "have to be within" in apply(cluster("before", accessCIDRs=["198.51.100.0/24"])).stderr
    finally:
        kubectl("delete", "swarmcluster", "before", "-n", "default", "--ignore-not-found", "--wait=false")


@pytest.mark.parametrize("sample", sorted((DEPLOY / "samples").glob("*.yaml")) + sorted((DEPLOY / "gitops" / "swarm").rglob("*.yaml")), ids=lambda file: file.stem)
def test_a_sample_is_taken(sample, restricted, tmp_path):
    release("install", tmp_path, {})
    kubectl("wait", "--for=condition=Established", "--timeout=90s", "-f", places.CHECKOUT / "crds")
    done = eventually(lambda: kubectl("apply", "--dry-run=server", "-n", "default", "-f", sample, check=False).returncode == 0)
    assert done, kubectl("apply", "--dry-run=server", "-n", "default", "-f", sample, check=False).stderr
