//! The nodes of the swarm, and where tasks are placed on them.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::{
    cluster::Member,
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::service::by_node,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ClusterNodeAvailable", cluster_node_available),
        Case::new("PlacementConstraintNode", placement_constraint_node),
        Case::new("PlacementSpread", placement_spread).needs(Need::Nodes(2)),
    ]
}

/// Every node of the swarm is ready, and one of them leads.
async fn cluster_node_available(t: Test) -> Result<()> {
    t.until("every node is ready", Duration::from_secs(30), || async {
        let nodes = t.docker().list_nodes(None).await?;
        let leaders = nodes.iter().filter(|node| node.manager_status.as_ref().is_some_and(|m| m.leader == Some(true)));
        let leaders = leaders.count();
        for node in nodes.into_iter().map(Member::from) {
            ensure!(node.state == "ready", "node {} ({}) is {}", node.hostname, node.address, node.state);
        }
        ensure!(leaders == 1, "{leaders} managers say that they lead");
        Ok(())
    })
    .await
}

/// A constraint on a node's id puts every task there.
async fn placement_constraint_node(t: Test) -> Result<()> {
    let Some(node) = t.cluster().usable().last() else { bail!("no node is ready and active") };
    let service = t.service("pinned").replicas(3).constraint(&format!("node.id=={}", node.id)).create().await?;
    let placed = by_node(&service.running(3).await?);
    ensure!(placed == [(node.id.clone(), 3)].into(), "not all on {}: {placed:?}", node.hostname);
    Ok(())
}

/// As many replicas as nodes: each node gets one.
async fn placement_spread(t: Test) -> Result<()> {
    let nodes = t.cluster().usable().count();
    let service = t.service("spread").replicas(u32::try_from(nodes)?).create().await?;
    let placed = by_node(&service.running(nodes).await?);
    ensure!(placed.len() == nodes, "{nodes} tasks went to {} of {nodes} nodes: {placed:?}", placed.len());
    Ok(())
}
