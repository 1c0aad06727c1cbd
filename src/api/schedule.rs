//! `E2ESchedule`: E2ERuns at the times that a cron expression says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Conditions, RunTemplate,
    schema::{integer, required_by_rule},
};

/// A field of a cron expression whose values are as this regular expression says: a list of values, ranges and steps.
macro_rules! field {
    ($value:literal) => {
        concat!(field!(@ $value), "(,", field!(@ $value), ")*")
    };
    (@ $value:literal) => {
        concat!("([*]|", $value, "(-", $value, ")?)(/[1-9][0-9]?)?")
    };
}

/// Minute, hour, day of the month, month, day of the week. What a regular expression cannot say (a range that goes down,
/// a day that no month has) is told on a condition.
const FIELDS: &str = concat!(
    "self.matches('^",
    field!("[0-5]?[0-9]"),
    " +",
    field!("([01]?[0-9]|2[0-3])"),
    " +",
    field!("(0?[1-9]|[12][0-9]|3[01])"),
    " +",
    field!("(0?[1-9]|1[0-2]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))"),
    " +",
    field!("([0-7]|(?i:sun|mon|tue|wed|thu|fri|sat))"),
    "$')"
);

/// E2ERuns at the times that a cron expression says, as a CronJob makes Jobs.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "testkit.dev",
    version = "v1alpha1",
    kind = "E2ESchedule",
    plural = "e2eschedules",
    singular = "e2eschedule",
    shortname = "e2es",
    category = "testkit",
    namespaced,
    status = "E2EScheduleStatus",
    derive = "PartialEq",
    doc = "E2ERuns at the times that a cron expression says",
    validation = Rule::new("size(self.metadata.name) <= 52").message("metadata.name begins the names of the runs, which have at most 63 characters: write at most 52"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Timezone", type_ = "string", json_path = ".spec.timeZone"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.activeRuns"),
    printcolumn(name = "Last schedule", type_ = "date", json_path = ".status.lastScheduleTime"),
    printcolumn(name = "Last success", type_ = "date", json_path = ".status.lastSuccessfulTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(
    validation = Rule::new("has(self.schedule)").message("write when to make runs, such as schedule: \"0 3 * * *\""),
    validation = Rule::new("has(self.runTemplate)").message("write what to run, such as runTemplate: {spec: {clusterRef: {name: foo}, image: dockerswarm/e2e:latest}}")
)]
pub struct E2EScheduleSpec {
    /// When, as cron has it: minute, hour, day of the month, month, day of the week. Where both days are given, one of them is enough.
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new(FIELDS).message("write five fields: minute, hour, day of the month, month and day of the week, such as \"0 3 * * *\" or \"*/15 8-18 * * MON-FRI\""))]
    pub schedule: String,

    /// The time zone `schedule` is in, by its name in the tz database, such as `Europe/Berlin`. By default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')").message("write the name of a time zone such as Europe/Berlin or Etc/UTC"))]
    pub time_zone: Option<String>,

    /// Make no runs meanwhile. Those that are there go on.
    #[serde(default)]
    pub suspend: bool,

    /// How late a run may be made, in seconds, after it was due. What is later counts as missed. By default there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 10 && self <= 31536000").message("write a number of seconds from 10 to 31536000 (a year)"))]
    pub starting_deadline_seconds: Option<u32>,

    /// What to do when a run is due and one that was made before has not ended.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,

    /// How many runs that passed are kept; the oldest are deleted, with their results.
    #[serde(default = "three")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write how many runs to keep, from 0 to 100"))]
    pub successful_runs_history_limit: u32,

    /// How many runs that failed are kept; the oldest are deleted, with their results.
    #[serde(default = "one")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write how many runs to keep, from 0 to 100"))]
    pub failed_runs_history_limit: u32,

    /// What the runs are made from. A change is of the runs that are made later.
    pub run_template: RunTemplate,
}

/// What to do when a run is due and one that was made before has not ended.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConcurrencyPolicy {
    /// Make it. On one cluster runs take their turns all the same.
    #[default]
    Allow,
    /// Wait until that one has ended; of the times that came meanwhile the latest counts.
    Forbid,
    /// Make it, and cancel that one (`spec.cancel`).
    Replace,
}

/// What was made, and what comes next.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct E2EScheduleStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling` and `Stalled` as kstatus reads them.
    #[serde(default)]
    pub conditions: Conditions,
    /// The Ready condition in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many runs have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub active_runs: Option<u32>,
    /// The names of those, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<String>,
    /// The time for which a run was last made: when it was due, not when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// When a run last ended that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
    /// The last time for which no run was made, since it was too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_missed_time: Option<Time>,
    /// When the next run is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,
}

const fn three() -> u32 {
    3
}

const fn one() -> u32 {
    1
}
