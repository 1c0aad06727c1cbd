"""Manifests as the real tools make them: the chart by Helm, the overlays by kustomize; and what of two lists of objects differs."""
import json
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

from bed_cli import places

DEPLOY = places.CHECKOUT / "deploy"
CHART = DEPLOY / "chart"
RELEASE = "testkit"
# What Helm adds to objects, and kustomize does not.
OF_HELM = ("app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/version", "helm.sh/chart")
KEPT = "helm.sh/resource-policy"
# kustomize has older lists of what has no namespace; the API server takes no notice.
OF_THE_WHOLE = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def helm(*arguments, check: bool = True, env: dict | None = None) -> subprocess.CompletedProcess:
    """Nothing of this machine's own Helm is read or written."""
    with tempfile.TemporaryDirectory() as home:
        own = {"HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}
        environment = os.environ | own | (env or {"KUBECONFIG": "/dev/null"})
        done = subprocess.run([places.helm(), *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert not check or done.returncode == 0, f"helm {' '.join(map(str, arguments))}: {done.stderr}"
    return done


def values_file(folder: Path, values: dict) -> Path:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def template(folder: Path, values: dict, namespace: str, check: bool = True) -> subprocess.CompletedProcess:
    return helm("template", RELEASE, CHART, "--namespace", namespace, "--values", values_file(folder, values), check=check)


def rendered(folder: Path, values: dict, namespace: str = "testkit-system") -> list[dict]:
    return objects(template(folder, values, namespace).stdout)


def kustomized(overlay: str) -> list[dict]:
    done = subprocess.run([places.kubernetes_binary("kubectl"), "kustomize", DEPLOY / overlay], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = objects(done.stdout)
    for each in built:
        if each["kind"] in OF_THE_WHOLE:
            each["metadata"].pop("namespace", None)
    return built


def objects(text: str) -> list[dict]:
    return [each for each in yaml.safe_load_all(text) if each]


def key(each: dict) -> tuple[str, str, str]:
    return each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]


def by_key(all_of_them: list[dict]) -> dict[tuple[str, str, str], dict]:
    keyed = {key(each): each for each in all_of_them}
    assert len(keyed) == len(all_of_them), f"two objects have one name: {sorted(map(key, all_of_them))}"
    return keyed


def normal(each: dict) -> dict:
    """An object without what only Helm says: its labels, and that it is kept."""
    each = json.loads(json.dumps(each))
    meta = each["metadata"]
    for of, names in (("labels", OF_HELM), ("annotations", (KEPT,))):
        if of in meta:
            meta[of] = {name: value for name, value in meta[of].items() if name not in names}
            if not meta[of]:
                del meta[of]
    return each


def differences(a, b, path: str = "") -> list[str]:
    """Where two objects differ, each as a path with both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [line for name in sorted(a.keys() | b.keys()) for line in differences(a.get(name), b.get(name), f"{path}.{name}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [line for number, (x, y) in enumerate(zip(a, b)) for line in differences(x, y, f"{path}[{number}]")]
    return [] if a == b else [f"{path}: {json.dumps(a)} in the chart, {json.dumps(b)} in the overlay"]
