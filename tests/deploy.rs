//! The manifests in `deploy/` fit each other, and what the operator does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]
#![allow(clippy::print_stdout, reason = "what a test could not try is said where its result is")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Parser as _;
use serde_json::Value;
use testkit::operator::Config;

#[path = "deploy/users.rs"]
mod users;

/// What the code does with each type that it has a `kube::Api` of, and the rules that come with it: group, resource, the
/// only name where there is one, verbs.
type Need = (&'static str, &'static str, &'static str, Option<&'static str>, &'static [&'static str]);

/// Wherever clusters and runs are served.
const SERVED: [Need; 15] = [
    ("SwarmCluster", "testkit.dev", "swarmclusters", None, &["get", "list", "watch", "create", "patch", "delete"]),
    ("SwarmCluster", "testkit.dev", "swarmclusters/status", None, &["patch"]),
    ("SwarmCluster", "testkit.dev", "swarmclusters/finalizers", None, &["update"]),
    ("E2ERun", "testkit.dev", "e2eruns", None, &["get", "list", "watch", "create", "patch", "delete"]),
    ("E2ERun", "testkit.dev", "e2eruns/status", None, &["patch"]),
    ("E2ERun", "testkit.dev", "e2eruns/finalizers", None, &["update"]),
    ("E2ESchedule", "testkit.dev", "e2eschedules", None, &["list", "watch"]),
    ("E2ESchedule", "testkit.dev", "e2eschedules/status", None, &["patch"]),
    ("E2ESchedule", "testkit.dev", "e2eschedules/finalizers", None, &["update"]),
    ("E2EMatrix", "testkit.dev", "e2ematrices", None, &["list", "watch", "delete"]),
    ("E2EMatrix", "testkit.dev", "e2ematrices/status", None, &["patch"]),
    ("E2EMatrix", "testkit.dev", "e2ematrices/finalizers", None, &["update"]),
    ("Secret", "", "secrets", None, &["get", "create", "patch"]),
    ("ConfigMap", "", "configmaps", None, &["get", "create", "delete"]),
    // By kube's Recorder.
    ("", "events.k8s.io", "events", None, &["create", "patch"]),
];
/// In the namespace of the operator.
const OWN: [Need; 5] = [
    ("Lease", "coordination.k8s.io", "leases", None, &["create"]),
    ("Lease", "coordination.k8s.io", "leases", Some("testkit-operator"), &["get", "watch", "update"]),
    ("ConfigMap", "", "configmaps", None, &["create"]),
    ("ConfigMap", "", "configmaps", Some("testkit-operator-places"), &["get", "patch"]),
    ("ConfigMap", "", "configmaps", Some("testkit-operator-version"), &["patch"]),
];
/// Once, for the name of the installation.
const INSTALLATION: [Need; 1] = [("Namespace", "", "namespaces", Some("kube-system"), &["get"])];

/// A rule, taken apart: verb, group, resource, name.
type Grant = (String, String, String, Option<String>);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn objects(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    let all = serde_yaml_ng::Deserializer::from_str(text).map(|part| Value::deserialize(part).unwrap());
    all.filter(|object| !object.is_null()).collect()
}

fn read(file: &str) -> Vec<Value> {
    objects(&fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}")))
}

fn base() -> Vec<Value> {
    ["rbac-operator.yaml", "service-account.yaml", "deployment.yaml"]
        .iter()
        .flat_map(|file| read(&format!("deploy/base/{file}")))
        .collect()
}

fn find<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    all.iter()
        .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect()
}

fn granted(role: &Value) -> BTreeSet<Grant> {
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        let names = strings(&rule["resourceNames"]);
        let names = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    all.extend(names.iter().map(|n| (verb.clone(), group.clone(), resource.clone(), n.clone())));
                }
            }
        }
    }
    all
}

fn needed(needs: &[Need]) -> BTreeSet<Grant> {
    let of = |(_, group, resource, name, verbs): &Need| -> Vec<Grant> {
        let grant =
            |verb: &&str| ((*verb).to_owned(), (*group).to_owned(), (*resource).to_owned(), name.map(str::to_owned));
        verbs.iter().map(grant).collect()
    };
    needs.iter().flat_map(of).collect()
}

#[test]
fn the_operator_is_granted_what_it_does_and_nothing_else() {
    let all = base();
    for (kind, name, needs) in [
        ("ClusterRole", "testkit-operator", &SERVED[..]),
        ("ClusterRole", "testkit-operator-installation", &INSTALLATION[..]),
        ("Role", "testkit-operator-lease", &OWN[..]),
    ] {
        assert_eq!(
            granted(find(&all, kind, name)),
            needed(needs),
            "{kind} {name} (left) and what the code does (right)"
        );
    }
}

#[test]
fn in_one_namespace_the_same_is_granted() {
    let role = read("deploy/namespaced/role.yaml");
    assert_eq!(granted(find(&role, "Role", "testkit-operator")), needed(&SERVED));
}

/// Every type that the operator's rooms ask the API server for.
#[test]
fn no_type_is_used_that_is_not_in_the_table() {
    let mut used = BTreeSet::new();
    for file in sources(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for rest in text.split("Api<").skip(1).chain(text.split("Api::<").skip(1)) {
            let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
            used.insert(name);
        }
    }
    used.remove("K");
    let table = SERVED.iter().chain(&OWN).chain(&INSTALLATION).map(|need| need.0.to_owned()).filter(|t| !t.is_empty());
    assert_eq!(used, table.collect(), "src (left) and the table of this test (right): add its rules to deploy/");
}

/// The sources of the operator: the plugin acts as the person who calls it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let deeper = folders.iter().filter(|f| !f.ends_with("src/cli") && !f.ends_with("tests")).flat_map(|f| sources(f));
    deeper
        .chain(files.into_iter().filter(|f| f.extension().is_some_and(|e| e == "rs") && !f.ends_with("tests.rs")))
        .collect()
}

#[test]
fn names_agree() {
    let all = base();
    let deployment = find(&all, "Deployment", "testkit-operator");
    let pod = &deployment["spec"]["template"];
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
    find(&all, "ServiceAccount", account);
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
    bindings_fit(&all, account);

    let container = &pod["spec"]["containers"][0];
    let ports: BTreeMap<_, _> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["name"].as_str().unwrap(), &p["containerPort"]))
        .collect();
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["path"], path);
        assert!(ports.contains_key(get["port"].as_str().unwrap()), "{probe}: {get}");
    }
    let args = strings(&container["args"]).into_iter().map(|arg| arg.replace("$(POD_NAMESPACE)", "a-namespace"));
    let config = Config::try_parse_from(std::iter::once("testkit-operator".to_owned()).chain(args)).unwrap();
    let lease = config.lease.unwrap();
    assert_eq!(lease.namespace, "a-namespace");
    let named = granted(find(&all, "Role", "testkit-operator-lease"));
    let update = ("update".to_owned(), "coordination.k8s.io".to_owned(), "leases".to_owned(), Some(lease.name));
    assert!(named.contains(&update), "{named:?}");
    assert_eq!(ports["http"], &Value::from(config.listen.port()));
    let scraped = &pod["metadata"]["annotations"];
    assert_eq!(scraped["prometheus.io/port"], config.listen.port().to_string());
}

/// Every binding is of a role that is there, to the operator's ServiceAccount, but for what everybody may read.
fn bindings_fit(all: &[Value], account: &str) {
    let bindings: Vec<_> =
        all.iter().filter(|o| o["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding"))).collect();
    assert!(!bindings.is_empty());
    for binding in bindings {
        let of = &binding["roleRef"];
        let role = find(all, of["kind"].as_str().unwrap(), of["name"].as_str().unwrap());
        // What kustomize fills in. A Role that is bound elsewhere grants nothing.
        let home = &find(all, "ServiceAccount", account)["metadata"]["namespace"];
        assert_eq!(role["metadata"]["namespace"], binding["metadata"]["namespace"]);
        let subject = &binding["subjects"][0];
        if subject["kind"] == "Group" {
            assert_eq!((&subject["name"], &role["metadata"]["namespace"]), (&"system:authenticated".into(), home));
            let told =
                ("get".to_owned(), String::new(), "configmaps".to_owned(), Some("testkit-operator-version".to_owned()));
            assert_eq!(granted(role), [told].into());
            continue;
        }
        assert_eq!((&subject["kind"], &subject["name"]), (&"ServiceAccount".into(), &account.into()));
        assert_eq!(&subject["namespace"], home, "{}", binding["metadata"]["name"]);
    }
}

#[test]
fn every_variant_can_be_built_and_is_whole() {
    for (folder, namespace, two) in [
        ("base", "testkit-system", false),
        ("ha", "testkit-system", true),
        ("irsa", "testkit-system", false),
        ("hardened", "testkit-system", true),
        ("namespaced", "testkit", false),
    ] {
        let built =
            Command::new("kubectl").args(["kustomize", &format!("deploy/{folder}")]).current_dir(root()).output();
        let Ok(built) = built else {
            println!("deploy/{folder} was not built: there is no kubectl on this machine");
            return;
        };
        assert!(built.status.success(), "deploy/{folder}: {}", String::from_utf8_lossy(&built.stderr));
        let all = objects(&String::from_utf8(built.stdout).unwrap());
        find(&all, "Namespace", namespace);
        let account = find(&all, "ServiceAccount", "testkit-operator");
        assert_eq!(account["metadata"]["namespace"], namespace);
        bindings_fit(&all, "testkit-operator");
        let cluster_wide =
            all.iter().any(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == "testkit-operator");
        let deployment = &find(&all, "Deployment", "testkit-operator")["spec"];
        let args = strings(&deployment["template"]["spec"]["containers"][0]["args"]);
        let one = args.iter().any(|arg| arg == "--namespace=$(POD_NAMESPACE)");
        assert_eq!((cluster_wide, one), (folder != "namespaced", folder == "namespaced"), "deploy/{folder}");
        let replicas = deployment["replicas"].as_u64().unwrap();
        assert_eq!(replicas, if two { 2 } else { 1 });
        let class = &deployment["template"]["spec"]["priorityClassName"];
        let made = all.iter().find(|o| o["kind"] == "PriorityClass").map(|o| &o["metadata"]["name"]);
        assert_eq!(made, class.as_str().map(|_| class), "a class that is not there refuses every pod");
        let budget = all.iter().find(|o| o["kind"] == "PodDisruptionBudget");
        assert_eq!(budget.is_some(), replicas > 1, "with one replica a budget holds up every drain");
        if let Some(budget) = budget {
            // kustomize gives what a component adds no namespace by itself, and elsewhere it protects nothing.
            assert_eq!(budget["metadata"]["namespace"], namespace);
            assert_eq!(budget["spec"]["selector"], deployment["selector"]);
            assert!(budget["spec"]["minAvailable"].as_u64().unwrap() < replicas);
        }
    }
}
