//! Managers that become workers, and workers that become managers; leadership that moves.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bollard::models::{Mount, MountType, NodeSpecRoleEnum as Role};

use super::{find, works};
use crate::{
    cases::{catalog::refusal, events::heard_of},
    cluster::Member,
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        node,
        service::{Service, container_of},
    },
};

pub(super) fn cases() -> Vec<Case> {
    let three = Need::Managers(3);
    vec![
        Case::new("ManagerDemoteAndPromote", manager).needs(three),
        Case::new("WorkerPromoteAndDemote", worker).needs(Need::Workers(1)),
        Case::new("LeaderDemoteAndPromote", leader).needs(three).timeout(Duration::from_secs(240)),
        Case::new("ManagersDemotedToOne", to_one).needs(three).timeout(Duration::from_secs(300)),
    ]
}

/// How long a node may take to have its new role: it gets a certificate for it, and then joins the managers or
/// leaves them; a manager that is demoted while it is busy is asked again after some seconds.
const ROLE_WITHIN: Duration = Duration::from_secs(60);

/// Asks for a role and waits until the node has it: a manager that the others reach, or none at all.
pub(super) async fn make(t: &Test, member: &Member, role: Role) -> Result<()> {
    t.until(&format!("{} is a {role}", member.hostname), ROLE_WITHIN, || async {
        // Inside, since managers that are just choosing a leader refuse; and nothing when it has been asked for.
        node::update(t.docker(), &member.id, |spec| spec.role = Some(role)).await?;
        let now = find(t, &member.id).await?;
        let right = if role == Role::MANAGER { now.reachable } else { !now.manager };
        ensure!(right && now.state == "ready", "it is {now:?}");
        Ok(())
    })
    .await
}

/// Where an engine keeps the certificates of its node, on the bed as by default.
const CERTIFICATES: &str = "/var/lib/docker/swarm/certificates";

/// A server that reads the certificates of a node.
pub(super) async fn certificates(t: &Test, it: &Member) -> Result<Service> {
    let mount = Mount {
        typ: Some(MountType::BIND),
        source: Some(CERTIFICATES.into()),
        target: Some("/certificates".into()),
        read_only: Some(true),
        ..Default::default()
    };
    let service = t.service("certificates").askable().constraint(&format!("node.id=={}", it.id));
    service.with(|spec| container_of(spec).mounts = Some(vec![mount])).create().await
}

/// Waits until the node's certificate says this of its role: its subject has it as it is, in the encoding of X.509.
pub(super) async fn certified(t: &Test, service: &Service, role: &str) -> Result<()> {
    t.until(&format!("the node's certificate is of a {role}"), ROLE_WITHIN, || async {
        let file = service.ask("/file?path=/certificates/swarm-node.crt").await?;
        let certificate = pem::parse(&file).context("this is no certificate")?;
        let has = certificate.contents().windows(role.len()).any(|some| some == role.as_bytes());
        ensure!(has, "it is of another");
        Ok(())
    })
    .await
}

/// A manager that neither leads nor is the one that is talked to.
async fn follower(t: &Test) -> Result<Member> {
    let nodes = node::list(t.docker()).await?;
    let mut followers = nodes.into_iter().filter(|node| node.reachable && !node.leader && node.id != t.cluster().node);
    followers.next().context("every manager leads or is the one that is talked to")
}

/// A manager is demoted and promoted again, and the others go on.
async fn manager(t: Test) -> Result<()> {
    let it = follower(&t).await?;
    let before = node::clock(t.docker()).await?;
    make(&t, &it, Role::WORKER).await?;
    works(&t).await?;
    heard_of(
        &t,
        &before,
        "node",
        &it.id,
        &[("update", &[("role.new", "worker"), ("role.old", "manager")])],
        ROLE_WITHIN,
    )
    .await?;
    make(&t, &it, Role::MANAGER).await?;
    works(&t).await
}

/// A worker is promoted and demoted again, and keeps its task; its certificate is that of its role each time.
async fn worker(t: Test) -> Result<()> {
    let it = t.usable().await?.into_iter().find(|node| !node.manager).context("there is no worker")?;
    let service = certificates(&t, &it).await?;
    let before = service.running(1).await?;
    make(&t, &it, Role::MANAGER).await?;
    works(&t).await?;
    certified(&t, &service, "swarm-manager").await?;
    make(&t, &it, Role::WORKER).await?;
    works(&t).await?;
    certified(&t, &service, "swarm-worker").await?;
    ensure!(service.running(1).await?[0].id == before[0].id, "its task was replaced");
    Ok(())
}

/// The leader is demoted: another leads, and it can be promoted again. It may be the one that is talked to, which
/// then cannot tell; so a task on another manager does both.
async fn leader(t: Test) -> Result<()> {
    let leader = node::list(t.docker()).await?.into_iter().find(|node| node.leader).context("nobody leads")?;
    let managers = t.usable().await?.into_iter().filter(|node| node.reachable && node.id != leader.id);
    let doer = managers.max_by_key(|node| node.id != t.cluster().node).context("there is no other manager")?;
    let service = t.service("web").replicas(3).create().await?;
    let before = service.running(3).await?;
    let demote = t.service("demote").with_engine().constraint(&format!("node.id=={}", doer.id));
    let demote = demote.args(&["demote-and-promote", &leader.id]).create().await?;
    t.until(
        &format!("{} says that it demoted and promoted {}", doer.hostname, leader.hostname),
        3 * ROLE_WITHIN,
        || async {
            let said = demote.log().await?;
            ensure!(said.contains("promoted"), "it says {said:?}");
            t.note(said.trim());
            Ok(())
        },
    )
    .await?;
    let now = find(&t, &leader.id).await?;
    ensure!(now.reachable && !now.leader, "the one that led is {now:?}");
    let after = service.running(3).await?;
    let kept = after.iter().all(|it| before.iter().any(|other| other.id == it.id));
    ensure!(kept, "tasks were replaced");
    works(&t).await
}

/// All managers but one are demoted; that one goes on alone, and cannot be demoted; the others come back.
async fn to_one(t: Test) -> Result<()> {
    let nodes = node::list(t.docker()).await?;
    let (own, others): (Vec<_>, Vec<_>) =
        nodes.into_iter().filter(|node| node.manager).partition(|node| node.id == t.cluster().node);
    for other in &others {
        make(&t, other, Role::WORKER).await?;
    }
    works(&t).await?;
    let last = own.first().context("the one that is talked to is no manager")?;
    let demoted = node::update(t.docker(), &last.id, |spec| spec.role = Some(Role::WORKER)).await;
    refusal(demoted, 400, "attempting to demote the last manager of the swarm")?;
    for other in &others {
        make(&t, other, Role::MANAGER).await?;
    }
    works(&t).await
}
