//! The life of one control connection: connect, rotate the key, wait for the engine, begin again.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ConnectError, Host, HostError, Target, Trust, Up,
    backoff::Backoff,
    engine,
    hosts::{HostState, Slot},
    rotation,
};

/// Keeps a connection up until it is aborted.
pub async fn keep(slot: Arc<Slot>, mut target: Target) {
    let mut backoff = Backoff::default();
    loop {
        let host = connect(&slot, &target, &mut backoff).await;
        let up_at = Instant::now();
        let host = serve(&slot, &mut target, host).await;
        tracing::info!(host = ?slot.id(), address = host.address(), reason = host.reason(), "connection lost");
        let error = HostError::Lost { address: host.address().to_owned(), reason: host.reason() };
        slot.set(HostState::Connecting { since: Instant::now(), last_error: Some(error.to_string()) });
        tokio::time::sleep(backoff.after_loss(up_at.elapsed())).await;
    }
}

/// Tries until it is connected: never two attempts at once, and none too soon.
async fn connect(slot: &Slot, target: &Target, backoff: &mut Backoff) -> Host {
    let begin = Instant::now();
    loop {
        let error = match Host::connect_with(target, backoff.patience(), None).await {
            Ok(host) => return host,
            Err(error) => error,
        };
        let wait = backoff.after(&error, begin.elapsed());
        tracing::debug!(host = ?slot.id(), %error, ?wait, "not connected yet");
        note(slot, &error);
        tokio::time::sleep(wait).await;
    }
}

/// Writes an error down where it says something new.
fn note(slot: &Slot, error: &ConnectError) {
    let error = Some(error.to_string());
    if let HostState::Connecting { since, last_error } = slot.get()
        && last_error != error
    {
        slot.set(HostState::Connecting { since, last_error: error });
    }
}

/// Sees to a connection until it is gone, and returns the last one. The engine is waited for
/// and the key is replaced at the same time, so that neither costs the other anything.
async fn serve(slot: &Slot, target: &mut Target, host: Host) -> Host {
    let mut up = Up { rotated: *host.presented() == target.trust.own(), host, engine: false };
    tracing::info!(host = ?slot.id(), address = up.host.address(), rotated = up.rotated, "connected");
    slot.set(HostState::Up(up.clone()));
    let mut engine = pin!(wait_for_engine(up.host.clone()));
    let mut rotation = pin!(rotate(slot, up.host.clone(), target.clone()));
    loop {
        let closed = up.host.closed();
        tokio::select! {
            () = closed.cancelled() => return up.host,
            answers = &mut engine, if !up.engine => {
                if !answers {
                    // The wait began on the connection before the rotation, which is gone now.
                    engine.set(wait_for_engine(up.host.clone()));
                    continue;
                }
                up.engine = true;
                tracing::info!(host = ?slot.id(), "the engine answers");
            }
            host = &mut rotation, if !up.rotated => {
                tracing::info!(host = ?slot.id(), key = host.presented().fingerprint(), "it shows its own host key");
                *target = target.rotated();
                (up.host, up.rotated) = (host, true);
            }
        }
        slot.set(HostState::Up(up.clone()));
    }
}

/// Whether the engine answers; `false` when the connection ended before.
async fn wait_for_engine(host: Host) -> bool {
    engine::wait_until_it_answers(&host).await.is_ok()
}

/// Replaces the boot key, however often it takes; the connection that shows the new one.
async fn rotate(slot: &Slot, host: Host, target: Target) -> Host {
    let Trust::Rotate { own, .. } = &target.trust else { return std::future::pending().await };
    let mut pause = Duration::from_secs(1);
    loop {
        match rotation::rotate(&host, &target, own).await {
            Ok(host) => return host,
            Err(error) => tracing::warn!(host = ?slot.id(), %error, again_in = ?pause, "it keeps its boot key for now"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}
