"""The chart and the kustomize overlays install the same, values are refused that mean nothing, and what is kept is kept."""
import json
import re
import tomllib

import pytest
import yaml

from bed_cli import places
from manifests import CHART, DEPLOY, KEPT, by_key, differences, helm, kustomized, normal, rendered, template, values_file

ROLE = "arn:aws:iam::111122223333:role/testkit-operator"
# An overlay, the namespace that it installs into, and the values that say the same.
OVERLAYS = {
    "base": ("testkit-system", {}),
    "ha": ("testkit-system", {"replicas": 2}),
    "namespaced": ("testkit", {"scope": "Namespace"}),
    "irsa": ("testkit-system", {"aws": {"roleArn": ROLE}}),
    "hardened": ("testkit-system", {"replicas": 2, "networkPolicy": {"enabled": True}, "accessPolicy": {"enabled": True}}),
}
# In docs/cost.md it is explained.
PRICES = {"regions": {"us-east-1": {"instances": {"t3.medium": {"onDemand": "0.0416", "spot": "0.0125"}}, "volumes": {"gp3": "0.08"}}, "*": {}}}
EVERYTHING = {
    "accessCIDRs": ["10.0.0.0/8", "2001:db8::/32"], "prices": PRICES,
    "replicas": 2, "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]}, "imagePullSecrets": [{"name": "registry"}],
    "accessPolicy": {"enabled": True, "within": ["10.0.0.0/8", "2001:db8::/32"]}, "monitoring": {"podMonitor": True, "alerts": True, "dashboard": True},
    "aws": {"roleArn": ROLE}, "podLabels": {"team": "a"}, "podAnnotations": {"x": "z"}, "serviceAccount": {"annotations": {"a": "b"}},
    "nodeSelector": {"kubernetes.io/arch": "amd64"}, "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}},
    "uninstall": {"clusters": "Delete"},
    "operator": {"log": "info,testkit::run=debug", "collectEvery": "10m", "maxHold": "48h", "extraArgs": ["--unsafe-log-libraries"],
                 "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]},
}


def test_every_overlay_has_values_that_say_the_same():
    overlays = {file.parent.name for file in DEPLOY.glob("*/kustomization.yaml")}
    assert overlays == set(OVERLAYS), "deploy/ (left) and the table of this test (right): give the overlay its values"
    components = {file.parent.name for file in DEPLOY.glob("components/*/kustomization.yaml")}
    used = "".join(file.read_text() for file in DEPLOY.glob("*/kustomization.yaml"))
    assert all(f"- ../components/{name}\n" in used for name in components), f"a component of {components} is in no overlay, so that nothing compares it"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_chart_installs_what_the_overlay_does(overlay, tmp_path):
    namespace, values = OVERLAYS[overlay]
    chart, built = by_key(rendered(tmp_path, values, namespace)), by_key(kustomized(overlay))
    # Helm makes no namespace with labels: docs/operating.md says how to.
    assert built.pop(("Namespace", "", namespace))["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert chart.keys() == built.keys(), f"objects of the chart (left) and of deploy/{overlay} (right)"
    apart = [f"{'/'.join(filter(None, key))}{line}" for key in chart for line in differences(normal(chart[key]), normal(built[key]))]
    assert not apart, f"the chart and deploy/{overlay} drifted apart; make both say the same:\n" + "\n".join(apart)


def test_clusters_outlive_the_release(tmp_path):
    definitions = [each for each in rendered(tmp_path, {}) if each["kind"] == "CustomResourceDefinition"]
    assert len(definitions) == len(list((places.CHECKOUT / "crds").glob("*.yaml"))) > 0
    for each in definitions:
        assert each["metadata"]["annotations"][KEPT] == "keep"
    # Helm never upgrades what is in this folder.
    assert not (CHART / "crds").exists()


@pytest.mark.parametrize("scope", ["Cluster", "Namespace"])
def test_where_it_is_asked_for_clusters_go_before_the_operator(scope, tmp_path):
    hook = "helm.sh/hook"
    plain = rendered(tmp_path, {"scope": scope})
    assert not [each for each in plain if hook in each["metadata"].get("annotations", {})], "without being asked it deletes nothing"
    all_of_them = rendered(tmp_path, {"scope": scope, "uninstall": {"clusters": "Delete"}, "imagePullSecrets": [{"name": "registry"}]})
    hooks = {each["kind"].removeprefix("Cluster"): each for each in all_of_them if each["metadata"].get("annotations", {}).get(hook) == "pre-delete"}
    assert hooks.keys() == {"ServiceAccount", "Role", "RoleBinding", "Job"}
    assert {each["kind"].startswith("Cluster") for kind, each in hooks.items() if kind.startswith("Role")} == {scope == "Cluster"}
    for each in hooks.values():
        assert "hook-succeeded" in each["metadata"]["annotations"]["helm.sh/hook-delete-policy"], "what may delete everything is not left behind"
    [subject], account = hooks["RoleBinding"]["subjects"], hooks["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert hooks["RoleBinding"]["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": hooks["Role"]["kind"], "name": hooks["Role"]["metadata"]["name"]}

    [deployment] = [each for each in all_of_them if each["kind"] == "Deployment"]
    job, operator = hooks["Job"]["spec"]["template"], deployment["spec"]["template"]
    assert job["spec"]["serviceAccountName"] == account["name"]
    assert not deployment["spec"]["selector"]["matchLabels"].items() <= job["metadata"]["labels"].items(), "the Deployment would take its pod for its own"
    for field in ("securityContext", "imagePullSecrets"):
        assert job["spec"][field] == operator["spec"][field]
    [container], [other] = job["spec"]["containers"], operator["spec"]["containers"]
    assert [container[field] for field in ("image", "securityContext", "resources")] == [other[field] for field in ("image", "securityContext", "resources")]
    assert container["args"][-1] == "delete-clusters" and any(word.startswith("--namespace=") for word in container["args"]) == (scope == "Namespace")


def test_a_tenant_without_rights_on_the_whole_cluster_can_install_it(tmp_path):
    values = {"scope": "Namespace", "installation": "team-a", "crds": {"install": False}, "userRoles": False, "secretsPolicy": False}
    all_of_them = rendered(tmp_path, values, "team-a")
    assert {each["kind"] for each in all_of_them} == {"Deployment", "ServiceAccount", "Role", "RoleBinding"}
    assert {each["metadata"]["namespace"] for each in all_of_them} == {"team-a"}
    assert "--installation=team-a" in arguments(all_of_them)


def arguments(all_of_them):
    return container(all_of_them)["args"]


def container(all_of_them):
    [deployment] = [each for each in all_of_them if each["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]["containers"][0]


def test_every_value_arrives(tmp_path):
    all_of_them = by_key(rendered(tmp_path, EVERYTHING))
    keyed = {kind: each for (kind, _, _), each in all_of_them.items()}
    pod = keyed["Deployment"]["spec"]["template"]
    assert arguments([keyed["Deployment"]])[2:] == [
        "--access-cidrs=10.0.0.0/8,2001:db8::/32", "--collect-every=10m", "--log=info,testkit::run=debug", "--max-hold=48h", "--prices=/etc/testkit/prices.yaml",
        "--unsafe-log-libraries",
    ]
    assert pod["metadata"]["labels"] == {"app.kubernetes.io/name": "testkit-operator", "team": "a"}
    assert pod["metadata"]["annotations"]["x"] == "z"
    for field in ("nodeSelector", "tolerations", "affinity", "imagePullSecrets"):
        assert pod["spec"][field] == EVERYTHING[field]
    assert container([keyed["Deployment"]])["env"][1:] == EVERYTHING["operator"]["env"]
    assert all_of_them["ServiceAccount", "testkit-system", "testkit-operator"]["metadata"]["annotations"] == {"a": "b", "eks.amazonaws.com/role-arn": ROLE}
    assert keyed["NetworkPolicy"]["spec"]["ingress"][0]["from"] == [{"namespaceSelector": {}}]
    [_, within] = all_of_them["ValidatingAdmissionPolicy", "", "testkit-access"]["spec"]["validations"]
    assert "['10.0.0.0/8', '2001:db8::/32']" in within["expression"] and "10.0.0.0/8, 2001:db8::/32" in within["message"]
    assert keyed["PrometheusRule"]["spec"] == yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())
    [board] = [each for (kind, _, name), each in all_of_them.items() if kind == "ConfigMap" and name != "testkit-operator-prices"]
    assert json.loads(board["data"]["testkit.json"]) == json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    assert keyed["PodMonitor"]["spec"]["selector"]["matchLabels"] == keyed["Deployment"]["spec"]["selector"]["matchLabels"]


def test_nobody_may_reach_hosts_before_somebody_says_who(tmp_path):
    """Neither the chart nor an overlay has a default."""
    everywhere = [rendered(tmp_path, {}), *map(kustomized, OVERLAYS)]
    assert not [argument for all_of_them in everywhere for argument in arguments(all_of_them) if "access" in argument]


def test_a_price_table_is_mounted_and_another_one_has_the_pods_replaced(tmp_path):
    first, second = rendered(tmp_path, {"prices": PRICES}), rendered(tmp_path, {"prices": {"regions": {}}})
    [table] = [each for each in first if each["metadata"]["name"] == "testkit-operator-prices"]
    [(file, text)] = table["data"].items()
    assert yaml.safe_load(text) == PRICES
    [mount] = container(first)["volumeMounts"]
    assert f"--prices={mount['mountPath']}/{file}" in arguments(first)
    templates = [each["spec"]["template"] for both in (first, second) for each in both if each["kind"] == "Deployment"]
    assert [v["configMap"]["name"] for v in templates[0]["spec"]["volumes"] if v["name"] == mount["name"]] == [table["metadata"]["name"]]
    assert templates[0]["metadata"]["annotations"] != templates[1]["metadata"]["annotations"]
    assert not any(word in json.dumps(rendered(tmp_path, {})) for word in ("--prices", "operator-prices", "testkit.dev/prices"))


@pytest.mark.parametrize(("image", "named"), [
    ({}, "testkit-operator:0.1.0"),
    ({"repository": "registry.example/testkit", "tag": "x"}, "registry.example/testkit:x"),
    ({"tag": "x", "digest": f"sha256:{'0' * 64}"}, f"testkit-operator@sha256:{'0' * 64}"),
])
def test_an_image_is_named_by_digest_before_tag_before_version(image, named, tmp_path):
    assert container(rendered(tmp_path, {"image": image}))["image"] == named


@pytest.mark.parametrize(("values", "pod", "made"), [
    ({}, None, False), ({"replicas": 2}, "testkit-operator", True),
    ({"replicas": 2, "priorityClassName": "own"}, "own", False), ({"priorityClassName": "own"}, "own", False),
])
def test_a_priority_class_is_there_when_pods_have_it(values, pod, made, tmp_path):
    all_of_them = rendered(tmp_path, values)
    [deployment] = [each for each in all_of_them if each["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"].get("priorityClassName") == pod
    assert any(each["kind"] == "PriorityClass" for each in all_of_them) == made


def test_labels_and_annotations_that_are_said_twice_are_there_once(tmp_path):
    values = {"podAnnotations": {"prometheus.io/scrape": "false", "own": "1"}, "podLabels": {"app.kubernetes.io/name": "own", "team": "ci"}}
    [deployment] = [each for each in rendered(tmp_path, values) if each["kind"] == "Deployment"]
    metadata, selector = deployment["spec"]["template"]["metadata"], deployment["spec"]["selector"]["matchLabels"]
    assert metadata["labels"] == selector | {"team": "ci"}
    assert metadata["annotations"] == {"prometheus.io/scrape": "false", "prometheus.io/port": "8080", "prometheus.io/path": "/metrics", "own": "1"}
    # A parser of YAML takes the last of two: the text has to have one.
    assert template(tmp_path, values, "testkit-system").stdout.count("prometheus.io/scrape") == 1


@pytest.mark.parametrize("values", [
    {"accessCIDRs": "10.0.0.0/8"}, {"accessCIDRs": ["the world"]}, {"replica": 2}, {"replicas": "two"}, {"replicas": -1}, {"scope": "Everywhere"}, {"installation": "prod*"}, {"image": {"digest": "sha256:0"}},
    {"image": {"repository": ""}}, {"image": {"pullPolicy": "Sometimes"}}, {"aws": {"roleArn": "testkit-operator"}}, {"crds": {"keep": False}},
    {"operator": {"logFormat": "xml"}, }, {"operator": {"collectEvery": "5 minutes"}}, {"operator": {"extraArgs": ["lease"]}},
    {"operator": {"env": [{"name": "POD_NAMESPACE", "value": "x"}]}}, {"accessPolicy": {"within": ["anywhere"]}},
    {"accessPolicy": {"within": ["10.0.0.0/8'] || ['"]}}, {"networkPolicy": {"egressPorts": [0]}}, {"networkPolicy": {"egressPorts": []}},
    {"prices": {"region": {}}}, {"prices": {"regions": {"useast1": {}}}}, {"prices": {"regions": {"us-east-1": {"instances": {"t3.medium": {"onDemand": 0.0416}}}}}},
    {"prices": {"regions": {"us-east-1": {"instances": {"t3.medium": {"spot": "0.0125"}}}}}}, {"prices": {"regions": {"us-east-1": {"volumes": {"io2": "1"}}}}},
    {"resources": {"limit": {}}}, {"podLabels": {"a": 1}}, {"monitoring": {"alerts": "yes"}}, {"imagePullSecrets": ["registry"]},
], ids=json.dumps)
def test_what_no_value_can_be_is_refused(values, tmp_path):
    done = template(tmp_path, values, "testkit-system", check=False)
    assert done.returncode != 0 and "values don't meet the specifications of the schema" in done.stderr, done.stderr
    # It names the value that is wrong, or the name that is none.
    assert next(iter(values)) in done.stderr or "invalid propertyName" in done.stderr


def test_every_value_has_a_comment_and_a_schema():
    lines = (CHART / "values.yaml").read_text().splitlines()
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load("\n".join(lines))

    def look(values, schema, path):
        properties = {name for name in schema.get("properties", {}) if name != "global"}
        assert values.keys() == properties, f"{path}: values.yaml (left) and values.schema.json (right)"
        for name, value in values.items():
            [number] = [n for n, line in enumerate(lines) if re.match(rf"{'  ' * len(path)}{name}:", line) and heading(n) == path]
            of = schema["properties"][name]
            if isinstance(value, dict) and "properties" in of and name != "resources":
                look(value, of, (*path, name))
            else:
                assert lines[number - 1].lstrip().startswith("#"), f"{'.'.join((*path, name))} has no comment in values.yaml"

    def heading(number):
        """The names that a line is under."""
        indent, names = len(lines[number]) - len(lines[number].lstrip()), []
        for line in reversed(lines[:number]):
            here = len(line) - len(line.lstrip())
            if line.strip() and not line.lstrip().startswith("#") and here < indent:
                names, indent = [line.strip().partition(":")[0], *names], here
        return tuple(names)

    look(values, schema, ())


def test_every_value_is_used():
    templates = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.(\w+(?:\.\w+)?)", templates))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    nested = {"image", "aws", "operator", "crds", "accessPolicy", "networkPolicy", "monitoring", "serviceAccount", "uninstall"}
    assert used == {f"{name}.{inner}" for name in nested for inner in values[name]} | values.keys() - nested


def test_versions_agree():
    version = tomllib.loads((places.CHECKOUT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    [image] = yaml.safe_load((DEPLOY / "base" / "kustomization.yaml").read_text())["images"]
    assert (chart["version"], chart["appVersion"], image["newTag"]) == (version,) * 3


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_lint_has_nothing_to_say(values, tmp_path):
    said = helm("lint", CHART, "--strict", "--quiet", "--values", values_file(tmp_path, values), check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_package_is_whole_without_the_checkout(tmp_path):
    helm("package", CHART, "--destination", tmp_path)
    [package] = tmp_path.glob("testkit-*.tgz")
    assert helm("template", "testkit", package).stdout == helm("template", "testkit", CHART).stdout
