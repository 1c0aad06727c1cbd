//! `E2EMatrix`: an E2ERun for each combination of engine versions, images, sizes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Conditions, Duration, MadeRun, Phase, RunTemplate, Sharing,
    schema::{integer, integers, required_by_rule, unchanged},
};

/// All but `cancel`.
const UNCHANGED: &str =
    unchanged!("axes", "include", "exclude", "parallelism", "failFast", "ttlAfterFinished", "runTemplate");

/// How many values an axis has, or one where it has none: so many times as many combinations there are.
macro_rules! many {
    ($axis:literal) => {
        concat!("(has(self.axes.", $axis, ") ? size(self.axes.", $axis, ") : 1)")
    };
}

/// The bound of [`MOST`], as a rule.
const BOUNDED: &str = concat!(
    "!has(self.axes) || ",
    many!("engineVersion"),
    " * ",
    many!("ami"),
    " * ",
    many!("managers"),
    " * ",
    many!("workers"),
    " * ",
    many!("image"),
    " + (has(self.include) ? size(self.include) : 0) <= 64"
);

/// That something is combined.
const SOME: &str = "has(self.include) && size(self.include) > 0 || has(self.axes) && (has(self.axes.engineVersion) || has(self.axes.ami) || has(self.axes.managers) || has(self.axes.workers) || has(self.axes.image))";

/// That there is a cluster to make, where clusters differ.
const TEMPLATE: &str = "!has(self.runTemplate) || !has(self.runTemplate.spec) || has(self.runTemplate.spec.clusterTemplate) || (!has(self.axes) || !has(self.axes.engineVersion) && !has(self.axes.ami) && !has(self.axes.managers) && !has(self.axes.workers)) && (!has(self.include) || self.include.all(c, !has(c.engineVersion) && !has(c.ami) && !has(c.managers) && !has(c.workers)))";

/// That machines are made of images, where these differ.
const IMAGES_OF_MACHINES: &str = "!has(self.runTemplate) || !has(self.runTemplate.spec) || !has(self.runTemplate.spec.clusterTemplate) || !has(self.runTemplate.spec.clusterTemplate.spec) || !has(self.runTemplate.spec.clusterTemplate.spec.provider) || has(self.runTemplate.spec.clusterTemplate.spec.provider.ec2) || (!has(self.axes) || !has(self.axes.ami)) && (!has(self.include) || self.include.all(c, !has(c.ami)))";

/// As `spec.engine.version` of a SwarmCluster.
const VERSIONS: &str = "self.all(v, v.matches('^(stable|test|[0-9]+[.][0-9]+([.][0-9]+)?)$'))";
/// As `spec.provider.ec2.ami.id` of a SwarmCluster.
const AMIS: &str = "self.all(v, v.matches('^ami-[0-9a-f]{8,17}$'))";
/// As `spec.managers` of a SwarmCluster.
const MANAGERS: &str = "self.all(v, v >= 1 && v <= 7 && v % 2 == 1)";
/// As `spec.workers` of a SwarmCluster.
const WORKERS: &str = "self.all(v, v >= 0 && v <= 100)";
/// No empty word: the rest is judged when the run is made.
const IMAGES: &str = "self.all(v, v.matches('^[a-z0-9][A-Za-z0-9._:/@-]*$'))";
/// An axis with values, each once.
const SEVERAL: &str = "size(self) > 0 && self.all(v, self.exists_one(w, w == v))";

/// An E2ERun for each combination of engine versions, images and sizes, and one summary.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "testkit.dev",
    version = "v1alpha1",
    kind = "E2EMatrix",
    plural = "e2ematrices",
    singular = "e2ematrix",
    shortname = "e2em",
    category = "testkit",
    namespaced,
    status = "E2EMatrixStatus",
    derive = "PartialEq",
    doc = "An E2ERun for each combination of engine versions, images and sizes",
    validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name begins the names of the runs, which have at most 63 characters and tell the combination: write at most 40"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ended", type_ = "string", json_path = ".status.ended"),
    printcolumn(name = "Passed", type_ = "integer", json_path = ".status.runsPassed"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.runsFailed"),
    printcolumn(name = "Cancelled", type_ = "integer", json_path = ".status.runsCancelled"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(
    validation = Rule::new(UNCHANGED).message("a matrix cannot be changed once it is made, only cancelled (spec.cancel: true): create another E2EMatrix"),
    validation = Rule::new("has(self.runTemplate)").message("write what to run, such as runTemplate: {spec: {clusterRef: {name: foo}, image: dockerswarm/e2e:latest}}"),
    validation = Rule::new("!has(self.runTemplate) || !has(self.runTemplate.spec) || !has(self.runTemplate.spec.dedupeKey)").message("write no dedupeKey: the runs of a matrix are different ones, and would join each other").field_path(".runTemplate"),
    validation = Rule::new(SOME).message("write what to combine, such as axes: {engineVersion: [\"27.5\", \"28.5\"]}").field_path(".axes"),
    validation = Rule::new(BOUNDED).message("write at most 64 combinations").field_path(".axes"),
    validation = Rule::new(TEMPLATE).message("write runTemplate.spec.clusterTemplate, such as clusterTemplate: {spec: {provider: {ec2: {region: us-east-1}}}}: engineVersion, ami, managers and workers are of a cluster that is made for the run").field_path(".axes"),
    validation = Rule::new(IMAGES_OF_MACHINES).message("write ami only where machines are made: beside runTemplate.spec.clusterTemplate.spec.provider.ec2").field_path(".axes")
)]
pub struct E2EMatrixSpec {
    /// What is combined: each value of each axis with each of the others.
    #[serde(default)]
    pub axes: Axes,

    /// What there is more, as in a matrix of GitHub Actions: a combination whose axes are equal is given the rest of what is written here, and where there is none, one more is made of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub include: Vec<Combination>,

    /// Combinations that are left out, each by all or some of what makes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exclude: Vec<Combination>,

    /// How many runs there are at once. By default all; one, where they take turns on one cluster (`clusterRef`, and `sharing` is `Exclusive`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 64").message("write how many runs there are at once, from 1 to 64"))]
    pub parallelism: Option<u32>,

    /// At the first run that fails, cancel those that go on, and make no more.
    #[serde(default)]
    pub fail_fast: bool,

    /// How long after its end the matrix is deleted, with its runs. By default it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Duration>,

    /// What the runs are made from. The values of a combination take the places of what is written here.
    pub run_template: RunTemplate,

    /// Cancel the runs that go on, and make no more. The one field that can be changed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self || !oldSelf").message("a matrix that was cancelled does not go on: create another E2EMatrix"))]
    pub cancel: bool,
}

/// What is combined.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Axes {
    /// `clusterTemplate.spec.engine.version`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 32)))]
    #[x_kube(validation = Rule::new(VERSIONS).message("write channels (stable or test) or versions such as 28.5 or 28.5.2"), validation = Rule::new(SEVERAL).message("write at least one value, and each once"))]
    pub engine_version: Vec<String>,
    /// `clusterTemplate.spec.provider.ec2.ami.id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 21)))]
    #[x_kube(validation = Rule::new(AMIS).message("write ids of AMIs such as ami-0123456789abcdef0"), validation = Rule::new(SEVERAL).message("write at least one value, and each once"))]
    pub ami: Vec<String>,
    /// `clusterTemplate.spec.managers`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "integers")]
    #[x_kube(validation = Rule::new(MANAGERS).message("write numbers of managers: 1, 3, 5 or 7"), validation = Rule::new(SEVERAL).message("write at least one value, and each once"))]
    pub managers: Vec<u32>,
    /// `clusterTemplate.spec.workers`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "integers")]
    #[x_kube(validation = Rule::new(WORKERS).message("write numbers of workers from 0 to 100"), validation = Rule::new(SEVERAL).message("write at least one value, and each once"))]
    pub workers: Vec<u32>,
    /// `image`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    #[x_kube(validation = Rule::new(IMAGES).message("write image references such as dockerswarm/e2e:latest"), validation = Rule::new(SEVERAL).message("write at least one value, and each once"))]
    pub image: Vec<String>,
}

/// A value for some of the axes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.engineVersion) || has(self.ami) || has(self.managers) || has(self.workers) || has(self.image)").message("write at least one value, such as {engineVersion: \"28.5\"}"))]
pub struct Combination {
    /// `clusterTemplate.spec.engine.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub engine_version: Option<String>,
    /// `clusterTemplate.spec.provider.ec2.ami.id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21))]
    pub ami: Option<String>,
    /// `clusterTemplate.spec.managers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 7 && self % 2 == 1").message("write 1, 3, 5 or 7"))]
    pub managers: Option<u32>,
    /// `clusterTemplate.spec.workers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of workers from 0 to 100"))]
    pub workers: Option<u32>,
    /// `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
}

/// The most combinations of a matrix.
pub const MOST: usize = 64;

/// How the runs stand.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct E2EMatrixStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Complete` or `Failed` once all runs ended; `Ready`, `Reconciling` and `Stalled` as kstatus reads them.
    #[serde(default)]
    pub conditions: Conditions,
    /// Where it is, for people and columns: derived from the runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The phase in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many runs have ended, of all, such as `4/6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Runs that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub runs_passed: Option<u32>,
    /// Runs that failed, and were not cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub runs_failed: Option<u32>,
    /// Runs that were cancelled, or not made any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub runs_cancelled: Option<u32>,
    /// When the last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Each combination, and how its run stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub combinations: Vec<MadeRun>,
}

impl E2EMatrixSpec {
    /// How many runs there may be at once.
    #[must_use]
    pub fn at_once(&self) -> usize {
        let run = &self.run_template.spec;
        let turns = run.cluster_ref.is_some() && run.sharing == Sharing::Exclusive;
        self.parallelism.map_or(if turns { 1 } else { MOST }, |many| many as usize)
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;

    use super::*;

    #[test]
    fn every_field_but_cancel_is_held_by_the_rule() {
        let crd = serde_json::to_value(E2EMatrix::crd()).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        for field in spec.as_object().unwrap().keys().filter(|f| *f != "cancel") {
            assert!(UNCHANGED.contains(&format!("self.{field} == oldSelf.{field})")), "{field}");
        }
        assert!(!UNCHANGED.contains("cancel"));
    }

    #[test]
    fn every_axis_is_in_every_rule() {
        let crd = serde_json::to_value(E2EMatrix::crd()).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        let fields =
            |schema: &serde_json::Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let axes = fields(&spec["axes"]);
        assert_eq!(axes, fields(&spec["include"]["items"]));
        for axis in axes {
            assert!(
                BOUNDED.contains(&format!("size(self.axes.{axis})"))
                    && SOME.contains(&format!("has(self.axes.{axis})")),
                "{axis}"
            );
            assert_eq!(TEMPLATE.contains(&format!("!has(c.{axis})")), axis != "image", "{axis}");
        }
        assert!(BOUNDED.ends_with(&format!("<= {MOST}")));
    }
}
