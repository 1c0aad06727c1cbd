//! What is written on a run's object before it is done, so that a new operator goes on where
//! the last one ended: annotations and the finalizer. Decides nothing.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    api::{E2ERun, FINALIZER},
    host::HostId,
};

/// The container of the run: written after it is created and before it is started.
const CONTAINER: &str = "testkit.dev/container";
/// Since when the cluster was ready and the image was missing: what `imagePullTimeout` counts from.
const IMAGE_MISSING_SINCE: &str = "testkit.dev/image-missing-since";
/// The container was stopped because its time was up: its exit code alone does not tell.
const STOPPED: &str = "testkit.dev/stopped-at-deadline";

/// What the annotations say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The container, once it is created.
    pub placed: Option<Placed>,
    /// Since when the image is missing on a ready cluster.
    pub image_missing_since: Option<Timestamp>,
    /// The container's time was up.
    pub stopped: bool,
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
        let placed = annotation(CONTAINER).and_then(|text| serde_json::from_str(text).ok()).map(|w: Written| Placed {
            host: HostId { cluster: w.cluster, slot: w.slot, incarnation: w.incarnation },
            container: w.id,
            at: w.at,
        });
        Self {
            placed,
            image_missing_since: annotation(IMAGE_MISSING_SINCE).and_then(|t| t.parse().ok()),
            stopped: annotation(STOPPED).is_some(),
        }
    }
}

/// A change of the record.
#[derive(Clone, Debug)]
pub enum Change {
    /// The finalizer is put on.
    Hold,
    /// The finalizer is taken off.
    Release,
    /// The container was created.
    Placed(Placed),
    /// The image is missing since then, or its time does not count any more.
    ImageMissing(Option<Timestamp>),
    /// The container's time is up.
    Stopped(Timestamp),
}

/// Writes a change.
///
/// # Errors
/// Where the API server refuses it: also when the object was deleted, or made anew under the same name.
pub async fn write(api: &Api<E2ERun>, run: &E2ERun, change: Change) -> Result<(), kube::Error> {
    let annotate = |key: &str, value: Option<String>| json!({"annotations": BTreeMap::from([(key, value)])});
    let mut metadata = match change {
        Change::Hold | Change::Release => {
            let mut finalizers: Vec<_> = run.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
            if matches!(change, Change::Hold) {
                finalizers.push(FINALIZER.to_owned());
            }
            // The whole list is replaced: only if nobody changed it in between.
            json!({"finalizers": finalizers, "resourceVersion": run.resource_version()})
        }
        Change::Placed(placed) => {
            let Placed { host: HostId { cluster, slot, incarnation }, container, at } = placed;
            let written = Written { cluster, slot, incarnation, id: container, at };
            annotate(CONTAINER, Some(json!(written).to_string()))
        }
        Change::ImageMissing(since) => annotate(IMAGE_MISSING_SINCE, since.map(|t| t.to_string())),
        Change::Stopped(at) => annotate(STOPPED, Some(at.to_string())),
    };
    metadata["uid"] = json!(run.uid());
    let patch = Patch::Merge(json!({"metadata": metadata}));
    match api.patch_metadata(&run.name_any(), &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        // Taken off an object that is gone: as wanted.
        Err(kube::Error::Api(status))
            if status.code == 404
                && matches!(patch, Patch::Merge(ref v) if v["metadata"].get("finalizers").is_some()) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
