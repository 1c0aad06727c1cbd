//! Following one object until something is so, by a watch: nothing here asks again and again.

use std::pin::pin;

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

use crate::cli::{
    failure::Failure,
    kubernetes::{Attempt, Kubernetes, Pick},
};

/// Shows every state of every object that is picked, also as it is deleted, until showing fails.
pub async fn changes<K>(
    kubernetes: &Kubernetes,
    resource: &str,
    all: bool,
    pick: &Pick,
    mut show: impl FnMut(K) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
    K::DynamicType: Default,
{
    let client = kubernetes.client.clone();
    let api: Api<K> = if all { Api::all(client) } else { Api::namespaced(client, &kubernetes.namespace) };
    let mut states = pin!(watcher::watcher(api, pick.watch()).default_backoff().touched_objects());
    while let Some(state) = states.next().await {
        match state {
            Ok(object) => show(object)?,
            // What is refused stays so; what breaks off is begun again.
            Err(watcher::Error::WatchStartFailed(e) | watcher::Error::InitialListFailed(e)) if is_refused(&e) => {
                let namespace = (!all).then_some(kubernetes.namespace.as_str());
                return Err(kubernetes.explain(&e, &Attempt { verb: "watch", resource, namespace, name: None }));
            }
            Err(error) => tracing::debug!(%error, resource, "a watch broke off"),
        }
    }
    Ok(())
}

/// Waits until `look` finds what it looks for; it is shown every state, `None` when the object is gone.
pub async fn until<K, T>(
    kubernetes: &Kubernetes,
    api: Api<K>,
    resource: &str,
    name: &str,
    mut look: impl FnMut(Option<K>) -> Option<T>,
) -> Result<T, Failure>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    // An API server that restarts is no reason to give up; what it refuses is.
    let explain = |error: watcher::Error| match error {
        watcher::Error::InitialListFailed(e) => {
            Some(kubernetes.explain(&e, &kubernetes.attempt("list", resource, Some(name))))
        }
        watcher::Error::WatchStartFailed(e @ kube::Error::Api(_)) => {
            Some(kubernetes.explain(&e, &kubernetes.attempt("watch", resource, Some(name))))
        }
        _ => None,
    };
    let mut seen = false;
    let mut states = pin!(watcher::watch_object(api, name).default_backoff());
    loop {
        match states.try_next().await {
            Ok(Some(state)) => {
                seen = true;
                if let Some(found) = look(state) {
                    return Ok(found);
                }
            }
            Ok(None) => return Err(Failure::new(format!("the watch of {resource} {name:?} ended"))),
            // What fails at the first try is for the person; what fails later may pass.
            Err(error) => {
                if let Some(failure) = explain(error).filter(|_| !seen) {
                    return Err(failure);
                }
            }
        }
    }
}

fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
}
