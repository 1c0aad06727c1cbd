//! Fingerprints of parts of a spec: whether two launches are by the same, without keeping either.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::api::{Ec2Provider, SwarmClusterSpec};

/// Of what an instance is made by, first boot included.
#[must_use]
pub fn template(spec: &SwarmClusterSpec) -> String {
    fingerprint(&json!([spec.provider, spec.engine]))
}

/// Of everything that decides whether an instance becomes an engine that is reached in time.
#[must_use]
pub fn terms(spec: &SwarmClusterSpec) -> String {
    fingerprint(&json!([spec.provider, spec.engine, spec.access_cidrs, spec.boot_timeout]))
}

/// Of what a launch asks for beside its offering: whether it is permitted may hang on all of it.
#[must_use]
pub fn request(ec2: &Ec2Provider) -> String {
    fingerprint(&json!([ec2.ami, ec2.volume, ec2.security_groups, ec2.instance_profile, ec2.connect_to]))
}

fn fingerprint(value: &serde_json::Value) -> String {
    let digest = Sha256::digest(value.to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
