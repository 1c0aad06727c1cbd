//! Where tasks are placed, and that they wait, and say why, where they cannot be.

use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use bollard::models::{ResourceObject, TaskState};

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        service::{Builder, by_node, task_of},
        task,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("PlacementConstraintNode", constraint_node),
        Case::new("PlacementConstraintManager", constraint_manager),
        Case::new("PlacementSpread", spread).needs(Need::Nodes(2)),
        Case::new("PlacementMaxReplicas", max_replicas),
        Case::new("PlacementConstraintUnmet", constraint_unmet),
        Case::new("PlacementReservationTooLarge", reservation_too_large),
    ]
}

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
    waits(&t, service, 0, "scheduling constraints").await
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

/// So many tasks run, and one is pending with this reason.
async fn waits(t: &Test, service: Builder, running: usize, reason: &str) -> Result<()> {
    let service = service.create().await?;
    t.until(&format!("a task waits because of {reason:?}"), SAYS_WITHIN, || async {
        let tasks = service.tasks().await?;
        let (pending, others): (Vec<_>, Vec<_>) =
            tasks.iter().partition(|it| task::state(it) == Some(TaskState::PENDING) && task::error(it).is_some());
        let run = others.iter().filter(|it| task::runs(it)).count();
        let [waiting] = pending[..] else { bail!("{} wait with a reason, {run} run", pending.len()) };
        let said = task::error(waiting).unwrap_or_default();
        ensure!(said.contains(reason), "it says {said:?}");
        ensure!(run == running, "{run} others run, wanted {running}");
        Ok(())
    })
    .await
}
