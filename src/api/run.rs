//! `E2ERun`: one run of a test container on a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{CustomResource, KubeSchema, Resource as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ClusterPolicy, ClusterTemplate, Duration, E2ERunStatus, EnvFromSource, EnvVar, LocalObjectReference, Quantity,
    Quarantined, Retries, Shard, names,
    schema::{integer, quantity, required_by_rule, unchanged},
};

/// All but `cancel`. A variable without a value is as one whose value is empty: as such the first versions stored it, and
/// a manifest that has not changed is no change.
const UNCHANGED: &str = concat!(
    unchanged!(
        "clusterRef",
        "clusterTemplate",
        "clusterPolicy",
        "holdFor",
        "sharing",
        "dedupeKey",
        "image",
        "imagePullPolicy",
        "imagePullSecrets",
        "imagePullTimeout",
        "args",
        "envFrom",
        "resources",
        "pendingTimeout",
        "timeout",
        "gracePeriod",
        "results",
        "retries",
        "cases",
        "quarantine",
        "shards",
        "shard"
    ),
    " && has(self.env) == has(oldSelf.env) && (!has(self.env) || self.env.map(v, v.name) == oldSelf.env.map(v, v.name)",
    " && self.env.map(v, has(v.value) ? v.value : '') == oldSelf.env.map(v, has(v.value) ? v.value : '')",
    " && self.env.map(v, has(v.valueFrom) ? [v.valueFrom] : []) == oldSelf.env.map(v, has(v.valueFrom) ? [v.valueFrom] : []))",
);

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
    printcolumn(name = "Cluster", type_ = "string", json_path = ".status.cluster"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Passed", type_ = "integer", json_path = ".status.passed"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed"),
    printcolumn(name = "Flaky", type_ = "integer", json_path = ".status.flaky"),
    printcolumn(name = "Skipped", type_ = "integer", json_path = ".status.skipped"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Quarantined", type_ = "integer", json_path = ".status.quarantined", priority = 1),
    printcolumn(name = "Cost", type_ = "string", json_path = ".status.cost.amount", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(
    validation = Rule::new(UNCHANGED).message("a run cannot be changed once it is made, only cancelled (spec.cancel: true): create another E2ERun"),
    validation = Rule::new("has(self.clusterRef) || has(self.clusterTemplate)").message("write which SwarmCluster to run on, such as clusterRef: {name: foo}, or one to make for the run, such as clusterTemplate: {spec: {provider: {ec2: {region: us-east-1}}}}"),
    validation = Rule::new("!has(self.clusterRef) || !has(self.clusterTemplate)").message("write clusterRef to run on a SwarmCluster that is there, or clusterTemplate to make one for the run, and not both"),
    validation = Rule::new("has(self.clusterTemplate) || !has(self.clusterPolicy)").message("write clusterPolicy only beside clusterTemplate: a cluster that the run did not make is left as it is").field_path(".clusterPolicy"),
    validation = Rule::new("!has(self.holdFor) || has(self.clusterPolicy) && self.clusterPolicy == 'KeepOnFailure'").message("write holdFor only beside clusterPolicy: KeepOnFailure").field_path(".holdFor"),
    validation = Rule::new("!has(self.retries) || !has(self.retries.failedCases) || self.retries.failedCases <= 0 || !has(self.results) || !has(self.results.format) || self.results.format != 'ExitCode'").message("write retries.failedCases only where cases are counted: results.format: ExitCode counts none").field_path(".retries.failedCases"),
    validation = Rule::new("!has(self.quarantine) || size(self.quarantine) == 0 || !has(self.results) || !has(self.results.format) || self.results.format != 'ExitCode'").message("write quarantine only where cases are counted: results.format: ExitCode counts none").field_path(".quarantine"),
    validation = Rule::new("!has(self.shards) || !has(self.shard)").message("write shards for a run whose cases are divided, or shard for one of its parts, and not both").field_path(".shard"),
    validation = Rule::new("!has(self.shards) || !has(self.dedupeKey)").message("write no dedupeKey beside shards: another run cannot join one that is several").field_path(".dedupeKey"),
    validation = Rule::new("!has(self.shards) || !has(self.cases) || size(self.cases) == 0").message("write no cases beside shards: a few that are named are not divided").field_path(".cases"),
    validation = Rule::new("!has(self.shards) || !has(self.quarantine) || size(self.quarantine) == 0").message("write no quarantine beside shards: a shard takes each case of it that another one runs for a name that nothing has").field_path(".quarantine"),
    validation = Rule::new("!has(self.shards) || !has(self.results) || !has(self.results.format) || self.results.format != 'ExitCode'").message("write shards only where cases are counted: by exit codes nobody sees whether each shard ran its own cases, or all of them").field_path(".shards"),
    validation = Rule::new("has(self.image)").message("write the image to run, such as image: dockerswarm/e2e:latest")
)]
pub struct E2ERunSpec {
    /// The SwarmCluster to run on, in the run's own namespace. The run waits until it is Ready, and for its turn. Exactly one of `clusterRef` and `clusterTemplate` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterRef>,

    /// A SwarmCluster to make for the run, in its namespace. It belongs to the run, and goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_template: Option<ClusterTemplate>,

    /// What becomes of the cluster from `clusterTemplate` once the run has ended. By default `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_policy: Option<ClusterPolicy>,

    /// How long `KeepOnFailure` keeps the cluster of a run that failed, at most 168h. By default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') || !self.matches('[1-9]') || duration(self) <= duration('168h')").message("write a time of at most 168h, such as 1h: the machines cost money while they are kept"))]
    pub hold_for: Option<Duration>,

    /// Whether other runs may use the cluster at the same time.
    #[serde(default)]
    pub sharing: Sharing,

    /// Runs of one key are one run: where one of the namespace waits or runs, this one joins it and takes over its verdict. What they run is not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([A-Za-z0-9._/:@-]*[A-Za-z0-9])?$')").message("write what tells one thing to test from another, in letters, digits and ._/:@-, such as main-3f2a19c0"))]
    pub dedupe_key: Option<String>,

    /// The image to run.
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9._:/-]*[a-z0-9])?(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$')").message("write an image reference such as dockerswarm/e2e:latest"))]
    pub image: String,

    /// When to pull the image on the cluster's nodes.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,

    /// Secrets of the run's namespace, of type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`, with logins at the image's registry. They are given to the engines for the pull alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// How long the image may take to be on every node before the run fails.
    #[serde(default = "two_minutes")]
    pub image_pull_timeout: Duration,

    /// Arguments of the container, in place of the image's own. `$(TESTKIT_SHARD_INDEX)` and `$(TESTKIT_SHARD_TOTAL)` are replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,

    /// Environment of the container. `TESTKIT_RESULTS`, `TESTKIT_IMAGE`, `TESTKIT_SHARD_INDEX` and `TESTKIT_SHARD_TOTAL` are set by the operator, and so is `TESTKIT_DURATIONS` on the runs that `shards` makes where it is not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvVar>,

    /// Secrets and ConfigMaps of the run's namespace whose keys are variables of the container. Of two with a key of the same name the later one counts, and `env` before both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub env_from: Vec<EnvFromSource>,

    /// What the container may use of its manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// How long the run may wait for its cluster before it fails.
    #[serde(default = "an_hour")]
    pub pending_timeout: Duration,

    /// How long the container may run before it is stopped and the run fails; with retries, from the start of the first one to the end of the last.
    #[serde(default = "half_an_hour")]
    pub timeout: Duration,

    /// How long the container has to end by itself, and to write its results, after SIGTERM: at its timeout, when the run is cancelled or deleted, and when its cluster is deleted. Then it is killed.
    #[serde(default = "a_minute")]
    #[x_kube(validation = Rule::new("!self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') || !self.matches('[1-9]') || duration(self) <= duration('1h')").message("write a grace period of at most 1h, such as 60s"))]
    pub grace_period: Duration,

    /// What says how the tests went.
    #[serde(default)]
    pub results: ResultsSpec,

    /// What is done again before the run is given up.
    #[serde(default)]
    pub retries: Retries,

    /// Run these cases alone, at most 1,000, named as their tool knows them. The image is given the names as a retry of failed cases is: by `retries.filter`, or its label; where neither says how, as Rust's test programs take them. By default all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(max = 1024)))]
    #[x_kube(validation = Rule::new("self.all(name, size(name) > 0)").message("write names of cases, such as ServicesScale"))]
    pub cases: Vec<String>,

    /// Cases that are known to fail at times, at most 100. One that fails before its `until` is a warning: it is counted apart (`status.quarantined`), and does not make the run red.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub quarantine: Vec<Quarantined>,
    /// In how many parts the cases are run at once. Each part is an E2ERun, `NAME-1of4`, made from this one, with a container, and with `clusterTemplate` a cluster, of its own. This one has one verdict and one JUnit of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 32").message("write how many parts the cases are run in, from 1 to 32"))]
    pub shards: Option<u32>,

    /// Which part of the cases the container is to run (`TESTKIT_SHARD_INDEX`, `TESTKIT_SHARD_TOTAL`): set on the runs that `shards` makes. By default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,

    /// Stop the run: its container has `gracePeriod` to end, what it leaves is kept, and the run fails as `Cancelled`. The one field that can be changed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self || !oldSelf").message("a run that was cancelled does not go on: create another E2ERun"))]
    pub cancel: bool,
}

/// What the container may use of its manager.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// The most it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// The most that a container may use, with all it starts in itself. What it has the engine run beside it counts for itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Processors, such as `2`, `1.5` or `500m`. With more than there are the engine does not make the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 1 && self <= 1024 : self.matches('^[0-9]{1,15}([.][0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$') && isQuantity(self) && quantity(self).compareTo(quantity('10m')) >= 0 && quantity(self).compareTo(quantity('1024')) <= 0").message("write a number of processors such as 2, 1.5 or 500m, and at least 10m"))]
    pub cpu: Option<Quantity>,
    /// Memory, such as `512Mi` or `2Gi`. A process in the container that would use more is killed. There is no swap beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 6291456 && self <= 17592186044416 : self.matches('^[0-9]{1,15}([.][0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$') && isQuantity(self) && quantity(self).compareTo(quantity('6Mi')) >= 0 && quantity(self).compareTo(quantity('16Ti')) <= 0").message("write an amount of memory such as 512Mi or 2Gi, and at least 6Mi"))]
    pub memory: Option<Quantity>,
}

/// Whether a run has its cluster for itself.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// No other run uses the cluster at the same time. Runs take their turns in the order in which they were created.
    #[default]
    Exclusive,
    /// Beside other runs that are `Shared`, and never beside one that is not.
    Shared,
}

/// What says how the tests went.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResultsSpec {
    /// What to go by.
    #[serde(default)]
    pub format: ResultsFormat,

    /// The folder the container writes its results to (`TESTKIT_RESULTS`). Every user of the container may write there, and what the image has there is not seen.
    #[serde(default = "results_path")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$') && !self.matches('^/(proc|sys|dev)(/|$)')").message("write the absolute path of a folder that is the tests' own, such as /results"))]
    pub path: String,

    /// Let a run pass that has run no case, because there was none or all were skipped.
    #[serde(default)]
    pub allow_empty: bool,
}

impl Default for ResultsSpec {
    fn default() -> Self {
        Self { format: ResultsFormat::default(), path: results_path(), allow_empty: false }
    }
}

/// What to go by when a run is judged.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResultsFormat {
    /// The JUnit files in the folder for results, and the exit code: both have to say that the tests passed.
    #[default]
    Auto,
    /// The exit code alone. No file is read, and no case is counted.
    ExitCode,
}

/// A SwarmCluster in the run's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.name)").message("write the name of a SwarmCluster in the same namespace, such as name: foo"))]
pub struct ClusterRef {
    /// Its name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("write the name of a SwarmCluster in the same namespace, such as foo"))]
    pub name: String,
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

impl E2ERunSpec {
    /// What becomes of the cluster that the run made.
    #[must_use]
    pub fn policy(&self) -> ClusterPolicy {
        self.cluster_policy.unwrap_or_default()
    }

    /// How long the cluster of a run that failed is kept, where it is.
    #[must_use]
    pub const fn held_for(&self) -> Duration {
        match self.hold_for {
            Some(time) => time,
            None => HOLD,
        }
    }

    /// The most memory that the container may use, where that is limited.
    #[must_use]
    pub fn memory(&self) -> Option<&Quantity> {
        self.limits()?.memory.as_ref()
    }

    /// The most processors that the container may use, where that is limited.
    #[must_use]
    pub fn cpu(&self) -> Option<&Quantity> {
        self.limits()?.cpu.as_ref()
    }

    fn limits(&self) -> Option<&Limits> {
        self.resources.as_ref()?.limits.as_ref()
    }

    /// The name of the cluster, where the spec has it: see [`E2ERun::named`].
    #[must_use]
    pub fn cluster(&self) -> &str {
        self.cluster_ref.as_ref().map_or("", |r| &r.name)
    }
}

impl E2ERun {
    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.status.as_ref().is_some_and(E2ERunStatus::has_ended)
    }

    /// Whether the operator has begun with it, and has to let it go.
    #[must_use]
    pub fn is_taken_on(&self) -> bool {
        self.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER)
    }

    /// Whether it has no container of its own, for others run its cases.
    #[must_use]
    pub const fn is_divided(&self) -> bool {
        self.spec.shards.is_some()
    }

    /// The UID of the run of whose shards it is one.
    #[must_use]
    pub fn divided_from(&self) -> Option<&str> {
        self.spec.shard?;
        let owners = self.metadata.owner_references.as_ref()?;
        let ours = |o: &&OwnerReference| o.kind == Self::kind(&()) && o.controller == Some(true);
        owners.iter().find(ours).map(|owner| owner.uid.as_str())
    }

    /// The name of the SwarmCluster it is for: the one its spec names, or the one it makes.
    #[must_use]
    pub fn cluster_name(&self) -> String {
        let of = |field: &Option<String>| field.clone().unwrap_or_default();
        match &self.spec.cluster_ref {
            Some(there) => there.name.clone(),
            None => {
                let told = self.status.as_ref().and_then(|status| status.cluster.as_deref());
                names::cluster_of_run(&of(&self.metadata.name), &of(&self.metadata.uid), told)
            }
        }
    }

    /// The same run, whose spec names its cluster wherever that comes from.
    #[must_use]
    pub fn named(mut self) -> Self {
        self.spec.cluster_ref = Some(ClusterRef { name: self.cluster_name() });
        self
    }

    /// The name of the ConfigMap that keeps the JUnit and log of the run's first attempt, and mostly its only one.
    #[must_use]
    pub fn results_name(&self) -> String {
        self.results_of(1)
    }

    /// The name of the ConfigMap that keeps the JUnit and log of an attempt, counted from 1.
    #[must_use]
    pub fn results_of(&self, attempt: usize) -> String {
        let run = self.metadata.name.as_deref().unwrap_or_default();
        if attempt <= 1 { format!("{run}-results") } else { format!("{run}-results-{attempt}") }
    }
}

/// Time to see that a run failed, and to look; not a night's.
const HOLD: Duration = Duration::from_secs(3600);

fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

fn half_an_hour() -> Duration {
    Duration::from_secs(1800)
}

/// Several times what a cluster takes that is made beside its run, with machines that come to nothing.
fn an_hour() -> Duration {
    Duration::from_secs(3600)
}

/// What the `e2e` suite needs to remove what its cases made, and to write its results.
fn a_minute() -> Duration {
    Duration::from_secs(60)
}

fn results_path() -> String {
    "/results".to_owned()
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;

    use super::*;

    #[test]
    fn every_field_but_cancel_is_held_by_the_rule() {
        let crd = serde_json::to_value(E2ERun::crd()).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        for field in spec.as_object().unwrap().keys().filter(|f| *f != "cancel") {
            let of = |side: &str| {
                if field == "env" { format!("{side}.env.map(v, v.name)") } else { format!("{side}.{field}") }
            };
            assert!(UNCHANGED.contains(&format!("{} == {}", of("self"), of("oldSelf"))), "{field}");
        }
        assert!(!UNCHANGED.contains("cancel"));
    }
}
