//! Nodes that leave the swarm, for good or to come back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bollard::models::{NodeSpecAvailabilityEnum as Availability, NodeSpecRoleEnum as Role};
use bollard::query_parameters::DeleteNodeOptions;

use super::{down, managers, settings};
use crate::{
    cases::{events::heard_of, nodes::told_alike},
    cluster::Member,
    harness::{
        case::{Case, Need},
        test::Test,
    },
    serve::{
        alone,
        membership::{Play, REJOIN},
    },
    swarm::{
        node,
        service::by_node,
        stored::{Kind, give, give_too},
    },
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("WorkerLeavesAndRejoins", worker).needs(Need::Workers(1)).timeout(Duration::from_secs(300)),
        Case::new("ManagerLost", manager).needs(Need::Managers(3)).timeout(Duration::from_secs(300)),
        Case::new("EngineOutsideSwarm", |t| played(t, Play::Outside, &alone::OUTSIDE))
            .needs(Need::Workers(1))
            .timeout(Duration::from_secs(600)),
        Case::new("SwarmOfItsOwn", |t| played(t, Play::Own, &alone::OWN))
            .needs(Need::Workers(1))
            .timeout(Duration::from_secs(600)),
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
    let since = node::clock(t.docker()).await?;
    leave_and_join(&t, &it, None).await?;
    t.until(&format!("{} is down", it.hostname), GONE_WITHIN, || down(&t, &it)).await?;
    // What runs on a node that is down is not known; when the node is forgotten, so are its tasks.
    let forget = t.docker().delete_node(&it.id, Some(DeleteNodeOptions { force: false })).await;
    forget.context("a node that is down cannot be removed")?;
    heard_of(&t, &since, "node", &it.id, &[("remove", &[])], GONE_WITHIN).await?;
    let moved = by_node(&service.running(nodes).await?);
    ensure!(!moved.contains_key(&it.id), "{} left and has tasks: {moved:?}", it.hostname);
    let everywhere = t.service("everywhere").global().create().await?;
    everywhere.running(nodes - 1).await?;
    let new = back(&t, &it, JOINED_WITHIN).await?;
    heard_of(&t, &since, "node", &new.id, &[("create", &[])], GONE_WITHIN).await?;
    let placed = by_node(&everywhere.running(nodes).await?);
    ensure!(placed.contains_key(&new.id), "{} joined and has no task: {placed:?}", new.hostname);
    Ok(())
}

/// A manager that is lost is missed by nobody: the others decide, and it can be demoted and forgotten. It comes back as
/// a worker, drained as it asked to be, and is promoted; then it and all others tell that it is.
async fn manager(t: Test) -> Result<()> {
    let nodes = node::list(t.docker()).await?;
    let mut followers = nodes.iter().filter(|node| node.reachable && !node.leader && node.id != t.cluster().node);
    let it = followers.next().context("every manager leads or is the one that is talked to")?;
    leave_and_join(&t, it, None).await?;
    t.until(&format!("{} is down", it.hostname), GONE_WITHIN, || down(&t, it)).await?;
    t.service("proof").create().await?.running(1).await?;
    node::update(t.docker(), &it.id, |spec| spec.role = Some(Role::WORKER)).await.context("it cannot be demoted")?;
    t.until("it can be forgotten", GONE_WITHIN, || async {
        t.docker().delete_node(&it.id, Some(DeleteNodeOptions { force: false })).await?;
        Ok(())
    })
    .await?;
    let new = joined(&t, it, JOINED_WITHIN).await?;
    managers::make(&t, &new, Role::MANAGER).await?;
    told_alike(&t).await?;
    activate(&t, &new).await
}

/// How long what is played with an engine that has left may take: it gives up after 20 seconds on a swarm that does not
/// answer, and begins some.
const PLAYED_WITHIN: Duration = Duration::from_secs(300);

/// A worker leaves, and is another node when it comes back; what is played with its engine meanwhile comes out right.
async fn played(t: Test, play: Play, plays: &'static [alone::Named]) -> Result<()> {
    let it = t.usable().await?.into_iter().find(|node| !node.manager).context("there is no worker")?;
    let network = t.network("net").await?;
    let helper = t.name("helper");
    leave_and_join(&t, &it, Some((play, &helper, &network.name))).await?;
    t.until(&format!("{} is down", it.hostname), GONE_WITHIN, || down(&t, &it)).await?;
    let new = back(&t, &it, PLAYED_WITHIN).await?;
    let reads = t.service("reads").with_engine().constraint(&format!("node.id=={}", new.id));
    let reads = reads.args(&["show-log", &helper]).create().await?;
    let log = t
        .until("what was played is told", JOINED_WITHIN, || async {
            let log = reads.log().await?;
            ensure!(log.contains("joined: ok"), "it says {log:?}");
            Ok(log)
        })
        .await?;
    t.note(log.trim());
    let wrong: Vec<_> = log.lines().filter(|line| !line.ends_with(": ok")).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    let names = plays.iter().map(|(name, _)| *name).chain(["detached"]);
    let missing: Vec<_> = names.filter(|name| !log.lines().any(|line| line == format!("{name}: ok"))).collect();
    ensure!(missing.is_empty(), "not played: {missing:?}");
    Ok(())
}

/// Has a node leave the swarm and join it again as a worker. A task there, which ends as the node leaves, starts a container that is
/// no task and does it; it may have a name, and play something while the engine is in no swarm.
async fn leave_and_join(t: &Test, it: &Member, play: Option<(Play, &str, &str)>) -> Result<()> {
    let token = async || {
        let swarm = t.docker().inspect_swarm().await.context("cannot inspect the swarm")?;
        swarm.join_tokens.and_then(|tokens| tokens.worker).context("the swarm has no token for workers")
    };
    let old = token().await?;
    if play.is_some() {
        settings::rotate_worker_token(t).await?;
    }
    let token = t.store(Kind::Secret, &t.name("token"), &token().await?).await?;
    let old = t.store(Kind::Secret, &t.name("old-token"), &old).await?;
    let nodes = node::list(t.docker()).await?;
    let remote = nodes.into_iter().find(|node| node.id == t.cluster().node).context("this node is not there")?;
    let labels = serde_json::to_string(&t.labels())?;
    let image = &t.cluster().image;
    let mut args =
        vec![REJOIN, "--image", image, "--labels", &labels, "--remote", &remote.address, "--address", &it.address];
    let word = play.map(|(play, ..)| if play == Play::Own { "own" } else { "outside" });
    if let (Some((_, name, network)), Some(word)) = (play, word) {
        args.extend(["--play", word, "--name", name, "--network", network]);
    }
    let service = t.service("leave").with_engine().constraint(&format!("node.id=={}", it.id)).args(&args);
    // It may be gone before it is heard to run.
    let service = service.with(|spec| {
        give(spec, Kind::Secret, &token, "token");
        give_too(spec, Kind::Secret, &old, "old-token");
    });
    service.create().await.map(|_| ())
}

/// The node has joined again, under another id, and drained, as it was asked to.
async fn joined(t: &Test, it: &Member, within: Duration) -> Result<Member> {
    t.until(&format!("{} is back", it.hostname), within, || async {
        let nodes = node::list(t.docker()).await?;
        let named: Vec<_> = nodes.into_iter().filter(|node| node.hostname == it.hostname && node.id != it.id).collect();
        let ready = |node: &&Member| node.state == "ready" && node.availability == "drain";
        let new = named.iter().find(ready).cloned();
        new.with_context(|| format!("no node of that name is ready and drained that was not before: {named:?}"))
    })
    .await
}

/// It has joined, and gets tasks from here on.
async fn back(t: &Test, it: &Member, within: Duration) -> Result<Member> {
    let new = joined(t, it, within).await?;
    activate(t, &new).await?;
    Ok(new)
}

async fn activate(t: &Test, it: &Member) -> Result<()> {
    node::update(t.docker(), &it.id, |spec| spec.availability = Some(Availability::ACTIVE)).await
}
