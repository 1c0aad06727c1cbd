//! Following one object until something is so, by a watch: nothing here asks again and again.

use std::pin::pin;

use futures::TryStreamExt;
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

use super::{failure::Failure, kubernetes::Kubernetes};

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
