//! What is said of an `E2ERun`: how far it is, and how it went.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AttemptStatus, BalancedBy, Conditions, MadeRun, RunCost, is_true, schema::integer, type_};

/// What happened.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct E2ERunStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Complete` or `Failed` once the run ended; `Ready`, `Reconciling` and `Stalled` as kstatus reads them.
    #[serde(default)]
    pub conditions: Conditions,
    /// Where the run is, for people and columns: derived from the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The phase in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The SwarmCluster the run is for: the one of `spec.clusterRef`, or the one that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The run that this one joined for `spec.dedupeKey`: what is said here of container and results is of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<String>,
    /// How long the run waited in line behind other runs, such as `3m12s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<String>,
    /// Cases that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub passed: Option<u32>,
    /// Cases that failed, without those in `quarantined`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub failed: Option<u32>,
    /// Cases that failed and are in quarantine (`spec.quarantine`), where the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub quarantined: Option<u32>,
    /// Cases that failed and passed when they were tried again, by the test tool or by `spec.retries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub flaky: Option<u32>,
    /// Cases that were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub skipped: Option<u32>,
    /// The first failing cases, at most 20, without those in quarantine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<CaseFailure>,
    /// The container's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// When the container started, by the operator's clock; of several the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the container ended, by the operator's clock, or the run failed without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How long the container ran, such as `3m12s`; of several, from the start of the first to the end of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What its cluster cost while the container ran (`duration`), at what that cost an hour when the run ended. Only of a run that had a cluster of known price to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<RunCost>,
    /// The manager the container ran on, such as `foo-m0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// The container's id.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "containerID")]
    pub container_id: Option<String>,
    /// What the container was made of: what the image's registry knows it by (`name@sha256:…`), or its id where it was never in one.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "imageID")]
    pub image_id: Option<String>,
    /// The ConfigMap with the JUnit and the log. After retries the JUnit is that of all attempts, and the log that of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<String>,
    /// The attempts that ended, where there is more than one: those of `spec.retries`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptStatus>,
    /// The runs of `spec.shards`, in order, and how each stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<MadeRun>,
    /// By what the runs of `spec.shards` divide the cases, where their image takes it; written before the first of them is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balanced_by: Option<BalancedBy>,
}

/// A case that failed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaseFailure {
    /// The case.
    pub name: String,
    /// Why, at most 1,024 characters.
    pub message: String,
}

/// Where a run is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its cluster or its image.
    Pending,
    /// Its container runs.
    Running,
    /// It ended, and the tests passed.
    Complete,
    /// It ended otherwise.
    Failed,
}

impl E2ERunStatus {
    /// Whether the run has ended: that is read from its conditions, as with a Job, since nothing else tells it for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        is_true(&self.conditions, type_::COMPLETE) || is_true(&self.conditions, type_::FAILED)
    }
}
