//! Nodes that leave the swarm, for good or to come back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bollard::models::{NodeSpecAvailabilityEnum as Availability, NodeSpecRoleEnum as Role};
use bollard::query_parameters::DeleteNodeOptions;

use super::{down, managers};
use crate::{
    cluster::Member,
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        node,
        service::by_node,
        stored::{Kind, give},
    },
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("WorkerLeavesAndRejoins", worker).needs(Need::Workers(1)).timeout(Duration::from_secs(300)),
        Case::new("ManagerLost", manager).needs(Need::Managers(3)).timeout(Duration::from_secs(300)),
    ]
}

/// How long it takes until the managers see that a node is gone: the task that has it leave begins, the engine ends
/// all its tasks, and three heartbeats of five seconds are missed.
const GONE_WITHIN: Duration = Duration::from_secs(90);
/// How long an engine may take to leave and to join.
const JOINED_WITHIN: Duration = Duration::from_secs(120);

/// A worker that leaves is down, its tasks run elsewhere, and it can be forgotten; as it joins again, and is active,
/// it gets its share.
async fn worker(t: Test) -> Result<()> {
    let it = t.usable().await?.into_iter().find(|node| !node.manager).context("there is no worker")?;
    let nodes = t.usable().await?.len();
    let service = t.service("web").replicas(u32::try_from(nodes)?).create().await?;
    let before = by_node(&service.running(nodes).await?);
    ensure!(before.contains_key(&it.id), "{} has none of {before:?}", it.hostname);
    leave_and_join(&t, &it).await?;
    t.until(&format!("{} is down", it.hostname), GONE_WITHIN, || down(&t, &it)).await?;
    // What runs on a node that is down is not known; when the node is forgotten, so are its tasks.
    let forget = t.docker().delete_node(&it.id, Some(DeleteNodeOptions { force: false })).await;
    forget.context("a node that is down cannot be removed")?;
    let moved = by_node(&service.running(nodes).await?);
    ensure!(!moved.contains_key(&it.id), "{} left and has tasks: {moved:?}", it.hostname);
    back(&t, &it).await?;
    let everywhere = t.service("everywhere").global().create().await?;
    everywhere.running(nodes).await.map(|_| ())
}

/// A manager that is lost is missed by nobody: the others decide, and it can be demoted and forgotten. It comes
/// back as a worker, and is promoted.
async fn manager(t: Test) -> Result<()> {
    let nodes = node::list(t.docker()).await?;
    let mut followers = nodes.iter().filter(|node| node.reachable && !node.leader && node.id != t.cluster().node);
    let it = followers.next().context("every manager leads or is the one that is talked to")?;
    leave_and_join(&t, it).await?;
    t.until(&format!("{} is down", it.hostname), GONE_WITHIN, || down(&t, it)).await?;
    t.service("proof").create().await?.running(1).await?;
    node::update(t.docker(), &it.id, |spec| spec.role = Some(Role::WORKER)).await.context("it cannot be demoted")?;
    t.until("it can be forgotten", GONE_WITHIN, || async {
        t.docker().delete_node(&it.id, Some(DeleteNodeOptions { force: false })).await?;
        Ok(())
    })
    .await?;
    let new = back(&t, it).await?;
    managers::make(&t, &new, Role::MANAGER).await
}

/// Has a node leave the swarm and join it again as a worker. A task there, which ends as the node leaves, starts a
/// container that is no task and does it.
async fn leave_and_join(t: &Test, it: &Member) -> Result<()> {
    let swarm = t.docker().inspect_swarm().await.context("cannot inspect the swarm")?;
    let token = swarm.join_tokens.and_then(|tokens| tokens.worker).context("the swarm has no token for workers")?;
    let token = t.store(Kind::Secret, &t.name("token"), &token).await?;
    let nodes = node::list(t.docker()).await?;
    let remote = nodes.into_iter().find(|node| node.id == t.cluster().node).context("this node is not there")?;
    let labels = serde_json::to_string(&t.labels())?;
    let image = &t.cluster().image;
    let args = [
        "rejoin-from-task",
        "--image",
        image,
        "--labels",
        &labels,
        "--remote",
        &remote.address,
        "--address",
        &it.address,
    ];
    let service = t.service("leave").with_engine().constraint(&format!("node.id=={}", it.id)).args(&args);
    // It may be gone before it is heard to run.
    service.with(|spec| give(spec, Kind::Secret, &token, "token")).create().await.map(|_| ())
}

/// The node is back, under another id. It joined drained, as it was asked to, and gets tasks from here on.
async fn back(t: &Test, it: &Member) -> Result<Member> {
    let new = t
        .until(&format!("{} is back", it.hostname), JOINED_WITHIN, || async {
            let nodes = node::list(t.docker()).await?;
            let ready = |node: &Member| node.state == "ready" && node.hostname == it.hostname && node.id != it.id;
            nodes.into_iter().find(ready).context("no node of that name is ready that was not before")
        })
        .await?;
    ensure!(new.availability == "drain", "it joined to be drained, and is {new:?}");
    node::update(t.docker(), &new.id, |spec| spec.availability = Some(Availability::ACTIVE)).await?;
    Ok(new)
}
