//! Following one object until something is so, by a watch: nothing here asks again and again.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

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
            Err(error) => match failed_call(&error) {
                // What is refused stays so; what breaks off is begun again.
                Some((verb, cause)) if is_refused(cause) => {
                    let namespace = (!all).then_some(kubernetes.namespace.as_str());
                    return Err(kubernetes.explain(cause, &Attempt { verb, resource, namespace, name: None }));
                }
                _ => tracing::debug!(%error, resource, "a watch broke off"),
            },
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
    let mut errors = Errors::default();
    let mut states = pin!(watcher::watch_object(api, name).default_backoff());
    loop {
        match states.try_next().await {
            Ok(Some(state)) => {
                errors = Errors { seen: Some(Instant::now()), ..Errors::default() };
                if let Some(found) = look(state) {
                    return Ok(found);
                }
            }
            Ok(None) => return Err(Failure::new(format!("the watch of {resource} {name:?} ended"))),
            Err(error) => {
                if let Some((verb, cause)) = failed_call(&error)
                    && errors.are_final(is_refused(cause), Instant::now())
                {
                    return Err(kubernetes.explain(cause, &kubernetes.attempt(verb, resource, Some(name))));
                }
            }
        }
    }
}

/// How often in a row a call is refused until that is the answer, where that is so from the first on: who may list, and not
/// watch.
const REFUSED: u32 = 3;
/// The same of a watch that worked: an API server that begins may know nobody yet. That is about two minutes.
const REFUSED_LATER: u32 = 10;
/// Whoever may list and not watch is refused so soon after the list.
const AT_ONCE: Duration = Duration::from_secs(10);
/// Refusals that are so far apart are not in a row: twice the longest pause of a watch, with its jitter.
const APART: Duration = Duration::from_secs(120);

/// What became of a watch so far.
#[derive(Debug, Default)]
struct Errors {
    /// When a state was seen last.
    seen: Option<Instant>,
    /// When a call was refused last, where nothing else came after it.
    last: Option<Instant>,
    /// It had worked before it was refused.
    worked: bool,
    /// So many calls were refused in a row.
    refusals: u32,
}

impl Errors {
    /// Whether one more is for the person. What fails at the first try is; what fails later may pass, as when an API
    /// server restarts; what is refused again and again stays so.
    fn are_final(&mut self, refused: bool, now: Instant) -> bool {
        let Some(seen) = self.seen else { return true };
        let in_a_row = self.last.is_some_and(|last| now.duration_since(last) < APART);
        if refused && !in_a_row {
            (self.refusals, self.worked) = (0, now.duration_since(seen) > AT_ONCE);
        }
        self.refusals = if refused { self.refusals + 1 } else { 0 };
        self.last = refused.then_some(now);
        self.refusals >= if self.worked { REFUSED_LATER } else { REFUSED }
    }
}

/// The call that failed, by the verb that RBAC knows it by, and its error.
fn failed_call(error: &watcher::Error) -> Option<(&'static str, &kube::Error)> {
    match error {
        watcher::Error::InitialListFailed(cause) => Some(("list", cause)),
        watcher::Error::WatchStartFailed(cause) => Some(("watch", cause)),
        _ => None,
    }
}

fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> kube::Error {
        kube::Error::Api(kube::core::Status { code, ..Default::default() }.boxed())
    }

    #[test]
    fn the_call_that_was_refused_is_named() {
        for (error, verb, refused) in [
            (watcher::Error::InitialListFailed(status(403)), "list", true),
            (watcher::Error::WatchStartFailed(status(403)), "watch", true),
            (watcher::Error::WatchStartFailed(status(401)), "watch", true),
            (watcher::Error::WatchStartFailed(status(503)), "watch", false),
        ] {
            let (called, cause) = failed_call(&error).unwrap();
            assert_eq!((called, is_refused(cause)), (verb, refused), "{error}");
        }
        assert!(failed_call(&watcher::Error::NoResourceVersion).is_none());
    }

    #[test]
    fn what_fails_at_first_or_is_refused_for_good_is_told() {
        // Seconds from the last state to the first call that failed, and from each to the next.
        for (seen, first, every, refused, told_at) in [
            (false, 0, 1, &[false][..], Some(0)),
            (true, 0, 1, &[false; 4], None),
            // Who may list and not watch would wait for ever.
            (true, 1, 1, &[true; 3], Some(2)),
            (true, 1, 1, &[true, true, false, true, true], None),
            // An API server that begins is waited for where the watch had worked.
            (true, 600, 10, &[true; 9], None),
            (true, 600, 10, &[true; 10], Some(9)),
            (true, 600, 3600, &[true; 30], None),
        ] {
            let begin = Instant::now();
            let mut errors = Errors { seen: seen.then_some(begin), ..Errors::default() };
            let mut at = begin + Duration::from_secs(first);
            let mut told = refused.iter().map(|refused| {
                let is_final = errors.are_final(*refused, at);
                at += Duration::from_secs(every);
                is_final
            });
            assert_eq!(told.position(|is_final| is_final), told_at, "{seen} {first} {every} {refused:?}");
        }
    }
}
