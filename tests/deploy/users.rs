//! docs/users.md against the verbs of the plugin and the roles for people.

use std::collections::BTreeSet;

use super::{find, granted, read};

const PAGE: &str = include_str!("../../docs/users.md");
const LOOK: [&str; 3] = ["get", "list", "watch"];

/// What Kubernetes' own roles let people look at, of what the plugin asks for: policy.go in
/// plugin/pkg/auth/authorizer/rbac/bootstrappolicy of Kubernetes. All else that they have of it is added by ours.
const OF_KUBERNETES: [(&str, &[&str]); 3] = [
    ("admin", &["configmaps", "events", "secrets"]),
    ("edit", &["configmaps", "events", "secrets"]),
    ("view", &["configmaps", "events"]),
];

/// The users, by the page's columns, and the roles they are bound to.
const USERS: [(&str, &[&str]); 5] = [
    ("admin", &["admin"]),
    ("edit", &["edit"]),
    ("view and testkit-user", &["view", "testkit-user"]),
    ("testkit-ci", &["testkit-ci"]),
    ("nobody", &[]),
];

/// The lines of the page's table, the first with what the columns are.
fn table() -> Vec<Vec<&'static str>> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with("| verb ")).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What a role has, as verb and resource.
fn of_role(role: &str) -> BTreeSet<String> {
    let ours = read("deploy/base/rbac-users.yaml");
    let aggregated = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
    let of_kubernetes = OF_KUBERNETES.iter().find(|(name, _)| *name == role);
    if of_kubernetes.is_none() {
        find(&ours, "ClusterRole", role);
    }
    let added = ours.iter().filter(|object| {
        object["metadata"]["name"] == role || object["metadata"]["labels"][aggregated.as_str()] == "true"
    });
    let added = added.flat_map(granted).map(|(verb, _, resource, _)| format!("{verb} {resource}"));
    let looked_at = of_kubernetes.into_iter().flat_map(|(_, resources)| *resources);
    added.chain(looked_at.flat_map(|resource| LOOK.map(|verb| format!("{verb} {resource}")))).collect()
}

/// What becomes of a verb: `needs` is what it ends without, `without` what it goes on without.
fn becomes(may: &BTreeSet<String>, needs: &str, without: &str) -> String {
    let has = |permission: &str| may.contains(permission.trim_matches('`'));
    if needs != "nothing" && !needs.split(", ").all(has) {
        return "refused".to_owned();
    }
    let mut lacks = Vec::new();
    for one in without.split("; ").filter(|one| !one.is_empty()) {
        let (permission, what) = one.split_once(": ").unwrap_or_else(|| panic!("{one}: a colon is missing"));
        if !has(permission) && !lacks.contains(&what) {
            lacks.push(what);
        }
    }
    if lacks.is_empty() { "works".to_owned() } else { format!("without {}", lacks.join(", ")) }
}

#[test]
fn the_page_has_what_becomes_of_a_verb_by_the_shipped_roles() {
    let table = table();
    assert_eq!(table[0][3..], USERS.map(|(user, _)| user));
    for (at, (user, roles)) in USERS.iter().enumerate() {
        let may: BTreeSet<String> = roles.iter().flat_map(|role| of_role(role)).collect();
        for row in &table[2..] {
            let [done, needs, without] = [row[0], row[1], row[2]];
            assert_eq!(row[3 + at], becomes(&may, needs, without), "{user}: {done} (the page's word is left)");
            // A permission that is misspelt is nobody's.
            assert!(*user != "admin" || row[3] == "works", "{done}");
        }
    }
}

#[test]
fn the_page_has_every_verb_and_no_other() {
    let verbs: BTreeSet<String> =
        testkit::cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let rows = table();
    let told = rows[2..].iter().map(|row| row[0].split(['`', ' ']).nth(1).unwrap_or_default().to_owned());
    assert_eq!(told.collect::<BTreeSet<_>>(), verbs, "docs/users.md (left) and kubectl testkit --help (right)");
}
