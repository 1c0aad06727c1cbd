//! Settings of the whole swarm: its certificates, tokens, lock and limits.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    models::{Swarm, SwarmSpec, SwarmSpecCaConfigExternalCas, SwarmSpecCaConfigExternalCasProtocolEnum},
    query_parameters::UpdateSwarmOptions,
};
use hyper::Method;
use serde_json::json;

use crate::{
    cases::catalog::refusal,
    harness::{case::Case, test::Test},
    swarm::raw,
    tls::certificates::Authority,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("RootCaRotation", rotate_root).timeout(Duration::from_secs(400)),
        Case::new("JoinTokensRotate", rotate_tokens),
        Case::new("SwarmSettings", settings),
        Case::new("UnlockKey", unlock_key),
    ]
}

/// How long certificates are good for while the settings are others, in the engine's nanoseconds: thirty hours.
const EXPIRY: i64 = 30 * 3600 * 1_000_000_000;
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

/// Replaces the root certificate by one of the swarm's own, or by this.
pub(super) async fn new_root(t: &Test, given: Option<&Authority>) -> Result<()> {
    let key = given.map(Authority::key_pem).transpose()?;
    update(t, Default::default(), |spec| {
        let ca = spec.ca_config.get_or_insert_default();
        (ca.signing_ca_cert, ca.signing_ca_key) = (given.map(Authority::pem), key);
        *ca.force_rotate.get_or_insert_default() += 1;
    })
    .await
}

/// Waits until every node has a certificate of a root that is not this one, and that is the one given if it was. The
/// swarm never tells what it was given.
pub(super) async fn rotated(t: &Test, old: &str, given: Option<&Authority>) -> Result<()> {
    t.until("every node trusts the new root", ROTATED_WITHIN, || async {
        let now = swarm(t).await?;
        let new = root(&now)?;
        ensure!(new != old, "the root is the old one");
        ensure!(now.root_rotation_in_progress != Some(true), "the rotation goes on");
        ensure!(given.is_none_or(|given| given.pem().trim() == new.trim()), "the root is not the one that was given");
        let ca = now.spec.and_then(|spec| spec.ca_config).unwrap_or_default();
        let told = [ca.signing_ca_cert, ca.signing_ca_key].into_iter().flatten().any(|it| !it.is_empty());
        ensure!(!told, "the swarm tells the certificate or the key that it was given");
        for node in t.docker().list_nodes(None).await? {
            let description = node.description.unwrap_or_default();
            let same = description.tls_info == now.tls_info;
            ensure!(same, "{:?} trusts another root or has a certificate of one", description.hostname);
        }
        Ok(())
    })
    .await
}

/// Whether the root is being replaced.
pub(super) async fn rotating(t: &Test) -> Result<bool> {
    Ok(swarm(t).await?.root_rotation_in_progress == Some(true))
}

pub(super) async fn old_root(t: &Test) -> Result<String> {
    root(&swarm(t).await?)
}

/// The root certificate is replaced by one that the swarm makes, by one that it is given, and by that of the last who
/// asked when one asks before the other is done; every node gets one of the new root, and no task is touched.
async fn rotate_root(t: Test) -> Result<()> {
    let service = t.service("web").global().create().await?;
    let nodes = t.usable().await?.len();
    let before = service.running(nodes).await?;
    let given = Authority::new()?;
    for given in [None, Some(&given)] {
        let old = old_root(&t).await?;
        new_root(&t, given).await?;
        rotated(&t, &old, given).await?;
    }
    let (old, last) = (old_root(&t).await?, Authority::new()?);
    new_root(&t, Some(&Authority::new()?)).await?;
    new_root(&t, Some(&last)).await?;
    rotated(&t, &old, Some(&last)).await?;
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
    rotate_worker_token(&t).await?;
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

/// Settings of the swarm are what they were set to, also the authorities outside that may sign its certificates, and the
/// tokens for joining stay as they were; settings of an older state and impossible ones are refused.
async fn settings(t: Test) -> Result<()> {
    let before = swarm(&t).await?;
    let authority = |url: &str, ca_cert| SwarmSpecCaConfigExternalCas {
        protocol: Some(SwarmSpecCaConfigExternalCasProtocolEnum::CFSSL),
        url: Some(url.to_owned()),
        ca_cert,
        ..Default::default()
    };
    let outside = vec![
        authority("https://one.example.test", None),
        authority("https://two.example.test", Some(Authority::new()?.pem())),
    ];
    update(&t, Default::default(), |spec| {
        spec.orchestration.get_or_insert_default().task_history_retention_limit = Some(7);
        spec.dispatcher.get_or_insert_default().heartbeat_period = Some(11_000_000_000);
        spec.raft.get_or_insert_default().snapshot_interval = Some(20_000);
        // Asked for nothing while this case runs: a node renews its certificate every two months.
        let ca = spec.ca_config.get_or_insert_default();
        ca.node_cert_expiry = Some(EXPIRY);
        ca.external_cas = Some(outside.clone());
    })
    .await?;
    let now = swarm(&t).await?;
    // Not the tokens themselves, which let anybody in.
    ensure!(now.join_tokens.is_some() && now.join_tokens == before.join_tokens, "a token for joining is another");
    let spec = now.spec.unwrap_or_default();
    let ca = spec.ca_config.unwrap_or_default();
    ensure!(ca.node_cert_expiry == Some(EXPIRY), "certificates are told to be good for {:?}", ca.node_cert_expiry);
    let authorities =
        ca.external_cas.unwrap_or_default().into_iter().map(|it| (it.url, it.ca_cert.unwrap_or_default()));
    let wanted = outside.into_iter().map(|it| (it.url, it.ca_cert.unwrap_or_default()));
    ensure!(authorities.clone().eq(wanted), "the authorities are told as {:?}", authorities.collect::<Vec<_>>());
    let history = spec.orchestration.and_then(|it| it.task_history_retention_limit);
    let heartbeat = spec.dispatcher.and_then(|it| it.heartbeat_period);
    let snapshot = spec.raft.and_then(|it| it.snapshot_interval);
    let told = (history, heartbeat, snapshot);
    ensure!(told == (Some(7), Some(11_000_000_000), Some(20_000)), "they are told as {told:?}");
    let stale = i64::try_from(before.version.and_then(|version| version.index).unwrap_or_default())?;
    let again = UpdateSwarmOptions { version: stale, ..Default::default() };
    let end = t.docker().update_swarm(before.spec.unwrap_or_default(), again).await;
    refusal(end.map_err(Into::into), 500, "update out of sequence")?;
    let short = update(&t, Default::default(), |spec| {
        spec.ca_config.get_or_insert_default().node_cert_expiry = Some(1_000_000_000);
    });
    refusal(short.await, 400, "minimum certificate expiry time is: 1h0m0s")?;
    let expiry = swarm(&t).await?.spec.and_then(|spec| spec.ca_config).and_then(|ca| ca.node_cert_expiry);
    ensure!(expiry == Some(EXPIRY), "what was refused changed it to {expiry:?}");
    Ok(())
}

/// Replaces the token with which workers join.
pub(super) async fn rotate_worker_token(t: &Test) -> Result<()> {
    update(t, UpdateSwarmOptions { rotate_worker_token: true, ..Default::default() }, |_| ()).await
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
    ensure!(format!("{error:#}").contains("swarm is not locked"), "refused for another reason: {error:#}");
    lock(&t, false).await?;
    ensure!(key(&t).await?.is_empty(), "a swarm that no longer locks itself has a key");
    Ok(())
}
