//! The nodes of the swarm.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bollard::{
    models::NodeSpecRoleEnum as Role,
    query_parameters::{DeleteNodeOptions, ListNodesOptions, ListServicesOptions},
};
use serde_json::{Value, json};

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

/// How soon all engines tell the same: managers follow the leader at once, workers hear of managers that are new.
const ALIKE_WITHIN: Duration = Duration::from_secs(30);

/// Every node of the swarm is ready, and has the role that it is to have and a certificate; the others reach every manager,
/// and one of them leads.
async fn cluster_node_available(t: Test) -> Result<()> {
    t.until("every node is ready", Duration::from_secs(30), || async {
        let nodes = t.docker().list_nodes(None).await?;
        let leaders = nodes.iter().filter(|node| node.manager_status.as_ref().is_some_and(|m| m.leader == Some(true)));
        let leaders = leaders.count();
        for node in nodes {
            let role = node.spec.as_ref().and_then(|spec| spec.role);
            let certified = node.description.as_ref().is_some_and(|it| it.tls_info.is_some());
            let node = Member::from(node);
            ensure!(node.state == "ready", "node {} ({}) is {}", node.hostname, node.address, node.state);
            ensure!(node.reachable == node.manager, "manager {} is not reached by the others", node.hostname);
            ensure!(
                node.manager == (role == Some(Role::MANAGER)),
                "node {} is to be {role:?}, and is not",
                node.hostname
            );
            ensure!(certified, "node {} does not tell of its certificate", node.hostname);
        }
        ensure!(leaders == 1, "{leaders} managers say that they lead");
        Ok(())
    })
    .await
}

/// Nodes are found by id, the beginning of their name, role and label. (By membership too, but an engine forgets that
/// of a node whose labels are changed.)
async fn nodes_filter(t: Test) -> Result<()> {
    let all = node::list(t.docker()).await?;
    let one = all.first().context("the swarm has no nodes")?;
    let label = t.node_label("label");
    t.label(&one.id, &label, "yes").await?;
    let managers = all.iter().filter(|node| node.manager).count();
    let begin: String = one.hostname.chars().take(4).collect();
    let named = |begin: &str| all.iter().filter(|node| node.hostname.starts_with(begin)).count();
    for (filter, value, wanted) in [
        ("id", &*one.id, 1),
        ("name", &one.hostname, named(&one.hostname)),
        ("name", &begin, named(&begin)),
        ("name", &label, 0),
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
    let words = if node.manager {
        "is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
    } else {
        "is not down and can't be removed"
    };
    refusal(removed.map_err(Into::into), 400, &format!("node {} {words}", node.id))
}

/// The engine knows the addresses of all managers, and counts nodes and managers as the swarm does. So does every
/// other, and those of managers list the same nodes.
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
    .await?;
    told_alike(&t).await
}

/// Every usable node is active in the swarm, manages it or not as the list says, and knows all managers; every manager
/// lists the same nodes, which are those that there are, and the same leader.
pub(super) async fn told_alike(t: &Test) -> Result<()> {
    let usable = t.usable().await?;
    let service = t.service("tells").global().with_engine().args(&["show-swarm"]).create().await?;
    service.running(usable.len()).await?;
    t.until("every node tells the same of the swarm", ALIKE_WITHIN, || async {
        let told = service.told().await?;
        let all = t.docker().list_nodes(None).await?;
        let managers = all.iter().filter_map(|it| Some(json!([it.id.clone()?, it.manager_status.as_ref()?.addr])));
        let managers = sorted(managers.collect());
        let nodes = all.into_iter().map(Member::from).map(|it| {
            json!({ "id": it.id, "state": it.state, "availability": it.availability, "manager": it.manager,
                    "reachable": it.reachable, "leader": it.leader })
        });
        let nodes = sorted(nodes.collect());
        for node in &usable {
            let told = told.get(&node.id).with_context(|| format!("{} tells nothing: {told:?}", node.hostname))?;
            let list = |key: &str| sorted(told[key].as_array().cloned().unwrap_or_default());
            let manages = (told["state"] == "active", told["manages"] == true);
            ensure!(manages == (true, node.manager), "{} tells: {told}", node.hostname);
            ensure!(list("managers") == managers, "{} tells {told}; the managers are {managers:?}", node.hostname);
            let wanted = if node.manager { &nodes[..] } else { &[] };
            ensure!(list("nodes") == wanted, "{} tells {told}; the nodes are {nodes:?}", node.hostname);
        }
        Ok(())
    })
    .await
}

fn sorted(mut list: Vec<Value>) -> Vec<Value> {
    list.sort_by_key(Value::to_string);
    list
}

/// Services can be made through every manager, whichever leads, and all tell of all of them.
async fn managers_agree(t: Test) -> Result<()> {
    agree(&t).await
}

pub(super) async fn agree(t: &Test) -> Result<()> {
    let label = t.name("label");
    let made = t.service("made").replicas(0).with(|spec| {
        spec.labels.get_or_insert_default().insert(label.clone(), "yes".into());
    });
    let spec = serde_json::to_string(made.spec())?;
    let managers = t.usable().await?.into_iter().filter(|node| node.manager).count();
    let service = t.service("makes").global().constraint("node.role==manager").with_engine();
    let service = service.args(&["make-service", &spec, &label]).create().await?;
    service.running(managers).await?;
    t.until("every manager tells of the services of all", ALIKE_WITHIN, || async {
        let filters = Some([("label".to_owned(), vec![label.clone()])].into());
        let found = t.docker().list_services(Some(ListServicesOptions { filters, ..Default::default() })).await?;
        let found = found.into_iter().map(|it| (it.id, it.spec.and_then(|spec| spec.name)));
        let found = found.map(|(id, name)| json!(format!("{} {}", id.unwrap_or_default(), name.unwrap_or_default())));
        let found = Value::Array(sorted(found.collect()));
        let told = service.told().await?;
        let same = told.values().filter(|it| **it == found).count();
        let count = found.as_array().map_or(0, Vec::len);
        ensure!(count == managers, "{count} of {managers} services are there: {found}");
        ensure!(same == managers, "{same} of {managers} did: {told:?}; there are {found}");
        Ok(())
    })
    .await
}
