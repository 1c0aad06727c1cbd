//! What is kept of a run after its container is gone: the ConfigMap the operator writes.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::api::{E2ERun, Quarantined};
use crate::cli::{failure::Failure, kubernetes::Kubernetes};

/// The log, with its middle left out where it was too long.
pub const LOG: &str = "log.gz";
/// The results.
pub const JUNIT: &str = "junit.xml.gz";

/// The verdict, as JSON.
const SUMMARY: &str = "summary.json";
/// The most bytes that are unpacked: a document has 64 MiB at most, a log 8 MiB and a line.
const LARGEST: u64 = 128 << 20;

/// The results of one attempt by itself, where `JUNIT` is that of several.
pub const OWN_JUNIT: &str = "attempt.junit.xml.gz";

/// The kept file of that name, unpacked, or none.
pub async fn file(kubernetes: &Kubernetes, run: &E2ERun, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let map = run.status.as_ref().and_then(|s| s.results.clone()).unwrap_or_else(|| run.results_name());
    in_map(kubernetes, &map, key).await
}

/// The log of the run's last attempt. Where that left none, that of the one whose results are the run's: not where the
/// `end` of a log is asked for, whose begin was seen.
pub async fn last_log(kubernetes: &Kubernetes, run: &E2ERun, end: bool) -> Result<Option<Vec<u8>>, Failure> {
    let last = run.status.as_ref().and_then(|status| status.attempts.last());
    match last.map(|attempt| attempt.results.as_ref()) {
        Some(Some(map)) => in_map(kubernetes, map, LOG).await,
        Some(None) if end => Ok(None),
        Some(None) | None => file(kubernetes, run, LOG).await,
    }
}

/// The kept file of one attempt of the run, counted from 1.
pub async fn of_attempt(
    kubernetes: &Kubernetes,
    run: &E2ERun,
    number: u32,
    keys: &[&str],
) -> Result<Option<Vec<u8>>, Failure> {
    let status = run.status.clone().unwrap_or_default();
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let map = match status.attempts.iter().find(|attempt| attempt.number == number) {
        Some(attempt) => attempt.results.clone(),
        None if number == 1 && status.has_ended() && status.attempts.is_empty() => status.results,
        None => {
            let has = match status.attempts.len() {
                0 => "it has not been begun again".to_owned(),
                many => format!("{many} have ended so far"),
            };
            return Err(Failure::new(format!("no attempt {number} of run {name:?} has ended: {has}"))
                .help(format!("kubectl testkit describe run/{name}")));
        }
    };
    let Some(map) = map else { return Ok(None) };
    for key in keys {
        if let Some(bytes) = in_map(kubernetes, &map, key).await? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

async fn in_map(kubernetes: &Kubernetes, map: &str, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let Some(object) = kubernetes.config_map(map).await? else { return Ok(None) };
    let Some(packed) = object.binary_data.unwrap_or_default().remove(key) else { return Ok(None) };
    unpacked(&packed.0, LARGEST)
        .map(Some)
        .map_err(|e| Failure::new(format!("{key} of ConfigMap {map:?} is broken: {e}")))
}

/// What is kept, unpacked: of what somebody else has put there it is no more than a machine bears.
fn unpacked(packed: &[u8], most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed).take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other(format!(
            "unpacked it is more than {} MiB, which the operator never wrote",
            most >> 20
        )));
    }
    Ok(bytes)
}

/// What of the run's quarantine kept failures from counting, as it was judged.
pub async fn quarantine(kubernetes: &Kubernetes, run: &E2ERun) -> Result<Vec<Quarantined>, Failure> {
    let status = run.status.clone().unwrap_or_default();
    let Some(map) = status.results.filter(|_| status.quarantined.unwrap_or(0) > 0) else { return Ok(Vec::new()) };
    let summary = kubernetes.config_map(&map).await?.and_then(|map| map.data?.remove(SUMMARY)).unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap_or_default();
    // Of a version that did not write it, or mangled: then failures are shown as what they are.
    Ok(serde_json::from_value(summary["quarantine"].clone()).unwrap_or_default())
}

/// What the operator says about it.
pub fn message(run: &E2ERun) -> String {
    run.status
        .as_ref()
        .and_then(|status| status.message.clone())
        .unwrap_or_else(|| "the operator has not looked at it yet".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(bytes: &[u8], times: usize) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        (0..times).for_each(|_| encoder.write_all(bytes).unwrap());
        encoder.finish().unwrap()
    }

    #[test]
    fn what_grows_without_an_end_is_not_unpacked() {
        assert_eq!(unpacked(&packed(b"log\n", 2), LARGEST).unwrap(), b"log\nlog\n");
        let bomb = packed(&[0; 4096], 1024);
        assert!(bomb.len() < 64 << 10, "{}", bomb.len());
        assert!(unpacked(&bomb, 2 << 20).unwrap_err().to_string().contains("2 MiB"));
        assert!(unpacked(b"no gzip", LARGEST).is_err());
    }
}
