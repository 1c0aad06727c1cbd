//! Fingerprints of parts of a spec: whether two launches are by the same, without keeping either.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{access::Access, journal::Launching};
use crate::api::{Ec2Provider, NodeRole, SwarmClusterSpec};

/// What of a spec makes a host, beside its offering: by the field a person writes, a fingerprint of
/// its value. A field that nobody wrote is one value, whatever a version of the operator takes it for.
pub type Template = BTreeMap<String, String>;

/// The part that is of managers alone.
const SPOT_MANAGERS: &str = "spotManagers";

/// The template of a spec. What swarm or operator see to at any time (who may connect, the address
/// to connect to, how long is waited) is no part of it, and neither is what cannot be changed.
#[must_use]
pub fn template(spec: &SwarmClusterSpec) -> Template {
    if spec.provider.hosts.is_some() {
        // Who else's a machine is, it is as it is.
        return Template::new();
    }
    let (ec2, engine) = (spec.provider.ec2.as_ref(), spec.engine.as_ref());
    let groups = ec2.map(|e| {
        let mut groups = e.security_groups.clone();
        groups.sort();
        groups
    });
    let parts: [(&str, Value); 8] = [
        (SPOT_MANAGERS, json!(ec2.is_some_and(|e| e.spot_managers))),
        ("ami", json!(ec2.and_then(|e| e.ami.as_ref()))),
        ("volume", json!(ec2.and_then(|e| e.volume.as_ref()))),
        ("securityGroups", json!(groups)),
        ("instanceProfile", json!(ec2.and_then(|e| e.instance_profile.as_ref()))),
        ("engine.version", json!(engine.and_then(|e| e.version.as_ref()))),
        ("engine.installScript", json!(engine.and_then(|e| e.install_script.as_ref()))),
        ("engine.daemonJson", json!(engine.and_then(|e| e.daemon_json.as_ref()))),
    ];
    parts.into_iter().map(|(part, value)| (part.to_owned(), fingerprint(&value))).collect()
}

/// What of a launch for a role is not as the spec asks for any more, by the fields a person writes. Of a part
/// that was not written down nothing is known, and it counts as the same. Any of the instance types
/// that are asked for will do, and any subnet.
#[must_use]
pub fn differing(made: &Launching, role: NodeRole, spec: &SwarmClusterSpec) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    if let Some(ec2) = &spec.provider.ec2 {
        parts.extend((!ec2.instance_types.contains(&made.offering.instance_type)).then(|| "instanceTypes".to_owned()));
        // Whether a manager is one is for the other field to say, but not where nothing may be.
        let spot = made.offering.spot != ec2.spot && (made.offering.spot || role == NodeRole::Worker);
        parts.extend(spot.then(|| "spot".to_owned()));
    }
    let differs = |(part, now): &(String, String)| {
        let of_role = part != SPOT_MANAGERS || role == NodeRole::Manager;
        of_role && made.template.get(part).is_some_and(|then| then != now)
    };
    parts.extend(template(spec).into_iter().filter(differs).map(|(part, _)| part));
    parts
}

/// Reads a template. Versions before wrote one fingerprint of everything: of the parts it tells nothing.
pub fn parts<'de, D: Deserializer<'de>>(d: D) -> Result<Template, D::Error> {
    let written = Value::deserialize(d)?;
    Ok(serde_json::from_value(written).unwrap_or_default())
}

/// Of everything that decides whether an instance becomes an engine that is reached in time.
#[must_use]
pub fn terms(spec: &SwarmClusterSpec, access: &Access) -> String {
    let cidrs = access.cidrs().unwrap_or_default();
    fingerprint(&json!([spec.provider, spec.engine, cidrs, spec.boot_timeout]))
}

/// Of what a launch asks for beside its offering: whether it is permitted may hang on all of it.
#[must_use]
pub fn request(ec2: &Ec2Provider) -> String {
    fingerprint(&json!([ec2.ami, ec2.volume, ec2.security_groups, ec2.instance_profile, ec2.connect_to]))
}

fn fingerprint(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Offering;

    fn spec(ec2: &Value, engine: &Value) -> SwarmClusterSpec {
        let mut provider = json!({"region": "us-east-1", "instanceTypes": ["a.large", "b.large"]});
        provider.as_object_mut().unwrap().extend(ec2.as_object().unwrap().clone());
        serde_json::from_value(json!({"engine": engine, "provider": {"ec2": provider}})).unwrap()
    }

    fn made(by: &SwarmClusterSpec) -> Launching {
        let offering = Offering { instance_type: "b.large".into(), subnet: None, spot: false };
        Launching { incarnation: 0, offering, booted: true, template: template(by), ends: None }
    }

    #[test]
    fn what_makes_a_host_differs_by_its_field_and_nothing_else_does() {
        let before = spec(&json!({"securityGroups": ["sg-1", "sg-2"]}), &json!({"version": "28.5"}));
        let engine = json!({"version": "28.5"});
        let groups = json!({"securityGroups": ["sg-1", "sg-2"]});
        let with = |ec2: Value| {
            let mut all = groups.clone();
            all.as_object_mut().unwrap().extend(ec2.as_object().cloned().unwrap_or_default());
            spec(&all, &engine)
        };
        let table: [(SwarmClusterSpec, &[&str]); 12] = [
            (with(json!({})), &[]),
            (with(json!({"securityGroups": ["sg-2", "sg-1"]})), &[]),
            (with(json!({"instanceTypes": ["b.large"]})), &[]),
            (with(json!({"connectTo": "Public"})), &[]),
            (with(json!({"instanceTypes": ["a.large"]})), &["instanceTypes"]),
            (with(json!({"spot": true})), &["spot"]),
            (with(json!({"spot": true, "spotManagers": true})), &["spot"]),
            (with(json!({"ami": {"name": "x"}})), &["ami"]),
            (with(json!({"volume": {"sizeGiB": 20}})), &["volume"]),
            (with(json!({"instanceProfile": "p"})), &["instanceProfile"]),
            (spec(&groups, &json!({"version": "29.0"})), &["engine.version"]),
            (
                spec(&json!({}), &json!({"version": "28.5", "daemonJson": {"debug": true}})),
                &["engine.daemonJson", "securityGroups"],
            ),
        ];
        for (now, parts) in table {
            assert_eq!(differing(&made(&before), NodeRole::Worker, &now), parts);
        }
    }

    #[test]
    fn a_manager_is_a_spot_instance_only_where_that_is_said_of_managers() {
        let of = |spot: bool, managers: bool| spec(&json!({"spot": spot, "spotManagers": managers}), &json!({}));
        let launched = |by: &SwarmClusterSpec, role| {
            let spot = by.provider.ec2.as_ref().unwrap().spot_for(role);
            let mut made = made(by);
            made.offering.spot = spot;
            made
        };
        let (none, workers, all) = (of(false, false), of(true, false), of(true, true));
        let cases: [(_, _, [&[&str]; 2]); 6] = [
            (&none, &workers, [&[], &["spot"]]),
            (&workers, &none, [&[], &["spot"]]),
            (&workers, &all, [&["spotManagers"], &[]]),
            (&all, &workers, [&["spotManagers"], &[]]),
            (&all, &none, [&["spot", "spotManagers"], &["spot"]]),
            (&none, &none, [&[], &[]]),
        ];
        for (before, now, parts) in cases {
            for (role, parts) in [NodeRole::Manager, NodeRole::Worker].into_iter().zip(parts) {
                assert_eq!(differing(&launched(before, role), role, now), parts, "{role:?}");
            }
        }
        // One that a version before launched, which had managers go with the workers.
        let mut old = launched(&all, NodeRole::Manager);
        old.template.remove(SPOT_MANAGERS);
        assert!(differing(&old, NodeRole::Manager, &workers).is_empty());
    }

    #[test]
    fn what_was_not_written_down_counts_as_the_same() {
        let now = spec(&json!({"ami": {"name": "x"}}), &json!({"version": "29.0"}));
        let old = json!({"incarnation": 3, "instanceType": "a.large", "spot": false, "template": "0123456789abcdef"});
        let old: Launching = serde_json::from_value(old).unwrap();
        assert!(differing(&old, NodeRole::Worker, &now).is_empty() && old.template.is_empty());
        // What a later version takes into account was not written down by this one.
        let mut some = made(&spec(&json!({}), &json!({})));
        some.template.remove("ami");
        assert_eq!(differing(&some, NodeRole::Worker, &now), ["engine.version"]);
        let read: Launching = serde_json::from_value(serde_json::to_value(&some).unwrap()).unwrap();
        assert_eq!(read, some);
    }
}
