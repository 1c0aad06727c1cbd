//! The custom resources: what a user writes and what the operator answers.
//!
//! Here live the types of group `testkit.dev`, the rules the API server checks them
//! by, and the condition types and reasons the operator writes. No I/O and no async.

mod case_names;
mod cluster;
mod conditions;
mod cost;
mod duration;
mod made;
mod matrix;
mod names;
mod provider;
mod quantity;
mod quarantine;
mod retries;
mod run;
mod run_status;
mod run_template;
mod schedule;
mod schema;
mod shards;
mod suite;
mod template;
pub mod text;
mod variables;

pub use case_names::CaseNames;
pub use cluster::{
    AccessSpec, EngineSpec, NodeRole, NodeState, NodeStatus, Recovery, SwarmCluster, SwarmClusterSpec,
    SwarmClusterStatus, UpdateSpec,
};
pub use conditions::{Conditions, condition, event_note, is_true, reason, set, type_};
pub use cost::{CURRENCY, ClusterCost, RunCost, Usd};
pub use duration::Duration;
pub use made::MadeRun;
pub use matrix::{Axes, Combination, E2EMatrix, E2EMatrixSpec, E2EMatrixStatus, MOST};
pub use names::{
    CREDENTIALS_FINALIZER, FINALIZER, GROUP, HOLD_UNTIL, KEEP, MANAGER, OPERATOR_VERSION, RUNS, SCHEDULED_AT, VERSION,
    journal_secret, label, secret_key, shard_of_run,
};
pub use provider::{
    AddressKind, AmiSelector, Ec2Provider, HostsProvider, JumpHost, Machine, Provider, SecretRef, Volume,
};
pub use quantity::Quantity;
pub use quarantine::Quarantined;
pub use retries::{AttemptOutcome, AttemptStatus, CaseFilter, Escape, Retries, Tool};
pub use run::{
    ClusterRef, E2ERun, E2ERunSpec, ImagePullPolicy, Limits, Resources, ResultsFormat, ResultsSpec, Sharing,
};
pub use run_status::{CaseFailure, E2ERunStatus, Phase};
pub use run_template::RunTemplate;
pub use schedule::{ConcurrencyPolicy, E2ESchedule, E2EScheduleSpec, E2EScheduleStatus};
pub use shards::{BalancedBy, DURATIONS, DURATIONS_KEY, Shard};
pub use suite::repository;
pub use template::{ClusterPolicy, ClusterTemplate, TemplateMetadata};
pub use variables::{EnvFromSource, EnvVar, EnvVarSource, KeySelector, LocalObjectReference, ObjectSelector};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

/// Every CustomResourceDefinition with the file name it has under `crds/`.
#[must_use]
pub fn crds() -> Vec<(&'static str, CustomResourceDefinition)> {
    [
        ("swarmclusters.yaml", SwarmCluster::crd()),
        ("e2eruns.yaml", E2ERun::crd()),
        ("e2eschedules.yaml", E2ESchedule::crd()),
        ("e2ematrices.yaml", E2EMatrix::crd()),
    ]
    .map(|(file, crd)| (file, of_version(unseen(without_null(crd)))))
    .into()
}

/// Nothing may be `null`: the API server leaves out a field that is written so, as it does for its own objects. Where
/// it kept the field, a spec that is written without it would be another one.
fn without_null(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let versions = crd.spec.versions.iter_mut();
    versions.filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut()).for_each(never_null);
    crd
}

fn never_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(|all| all.values_mut()).for_each(never_null);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        never_null(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        never_null(values);
    }
}

/// An object has a status before the operator has seen it, of a generation that no object has: what
/// reads objects as kstatus does would take one without a status for one that is as it should be.
fn unseen(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut());
        let status = schema.and_then(|s| s.properties.as_mut()?.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
        }
    }
    crd
}

/// A definition says which version of it is served to whoever is logged in (`/openapi`, `kubectl explain`): the object that
/// it is itself can be read only by who looks after the Kubernetes cluster.
fn of_version(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut());
        if let Some(text) = schema.and_then(|s| s.description.as_mut()) {
            text.push_str(&format!("{OF}{VERSION})"));
        }
    }
    crd
}

/// Before the version in a definition's description.
const OF: &str = " (testkit ";

/// The version that a definition's description says.
#[must_use]
pub fn version_in(description: &str) -> Option<&str> {
    description.rsplit_once(OF)?.1.strip_suffix(')')
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_field_may_be_null() {
        for (file, crd) in super::crds() {
            let text = serde_json::to_string(&crd).unwrap();
            assert!(!text.contains("nullable") && !text.contains("null,") && !text.contains("null]"), "{file}");
        }
    }
}
