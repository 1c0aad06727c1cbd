//! Where tasks are placed, and that they wait, and say why, where they cannot be.

use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use bollard::models::{
    Platform, ResourceObject, Task, TaskSpecPlacementPreferences, TaskSpecPlacementSpread, TaskState,
};

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        service::{Builder, Service, TASKS_WITHIN, by_node, task_of},
        task,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("PlacementConstraintNode", constraint_node),
        Case::new("PlacementConstraintManager", constraint_manager),
        Case::new("PlacementConstraintRole", constraint_role),
        Case::new("PlacementConstraintLabel", constraint_label),
        Case::new("PlacementSpread", spread).needs(Need::Nodes(2)),
        Case::new("PlacementMaxReplicas", max_replicas),
        Case::new("PlacementConstraintUnmet", constraint_unmet),
        Case::new("PlacementReservationTooLarge", reservation_too_large),
        Case::new("PlacementPlatformUnmet", platform_unmet),
        Case::new("PlacementHostPortTaken", host_port_taken),
        Case::new("PlacementNodeLabel", node_label),
        Case::new("PlacementGlobalFollowsLabels", global_follows_labels),
        Case::new("PlacementPreference", preference).needs(Need::Nodes(2)),
    ]
}

/// What the scheduler says of a task whose constraints no node meets.
const UNMET: &str = "scheduling constraints";
/// How soon the scheduler says why it places a task nowhere.
const SAYS_WITHIN: Duration = Duration::from_secs(20);

/// A constraint on a node's id puts every task there.
async fn constraint_node(t: Test) -> Result<()> {
    let node = t.cluster().usable().last().ok_or_else(|| anyhow!("no node is ready and active"))?;
    let service = t.service("pinned").replicas(3).constraint(&format!("node.id=={}", node.id)).create().await?;
    let placed = by_node(&service.running(3).await?);
    ensure!(placed == [(node.id.clone(), 3)].into(), "not all on {}: {placed:?}", node.hostname);
    Ok(())
}

/// Tasks run where a constraint says, whatever it says, and nowhere where no node is right for it.
async fn placed(t: &Test, constraints: &[&str], right: &[String]) -> Result<()> {
    const TASKS: usize = 3;
    let mut service = t.service("constrained").replicas(3);
    for constraint in constraints {
        service = service.constraint(constraint);
    }
    let service = service.create().await?;
    if right.is_empty() {
        return unplaced(t, &service, TASKS).await;
    }
    let placed = by_node(&service.running(TASKS).await?);
    ensure!(placed.keys().all(|node| right.contains(node)), "{constraints:?}: not all on {right:?}: {placed:?}");
    Ok(())
}

/// So many tasks wait, on no node, because of the service's constraints.
async fn unplaced(t: &Test, service: &Service, count: usize) -> Result<()> {
    t.until("the tasks are placed nowhere", SAYS_WITHIN, || async {
        let tasks = service.tasks().await?;
        let nowhere = |it: &&Task| it.node_id.as_deref().unwrap_or_default().is_empty();
        let wait = tasks.iter().filter(nowhere).filter(|it| task::error(it).is_some_and(|it| it.contains(UNMET)));
        let wait = wait.count();
        ensure!(wait == count && tasks.len() == count, "{wait} of {} wait", tasks.len());
        Ok(())
    })
    .await
}

/// A constraint on the role puts tasks on nodes that have it, or that have it not, and nowhere where none has it.
async fn constraint_role(t: Test) -> Result<()> {
    let nodes = t.usable().await?;
    let which = |manager: bool| nodes.iter().filter(|it| it.manager == manager).map(|it| it.id.clone()).collect();
    let (managers, workers): (Vec<_>, Vec<_>) = (which(true), which(false));
    tokio::try_join!(
        placed(&t, &["node.role==worker"], &workers),
        placed(&t, &["node.role!=worker"], &managers),
        placed(&t, &["node.role==nosuchrole"], &[]),
    )?;
    Ok(())
}

/// A constraint on a label puts tasks on nodes that have that value, or that have it not; all of several have to hold,
/// and tasks wait until they do.
async fn constraint_label(t: Test) -> Result<()> {
    let label = t.node_label("security");
    let nodes = t.usable().await?;
    let (one, others) = nodes.split_first().ok_or_else(|| anyhow!("no node is ready and active"))?;
    let low: Vec<_> = others.iter().map(|it| it.id.clone()).collect();
    t.label(&one.id, &label, "high").await?;
    for other in &low {
        t.label(other, &label, "low").await?;
    }
    let is = |operator: &str, value: &str| format!("node.labels.{label}{operator}{value}");
    let (high, not_high, medium) = (is("==", "high"), is("!=", "high"), is("==", "medium"));
    let high_and = |node: &str| t.service("both").replicas(3).constraint(&high).constraint(&format!("node.id=={node}"));
    let (a, b, c) = ([&*high], [&*not_high], [&*medium]);
    tokio::try_join!(placed(&t, &a, std::slice::from_ref(&one.id)), placed(&t, &b, &low), placed(&t, &c, &[]))?;
    let Some(other) = low.first() else { return Ok(()) };
    let both = high_and(other).create().await?;
    unplaced(&t, &both, 3).await?;
    t.label(other, &label, "high").await?;
    let placed = by_node(&both.running(3).await?);
    ensure!(placed == [(other.clone(), 3)].into(), "not all on {other}, which is right now: {placed:?}");
    Ok(())
}

/// A global service with a constraint on the role has a task on each such node and nowhere else.
async fn constraint_manager(t: Test) -> Result<()> {
    let mut managers: Vec<_> = t.cluster().usable().filter(|node| node.manager).map(|node| node.id.clone()).collect();
    managers.sort_unstable();
    let service = t.service("managers").global().constraint("node.role==manager").create().await?;
    let placed = by_node(&service.running(managers.len()).await?);
    ensure!(placed.keys().eq(&managers), "the managers are {managers:?}, the tasks are on {placed:?}");
    Ok(())
}

/// As many replicas as nodes: each node gets one.
async fn spread(t: Test) -> Result<()> {
    let nodes = t.cluster().usable().count();
    let service = t.service("spread").replicas(u32::try_from(nodes)?).create().await?;
    let placed = by_node(&service.running(nodes).await?);
    ensure!(placed.len() == nodes, "{nodes} tasks went to {} of {nodes} nodes: {placed:?}", placed.len());
    Ok(())
}

/// One replica more than nodes, at most one on each: the one too many waits, the others run.
async fn max_replicas(t: Test) -> Result<()> {
    let nodes = t.cluster().usable().count();
    let service = t.service("single").replicas(u32::try_from(nodes + 1)?).with(|spec| {
        task_of(spec).placement.get_or_insert_default().max_replicas = Some(1);
    });
    waits(&t, service, nodes, "max replicas per node").await
}

/// A task that no node is right for waits.
async fn constraint_unmet(t: Test) -> Result<()> {
    let service = t.service("nowhere").constraint(&format!("node.labels.{}==yes", t.name("label")));
    waits(&t, service, 0, UNMET).await
}

/// A task that reserves more memory than any node has waits.
async fn reservation_too_large(t: Test) -> Result<()> {
    const PEBIBYTE: i64 = 1 << 50;
    let service = t.service("huge").with(|spec| {
        let reserved = ResourceObject { memory_bytes: Some(PEBIBYTE), ..Default::default() };
        task_of(spec).resources.get_or_insert_default().reservations = Some(reserved);
    });
    waits(&t, service, 0, "insufficient resources").await
}

/// A task for another operating system than any node has waits.
async fn platform_unmet(t: Test) -> Result<()> {
    let service = t.service("foreign").with(|spec| {
        let platform = Platform { os: Some("plan9".into()), ..Default::default() };
        task_of(spec).placement.get_or_insert_default().platforms = Some(vec![platform]);
    });
    waits(&t, service, 0, "unsupported platform").await
}

/// Two tasks that publish one port of the host do not go to one node: the second waits.
async fn host_port_taken(t: Test) -> Result<()> {
    let node = t.usable().await?.pop().ok_or_else(|| anyhow!("no node is ready and active"))?;
    // A port that the swarm gave a service, and that nobody has when the service is gone.
    let holder = t.service("holder").replicas(0).published().create().await?;
    let port = holder.port().await?;
    t.docker().delete_service(&holder.id).await?;
    let service = t.service("web").replicas(2).constraint(&format!("node.id=={}", node.id)).askable().with(|spec| {
        for it in spec.endpoint_spec.iter_mut().flat_map(|endpoint| endpoint.ports.iter_mut().flatten()) {
            it.published_port = Some(port.into());
        }
    });
    waits(&t, service, 1, "host-mode port already in use").await
}

/// A task that no node is right for waits until a node gets the label, and runs there.
async fn node_label(t: Test) -> Result<()> {
    let label = t.node_label("label");
    let service = t.service("labelled").constraint(&format!("node.labels.{label}==yes")).create().await?;
    pending(&t, &service, 0, UNMET).await?;
    let node = t.usable().await?.pop().ok_or_else(|| anyhow!("no node is ready and active"))?;
    t.label(&node.id, &label, "yes").await?;
    let placed = by_node(&service.running(1).await?);
    ensure!(placed.contains_key(&node.id), "it runs on {placed:?}, the label is on {}", node.id);
    Ok(())
}

/// A global service has tasks where the label is: it comes with it, and goes with it.
async fn global_follows_labels(t: Test) -> Result<()> {
    let label = t.node_label("label");
    let nodes = t.usable().await?;
    let service = t.service("labelled").global().constraint(&format!("node.labels.{label}==yes")).create().await?;
    for (count, node) in nodes.iter().enumerate() {
        t.label(&node.id, &label, "yes").await?;
        let placed = by_node(&service.running(count + 1).await?);
        ensure!(placed.contains_key(&node.id), "none is on {}: {placed:?}", node.hostname);
    }
    t.unlabel(&nodes[0].id, &label).await?;
    let placed = by_node(&service.running(nodes.len() - 1).await?);
    ensure!(!placed.contains_key(&nodes[0].id), "one is still on {}: {placed:?}", nodes[0].hostname);
    Ok(())
}

/// Tasks are spread evenly over the values of a label, whatever the number of nodes that have them.
async fn preference(t: Test) -> Result<()> {
    let zone = t.node_label("zone");
    let nodes = t.usable().await?;
    for (index, node) in nodes.iter().enumerate() {
        t.label(&node.id, &zone, if index == 0 { "small" } else { "large" }).await?;
    }
    let spread = TaskSpecPlacementSpread { spread_descriptor: Some(format!("node.labels.{zone}")) };
    let preference = TaskSpecPlacementPreferences { spread: Some(spread) };
    let service = t.service("spread").replicas(4).with(|spec| {
        task_of(spec).placement.get_or_insert_default().preferences = Some(vec![preference]);
    });
    let placed = by_node(&service.create().await?.running(4).await?);
    let small = placed.get(&nodes[0].id).copied().unwrap_or_default();
    ensure!(small == 2, "of 4 tasks in 2 zones, {small} are in that of one node: {placed:?}");
    let (fewest, most) = ((4 - 2) / (nodes.len() - 1), 2_usize.div_ceil(nodes.len() - 1));
    let large = nodes[1..].iter().map(|it| placed.get(&it.id).copied().unwrap_or_default());
    let even = large.clone().all(|count| (fewest..=most).contains(&count));
    ensure!(even, "of 2 tasks in a zone of {} nodes, they have {:?}", nodes.len() - 1, large.collect::<Vec<_>>());
    Ok(())
}

/// So many tasks run, and one is pending with this reason.
async fn waits(t: &Test, service: Builder, running: usize, reason: &str) -> Result<()> {
    pending(t, &service.create().await?, running, reason).await
}

async fn pending(t: &Test, service: &Service, running: usize, reason: &str) -> Result<()> {
    let one_waits = |tasks: &[Task]| {
        let waiting =
            tasks.iter().filter(|it| task::state(it) == Some(TaskState::PENDING) && task::error(it).is_some());
        let waiting: Vec<_> = waiting.collect();
        let [waiting] = waiting[..] else {
            let run = tasks.iter().filter(|it| task::runs(it)).count();
            bail!("{} wait with a reason, {run} run", waiting.len())
        };
        let said = task::error(waiting).unwrap_or_default();
        ensure!(said.contains(reason), "it says {said:?}");
        Ok(())
    };
    let says = format!("a task waits because of {reason:?}");
    t.until(&says, SAYS_WITHIN, || async { one_waits(&service.tasks().await?) }).await?;
    t.until(&format!("it goes on to wait while {running} run"), TASKS_WITHIN, || async {
        let tasks = service.tasks().await?;
        one_waits(&tasks)?;
        let run = tasks.iter().filter(|it| task::runs(it)).count();
        ensure!(run == running, "{run} run, wanted {running}");
        Ok(())
    })
    .await
}
