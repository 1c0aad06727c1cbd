//! What is kept of a run after its container is gone: the ConfigMap the operator writes.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::api::{E2ERun, E2ERunStatus, is_true, type_};
use crate::cli::{failure::Failure, kubernetes::Kubernetes};

/// The log, with its middle left out where it was too long.
pub const LOG: &str = "log.gz";
/// The results.
pub const JUNIT: &str = "junit.xml.gz";

/// The kept file of that name, unpacked, or none.
pub async fn file(kubernetes: &Kubernetes, run: &E2ERun, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let map = run.status.as_ref().and_then(|s| s.results.clone()).unwrap_or_else(|| run.results_name());
    let Some(object) = kubernetes.config_map(&map).await? else { return Ok(None) };
    let Some(packed) = object.binary_data.unwrap_or_default().remove(key) else { return Ok(None) };
    let mut bytes = Vec::new();
    GzDecoder::new(packed.0.as_slice())
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::new(format!("{key} of ConfigMap {map:?} is broken: {e}")))?;
    Ok(Some(bytes))
}

/// Whether the run has ended.
pub fn ended(status: &E2ERunStatus) -> bool {
    is_true(&status.conditions, type_::COMPLETE) || is_true(&status.conditions, type_::FAILED)
}

/// What the operator says about it.
pub fn message(run: &E2ERun) -> String {
    run.status
        .as_ref()
        .and_then(|status| status.message.clone())
        .unwrap_or_else(|| "the operator has not looked at it yet".to_owned())
}
