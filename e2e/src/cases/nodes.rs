//! The nodes of the swarm.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    cluster::Member,
    harness::{case::Case, test::Test},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("ClusterNodeAvailable", cluster_node_available)]
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
