//! The end of an installation: clusters go, and what makes them, while there is an operator to undo what they stand for.

use std::{fmt::Debug, pin::pin, time::Duration};

use anyhow::Context as _;
use futures::StreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions, WatchEvent, WatchParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;

use super::{Config, work::objects};
use crate::api::{E2EMatrix, E2ERun, E2ESchedule, SwarmCluster};

/// How long one look at what is left stands, whatever the API server tells meanwhile.
const FALLBACK: Duration = Duration::from_secs(15);

/// Deletes the clusters that this operator serves, before them what makes runs, and the runs that have not ended, and
/// returns when none of them is left. The operator that works does what their finalizers are for.
///
/// # Errors
/// What the API server refuses.
pub async fn clear(config: &Config, client: &Client) -> anyhow::Result<()> {
    gone(config, client, |_: &E2ESchedule| Some(Way::Delete)).await?;
    gone(config, client, |_: &E2EMatrix| Some(Way::Delete)).await?;
    gone(config, client, |run: &E2ERun| (!run.has_ended()).then_some(Way::Delete)).await?;
    gone(config, client, |_: &SwarmCluster| Some(Way::Delete)).await?;
    // What has ended stays, to be read, and can be deleted when there is no operator.
    gone(config, client, |run: &E2ERun| run.is_taken_on().then_some(Way::Wait)).await
}

/// What becomes of an object that is still in the way.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Delete,
    Wait,
}

/// Deletes those that are in the way, and waits until none is.
async fn gone<K>(config: &Config, client: &Client, way: impl Fn(&K) -> Option<Way>) -> anyhow::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let all: Api<K> = objects(config, client);
    let kind = K::kind(&());
    loop {
        let listed = all.list(&ListParams::default()).await.with_context(|| format!("{kind} cannot be listed"))?;
        let left: Vec<&K> = listed.items.iter().filter(|each| way(each).is_some()).collect();
        if left.is_empty() {
            tracing::info!(%kind, "none is in the way");
            return Ok(());
        }
        let to_delete = |each: &&K| way(each) == Some(Way::Delete) && each.meta().deletion_timestamp.is_none();
        for each in left.iter().copied().filter(to_delete) {
            delete::<K>(client, each).await?;
        }
        tracing::info!(%kind, "{} to go: {}", left.len(), names(&left));
        let version = listed.metadata.resource_version.unwrap_or_default();
        // Where the API server does not tell of a change, it is asked again when the time is over.
        let _ = tokio::time::timeout(FALLBACK, changed(&all, &version)).await;
    }
}

/// Exactly the object that was seen: one that was made under its name since then is looked at in the next round.
async fn delete<K>(client: &Client, object: &K) -> anyhow::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let this = Preconditions { uid: object.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
    match Api::<K>::namespaced(client.clone(), &namespace).delete(&name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} {namespace}/{name} cannot be deleted", K::kind(&()))),
    }
}

/// Resolves when one has changed since this version; never where the API server does not tell.
async fn changed<K>(all: &Api<K>, version: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    if let Ok(events) = all.watch(&WatchParams::default(), version).await {
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            if matches!(event, Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_))) {
                return;
            }
        }
    }
    std::future::pending::<()>().await;
}

/// For the log: the first of them, by namespace and name.
fn names<K: Resource>(of: &[&K]) -> String {
    const FIRST: usize = 5;
    let name = |each: &&K| format!("{}/{}", each.namespace().unwrap_or_default(), each.name_any());
    let more = if of.len() > FIRST { ", …" } else { "" };
    of.iter().take(FIRST).map(name).collect::<Vec<_>>().join(", ") + more
}
