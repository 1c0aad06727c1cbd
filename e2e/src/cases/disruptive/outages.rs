//! Hosts that die, are cut off, or restart their engine, by the command that the person who runs the suite gave.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bollard::models::{ContainerUpdateBody, NodeSpecRoleEnum as Role, RestartPolicy, RestartPolicyNameEnum};
use futures::future::try_join_all;

use super::{down, find, managers, settings, works};
use crate::{
    cases::{
        catalog::refusal,
        nodes::{agree, told_alike},
    },
    cluster::Member,
    harness::{
        case::{Case, Need},
        hosts::Verb,
        test::Test,
    },
    swarm::{
        node,
        service::{Service, by_node},
        task,
    },
    tls::certificates::Authority,
};

pub(super) fn cases() -> Vec<Case> {
    let (three, worker) = (Need::Managers(3), Need::Workers(1));
    let cases = vec![
        Case::new("WorkerKilled", |t| outage(t, worker_node, Verb::Kill, Verb::Reboot)).needs(worker),
        Case::new("WorkerPartitioned", |t| outage(t, worker_node, Verb::Partition, Verb::Heal)).needs(worker),
        Case::new("ManagerKilled", |t| outage(t, follower, Verb::Kill, Verb::Reboot)).needs(three),
        Case::new("LeaderKilled", |t| outage(t, leader, Verb::Kill, Verb::Reboot)).needs(three),
        Case::new("LeaderPartitioned", |t| outage(t, leader, Verb::Partition, Verb::Heal)).needs(three),
        Case::new("QuorumLost", quorum_lost).needs(three),
        Case::new("EngineRestarts", engine_restarts).needs(Need::Nodes(2)),
        Case::new("EveryEngineRestarts", every_engine_restarts),
        Case::new("LockedAfterRestart", locked_after_restart).needs(three),
        Case::new("ManagerDemotedWhileDown", demoted_down).needs(three),
        Case::new("RootCaRotationWaits", rotation_waits).needs(worker),
        Case::new("LockedOncePromoted", locked_once_promoted).needs(three).needs(worker),
    ];
    cases.into_iter().map(|case| case.needs(Need::Hosts).timeout(Duration::from_secs(300))).collect()
}

/// How long until a silent node is down: three heartbeats of five seconds are missed. Managers first choose a new
/// leader where it led, and that one gives every node time to report to it.
const DOWN_WITHIN: Duration = Duration::from_secs(90);
/// How long a node may take to be what it was: its host boots, its engine begins, and a manager catches up.
const BACK_WITHIN: Duration = Duration::from_secs(120);
/// How long tasks may take to run elsewhere.
const MOVED_WITHIN: Duration = Duration::from_secs(60);
/// How long managers that are too few may go on as if they were not: an election is a matter of seconds.
const QUORUM_NOTICED_WITHIN: Duration = Duration::from_secs(60);

fn worker_node(node: &Member, _: &str) -> bool {
    !node.manager
}

fn leader(node: &Member, _: &str) -> bool {
    node.leader
}

/// One that neither leads nor is talked to.
fn follower(node: &Member, own: &str) -> bool {
    node.reachable && !node.leader && node.id != own
}

/// A node falls silent: it is down, and no other is, whoever leads; its task runs elsewhere, the others decide. It comes
/// back as what it was, and what was replaced has ended there.
async fn outage(t: Test, which: fn(&Member, &str) -> bool, hurt: Verb, undo: Verb) -> Result<()> {
    let nodes = t.usable().await?;
    let it = nodes.iter().find(|node| which(node, &t.cluster().node)).context("no usable node is such a one")?;
    let service = t.service("web").replicas(u32::try_from(nodes.len())?).create().await?;
    let before = by_node(&service.running(nodes.len()).await?);
    ensure!(before.contains_key(&it.id), "{} has no task: {before:?}", it.hostname);
    tokio::select! {
        end = silent(&t, &nodes, it, &service, hurt, undo) => end,
        end = no_other_down(&t, &nodes, it) => end,
    }
}

/// Ends when another node than this is seen to be down. A swarm in which nobody leads says nothing of its nodes.
async fn no_other_down(t: &Test, nodes: &[Member], silent: &Member) -> Result<()> {
    t.stays("no other node is down", Duration::MAX, || async {
        let now = node::list(t.docker()).await.unwrap_or_default();
        let others = now.iter().filter(|it| it.id != silent.id && nodes.iter().any(|other| other.id == it.id));
        let down: Vec<_> = others.filter(|it| it.state == "down").map(|it| &*it.hostname).collect();
        ensure!(down.is_empty(), "{} was hurt, and down is also {down:?}", silent.hostname);
        Ok(())
    })
    .await
}

/// What is seen of a node that falls silent and comes back.
async fn silent(t: &Test, nodes: &[Member], it: &Member, service: &Service, hurt: Verb, undo: Verb) -> Result<()> {
    t.host(hurt, it).await?;
    t.until(&format!("{} is down", it.hostname), DOWN_WITHIN, || down(t, it)).await?;
    let moved = t
        .until("its task runs elsewhere", MOVED_WITHIN, || async {
            let tasks = service.tasks().await?;
            let running: Vec<_> = tasks.into_iter().filter(task::runs).collect();
            let spread = by_node(&running);
            ensure!(running.len() == nodes.len() && !spread.contains_key(&it.id), "tasks run so: {spread:?}");
            Ok(spread)
        })
        .await?;
    works(t).await?;
    let led = leads(t, nodes, it).await?;
    // Fewer are those that run, and not those that may run on the node that is silent.
    let fewer = nodes.len() - 1;
    service.scale(u32::try_from(fewer)?).await?;
    let moved = t
        .until("fewer tasks run", MOVED_WITHIN, || async {
            let tasks = service.tasks().await?;
            let running: Vec<_> = tasks.into_iter().filter(task::runs).collect();
            let spread = by_node(&running);
            ensure!(running.len() == fewer && !spread.contains_key(&it.id), "tasks run so: {spread:?}, then {moved:?}");
            Ok(spread)
        })
        .await?;
    t.host(undo, it).await?;
    back(t, it).await?;
    // Also says that no other runs.
    let after = by_node(&service.running(fewer).await?);
    ensure!(after == moved, "tasks moved although nothing was wrong: {moved:?}, then {after:?}");
    ensure!(leads(t, nodes, it).await? == led, "another leads since it is back");
    agree(t).await
}

/// The one node that leads; all but the one that is silent are ready.
async fn leads(t: &Test, nodes: &[Member], silent: &Member) -> Result<String> {
    t.until("one leads, and the others are ready", MOVED_WITHIN, || async {
        let now = node::list(t.docker()).await?;
        let ready = |id: &String| now.iter().any(|it| it.id == *id && it.state == "ready");
        for node in nodes.iter().filter(|node| node.id != silent.id) {
            ensure!(ready(&node.id), "{} is not ready", node.hostname);
        }
        let leaders: Vec<_> = now.iter().filter(|node| node.leader).collect();
        let [leader] = leaders[..] else { bail!("{} lead", leaders.len()) };
        Ok(leader.id.clone())
    })
    .await
}

/// A manager that is demoted while it is down comes back as a worker, and can be promoted.
async fn demoted_down(t: Test) -> Result<()> {
    let nodes = node::list(t.docker()).await?;
    let it = nodes.iter().find(|node| follower(node, &t.cluster().node)).context("there is no follower")?;
    t.host(Verb::Kill, it).await?;
    t.until(&format!("{} is down", it.hostname), DOWN_WITHIN, || down(&t, it)).await?;
    node::update(t.docker(), &it.id, |spec| spec.role = Some(Role::WORKER)).await.context("it cannot be demoted")?;
    t.host(Verb::Reboot, it).await?;
    t.until(&format!("{} is back as a worker", it.hostname), BACK_WITHIN, || async {
        let now = find(&t, &it.id).await?;
        ensure!(now.state == "ready" && !now.manager, "it is {now:?}");
        Ok(())
    })
    .await?;
    managers::certified(&t, &managers::certificates(&t, it).await?, "swarm-worker").await?;
    works(&t).await?;
    managers::make(&t, it, Role::MANAGER).await
}

/// The root certificate is not replaced for good before a node that is down has one of the new root too.
async fn rotation_waits(t: Test) -> Result<()> {
    let it = t.usable().await?.into_iter().find(|node| !node.manager).context("there is no worker")?;
    let (old, given) = (settings::old_root(&t).await?, Authority::new()?);
    let before = t.docker().inspect_node(&it.id).await?.description.and_then(|it| it.tls_info);
    t.host(Verb::Kill, &it).await?;
    t.until(&format!("{} is down", it.hostname), DOWN_WITHIN, || down(&t, &it)).await?;
    settings::new_root(&t, Some(&given)).await?;
    t.until("all others have certificates of the new root", BACK_WITHIN, || async {
        for node in t.docker().list_nodes(None).await? {
            let (id, description) = (node.id.unwrap_or_default(), node.description.unwrap_or_default());
            let new = description.tls_info != before;
            ensure!(new == (id != it.id), "{:?} has a new one: {new}", description.hostname);
        }
        Ok(())
    })
    .await?;
    ensure!(settings::rotating(&t).await?, "the rotation is over, and {} has an old certificate", it.hostname);
    t.host(Verb::Reboot, &it).await?;
    settings::rotated(&t, &old, Some(&given)).await
}

/// The node is ready, and a manager if it was one.
async fn back(t: &Test, it: &Member) -> Result<()> {
    t.until(&format!("{} is back", it.hostname), BACK_WITHIN, || async {
        let now = find(t, &it.id).await?;
        ensure!(now.state == "ready" && now.reachable == it.reachable, "it is {now:?}");
        Ok(())
    })
    .await
}

/// Managers that are too few decide nothing, and say so; what runs goes on. With the others back they decide again.
async fn quorum_lost(t: Test) -> Result<()> {
    let managers = node::list(t.docker()).await?.into_iter().filter(|node| node.manager);
    let (own, others): (Vec<_>, Vec<_>) = managers.partition(|node| node.id == t.cluster().node);
    let own = own.first().context("the one that is talked to is no manager")?;
    let service = t.service("web").constraint(&format!("node.id=={}", own.id)).published().create().await?;
    let before = service.running(1).await?;
    let url = format!("http://{}:{}/", own.address, service.port().await?);
    let name = t.get(&url).await?;
    try_join_all(others.iter().map(|other| t.host(Verb::Kill, other))).await?;
    t.until("the manager that is left decides nothing", QUORUM_NOTICED_WITHIN, || async {
        let refused = match node::list(t.docker()).await {
            Ok(nodes) => bail!("it knows {} nodes", nodes.len()),
            Err(error) => format!("{error:#}"),
        };
        ensure!(refused.contains("does not have a leader"), "it says: {refused}");
        Ok(())
    })
    .await?;
    let made = t.service("proof").create().await.map(|_| ());
    refusal(made, 503, "Make sure more than half of the managers are online.")?;
    ensure!(t.get(&url).await? == name, "another task answers at {url}");
    // With one of them they are enough.
    for other in &others {
        t.host(Verb::Reboot, other).await?;
        back(&t, other).await?;
        works(&t).await?;
    }
    ensure!(service.running(1).await?[0].id == before[0].id, "its task was replaced");
    works(&t).await
}

/// An engine that restarts has its tasks anew and starts the containers that are to be kept, also those on networks of
/// the swarm; on other nodes nothing changes.
async fn engine_restarts(t: Test) -> Result<()> {
    let nodes = t.usable().await?;
    let it = nodes.iter().find(|node| node.id == t.cluster().node).context("the one that is talked to is unusable")?;
    let everywhere = t.service("everywhere").global().create().await?;
    let before = everywhere.running(nodes.len()).await?;
    let network = t.network("net").await?;
    let kept = t.container("kept", &network).await?;
    let always = RestartPolicy { name: Some(RestartPolicyNameEnum::ALWAYS), ..Default::default() };
    let body = ContainerUpdateBody { restart_policy: Some(always), ..Default::default() };
    t.docker().update_container(&kept.id, body).await.context("cannot have the container restarted")?;
    let begun = async || {
        let state = kept.inspect().await?.state.unwrap_or_default();
        ensure!(state.running == Some(true), "it is {:?}", state.status);
        Ok(state.started_at)
    };
    let first = begun().await?;
    t.host(Verb::RestartEngine, it).await?;
    t.until("the container runs again", BACK_WITHIN, || async {
        let now = begun().await?;
        ensure!(now != first, "it runs since {now:?}");
        Ok(())
    })
    .await?;
    back(&t, it).await?;
    let after = everywhere.running(nodes.len()).await?;
    for task in &after {
        let kept = before.iter().any(|other| other.id == task.id);
        let here = task.node_id.as_ref() == Some(&it.id);
        ensure!(
            kept != here,
            "{}: {}",
            if kept { "not replaced" } else { "replaced" },
            task::describe(t.cluster(), task)
        );
    }
    works(&t).await
}

/// All engines restart at once: the swarm is whole again, and runs what it ran.
async fn every_engine_restarts(t: Test) -> Result<()> {
    let nodes = t.usable().await?;
    let service = t.service("web").replicas(2 * u32::try_from(nodes.len())?).create().await?;
    let before = service.running(2 * nodes.len()).await?;
    try_join_all(nodes.iter().map(|node| t.host(Verb::RestartEngine, node))).await?;
    for node in &nodes {
        back(&t, node).await?;
    }
    let after = service.running(2 * nodes.len()).await?;
    let old = after.iter().filter(|it| before.iter().any(|other| other.id == it.id)).count();
    ensure!(old == 0, "{old} tasks were not replaced: engines stop their containers when they restart");
    told_alike(&t).await?;
    agree(&t).await
}

/// A manager of a swarm that locks itself is of no use after its engine restarted, until it gets the key: the one that
/// is valid now. When the swarm no longer locks itself, it needs none; and all that once more.
async fn locked_after_restart(t: Test) -> Result<()> {
    let managers = node::list(t.docker()).await?;
    let it = managers.iter().find(|node| follower(node, &t.cluster().node)).context("there is no follower")?;
    for _ in 0..2 {
        settings::lock(&t, true).await?;
        let old = settings::key(&t).await?;
        settings::rotate_key(&t).await?;
        let key = settings::key(&t).await?;
        t.may_lock(it, &key)?;
        works(&t).await?;
        restarted_locked(&t, it).await?;
        let Err(refused) = t.unlock(it, &old).await else { bail!("it was unlocked with the key before the last") };
        ensure!(format!("{refused:#}").contains("invalid key"), "refused for another reason: {refused:#}");
        let Err(refused) = t.host(Verb::Leave, it).await else {
            bail!("it left the swarm, locked, without being forced")
        };
        ensure!(format!("{refused:#}").contains("locked"), "refused for another reason: {refused:#}");
        t.unlock(it, &key).await?;
        back(&t, it).await?;
        settings::lock(&t, false).await?;
        works(&t).await?;
        restarted(&t, it).await?;
    }
    works(&t).await
}

/// In a swarm that locks itself a worker is not locked; one that is promoted is, and no longer when it is demoted.
async fn locked_once_promoted(t: Test) -> Result<()> {
    let it = t.usable().await?.into_iter().find(|node| !node.manager).context("there is no worker")?;
    settings::lock(&t, true).await?;
    let key = settings::key(&t).await?;
    t.may_lock(&it, &key)?;
    restarted(&t, &it).await?;
    managers::make(&t, &it, Role::MANAGER).await?;
    restarted_locked(&t, &it).await?;
    t.unlock(&it, &key).await?;
    back(&t, &Member { reachable: true, ..it.clone() }).await?;
    managers::make(&t, &it, Role::WORKER).await?;
    managers::certified(&t, &managers::certificates(&t, &it).await?, "swarm-worker").await?;
    restarted(&t, &it).await?;
    settings::lock(&t, false).await?;
    works(&t).await
}

/// Restarts the engine of a node, which is of use again without anything else: its tasks are replaced there.
async fn restarted(t: &Test, it: &Member) -> Result<()> {
    let service = t.service("restarted").constraint(&format!("node.id=={}", it.id)).create().await?;
    let before = service.running(1).await?;
    t.host(Verb::RestartEngine, it).await?;
    t.until(&format!("{} runs tasks again", it.hostname), BACK_WITHIN, || async {
        let tasks = service.tasks().await?;
        let new = tasks.iter().any(|task| task::runs(task) && task.id != before[0].id);
        ensure!(new, "its task was not replaced");
        Ok(())
    })
    .await?;
    back(t, &find(t, &it.id).await?).await
}

/// Restarts the engine of a manager that locks itself: it is missed, for it takes part in nothing.
async fn restarted_locked(t: &Test, it: &Member) -> Result<()> {
    t.host(Verb::RestartEngine, it).await?;
    t.until(&format!("{} is missed", it.hostname), DOWN_WITHIN, || down(t, it)).await
}
