"""The operator as users have it: pods of a Deployment on the bed's node, installed by the chart in a namespace that enforces restricted."""
import json
import os
import subprocess
import tempfile
from pathlib import Path

from bed_cli import places
from bed_cli.beds import Bed

import world
from world import kubectl, until

SYSTEM, RELEASE, OPERATOR = "testkit-system", "testkit", "deployment/testkit-operator"
CHART = places.CHECKOUT / "deploy" / "chart"
# A bed of their own: another operator, of other tests, would serve the same clusters.
BED = Bed("test-node")
# Pods are stopped, scheduled and started by a kubelet that has a part of one processor.
PATIENCE = 240


def tell(*words, **more):
    """A command that has to succeed; what it printed."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def helm(*words):
    """Nothing of this machine's own Helm is read or written."""
    with tempfile.TemporaryDirectory() as home:
        own = {name: home for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
        return tell(places.helm(), *words, "--namespace", SYSTEM, env=os.environ | own)


class Release:
    """`tag` is that of the image on the node."""

    def __init__(self, tag):
        self.tag = tag
        keys = world.user("operator")
        kubectl("create", "namespace", SYSTEM)
        kubectl("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted")
        kubectl("create", "secret", "generic", "testkit-aws", "-n", SYSTEM, f"--from-literal=AWS_ACCESS_KEY_ID={keys['accessKeyId']}",
                f"--from-literal=AWS_SECRET_ACCESS_KEY={keys['secretAccessKey']}")

    def install(self, chart=CHART, **values):
        """Installs it, or upgrades what is installed; returns when all pods of the Deployment are of this chart, and ready."""
        given = [word for name, value in values.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]
        helm("upgrade", "--install", RELEASE, chart, "--values", BED.node().values, "--set", f"image.tag={self.tag}", "--set", "replicas=2", *given)
        self.rolled_out()

    def rolled_out(self):
        kubectl("rollout", "status", OPERATOR, "-n", SYSTEM, f"--timeout={PATIENCE}s", timeout=PATIENCE + 30)

    def uninstall(self):
        helm("uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", "10m")
        until("no pod of it", lambda: not self.pods(), PATIENCE)

    def pods(self):
        return json.loads(kubectl("get", "pods", "-n", SYSTEM, "-o", "json").stdout)["items"]

    def names(self):
        return {pod["metadata"]["name"] for pod in self.pods() if not pod["metadata"].get("deletionTimestamp")}

    def leader(self):
        """The pod whose operator has the Lease; none where nobody has."""
        spec = json.loads(kubectl("get", "lease", "testkit-operator", "-n", SYSTEM, "-o", "json").stdout)["spec"]
        return spec.get("holderIdentity", "").rpartition("_")[0]

    def led_by(self, pods):
        """Waits until one of these leads, and answers which."""
        return until(f"one of {sorted(pods)} leads", lambda: ({self.leader()} & set(pods) or {None}).pop(), PATIENCE)

    def restarts(self, pod):
        return sum(status["restartCount"] for status in json.loads(kubectl("get", "pod", pod, "-n", SYSTEM, "-o", "json").stdout)["status"]["containerStatuses"])

    def kill(self, pod):
        """Its container, as the kernel kills one that takes too much memory."""
        ctr = "ctr --namespace k8s.io"
        found = on_the_node(f"{ctr} containers list --quiet 'labels.\"io.kubernetes.pod.name\"=={pod},labels.\"io.kubernetes.container.name\"==operator'").split()
        for container in found:
            on_the_node(f"{ctr} tasks kill --signal SIGKILL {container}")
        assert found, f"no container of {pod}"


def on_the_node(command):
    return tell(*BED.node().ssh("root", [command]), timeout=90)


def last_commits_chart(folder: Path):
    """The chart as it was one commit before; None where this checkout knows of none."""
    known = subprocess.run(["git", "-C", places.CHECKOUT, "rev-parse", "--verify", "--quiet", "HEAD~"], capture_output=True)
    if known.returncode:
        return None
    archive = subprocess.run(["git", "-C", places.CHECKOUT, "archive", "HEAD~", "deploy", "crds"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
    return folder / "deploy" / "chart"
