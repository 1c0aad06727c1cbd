//! What a run does again by itself, and how an image is told which cases to run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::integer;

/// What is done again before a run is given up. All attempts together have the time of `spec.timeout`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// How many times the cases that failed are run again, and only those. One that passes then is flaky, and no failure; one that fails each time, or is not in the results of the retry, has failed.
    #[serde(default)]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 5").message("write how many times to run failed cases again, from 0 to 5"))]
    pub failed_cases: u32,

    /// How many times a run is begun anew whose machine or engine was lost, on a manager on which it was not lost. What had failed by then is not known, so no case counts twice.
    #[serde(default = "one")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 5").message("write how many times to begin again after a machine was lost, from 0 to 5"))]
    pub infrastructure: u32,

    /// How the image is told which cases to run. By default what its label `testkit.dev/case-filter` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<CaseFilter>,
}

impl Default for Retries {
    fn default() -> Self {
        Self { failed_cases: 0, infrastructure: one(), filter: None }
    }
}

/// A second loss in one run says something of the machines that a person should see.
const fn one() -> u32 {
    1
}

/// How an image is told which cases to run: by a tool that is known, or by a template of its arguments.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.tool) != has(self.args)").message("write the tool that the image runs, such as tool: Pytest, or a template of its arguments, such as args: ['{args}', '--grep', '{names}'], and not both"),
    validation = Rule::new("!has(self.args) || self.args.exists(a, a.contains('{names}'))").message("write {names} where the names of the cases shall be, such as args: ['{args}', '--grep', '{names}']").field_path(".args"),
    validation = Rule::new("has(self.args) || !has(self.separator) && !has(self.escape)").message("write separator and escape only beside args: a tool has its own")
)]
pub struct CaseFilter {
    /// The tool that takes the arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Tool>,

    /// The arguments of the container, in place of the run's. `{args}` alone stands for those of the run, or else the image's; `{options}` for those of them that are options and no names of cases; `{names}` for the names of the cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub args: Option<Vec<String>>,

    /// What is between two names within an argument. Without it `{names}` alone is an argument for each name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub separator: Option<String>,

    /// What is done to a name first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escape: Option<Escape>,
}

/// A tool that takes names of cases.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Python's pytest: `-k 'test_a or test_b'`.
    Pytest,
    /// `go test`, and a test binary of it: `-test.run=^(TestA|TestB)$`, whole tests with their subtests.
    GoTest,
    /// Jest: `-t '(^| )(a|b)$'`.
    Jest,
    /// cargo-nextest: `-E 'test(=a) | test(=b)'`.
    Nextest,
    /// Rust's own test programs, and the `e2e` suite: `--exact a b`, with the run's options and without its filters.
    Libtest,
}

/// What is done to a name before it is an argument, or a part of one.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// It is a regular expression of exactly this text.
    Regex,
}

/// An execution of the run's container, of several.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AttemptStatus {
    /// Its number, from 1.
    #[schemars(schema_with = "integer")]
    pub number: u32,
    /// What its end speaks of.
    pub outcome: AttemptOutcome,
    /// Why it ended so, one of the reasons of a run.
    pub reason: String,
    /// The same in words, at most 256 characters.
    pub message: String,
    /// The manager it was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// When its container started, by the operator's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// How long its container ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The ConfigMap with its JUnit and log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<String>,
}

/// What the end of an attempt speaks of.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The tests: they passed, failed, or left no results.
    Test,
    /// The machines: a host, its engine or the way to it was lost.
    Infrastructure,
    /// What a person wrote or did.
    Configuration,
}
