//! From a cluster to its hosts: the key to log in with, the host keys to expect, a connection.
//!
//! All of it comes from the cluster's Secret, which the operator writes. The private key stays
//! in memory: it is never printed, written to a file or put on a command line.

use std::str;

use crate::cli::{failure::Failure, hosts::nodes, kubernetes::Kubernetes};
use crate::{
    api::{NodeStatus, SwarmCluster, secret_key},
    host::{ClientKey, ConnectError, Host, HostPin, Target},
};

/// What it takes to log in to the hosts of a cluster.
#[derive(Debug)]
pub struct Reach {
    key: ClientKey,
    known: Vec<Known>,
    secret: String,
}

/// A line of `known_hosts`.
#[derive(Debug)]
struct Known {
    names: Vec<String>,
    pin: HostPin,
}

impl Reach {
    /// Reads the cluster's Secret.
    pub async fn of(kubernetes: &Kubernetes, cluster: &SwarmCluster) -> Result<Self, Failure> {
        let Some(secret) = cluster.status.as_ref().and_then(|s| s.ssh_secret.clone()) else {
            return Err(nodes::not_ready(cluster, "it has no key to log in with yet"));
        };
        let object = kubernetes.secret(&secret).await?.ok_or_else(|| {
            Failure::new(format!(
                "the Secret {secret:?} in namespace {:?}, which has the key to the hosts, is gone",
                kubernetes.namespace
            ))
            .help("the hosts cannot be reached without it: delete the cluster and create it again")
        })?;
        let data = object.data.unwrap_or_default();
        let text = |key: &str| data.get(key).and_then(|value| str::from_utf8(&value.0).ok());
        let broken = |key: &str, why: &str| {
            Failure::new(format!("{key} of Secret {secret:?} in namespace {:?} {why}", kubernetes.namespace))
                .help("the operator writes it: see that it runs, and what it says about the cluster")
        };
        let key = text(secret_key::PRIVATE_KEY).ok_or_else(|| broken(secret_key::PRIVATE_KEY, "is not there"))?;
        let key = ClientKey::from_openssh(key)
            .map_err(|e| broken(secret_key::PRIVATE_KEY, &format!("is not a usable key: {e}")))?;
        let lines = text(secret_key::KNOWN_HOSTS).unwrap_or_default();
        let known = lines
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|line| known(line).ok_or_else(|| broken(secret_key::KNOWN_HOSTS, "has a line that does not read")))
            .collect::<Result<_, _>>()?;
        Ok(Self { key, known, secret })
    }

    /// Where the node is and which key it must show.
    pub fn target(&self, node: &NodeStatus) -> Result<Target, Failure> {
        let Some(address) = node.address.as_deref() else {
            return Err(Failure::new(format!("{} has no address yet{}", node.name, state(node))));
        };
        // Both must fit: a slot that is filled again keeps its name, and a cloud gives addresses again.
        let fits = |known: &&Known| [node.name.as_str(), address].iter().all(|n| known.names.iter().any(|k| k == n));
        let Some(known) = self.known.iter().find(fits) else {
            return Err(Failure::new(format!(
                "the host key of {} ({address}) is not in Secret {:?} yet{}",
                node.name,
                self.secret,
                state(node)
            ))
            .help("the operator records it once it has reached the host: try again in a moment"));
        };
        Ok(Target::pinned(address, self.key.clone(), known.pin.clone()))
    }

    /// A connection of its own to the node.
    pub async fn connect(&self, node: &NodeStatus) -> Result<Host, Failure> {
        let target = self.target(node)?;
        Host::connect_from_afar_for_bulk(&target).await.map_err(|e| {
            let failure = Failure::new(format!("no connection to {}: {e}", node.name));
            match e {
                ConnectError::HostKeyMismatch { .. } => failure
                    .help("try again when the cluster is ready; if it is, somebody may be in between: go no further"),
                ConnectError::AuthFailed { .. } | ConnectError::HungUp { .. } => failure.help("try again in a minute"),
                ConnectError::Refused { .. } | ConnectError::Unreachable { .. } | ConnectError::Timeout { .. } => {
                    failure.help(
                        "see that this machine may reach the hosts: spec.accessCIDRs, and \
                         spec.provider.ec2.connectTo (Public or Private)",
                    )
                }
            }
        })
    }
}

fn state(node: &NodeStatus) -> String {
    match &node.message {
        Some(message) => format!(" ({:?}: {message})", node.state),
        None => format!(" ({:?})", node.state),
    }
}

/// `name,address key-type base64`
fn known(line: &str) -> Option<Known> {
    let (names, key) = line.trim().split_once(' ')?;
    let pin = HostPin::from_openssh(key.trim()).ok()?;
    Some(Known { names: names.split(',').map(str::to_owned).collect(), pin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::NodeRole, api::NodeState, host::HostSeed};

    fn node(name: &str, address: &str) -> NodeStatus {
        serde_json::from_value(serde_json::json!({
            "name": name, "role": NodeRole::Manager, "state": NodeState::Ready, "address": address,
        }))
        .unwrap()
    }

    #[test]
    fn a_host_key_counts_only_for_its_slot_at_its_address() {
        let id = crate::host::HostId { cluster: "uid".to_owned(), slot: "m0".to_owned(), incarnation: 0 };
        let line = format!("foo-m0,10.0.0.1 {}", HostSeed::generate().host_key(&id).public_line());
        let reach =
            Reach { key: ClientKey::generate(), known: vec![known(&line).unwrap()], secret: "foo-ssh".to_owned() };
        assert_eq!(reach.target(&node("foo-m0", "10.0.0.1")).unwrap().address, "10.0.0.1");
        for other in [node("foo-m1", "10.0.0.1"), node("foo-m0", "10.0.0.2")] {
            assert!(reach.target(&other).unwrap_err().what().contains("host key of"));
        }
        assert!(known("foo-m0 ssh-ed25519 nonsense").is_none());
    }
}
