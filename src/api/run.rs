//! `E2ERun`: one run of a test container on a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Conditions, Duration,
    schema::{integer, required_by_rule},
};

/// One run of a test container on a manager of a cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "testkit.dev",
    version = "v1alpha1",
    kind = "E2ERun",
    plural = "e2eruns",
    singular = "e2erun",
    shortname = "e2e",
    category = "testkit",
    namespaced,
    status = "E2ERunStatus",
    derive = "PartialEq",
    doc = "One run of a test container on a manager of a SwarmCluster",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name becomes part of a container's name: write at most 63 characters"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Passed", type_ = "integer", json_path = ".status.passed"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed"),
    printcolumn(name = "Skipped", type_ = "integer", json_path = ".status.skipped"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a run cannot be changed once it is made: create another E2ERun"),
    validation = Rule::new("has(self.clusterRef)").message("write which SwarmCluster to run on, such as clusterRef: {name: foo}"),
    validation = Rule::new("has(self.image)").message("write the image to run, such as image: dockerswarm/e2e:latest")
)]
pub struct E2ERunSpec {
    /// The SwarmCluster to run on, in the run's own namespace. The run waits until it is Ready.
    pub cluster_ref: ClusterRef,

    /// The image to run.
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9._:/-]*[a-z0-9])?(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$')").message("write an image reference such as dockerswarm/e2e:latest"))]
    pub image: String,

    /// When to pull the image on the cluster's nodes.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,

    /// How long the image may take to be on every node before the run fails.
    #[serde(default = "two_minutes")]
    pub image_pull_timeout: Duration,

    /// Arguments of the container, in place of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,

    /// Environment of the container. `TESTKIT_RESULTS` and `TESTKIT_IMAGE` are set by the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvVar>,

    /// How long the container may run before it is stopped and the run fails.
    #[serde(default = "half_an_hour")]
    pub timeout: Duration,
}

/// A SwarmCluster in the run's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.name)").message("write the name of a SwarmCluster in the same namespace, such as name: foo"))]
pub struct ClusterRef {
    /// Its name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("size(self) > 0").message("write the name of a SwarmCluster in the same namespace"))]
    pub name: String,
}

/// A variable of the container's environment.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z_][A-Za-z0-9_]*$')").message("write a variable name such as LOG_LEVEL"))]
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// People put tokens into variables: only the name is shown.
impl std::fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvVar").field("name", &self.name).finish_non_exhaustive()
    }
}

/// When to pull the image on the cluster's nodes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImagePullPolicy {
    /// Pull on every node before the run, even where the image is there.
    Always,
    /// Pull where the image is not there; where that fails and another node has it, copy it from there.
    #[default]
    IfNotPresent,
    /// Never pull: wait until the image is on every node (`kubectl testkit load`).
    Never,
}

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
    /// Cases that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub passed: Option<u32>,
    /// Cases that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub failed: Option<u32>,
    /// Cases that were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub skipped: Option<u32>,
    /// The first failing cases, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<CaseFailure>,
    /// The container's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// When the container started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the container ended, or the run failed without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How long the container ran, such as `3m12s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The manager the container ran on, such as `foo-m0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// The container's id.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "containerID")]
    pub container_id: Option<String>,
    /// The ConfigMap with the JUnit and the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<String>,
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
    /// It ended, and every case passed or was skipped.
    Complete,
    /// It ended otherwise.
    Failed,
}

impl E2ERun {
    /// The name of the ConfigMap that keeps the run's JUnit and log.
    #[must_use]
    pub fn results_name(&self) -> String {
        format!("{}-results", self.metadata.name.as_deref().unwrap_or_default())
    }
}

fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

fn half_an_hour() -> Duration {
    Duration::from_secs(1800)
}
