//! Which node a person means: by name, slot, role, instance or address.

use crate::api::{Machine, NodeRole, NodeState, NodeStatus, SwarmCluster, type_};
use crate::cli::{failure::Failure, suggest};

/// The one node meant; without a word for it the leader, or else a ready manager.
pub fn one<'a>(cluster: &'a SwarmCluster, word: Option<&str>) -> Result<&'a NodeStatus, Failure> {
    let nodes = of(cluster)?;
    let best = |fits: &dyn Fn(&NodeStatus) -> bool| {
        nodes.iter().filter(|n| fits(n)).max_by_key(|n| (n.leader, n.state == NodeState::Ready, n.address.is_some()))
    };
    let found = match word {
        None | Some("leader") => best(&|n| n.role == NodeRole::Manager),
        Some("manager") => best(&|n| n.role == NodeRole::Manager),
        Some("worker") => best(&|n| n.role == NodeRole::Worker),
        Some(word) => nodes.iter().find(|n| is_called(cluster, n, word)),
    };
    found.ok_or_else(|| unknown(cluster, nodes, word.unwrap_or("leader")))
}

/// All nodes meant: `managers`, `workers`, `all`, or one.
pub fn several<'a>(cluster: &'a SwarmCluster, word: &str) -> Result<Vec<&'a NodeStatus>, Failure> {
    let nodes = of(cluster)?;
    let role = match word {
        "all" => return Ok(nodes.iter().collect()),
        "managers" => NodeRole::Manager,
        "workers" => NodeRole::Worker,
        word => return one(cluster, Some(word)).map(|node| vec![node]),
    };
    let found: Vec<_> = nodes.iter().filter(|n| n.role == role).collect();
    if found.is_empty() { Err(unknown(cluster, nodes, word)) } else { Ok(found) }
}

/// The nodes of a cluster that has any.
pub fn of(cluster: &SwarmCluster) -> Result<&[NodeStatus], Failure> {
    match cluster.status.as_ref().map(|s| s.nodes.as_slice()) {
        Some([]) | None => Err(not_ready(cluster, "it has no nodes yet")),
        Some(nodes) => Ok(nodes),
    }
}

/// The cluster is not so far; `or_else` is said where its status says nothing.
pub fn not_ready(cluster: &SwarmCluster, or_else: &str) -> Failure {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let ready = cluster.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == type_::READY);
    let why = ready.filter(|c| c.status != "True").map_or(or_else, |c| c.message.as_str());
    let failure = Failure::new(format!("cluster {name:?} is not ready: {why}"));
    match ready {
        None => failure.help("see that the operator runs: it has not said anything about this cluster"),
        Some(_) => failure
            .help(format!("wait for it: kubectl wait --for=condition=Ready swarmcluster/{name} --timeout=10m"))
            .help(format!("see what it waits for: kubectl testkit describe {name}")),
    }
}

fn is_called(cluster: &SwarmCluster, node: &NodeStatus, word: &str) -> bool {
    let slot = cluster.metadata.name.as_deref().and_then(|c| node.name.strip_prefix(c)?.strip_prefix('-'));
    node.name == word
        || slot == Some(word)
        || [&node.instance_id, &node.address, &node.private_address, &node.node_id]
            .into_iter()
            .any(|id| id.as_deref().is_some_and(|id| id == word || Machine::name_of(id) == Some(word)))
}

fn unknown(cluster: &SwarmCluster, nodes: &[NodeStatus], word: &str) -> Failure {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let names: Vec<String> = nodes.iter().map(|n| n.name.clone()).collect();
    suggest::among(Failure::new(format!("cluster {name:?} has no node {word:?}")), word, "node", Some(&names))
        .help("a node is named by name, slot (m0), instance id, address, leader, manager or worker")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> SwarmCluster {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster",
            "metadata": {"name": "foo"},
            "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
            "status": {"nodes": [
                {"name": "foo-m0", "role": "Manager", "state": "Down", "address": "10.0.0.1", "instanceId": "i-1"},
                {"name": "foo-m1", "role": "Manager", "state": "Ready", "leader": true, "address": "10.0.0.2"},
                {"name": "foo-w0", "role": "Worker", "state": "Ready", "address": "10.0.0.3", "nodeID": "abc"},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_node_has_many_names() {
        let cluster = cluster();
        for (word, name) in [
            (None, "foo-m1"),
            (Some("leader"), "foo-m1"),
            (Some("worker"), "foo-w0"),
            (Some("m0"), "foo-m0"),
            (Some("foo-w0"), "foo-w0"),
            (Some("i-1"), "foo-m0"),
            (Some("10.0.0.3"), "foo-w0"),
            (Some("abc"), "foo-w0"),
        ] {
            assert_eq!(one(&cluster, word).unwrap().name, name, "{word:?}");
        }
        let failure = one(&cluster, Some("foo-m7")).unwrap_err();
        assert!(failure.what().contains("no node \"foo-m7\"") && failure.remedies()[0].contains("did you mean"));
    }

    #[test]
    fn groups_of_nodes_are_by_role() {
        let cluster = cluster();
        for (word, count) in [("all", 3), ("managers", 2), ("workers", 1), ("m0", 1)] {
            assert_eq!(several(&cluster, word).unwrap().len(), count, "{word}");
        }
    }

    #[test]
    fn a_cluster_without_nodes_says_what_it_waits_for() {
        let mut cluster = cluster();
        cluster.status = None;
        assert!(one(&cluster, None).unwrap_err().to_string().contains("operator runs"));
    }
}
