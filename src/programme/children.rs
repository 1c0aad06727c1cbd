//! The runs that an object makes: what of them decides, and how they are made, cancelled and deleted.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    api::{E2ERun, E2ERunStatus, MANAGER, Phase, RunTemplate, SCHEDULED_AT, is_true, type_},
    refusal::Refusal,
};

/// A run that an object made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// When it was due, where a schedule made it.
    pub scheduled: Option<Timestamp>,
    /// Its phase.
    pub phase: Phase,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
    /// It was told to end.
    pub cancelled: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// What is said of it is of another run, which it joined: the evidence is there.
    pub joined: bool,
    /// How it went, as far as it did.
    pub outcome: Outcome,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why it stands as it does, in a word.
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// Cases that passed.
    pub passed: Option<u32>,
    /// Cases that failed.
    pub failed: Option<u32>,
    /// Cases that failed, and passed when they were tried again.
    pub flaky: Option<u32>,
    /// Cases that were skipped.
    pub skipped: Option<u32>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// It is `Complete`.
    pub passed: bool,
    /// When.
    pub at: Timestamp,
}

impl Child {
    /// Reads a run.
    #[must_use]
    pub fn of(run: &E2ERun) -> Self {
        let empty = E2ERunStatus::default();
        let status = run.status.as_ref().unwrap_or(&empty);
        let created = run.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
        let passed = is_true(&status.conditions, type_::COMPLETE);
        let at = status.finished_at.as_ref().map_or(created, |t| t.0);
        Self {
            name: run.name_any(),
            uid: run.uid().unwrap_or_default(),
            created,
            scheduled: run.annotations().get(SCHEDULED_AT).and_then(|at| at.parse().ok()),
            phase: status.phase.unwrap_or(Phase::Pending),
            ended: status.has_ended().then_some(Ended { passed, at }),
            cancelled: run.spec.cancel,
            deleting: run.metadata.deletion_timestamp.is_some(),
            joined: status.joined.is_some(),
            outcome: Outcome::of(status),
        }
    }

    /// Whether it has not ended.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.ended.is_none()
    }
}

impl Outcome {
    fn of(status: &E2ERunStatus) -> Self {
        let ready = status.conditions.iter().find(|c| c.type_ == type_::READY);
        Self {
            reason: ready.map(|c| c.reason.clone()).unwrap_or_default(),
            message: status.message.clone().unwrap_or_default(),
            passed: status.passed,
            failed: status.failed,
            flaky: status.flaky,
            skipped: status.skipped,
        }
    }
}

/// Takes from a run what nobody here reads, before it is kept in memory.
pub fn lighten(run: &mut E2ERun) {
    run.metadata.managed_fields = None;
    if let Some(status) = &mut run.status {
        status.failures.clear();
    }
}

/// Whether this run was made by the object of this UID.
#[must_use]
pub fn is_of(run: &E2ERun, owner: &str) -> bool {
    run.owner_references().iter().any(|o| o.uid == owner)
}

/// What a run is given beside its template.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The object that makes it, by UID what it belongs to.
    pub owner: OwnerReference,
    /// Labels of the maker, over those of the template.
    pub labels: BTreeMap<String, String>,
    /// Annotations, likewise.
    pub annotations: BTreeMap<String, String>,
}

/// What became of a run that was to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made just now, with this UID.
    Now(String),
    /// It was there, by the same maker, with this UID.
    Before(String),
    /// The API server does not take it, in words; this is for good unless somebody changes something.
    Refused(String),
    /// The run is right, and the API server takes none until somebody does something, in words: gives the operator
    /// permission, or frees what a quota counts.
    NotNow(String),
}

/// The object.
#[must_use]
pub fn run(name: &str, template: &RunTemplate, mark: Mark) -> E2ERun {
    let mut labels = template.metadata.labels.clone();
    labels.extend(mark.labels);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    let mut annotations = template.metadata.annotations.clone();
    annotations.extend(mark.annotations);
    let mut run = E2ERun::new(name, template.spec.clone());
    run.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels),
        annotations: Some(annotations),
        // With it the run goes with its maker.
        owner_references: Some(vec![mark.owner]),
        ..ObjectMeta::default()
    };
    run
}

/// Makes a run, once: where one of its name is there, it is asked whose that is.
///
/// # Errors
/// Where the API server does not answer as it should: then it is tried again.
pub async fn make(runs: &Api<E2ERun>, run: &E2ERun) -> Result<Made, kube::Error> {
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match runs.create(&params, run).await {
        Ok(made) => Ok(Made::Now(made.uid().unwrap_or_default())),
        Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
            let name = run.name_any();
            let owner = run.owner_references().first().map(|o| o.uid.clone()).unwrap_or_default();
            match runs.get_opt(&name).await? {
                Some(there) if is_of(&there, &owner) => Ok(Made::Before(there.uid().unwrap_or_default())),
                Some(there) if goes(&there, run) => {
                    Ok(Made::NotNow(format!("E2ERun {name}, which was made before, is not gone yet")))
                }
                Some(_) => Ok(Made::Refused(format!("an E2ERun {name} is there that was made otherwise: delete it"))),
                None => Err(kube::Error::Api(status)),
            }
        }
        Err(kube::Error::Api(status)) => match Refusal::of(&status, "E2ERuns") {
            Some(Refusal::WantOfRoom(words) | Refusal::WantOfPermission(words)) => Ok(Made::NotNow(words)),
            Some(Refusal::ForGood(words)) => Ok(Made::Refused(words)),
            None => Err(kube::Error::Api(status)),
        },
        Err(error) => Err(error),
    }
}

/// Whether a run goes by itself: it is being deleted, or it belongs to one of this name and kind as its maker that was
/// there before, and goes after that.
fn goes(there: &E2ERun, run: &E2ERun) -> bool {
    let before = |of: &OwnerReference| run.owner_references().iter().any(|o| o.kind == of.kind && o.name == of.name);
    there.metadata.deletion_timestamp.is_some() || there.owner_references().iter().any(before)
}

/// The runs that the object of this name and UID made, as the API server has them now.
///
/// # Errors
/// Where the API server does not answer.
pub async fn listed(runs: &Api<E2ERun>, (label, maker): (&str, &str), owner: &str) -> Result<Vec<Child>, kube::Error> {
    let made = runs.list(&ListParams::default().labels(&format!("{label}={maker}"))).await?;
    Ok(made.iter().filter(|run| is_of(run, owner)).map(Child::of).collect())
}

/// Gives the run of this UID a label. One that is gone needs none.
///
/// # Errors
/// Where the API server refuses.
pub async fn label(runs: &Api<E2ERun>, name: &str, uid: &str, (label, value): (&str, &str)) -> Result<(), kube::Error> {
    let patch = Patch::Merge(json!({"metadata": {"uid": uid, "labels": {label: value}}}));
    gone_is_fine(runs.patch(name, &PatchParams::default(), &patch).await)
}

/// Has the run of this UID end: its evidence is kept. One that is gone is as wanted.
///
/// # Errors
/// Where the API server refuses.
pub async fn cancel(runs: &Api<E2ERun>, name: &str, uid: &str) -> Result<(), kube::Error> {
    let patch = Patch::Merge(json!({"metadata": {"uid": uid}, "spec": {"cancel": true}}));
    gone_is_fine(runs.patch(name, &PatchParams::default(), &patch).await)
}

/// Deletes the object of this UID, and with it what belongs to it.
///
/// # Errors
/// Where the API server refuses.
pub async fn delete<K>(api: &Api<K>, name: &str, uid: &str) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + fmt::Debug,
{
    let this = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    gone_is_fine(api.delete(name, &DeleteParams::background().preconditions(this)).await)
}

fn gone_is_fine<T>(answer: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The runs of a namespace.
#[must_use]
pub fn runs(client: &Client, namespace: &str) -> Api<E2ERun> {
    Api::namespaced(client.clone(), namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_goes_by_itself_is_waited_for_and_what_others_made_is_not() {
        let run = |more: serde_json::Value| -> E2ERun {
            let mut run = json!({
                "metadata": {"name": "m-a", "uid": "r"}, "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"},
            });
            run["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(run).unwrap()
        };
        let of = |kind: &str, name: &str, uid: &str| json!({"ownerReferences": [{"apiVersion": "testkit.dev/v1alpha1", "kind": kind, "name": name, "uid": uid}]});
        let new = run(of("E2EMatrix", "m", "new"));
        for (there, wanted) in [
            (of("E2EMatrix", "m", "old"), true),
            (of("E2EMatrix", "other", "old"), false),
            (of("E2ESchedule", "m", "old"), false),
            (json!({}), false),
            (json!({"deletionTimestamp": "2026-11-28T00:00:00Z"}), true),
        ] {
            assert_eq!(goes(&run(there.clone()), &new), wanted, "{there}");
        }
    }
}
