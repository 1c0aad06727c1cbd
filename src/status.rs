//! Says how an object stands that has no machines of its own: conditions as kstatus reads them, one patch of status, an Event for a transition.

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    api::{Conditions, MANAGER, condition, is_true, reason, set, type_},
    events::{Events, Severity},
};

/// How an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// It is as its spec asks for.
    pub ready: bool,
    /// It is being worked on.
    pub reconciling: bool,
    /// Why, in a word.
    pub reason: &'a str,
    /// Why, in words.
    pub message: String,
}

/// The conditions after a verdict.
#[must_use]
pub fn judged(old: &Conditions, verdict: &Verdict<'_>, generation: Option<i64>, now: Timestamp) -> Conditions {
    let mut conditions = old.clone();
    let Verdict { ready, reconciling, reason, message } = verdict;
    for (type_, value) in [
        (type_::READY, *ready),
        (type_::RECONCILING, *reconciling),
        // kstatus knows no other word for an object that will not get any further.
        (type_::STALLED, !ready && !reconciling),
    ] {
        set(&mut conditions, condition(type_, value, reason, message, generation, now));
    }
    conditions
}

/// What a status is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Whatever is there by now: all of it is found again from what there is.
    Whatever,
    /// What was read, and nothing later: it is what is remembered of things that are gone.
    WhatWasRead,
}

/// Writes a status.
///
/// # Errors
/// Where the API server refuses; an object that is gone is no error. A conflict is, where another one was written since.
pub async fn write<K>(api: &Api<K>, object: &K, status: &impl Serialize, over: Over) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + std::fmt::Debug,
{
    // Of this object, and not of another one under its name.
    let mut metadata = json!({"uid": object.meta().uid});
    if over == Over::WhatWasRead {
        metadata["resourceVersion"] = json!(object.resource_version());
    }
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    match api.patch_status(&object.name_any(), &params, &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// One Event a change of the reason of Ready. A warning is what a person has to see to.
pub async fn announce<K>(events: &Events, object: &K, old: &[Condition], new: &[Condition], action: &str)
where
    K: Resource<DynamicType = ()>,
{
    let ready = |conditions: &[Condition]| conditions.iter().find(|c| c.type_ == type_::READY).cloned();
    let Some(now) = ready(new) else { return };
    if ready(old).is_some_and(|old| old.reason == now.reason) {
        return;
    }
    tracing::info!(object = object.name_any(), reason = now.reason, "{}", now.message);
    let warns = is_true(new, type_::STALLED) || now.reason == reason::RUN_NOT_MADE;
    let severity = if warns { Severity::Warning } else { Severity::Normal };
    events.publish(&object.object_ref(&()), severity, action, &now.reason, &now.message, None).await;
}

/// Whole seconds: what the API server keeps of a time, so that what is read back compares equal.
#[must_use]
pub fn whole(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}
