//! The custom resources: what a user writes and what the operator answers.
//!
//! Here live the types of group `testkit.dev`, the rules the API server checks them
//! by, and the condition types and reasons the operator writes. No I/O and no async.

mod cluster;
mod conditions;
mod duration;
mod names;
mod run;
mod schema;
pub mod text;

pub use cluster::{
    AddressKind, AmiSelector, Ec2Provider, EngineSpec, HostsProvider, NodeRole, NodeState, NodeStatus, Provider,
    Recovery, SecretRef, SwarmCluster, SwarmClusterSpec, SwarmClusterStatus, Volume,
};
pub use conditions::{Conditions, condition, event_note, is_true, reason, set, type_};
pub use duration::Duration;
pub use names::{CREDENTIALS_FINALIZER, FINALIZER, GROUP, MANAGER, journal_secret, label, secret_key};
pub use run::{
    CaseFailure, ClusterRef, E2ERun, E2ERunSpec, E2ERunStatus, EnvVar, ImagePullPolicy, Phase, ResultsFormat,
    ResultsSpec,
};

use kube::CustomResourceExt;

/// Every CustomResourceDefinition with the file name it has under `crds/`.
#[must_use]
pub fn crds()
-> Vec<(&'static str, k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition)> {
    vec![("swarmclusters.yaml", SwarmCluster::crd()), ("e2eruns.yaml", E2ERun::crd())]
}
