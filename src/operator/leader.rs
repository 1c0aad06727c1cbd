//! Leadership by a Lease: at most one operator works at a time.

use std::future::Future;

use anyhow::Context as _;
use kube::Client;
use kube_lease_manager::{LeaseCreateMode, LeaseManagerBuilder};

use super::config::LeaseName;
use crate::api::MANAGER;

/// How long a lease holds, and how long before its end it is renewed, in seconds: client-go's defaults.
const DURATION: u64 = 15;
const GRACE: u64 = 5;

/// Waits until this process leads. What it returns resolves when it does not any more.
pub async fn lead(
    client: Client,
    lease: &LeaseName,
) -> anyhow::Result<impl Future<Output = anyhow::Error> + Send + use<>> {
    let name = format!("{}/{}", lease.namespace, lease.name);
    let manager = LeaseManagerBuilder::new(client, &lease.name)
        .with_namespace(&lease.namespace)
        .with_create_mode(LeaseCreateMode::AutoCreate)
        .with_field_manager(MANAGER)
        .with_duration(DURATION)
        .with_grace(GRACE)
        .build()
        .await
        .with_context(|| format!("Lease {name}"))?;
    let (mut leads, task) = manager.watch().await;
    tracing::info!(lease = name, "waiting to lead");
    leads.wait_for(|leads| *leads).await.with_context(|| format!("Lease {name}"))?;
    Ok(async move {
        let lost = leads.wait_for(|leads| !*leads).await.map(drop);
        task.abort();
        anyhow::anyhow!("Lease {name} is lost ({lost:?}): another operator may lead")
    })
}
