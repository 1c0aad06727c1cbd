//! What is written on a run's object before it is done, so that a new operator goes on where
//! the last one ended: annotations and the finalizer. Decides nothing.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    attempt::{self, Attempt},
    stage::{Stage, elapsed},
    verdict::Cut,
};
use crate::{
    api::{E2ERun, FINALIZER, text},
    host::HostId,
};

/// The container of the run: written after it is created and before it is started.
const CONTAINER: &str = "testkit.dev/container";
/// Why the container was told to end: its exit code alone does not tell.
const CUT: &str = "testkit.dev/stopped-for";
/// What came between the container and us while it ran.
const DISTURBED: &str = "testkit.dev/disturbed";
/// The attempts that ended and were followed by another one: written against the version that was read.
const ATTEMPTS: &str = "testkit.dev/attempts";
/// What begins anew with an attempt. For how long it waited in line is told of the first one.
const ANEW: [Stage; 6] =
    [Stage::Image, Stage::Starting, Stage::Running, Stage::Stopping, Stage::Collecting, Stage::Storing];
/// The most characters of what came between.
const WORDS: usize = 300;

/// What the annotations say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The container, once it is created.
    pub placed: Option<Placed>,
    /// When the stages began.
    pub since: BTreeMap<Stage, Timestamp>,
    /// Why the container was told to end.
    pub cut: Option<Cut>,
    /// Its engine was lost while it ran, in words.
    pub disturbed: Option<String>,
    /// The attempts before this one.
    pub attempts: Vec<Attempt>,
}

/// A container and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The manager.
    pub host: HostId,
    /// The container's id.
    pub container: String,
    /// When this was written.
    pub at: Timestamp,
}

/// [`Placed`] as an annotation.
#[derive(Serialize, Deserialize)]
struct Written {
    cluster: String,
    slot: String,
    incarnation: u32,
    id: String,
    at: Timestamp,
}

impl Record {
    /// Reads the annotations. What a person mangled counts as not written.
    #[must_use]
    pub fn of(run: &E2ERun) -> Self {
        let annotation = |key| run.annotations().get(key).map(String::as_str);
        let written = annotation(CONTAINER).and_then(|text| serde_json::from_str(text).ok());
        // It becomes a part of paths, and of commands that people are told.
        let is_id = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let written = written.filter(|w: &Written| is_id(&w.id));
        let placed = written.map(|w| Placed {
            host: HostId { cluster: w.cluster, slot: w.slot, incarnation: w.incarnation },
            container: w.id,
            at: w.at,
        });
        let attempts = annotation(ATTEMPTS).and_then(|text| serde_json::from_str(text).ok());
        let mut attempts: Vec<Attempt> = attempts.unwrap_or_default();
        attempts.iter_mut().for_each(|one| one.container = one.container.take().filter(|id| is_id(id)));
        let began = |stage: Stage| Some((stage, annotation(stage.annotation())?.parse().ok()?));
        Self {
            placed,
            since: Stage::ALL.into_iter().filter_map(began).collect(),
            cut: annotation(CUT).and_then(|why| serde_json::from_value(json!(why)).ok()),
            disturbed: annotation(DISTURBED).map(str::to_owned),
            attempts,
        }
    }

    /// Which attempt this is, counted from 1.
    #[must_use]
    pub fn number(&self) -> usize {
        self.attempts.len() + 1
    }

    /// From when on the time of the run counts: its first container's start, where there was one before this.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        attempt::began(&self.attempts)
    }

    /// When the container started, or was about to.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        self.since.get(&Stage::Running).copied().or_else(|| Some(self.placed.as_ref()?.at))
    }

    /// For how long it waited in line, once it is over.
    #[must_use]
    pub fn queued(&self) -> Option<Duration> {
        let since = |stage: &Stage| self.since.get(stage).copied();
        let of_this = [Stage::Image, Stage::Starting, Stage::Running].iter().filter_map(since).min();
        let next = self.began().or(of_this)?;
        Some(elapsed(since(&Stage::Queued)?, next))
    }
}

/// A change of the record.
#[derive(Clone, Debug)]
pub enum Change {
    /// The finalizer is put on; from then on the run waits.
    Hold(Timestamp),
    /// The finalizer is taken off.
    Release,
    /// The container was created.
    Placed(Placed),
    /// A stage began then.
    Entered(Stage, Timestamp),
    /// What was written of a stage does not count any more.
    Left(Vec<Stage>),
    /// The container is told to end.
    Cut(Cut, Timestamp),
    /// Its engine was lost.
    Disturbed(String),
    /// These attempts ended, and another one begins then.
    Again(Vec<Attempt>, Timestamp),
}

impl Change {
    /// The annotations, and those to be taken off.
    fn annotations(&self) -> BTreeMap<&'static str, Option<String>> {
        let began = |stage: Stage, at: &Timestamp| (stage.annotation(), Some(at.to_string()));
        match self {
            Self::Hold(at) => BTreeMap::from([began(Stage::Pending, at)]),
            Self::Release => BTreeMap::new(),
            Self::Placed(Placed { host: HostId { cluster, slot, incarnation }, container, at }) => {
                let written = Written {
                    cluster: cluster.clone(),
                    slot: slot.clone(),
                    incarnation: *incarnation,
                    id: container.clone(),
                    at: *at,
                };
                BTreeMap::from([(CONTAINER, Some(json!(written).to_string()))])
            }
            Self::Entered(stage, at) => BTreeMap::from([began(*stage, at)]),
            Self::Left(stages) => stages.iter().map(|stage| (stage.annotation(), None)).collect(),
            Self::Cut(cut, at) => {
                BTreeMap::from([(CUT, json!(cut).as_str().map(str::to_owned)), began(Stage::Stopping, at)])
            }
            Self::Disturbed(words) => BTreeMap::from([(DISTURBED, Some(text::line(words, WORDS)))]),
            Self::Again(attempts, at) => {
                let over = ANEW.map(Stage::annotation).into_iter().chain([CONTAINER, CUT, DISTURBED]);
                let written = [(ATTEMPTS, Some(json!(attempts).to_string())), began(Stage::Pending, at)];
                over.map(|key| (key, None)).chain(written).collect()
            }
        }
    }
}

/// Writes a change.
///
/// # Errors
/// Where the API server refuses it: also when the object was deleted, or made anew under the same name.
pub async fn write(api: &Api<E2ERun>, run: &E2ERun, change: Change) -> Result<(), kube::Error> {
    let mut metadata = json!({"uid": run.uid(), "annotations": change.annotations()});
    if let Change::Hold(_) | Change::Release = change {
        let mut finalizers: Vec<_> = run.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
        if let Change::Hold(_) = change {
            finalizers.push(FINALIZER.to_owned());
        }
        // The whole list is replaced: only if nobody changed it in between.
        metadata["finalizers"] = json!(finalizers);
        metadata["resourceVersion"] = json!(run.resource_version());
    }
    if let Change::Again(..) = change {
        // Who has an older picture of the run may have ended the same attempt another way.
        metadata["resourceVersion"] = json!(run.resource_version());
    }
    let patch = Patch::Merge(json!({"metadata": metadata}));
    match api.patch_metadata(&run.name_any(), &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        // Taken off an object that is gone: as wanted.
        Err(kube::Error::Api(status)) if status.code == 404 && matches!(change, Change::Release) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The object after a change, as the API server makes it.
    fn changed(mut run: E2ERun, change: &Change) -> E2ERun {
        let annotations = run.metadata.annotations.get_or_insert_default();
        for (key, value) in change.annotations() {
            match value {
                Some(value) => annotations.insert(key.to_owned(), value),
                None => annotations.remove(key),
            };
        }
        run
    }

    #[test]
    fn what_is_written_is_read() {
        let mut run: E2ERun = serde_json::from_value(json!({
            "metadata": {"name": "nightly"}, "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"},
        }))
        .unwrap();
        assert_eq!(Record::of(&run), Record::default());
        let at = |second| Timestamp::from_second(second).unwrap();
        let host = HostId { cluster: "u".into(), slot: "m0".into(), incarnation: 2 };
        let placed = Placed { host, container: "c1".into(), at: at(30) };
        for change in [
            Change::Hold(at(10)),
            Change::Entered(Stage::Image, at(20)),
            Change::Placed(placed.clone()),
            Change::Entered(Stage::Running, at(31)),
            Change::Left(vec![Stage::Image]),
            Change::Cut(Cut::Cancelled, at(40)),
            Change::Disturbed("cut\u{1b}[1m off".into()),
        ] {
            run = changed(run, &change);
        }
        let wanted = Record {
            placed: Some(placed),
            since: [(Stage::Pending, at(10)), (Stage::Running, at(31)), (Stage::Stopping, at(40))].into(),
            cut: Some(Cut::Cancelled),
            disturbed: Some("cut off".into()),
            attempts: vec![],
        };
        assert_eq!(Record::of(&run), wanted);
        assert_eq!(wanted.started(), Some(at(31)));
        assert_eq!(wanted.queued(), None);
        let mut queued = wanted.clone();
        queued.since.insert(Stage::Queued, at(11));
        assert_eq!(queued.queued(), Some(Duration::from_secs(20)));
        for id in ["", "x; reboot", "../../images/suite", "x?force=1", "\u{1b}[1m"] {
            let placed = Placed { container: id.into(), ..wanted.placed.clone().unwrap() };
            let forged = changed(run.clone(), &Change::Placed(placed));
            assert_eq!(Record::of(&forged).placed, None, "{id:?}");
        }
        let mangled = run.metadata.annotations.as_mut().unwrap();
        mangled.values_mut().for_each(|value| *value = "mangled".into());
        let disturbed = Some("mangled".into());
        assert_eq!(Record::of(&run), Record { disturbed, ..Record::default() });
    }

    #[test]
    fn with_another_attempt_what_was_of_the_last_one_is_over() {
        let mut run: E2ERun = serde_json::from_value(json!({
            "metadata": {"name": "nightly"}, "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"},
        }))
        .unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let host = HostId { cluster: "u".into(), slot: "m0".into(), incarnation: 2 };
        for change in [
            Change::Hold(at(10)),
            Change::Entered(Stage::Image, at(20)),
            Change::Placed(Placed { host, container: "c1".into(), at: at(30) }),
            Change::Entered(Stage::Running, at(31)),
            Change::Disturbed("cut off".into()),
        ] {
            run = changed(run, &change);
        }
        let attempt: Attempt = serde_json::from_value(json!({
            "outcome": "Test", "reason": "CasesFailed", "message": "b", "host": null, "container": "c1",
            "ran": [at(31).to_string(), 5000], "counts": null, "failed": ["b"], "results": "nightly-results",
        }))
        .unwrap();
        run = changed(run, &Change::Entered(Stage::Queued, at(11)));
        run = changed(run, &Change::Again(vec![attempt.clone()], at(50)));
        let since = [(Stage::Pending, at(50)), (Stage::Queued, at(11))].into();
        let wanted = Record { since, attempts: vec![attempt], ..Record::default() };
        assert_eq!(Record::of(&run), wanted);
        assert_eq!((wanted.number(), wanted.began()), (2, Some(at(31))));
        assert_eq!(wanted.queued(), Some(Duration::from_secs(20)));
    }
}
