//! What the roles in `deploy/base` allow, as the API server's own authorizer sees it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::api_server::{Namespace, can, install};

const OPERATOR: &str = "system:serviceaccount:testkit-system:testkit-operator";

/// How long the API server may take to go by a role that it was given, or to have one that it makes of others.
const TAKEN_UP: Duration = Duration::from_secs(60);

/// A verb, a resource (`TYPE`, `TYPE/NAME` or `TYPE#SUBRESOURCE`), and a namespace, where `*` is all of them.
type Question = (&'static str, &'static str, &'static str);

#[test]
fn the_operator_may_do_what_it_does_and_no_more() {
    install("deploy/base");
    let may: [Question; 38] = [
        ("list", "swarmclusters.testkit.dev", "*"),
        ("watch", "swarmclusters.testkit.dev", "*"),
        ("patch", "swarmclusters.testkit.dev", "*"),
        ("delete", "swarmclusters.testkit.dev", "*"),
        ("create", "swarmclusters.testkit.dev", "*"),
        ("patch", "swarmclusters.testkit.dev#status", "*"),
        ("update", "swarmclusters.testkit.dev#finalizers", "*"),
        ("get", "e2eruns.testkit.dev", "*"),
        ("list", "e2eruns.testkit.dev", "*"),
        ("watch", "e2eruns.testkit.dev", "*"),
        ("patch", "e2eruns.testkit.dev", "*"),
        ("patch", "e2eruns.testkit.dev#status", "*"),
        ("create", "e2eruns.testkit.dev", "*"),
        ("delete", "e2eruns.testkit.dev", "*"),
        ("list", "e2eschedules.testkit.dev", "*"),
        ("watch", "e2eschedules.testkit.dev", "*"),
        ("patch", "e2eschedules.testkit.dev#status", "*"),
        ("update", "e2eschedules.testkit.dev#finalizers", "*"),
        ("list", "e2ematrices.testkit.dev", "*"),
        ("watch", "e2ematrices.testkit.dev", "*"),
        ("delete", "e2ematrices.testkit.dev", "*"),
        ("patch", "e2ematrices.testkit.dev#status", "*"),
        ("update", "e2ematrices.testkit.dev#finalizers", "*"),
        ("get", "secrets", "*"),
        ("create", "secrets", "*"),
        ("patch", "secrets", "*"),
        ("get", "configmaps", "*"),
        ("create", "configmaps", "*"),
        ("delete", "configmaps", "*"),
        ("create", "events.events.k8s.io", "*"),
        ("patch", "events.events.k8s.io", "*"),
        ("get", "namespaces/kube-system", "*"),
        ("create", "leases.coordination.k8s.io", "testkit-system"),
        ("get", "leases.coordination.k8s.io/testkit-operator", "testkit-system"),
        ("watch", "leases.coordination.k8s.io/testkit-operator", "testkit-system"),
        ("update", "leases.coordination.k8s.io/testkit-operator", "testkit-system"),
        ("get", "configmaps/testkit-operator-places", "testkit-system"),
        ("patch", "configmaps/testkit-operator-places", "testkit-system"),
    ];
    let may_not: [Question; 18] = [
        ("list", "secrets", "default"),
        ("watch", "secrets", "default"),
        ("delete", "secrets", "default"),
        ("update", "secrets", "default"),
        ("list", "configmaps", "default"),
        ("patch", "configmaps", "default"),
        ("patch", "configmaps/another", "testkit-system"),
        ("patch", "e2eschedules.testkit.dev", "default"),
        ("delete", "e2eschedules.testkit.dev", "default"),
        ("patch", "e2ematrices.testkit.dev", "default"),
        ("create", "pods", "default"),
        ("get", "namespaces/default", "default"),
        ("get", "nodes", "*"),
        ("update", "leases.coordination.k8s.io/another", "testkit-system"),
        ("list", "leases.coordination.k8s.io", "testkit-system"),
        ("delete", "leases.coordination.k8s.io/testkit-operator", "testkit-system"),
        ("create", "leases.coordination.k8s.io", "default"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io", "*"),
    ];
    all(OPERATOR, &may, true);
    all(OPERATOR, &may_not, false);
}

#[test]
fn in_one_namespace_the_operator_may_do_nothing_elsewhere() {
    install("deploy/namespaced");
    let who = "system:serviceaccount:testkit:testkit-operator";
    for (namespace, expected) in [("testkit", true), ("default", false), ("*", false)] {
        let there: [Question; 9] = [
            ("watch", "swarmclusters.testkit.dev", namespace),
            ("patch", "swarmclusters.testkit.dev#status", namespace),
            ("patch", "e2eruns.testkit.dev", namespace),
            ("get", "secrets", namespace),
            ("create", "secrets", namespace),
            ("create", "configmaps", namespace),
            ("create", "events.events.k8s.io", namespace),
            ("create", "leases.coordination.k8s.io", namespace),
            ("update", "leases.coordination.k8s.io/testkit-operator", namespace),
        ];
        all(who, &there, expected);
    }
    all(who, &[("list", "secrets", "testkit"), ("get", "namespaces/default", "*")], false);
}

#[test]
fn of_what_others_made_the_operator_changes_the_finalizers_only() {
    install("deploy/base");
    let namespace = Namespace::new("secrets");
    let secret = |name: &str, labels: serde_json::Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "data": {"k": "dg=="}});
    namespace.apply(&secret("theirs", json!({"app": "x"}))).unwrap();
    namespace.apply(&secret("own", json!({"app.kubernetes.io/managed-by": "testkit-operator"}))).unwrap();
    let change = json!({"data": {"k": "dzI="}});
    let mark = json!({"metadata": {"finalizers": ["testkit.dev/credentials"]}});
    let seize = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "testkit-operator"}}});
    // The policy takes a moment until the API server goes by it.
    let refused = |patch: &serde_json::Value| {
        let mut answers = (0..500).map(|_| namespace.patch_as(OPERATOR, "secret/theirs", patch));
        answers.find_map(Result::err).unwrap()
    };
    assert!(refused(&change).contains("finalizers"), "{}", refused(&change));
    assert!(refused(&seize).contains("finalizers"));
    namespace.patch_as(OPERATOR, "secret/theirs", &mark).unwrap();
    namespace.patch_as(OPERATOR, "secret/theirs", &json!({"metadata": {"finalizers": null}})).unwrap();
    namespace.patch_as(OPERATOR, "secret/own", &change).unwrap();
}

#[test]
fn people_may_do_what_their_role_says() {
    install("deploy/base");
    let namespace = Namespace::new("roles");
    for role in ["view", "edit", "testkit-user"] {
        namespace.apply(&binding(role)).unwrap();
    }
    let here = namespace.name();
    let look = [
        ("get", "swarmclusters.testkit.dev", here),
        ("list", "e2eruns.testkit.dev", here),
        ("watch", "e2eschedules.testkit.dev", here),
        ("get", "e2ematrices.testkit.dev", here),
    ];
    let change = [
        ("create", "swarmclusters.testkit.dev", here),
        ("delete", "e2eruns.testkit.dev", here),
        ("patch", "e2eschedules.testkit.dev", here),
        ("create", "e2ematrices.testkit.dev", here),
    ];
    let keys = [("get", "secrets", here)];
    for role in ["view", "edit", "testkit-user"] {
        all(&user(role), &look, true);
        all(&user(role), &change, role == "edit");
        all(&user(role), &keys, role != "view");
        all(&user(role), &[("get", "swarmclusters.testkit.dev", "default"), ("get", "secrets", "default")], false);
        for kind in ["swarmclusters", "e2eruns", "e2eschedules", "e2ematrices"] {
            for verb in ["patch", "update"] {
                let status = format!("{kind}.testkit.dev#status");
                all(&user(role), &[(verb, status.as_str(), here)], false);
            }
        }
    }
    all(&user("testkit-user"), &[("list", "secrets", here)], false);
    // A job makes runs, and reads and removes nothing else.
    namespace.apply(&binding("testkit-ci")).unwrap();
    let job = [
        ("create", "e2eruns.testkit.dev", here),
        ("patch", "e2eruns.testkit.dev", here),
        ("watch", "swarmclusters.testkit.dev", here),
        ("get", "configmaps", here),
    ];
    all(&user("testkit-ci"), &job, true);
    let not_of_a_job = [
        ("get", "secrets", here),
        ("delete", "e2eruns.testkit.dev", here),
        ("create", "swarmclusters.testkit.dev", here),
        ("list", "configmaps", here),
        ("list", "events", here),
        ("create", "e2eruns.testkit.dev", "default"),
    ];
    all(&user("testkit-ci"), &not_of_a_job, false);
}

fn user(role: &str) -> String {
    format!("who-has-{role}")
}

fn binding(role: &str) -> serde_json::Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user(role)}],
    })
}

fn all(who: &str, questions: &[(&str, &str, &str)], expected: bool) {
    for (verb, resource, namespace) in questions {
        let deadline = Instant::now() + TAKEN_UP;
        while can(who, verb, resource, namespace) != expected {
            let may = if expected { "may not" } else { "may" };
            assert!(Instant::now() < deadline, "{who} {may} {verb} {resource} in {namespace}");
        }
    }
}
