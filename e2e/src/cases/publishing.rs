//! Published ports: what the routing mesh does with connections from outside.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    harness::{case::Case, test::Test, until::Never},
    swarm::{
        container::Outside,
        service::{Service, containers},
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("NetworkExternalLb", network_external_lb),
        Case::new("ExternalLbReplicated", external_lb_replicated),
        Case::new("ExternalLbGlobal", external_lb_global),
    ]
}

/// How long after its tasks run a published port may refuse, or reach fewer of them than there are. An engine
/// needs a few hundred milliseconds; the rest is for slow machines.
const MESH_WITHIN: Duration = Duration::from_secs(8);

/// The published port reaches exactly the containers of the service, each at least twice.
async fn network_external_lb(t: Test) -> Result<()> {
    let service = t.service("web").replicas(3).published().create().await?;
    let wanted = containers(&service.running(3).await?)?;
    let outside = t.outside().await?;
    let node = t.cluster().usable().next().context("no node is ready and active")?;
    reaches_all(&t, &outside, &service, &node.address, &wanted).await
}

/// Every node's port reaches every replica, also where none runs.
async fn external_lb_replicated(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).published().create().await?;
    let wanted = containers(&service.running(2).await?)?;
    let outside = t.outside().await?;
    for node in t.cluster().usable() {
        reaches_all(&t, &outside, &service, &node.address, &wanted).await?;
    }
    Ok(())
}

/// Every node's port reaches the task of every node.
async fn external_lb_global(t: Test) -> Result<()> {
    let service = t.service("web").global().published().create().await?;
    let wanted = containers(&service.running(t.cluster().usable().count()).await?)?;
    let outside = t.outside().await?;
    for node in t.cluster().usable() {
        reaches_all(&t, &outside, &service, &node.address, &wanted).await?;
    }
    Ok(())
}

/// Waits until a node's port has reached each container, and from then on takes no error: as many requests as
/// make a fair share of four reach exactly the containers, each at least twice.
async fn reaches_all(t: &Test, outside: &Outside, service: &Service, node: &str, wanted: &[String]) -> Result<()> {
    let url = format!("http://{node}:{}/", service.port().await?);
    t.until(&format!("{url} reaches all {} containers", wanted.len()), MESH_WITHIN, || async {
        let counts = outside.count(&url, 2 * wanted.len()).await?;
        match counts.keys().find(|name| !wanted.contains(name)) {
            Some(other) => bail!(Never(format!("{other} answered, which is none of {wanted:?}"))),
            None => ensure!(counts.len() == wanted.len(), "{counts:?} answered, wanted {wanted:?}"),
        }
        Ok(())
    })
    .await?;
    let counts = outside.count(&url, 4 * wanted.len()).await.context("the port worked, and then did not")?;
    t.note(format_args!("{url}: {counts:?}"));
    ensure!(
        counts.len() == wanted.len() && counts.keys().all(|name| wanted.contains(name)),
        "{counts:?} answered, wanted {wanted:?}"
    );
    ensure!(counts.values().all(|&n| n >= 2), "{} requests were not spread: {counts:?}", 4 * wanted.len());
    Ok(())
}
