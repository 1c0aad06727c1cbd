//! Settings of the whole swarm: its certificates, tokens, lock and limits.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    models::{Swarm, SwarmSpec},
    query_parameters::UpdateSwarmOptions,
};
use hyper::Method;
use serde_json::json;

use crate::{
    cases::catalog::{ANY, refusal},
    harness::{case::Case, test::Test},
    swarm::raw,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("RootCaRotation", rotate_root).timeout(Duration::from_secs(400)),
        Case::new("JoinTokensRotate", rotate_tokens),
        Case::new("SwarmSettings", settings),
        Case::new("UnlockKey", unlock_key),
    ]
}

/// How long the managers may take to give every node a new certificate.
const ROTATED_WITHIN: Duration = Duration::from_secs(150);

async fn swarm(t: &Test) -> Result<Swarm> {
    t.docker().inspect_swarm().await.context("cannot inspect the swarm")
}

async fn update(t: &Test, options: UpdateSwarmOptions, change: impl FnOnce(&mut SwarmSpec)) -> Result<()> {
    let now = swarm(t).await?;
    let version = i64::try_from(now.version.and_then(|version| version.index).unwrap_or_default())?;
    let mut spec = now.spec.unwrap_or_default();
    change(&mut spec);
    Ok(t.docker().update_swarm(spec, UpdateSwarmOptions { version, ..options }).await?)
}

/// The root certificate is replaced twice; every node gets one of the new root, and no task is touched.
async fn rotate_root(t: Test) -> Result<()> {
    let service = t.service("web").global().create().await?;
    let nodes = t.usable().await?.len();
    let before = service.running(nodes).await?;
    for _ in 0..2 {
        let old = root(&swarm(&t).await?)?;
        update(&t, Default::default(), |spec| {
            *spec.ca_config.get_or_insert_default().force_rotate.get_or_insert_default() += 1;
        })
        .await?;
        t.until("every node trusts the new root", ROTATED_WITHIN, || async {
            let now = swarm(&t).await?;
            let new = root(&now)?;
            ensure!(new != old, "the root is the old one");
            ensure!(now.root_rotation_in_progress != Some(true), "the rotation goes on");
            for node in t.docker().list_nodes(None).await? {
                let description = node.description.unwrap_or_default();
                let trusts = description.tls_info.and_then(|tls| tls.trust_root);
                ensure!(trusts.as_ref() == Some(&new), "{:?} trusts another root", description.hostname);
            }
            Ok(())
        })
        .await?;
    }
    let after = service.running(nodes).await?;
    ensure!(after.iter().all(|it| before.iter().any(|other| other.id == it.id)), "tasks were replaced");
    Ok(())
}

fn root(swarm: &Swarm) -> Result<String> {
    swarm.tls_info.as_ref().and_then(|tls| tls.trust_root.clone()).context("the swarm tells no root certificate")
}

/// Each of the two tokens for joining is replaced when that is asked for, and only then.
async fn rotate_tokens(t: Test) -> Result<()> {
    let tokens = async || swarm(&t).await?.join_tokens.context("the swarm has no tokens");
    let first = tokens().await?;
    update(&t, UpdateSwarmOptions { rotate_worker_token: true, ..Default::default() }, |_| ()).await?;
    let second = tokens().await?;
    // Not the tokens themselves, which let anybody in.
    ensure!(
        second.worker != first.worker && second.manager == first.manager,
        "not the token for workers alone changed"
    );
    update(&t, UpdateSwarmOptions { rotate_manager_token: true, ..Default::default() }, |_| ()).await?;
    let third = tokens().await?;
    ensure!(
        third.worker == second.worker && third.manager != second.manager,
        "not the token for managers alone changed"
    );
    Ok(())
}

/// Settings of the swarm are what they were set to; those of an older state and impossible ones are refused.
async fn settings(t: Test) -> Result<()> {
    let before = swarm(&t).await?;
    update(&t, Default::default(), |spec| {
        spec.orchestration.get_or_insert_default().task_history_retention_limit = Some(7);
        spec.dispatcher.get_or_insert_default().heartbeat_period = Some(11_000_000_000);
        spec.raft.get_or_insert_default().snapshot_interval = Some(20_000);
    })
    .await?;
    let spec = swarm(&t).await?.spec.unwrap_or_default();
    let history = spec.orchestration.and_then(|it| it.task_history_retention_limit);
    let heartbeat = spec.dispatcher.and_then(|it| it.heartbeat_period);
    let snapshot = spec.raft.and_then(|it| it.snapshot_interval);
    let told = (history, heartbeat, snapshot);
    ensure!(told == (Some(7), Some(11_000_000_000), Some(20_000)), "they are told as {told:?}");
    let stale = i64::try_from(before.version.and_then(|version| version.index).unwrap_or_default())?;
    let again = UpdateSwarmOptions { version: stale, ..Default::default() };
    let end = t.docker().update_swarm(before.spec.unwrap_or_default(), again).await;
    refusal(end.map_err(Into::into), ANY, "out of sequence")?;
    let short = update(&t, Default::default(), |spec| {
        spec.ca_config.get_or_insert_default().node_cert_expiry = Some(1_000_000_000);
    });
    refusal(short.await, ANY, "expiry")
}

/// The key that opens a locked manager; empty while the swarm does not lock itself.
pub(super) async fn key(t: &Test) -> Result<String> {
    let answer = raw::ask(t.cluster(), Method::GET, "/swarm/unlockkey", None).await?;
    Ok(answer["UnlockKey"].as_str().unwrap_or_default().to_owned())
}

/// Has managers lock themselves when they restart, or no longer.
pub(super) async fn lock(t: &Test, wanted: bool) -> Result<()> {
    let change =
        |spec: &mut SwarmSpec| spec.encryption_config.get_or_insert_default().auto_lock_managers = Some(wanted);
    update(t, Default::default(), change).await
}

/// Replaces the key.
pub(super) async fn rotate_key(t: &Test) -> Result<()> {
    update(t, UpdateSwarmOptions { rotate_manager_unlock_key: true, ..Default::default() }, |_| ()).await
}

/// A swarm that locks itself has a key, which can be replaced; when it no longer does, it has none. One that is
/// not locked cannot be unlocked.
async fn unlock_key(t: Test) -> Result<()> {
    ensure!(key(&t).await?.is_empty(), "a swarm that does not lock itself has a key");
    lock(&t, true).await?;
    let first = key(&t).await?;
    // Never the keys themselves: they open the swarm's secrets.
    ensure!(first.starts_with("SWMKEY-1-"), "the key is not one");
    rotate_key(&t).await?;
    let second = key(&t).await?;
    ensure!(second.starts_with("SWMKEY-1-") && second != first, "the key was not replaced");
    let body = json!({ "UnlockKey": second });
    let Err(error) = raw::ask(t.cluster(), Method::POST, "/swarm/unlock", Some(&body)).await else {
        bail!("a manager that is not locked was unlocked");
    };
    ensure!(format!("{error:#}").contains("not locked"), "refused for another reason: {error:#}");
    lock(&t, false).await?;
    ensure!(key(&t).await?.is_empty(), "a swarm that no longer locks itself has a key");
    Ok(())
}
