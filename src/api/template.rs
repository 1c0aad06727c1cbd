//! The cluster that a run makes for itself, and what becomes of it.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{SwarmClusterSpec, schema::required_by_rule};

/// A SwarmCluster that is made for one run, under a name of its own (`status.cluster`).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.spec)").message("write the spec of the SwarmCluster to make, such as spec: {provider: {ec2: {region: us-east-1}}}"))]
pub struct ClusterTemplate {
    /// What it is labelled with.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// Its spec.
    pub spec: SwarmClusterSpec,
}

/// What an object that is made from a template is labelled with.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// What becomes of the cluster that a run made, once the run has ended. Where the run is deleted, it always goes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It is deleted where the tests passed; where not, it is kept for `holdFor`.
    KeepOnFailure,
    /// It is kept until the run is deleted, or its own `ttl` is over.
    Keep,
}

/// Labels as the API server takes them.
fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$')",
                "message": "write a label's value of letters, digits, dashes, dots and underscores, such as nightly-2",
            }],
        },
    })
}

/// Annotations, within what a person reads.
fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 4096},
    })
}
