//! The end of an installation: clusters go, and what makes them, while there is an operator to undo what they stand for.

use std::{collections::BTreeSet, fmt::Debug, pin::pin, time::Duration};

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
/// returns when none of them is left. The operator that works does what their finalizers are for. What is made after the
/// first look is not deleted: whoever asked for this may have gone, and be asked for it by nobody any more.
///
/// # Errors
/// What the API server refuses; and what was made meanwhile, for there will be nobody who ends it.
pub async fn clear(config: &Config, client: &Client) -> anyhow::Result<()> {
    gone(config, client, |_: &E2ESchedule| Some(Way::Delete)).await?;
    gone(config, client, |_: &E2EMatrix| Some(Way::Delete)).await?;
    gone(config, client, |run: &E2ERun| (!run.has_ended()).then_some(Way::Delete)).await?;
    gone(config, client, |_: &SwarmCluster| Some(Way::Delete)).await?;
    // What has ended stays, to be read, and can be deleted when there is no operator.
    gone(config, client, |run: &E2ERun| (run.has_ended() && run.is_taken_on()).then_some(Way::Wait)).await?;
    let mut new = made(config, client, |_: &E2ESchedule| true).await?;
    new.extend(made(config, client, |_: &E2EMatrix| true).await?);
    new.extend(made(config, client, |run: &E2ERun| !run.has_ended()).await?);
    new.extend(made(config, client, |_: &SwarmCluster| true).await?);
    anyhow::ensure!(
        new.is_empty(),
        "made meanwhile, and left as they are: {}; delete them, or uninstall again",
        first(&new)
    );
    Ok(())
}

/// What becomes of an object that is still in the way.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Delete,
    Wait,
}

/// Deletes those that are in the way at the first look, and waits until none of these is.
async fn gone<K>(config: &Config, client: &Client, way: impl Fn(&K) -> Option<Way>) -> anyhow::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let all: Api<K> = objects(config, client);
    let kind = K::kind(&());
    let mut meant: Option<BTreeSet<Option<String>>> = None;
    loop {
        let listed = all.list(&ListParams::default()).await.with_context(|| format!("{kind} cannot be listed"))?;
        let mut left: Vec<&K> = listed.items.iter().filter(|each| way(each).is_some()).collect();
        let meant = meant.get_or_insert_with(|| left.iter().map(|each| each.uid()).collect());
        left.retain(|each| meant.contains(&each.uid()));
        if left.is_empty() {
            tracing::info!(%kind, "none is in the way");
            return Ok(());
        }
        let to_delete = |each: &&K| way(each) == Some(Way::Delete) && each.meta().deletion_timestamp.is_none();
        for each in left.iter().copied().filter(to_delete) {
            delete::<K>(client, each).await?;
        }
        tracing::info!(%kind, "{} to go: {}", left.len(), first(&names(&left)));
        let version = listed.metadata.resource_version.unwrap_or_default();
        // Where the API server does not tell of a change, it is asked again when the time is over.
        let _ = tokio::time::timeout(FALLBACK, changed(&all, &version)).await;
    }
}

/// Those that are there.
async fn made<K>(config: &Config, client: &Client, counts: impl Fn(&K) -> bool) -> anyhow::Result<Vec<String>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let all: Api<K> = objects(config, client);
    let kind = K::kind(&());
    let listed = all.list(&ListParams::default()).await.with_context(|| format!("{kind} cannot be listed"))?;
    let there: Vec<&K> = listed.items.iter().filter(|each| counts(each)).collect();
    Ok(names(&there).into_iter().map(|name| format!("{kind} {name}")).collect())
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

/// By namespace and name.
fn names<K: Resource>(of: &[&K]) -> Vec<String> {
    of.iter().map(|each| format!("{}/{}", each.namespace().unwrap_or_default(), each.name_any())).collect()
}

/// For a line: the first of them.
fn first(names: &[String]) -> String {
    const FIRST: usize = 5;
    let more = if names.len() > FIRST { ", …" } else { "" };
    names.iter().take(FIRST).map(String::as_str).collect::<Vec<_>>().join(", ") + more
}
