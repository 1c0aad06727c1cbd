//! The nodes of the swarm.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bollard::query_parameters::{DeleteNodeOptions, ListNodesOptions};

use super::catalog::refusal;
use crate::{
    cluster::Member,
    harness::{case::Case, test::Test},
    swarm::node,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ClusterNodeAvailable", cluster_node_available),
        Case::new("NodesFilter", nodes_filter),
        Case::new("NodeInUseNotRemoved", not_removed),
        Case::new("ManagerAddresses", manager_addresses),
        Case::new("ManagersAgree", managers_agree),
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

/// Nodes are found by id, name, role and label. (By membership too, but an engine forgets that of a node whose
/// labels are changed.)
async fn nodes_filter(t: Test) -> Result<()> {
    let all = node::list(t.docker()).await?;
    let one = all.first().context("the swarm has no nodes")?;
    let label = t.node_label("label");
    t.label(&one.id, &label, "yes").await?;
    let managers = all.iter().filter(|node| node.manager).count();
    let namesakes = all.iter().filter(|node| node.hostname.starts_with(&one.hostname)).count();
    for (filter, value, wanted) in [
        ("id", &*one.id, 1),
        ("name", &one.hostname, namesakes),
        ("role", "manager", managers),
        ("role", "worker", all.len() - managers),
        ("node.label", &format!("{label}=yes"), 1),
        ("node.label", &format!("{label}=no"), 0),
    ] {
        let filters = Some([(filter.to_owned(), vec![value.to_owned()])].into());
        let found = t.docker().list_nodes(Some(ListNodesOptions { filters })).await?.len();
        ensure!(found == wanted, "{filter}={value} found {found} of {} nodes, wanted {wanted}", all.len());
    }
    Ok(())
}

/// A node that is up is not removed from the swarm unless that is forced.
async fn not_removed(t: Test) -> Result<()> {
    let node = t.usable().await?.pop().context("no node is ready and active")?;
    let removed = t.docker().delete_node(&node.id, Some(DeleteNodeOptions { force: false })).await;
    refusal(removed.map_err(Into::into), 400, "")
}

/// The engine knows the addresses of all managers, and counts nodes and managers as the swarm does.
async fn manager_addresses(t: Test) -> Result<()> {
    t.until("the engine knows all managers", Duration::from_secs(30), || async {
        let swarm = t.docker().info().await?.swarm.context("no swarm")?;
        let nodes = t.docker().list_nodes(None).await?;
        let mut wanted: Vec<_> = nodes
            .iter()
            .filter_map(|node| Some((node.id.clone()?, node.manager_status.as_ref()?.addr.clone()?)))
            .collect();
        let known = swarm.remote_managers.unwrap_or_default().into_iter();
        let mut known: Vec<_> = known.filter_map(|peer| Some((peer.node_id?, peer.addr?))).collect();
        wanted.sort_unstable();
        known.sort_unstable();
        ensure!(known == wanted, "it knows {known:?}, the managers are {wanted:?}");
        let counts = (swarm.nodes, swarm.managers);
        let right = (Some(i64::try_from(nodes.len())?), Some(i64::try_from(wanted.len())?));
        ensure!(counts == right, "it counts {counts:?} nodes and managers, there are {right:?}");
        Ok(())
    })
    .await
}

/// Every manager tells the same of a service, whichever leads.
async fn managers_agree(t: Test) -> Result<()> {
    let label = t.name("label");
    let told = t.service("told").replicas(0).with(|spec| {
        spec.labels.get_or_insert_default().insert(label.clone(), "yes".into());
    });
    let told = told.create().await?;
    let managers = t.usable().await?.into_iter().filter(|node| node.manager).count();
    let service = t.service("asks").global().constraint("node.role==manager").args(&["show-service", &told.id]);
    let service = service.with_engine().create().await?;
    service.running(managers).await?;
    t.until("every manager tells of the service", Duration::from_secs(30), || async {
        let log = service.log().await?;
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&label)).collect();
        ensure!(lines.len() == managers, "{} of {managers} did: {log}", lines.len());
        let same = lines.iter().all(|line| line.contains(&format!("{} {}", told.id, told.name)));
        ensure!(same, "they tell different things: {log}");
        Ok(())
    })
    .await
}
