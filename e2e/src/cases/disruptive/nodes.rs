//! Nodes that take no tasks for a while.

use anyhow::{Context as _, Result, ensure};
use bollard::models::NodeSpecAvailabilityEnum as Availability;

use crate::{
    cases::events::heard_of,
    cluster::Member,
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        node,
        service::{TASKS_WITHIN, by_node},
        task,
    },
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("NodeDrainAndReactivate", drain).needs(Need::Nodes(2)),
        Case::new("NodePause", pause).needs(Need::Nodes(2)),
    ]
}

/// A node whose tasks can move: not the one where this suite may run.
async fn other(t: &Test) -> Result<Member> {
    let nodes = t.usable().await?;
    nodes.into_iter().find(|node| node.id != t.cluster().node).context("there is no other node")
}

async fn make(t: &Test, node: &Member, availability: Availability) -> Result<()> {
    t.note(format_args!("makes {} {availability}", node.hostname));
    node::update(t.docker(), &node.id, |spec| spec.availability = Some(availability)).await
}

/// The tasks of a node that is drained run elsewhere, and none comes; when it is active again it gets its share of
/// new ones, and what has to run everywhere runs there.
async fn drain(t: Test) -> Result<()> {
    let (node, nodes) = (other(&t).await?, t.usable().await?.len());
    let everywhere = t.service("everywhere").global().create().await?;
    let service = t.service("web").replicas(2 * u32::try_from(nodes)?).create().await?;
    everywhere.running(nodes).await?;
    let before = by_node(&service.running(2 * nodes).await?);
    ensure!(before.get(&node.id) == Some(&2), "{} has not two of {before:?}", node.hostname);
    make(&t, &node, Availability::DRAIN).await?;
    t.until(&format!("{} has no tasks", node.hostname), TASKS_WITHIN, || async {
        let tasks = service.tasks().await?;
        let there = tasks.iter().filter(|it| task::runs(it) && it.node_id.as_ref() == Some(&node.id)).count();
        ensure!(there == 0, "{there} run there");
        Ok(())
    })
    .await?;
    let drained = by_node(&service.running(2 * nodes).await?);
    let left = by_node(&everywhere.running(nodes - 1).await?);
    ensure!(!left.contains_key(&node.id), "{} is drained and has the global task", node.hostname);
    make(&t, &node, Availability::ACTIVE).await?;
    everywhere.running(nodes).await?;
    let back = by_node(&service.running(2 * nodes).await?);
    ensure!(back == drained, "tasks moved although nothing was wrong: {drained:?}, then {back:?}");
    service.scale(2 * u32::try_from(nodes)? + 1).await?;
    let more = by_node(&service.running(2 * nodes + 1).await?);
    ensure!(more.get(&node.id) == Some(&1), "the next task did not go to {}: {more:?}", node.hostname);
    Ok(())
}

/// A node that is paused keeps its tasks and gets no others.
async fn pause(t: Test) -> Result<()> {
    let (it, nodes) = (other(&t).await?, t.usable().await?.len());
    let service = t.service("web").replicas(u32::try_from(nodes)?).create().await?;
    let before = by_node(&service.running(nodes).await?);
    let since = node::clock(t.docker()).await?;
    make(&t, &it, Availability::PAUSE).await?;
    let told = t.docker().inspect_node(&it.id).await?.spec.and_then(|spec| spec.availability);
    ensure!(told == Some(Availability::PAUSE), "it is told to be {told:?}");
    let paused = [("availability.new", "pause"), ("availability.old", "active")];
    heard_of(&t, &since, "node", &it.id, &[("update", &paused)], TASKS_WITHIN).await?;
    service.scale(3 * u32::try_from(nodes)?).await?;
    let after = by_node(&service.running(3 * nodes).await?);
    ensure!(before.get(&it.id) == Some(&1), "{} had not one of {before:?}", it.hostname);
    ensure!(after.get(&it.id) == Some(&1), "{} is paused, and had {before:?}, then {after:?}", it.hostname);
    Ok(())
}
