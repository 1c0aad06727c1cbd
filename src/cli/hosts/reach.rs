//! From a cluster to its hosts: the key to log in with, the host keys to expect, a connection.
//!
//! All of it comes from the cluster's Secret, which the operator writes. The private key stays
//! in memory: it is never printed, written to a file or put on a command line.
//!
//! All verbs come to hosts this way, so whatever leads there (jump hosts, several addresses) is said here alone.

use std::str;

use super::{detour::Detour, remedy::not_connected};
use crate::cli::{Context, failure::Failure, hosts::nodes, kubernetes::Kubernetes};
use crate::{
    api::{NodeStatus, SwarmCluster, secret_key},
    host::{ClientKey, Host, HostPin, Place, Target},
};

/// What it takes to log in to the hosts of a cluster.
#[derive(Debug)]
pub struct Reach {
    cluster: String,
    key: ClientKey,
    known: Vec<Known>,
    secret: String,
    detour: Detour,
}

/// A line of `known_hosts`.
#[derive(Debug)]
pub struct Known {
    pub names: Vec<String>,
    pub pin: HostPin,
}

impl Reach {
    /// Reads the cluster's Secret, and looks which hosts are gone through.
    pub async fn of(context: &Context, kubernetes: &Kubernetes, cluster: &SwarmCluster) -> Result<Self, Failure> {
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
        let known: Vec<Known> = lines
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|line| known(line).ok_or_else(|| broken(secret_key::KNOWN_HOSTS, "has a line that does not read")))
            .collect::<Result<_, _>>()?;
        let detour = Detour::of(context, cluster, &known, &key).await?;
        let cluster = cluster.metadata.name.clone().unwrap_or_default();
        Ok(Self { cluster, key, known, secret, detour })
    }

    /// Where the node is, how it is come to, and which key it must show.
    pub fn target(&self, node: &NodeStatus) -> Result<Target, Failure> {
        let Some(address) = node.address.as_deref() else {
            return Err(Failure::new(format!("{} has no address yet{}", node.name, state(node))));
        };
        let all = addresses(node);
        // The address must fit, too: a slot that is filled again keeps its name.
        let has = |known: &Known, name: &str| known.names.iter().any(|k| k == name);
        let named: Vec<&Known> = self.known.iter().filter(|known| has(known, &node.name)).collect();
        let fits = |known: &&&Known| all.iter().any(|address| has(known, address));
        let Some(known) = named.iter().find(fits) else {
            return Err(self.not_known(node, address, &named));
        };
        let place = |address: &&str| {
            let via = self.detour.to(address).ok()?.to_vec();
            Some(Place { address: (*address).to_owned(), via })
        };
        let mut places = all.iter().filter_map(place);
        let Some(Place { address, via }) = places.next() else {
            let why = self.no_way(node).map_or("it is not known", Failure::what);
            let failure = Failure::new(format!("there is no way to {}: {why}", node.name));
            let remedies = self.no_way(node).map(Failure::remedies).unwrap_or_default();
            return Err(remedies.iter().fold(failure, |failure, help| failure.help(help)));
        };
        let also = places.collect();
        let target = Target::pinned(&address, self.key.clone(), known.pin.clone());
        let (port, user) = (node.port.unwrap_or(target.port), node.user.clone().unwrap_or(target.user));
        Ok(Target { port, user, via, also, ..target })
    }

    /// Why no way leads to a node, where the hosts in between are not known for any of its addresses.
    pub fn no_way(&self, node: &NodeStatus) -> Option<&Failure> {
        let mut lost = None;
        for address in addresses(node) {
            match self.detour.to(address) {
                Ok(_) => return None,
                Err(failure) => lost = lost.or(Some(failure)),
            }
        }
        lost
    }

    /// That there is no host key of a node, or one for another place.
    fn not_known(&self, node: &NodeStatus, address: &str, named: &[&Known]) -> Failure {
        let (name, secret) = (&node.name, &self.secret);
        let elsewhere: Vec<&str> =
            named.iter().flat_map(|known| &known.names).filter(|n| *n != name).map(String::as_str).collect();
        if elsewhere.is_empty() {
            return Failure::new(format!(
                "the host key of {name} ({address}) is not in Secret {secret:?} yet{}",
                state(node)
            ))
            .help("the operator records it once it has reached the host: try again in a moment");
        }
        Failure::new(format!(
            "known_hosts of Secret {secret:?} has the host key of {name} for {}, and {name} is at {address}{}",
            elsewhere.join(", "),
            state(node)
        ))
        .help("the operator writes what it knows over it at its next look, within 20 s: try again then")
        .help(format!(
            "if it stays so, see that the operator runs, and what it says: kubectl testkit describe {}",
            self.cluster
        ))
    }

    /// A connection of its own to the node.
    pub async fn connect(&self, node: &NodeStatus) -> Result<Host, Failure> {
        let target = self.target(node)?;
        Host::connect_from_afar_for_bulk(&target).await.map_err(|e| not_connected(&node.name, &target, &e))
    }
}

/// The addresses of a node, the one to connect to first.
pub fn addresses(node: &NodeStatus) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for address in [&node.address, &node.private_address, &node.public_address].into_iter().flatten() {
        if !all.contains(&address.as_str()) {
            all.push(address);
        }
    }
    all
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
impl Reach {
    /// One that knows hosts by these names, each by a key of its own.
    pub fn fixture(names: &[&str], detour: Detour) -> Self {
        let seed = crate::host::HostSeed::generate();
        let line = |(at, names): (usize, &&str)| {
            let id = crate::host::HostId { cluster: String::new(), slot: format!("m{at}"), incarnation: 0 };
            Known { names: names.split(',').map(str::to_owned).collect(), pin: seed.host_key(&id).pin() }
        };
        let known = names.iter().enumerate().map(line).collect();
        Self { cluster: "foo".to_owned(), key: ClientKey::generate(), known, secret: "foo-ssh".to_owned(), detour }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::NodeRole, api::NodeState};

    fn node(name: &str, address: &str) -> NodeStatus {
        serde_json::from_value(serde_json::json!({
            "name": name, "role": NodeRole::Manager, "state": NodeState::Ready, "address": address,
        }))
        .unwrap()
    }

    fn reach(names: &str) -> Reach {
        Reach::fixture(&[names], Detour::default())
    }

    #[test]
    fn a_host_key_counts_only_for_its_slot_at_its_address() {
        let reach = reach("foo-m0,10.0.0.1");
        assert_eq!(reach.target(&node("foo-m0", "10.0.0.1")).unwrap().address, "10.0.0.1");
        let failure = reach.target(&node("foo-m1", "10.0.0.1")).unwrap_err();
        assert!(failure.what().contains("is not in Secret \"foo-ssh\" yet"), "{failure}");
        // Not "yet": it is wrong, and who puts it right is said.
        let failure = reach.target(&node("foo-m0", "10.0.0.2")).unwrap_err();
        assert!(failure.what().contains("for 10.0.0.1, and foo-m0 is at 10.0.0.2"), "{failure}");
        assert!(failure.remedies()[0].contains("the operator writes"), "{failure}");
        assert!(known("foo-m0 ssh-ed25519 nonsense").is_none());
        // A machine that existed before is logged in to as its owner says.
        let target = reach.target(&node("foo-m0", "10.0.0.1")).unwrap();
        assert_eq!((target.port, target.user.as_str()), (22, "root"));
        let theirs = NodeStatus { port: Some(2222), user: Some("ubuntu".to_owned()), ..node("foo-m0", "10.0.0.1") };
        let target = reach.target(&theirs).unwrap();
        assert_eq!((target.port, target.user.as_str()), (2222, "ubuntu"));
    }

    #[test]
    fn a_host_is_tried_at_all_of_its_addresses() {
        let reach = reach("foo-m0,10.0.0.1,203.0.113.7");
        let mut at_both = node("foo-m0", "203.0.113.9");
        at_both.private_address = Some("10.0.0.1".to_owned());
        at_both.public_address = Some("203.0.113.9".to_owned());
        // A public address that has just changed does not keep anybody out.
        let target = reach.target(&at_both).unwrap();
        let also = Place { address: "10.0.0.1".to_owned(), via: Vec::new() };
        assert_eq!((target.address.as_str(), target.also), ("203.0.113.9", vec![also]));
    }

    #[test]
    fn each_address_has_its_own_way_and_one_without_is_passed_over() {
        let mut at_both = node("foo-m0", "203.0.113.9");
        at_both.private_address = Some("10.0.0.1".to_owned());
        at_both.public_address = at_both.address.clone();
        // What the user's OpenSSH says of addresses; then all that are tried, each with the hosts in between.
        for (configured, tried) in [
            (&[("10.0.0.1", Some("b"))][..], Some("203.0.113.9<- 10.0.0.1<-b")),
            (&[], Some("203.0.113.9<- 10.0.0.1<-")),
            (&[("10.0.0.1", Some("b")), ("203.0.113.9", Some("c"))], Some("203.0.113.9<-c 10.0.0.1<-b")),
            (&[("10.0.0.1", None)], Some("203.0.113.9<-")),
            (&[("203.0.113.9", None), ("10.0.0.1", Some("b"))], Some("10.0.0.1<-b")),
            (&[("203.0.113.9", None), ("10.0.0.1", None)], None),
        ] {
            let reach = Reach::fixture(&["foo-m0,10.0.0.1,203.0.113.9"], Detour::fixture(configured));
            let found = reach.target(&at_both);
            assert_eq!(reach.no_way(&at_both).is_some(), tried.is_none(), "{configured:?}");
            let Some(tried) = tried else {
                assert!(found.unwrap_err().what().contains("203.0.113.9"), "{configured:?}");
                continue;
            };
            let target = found.unwrap();
            let first = Place { address: target.address, via: target.via };
            let shown = |place: Place| {
                let via: Vec<String> = place.via.into_iter().map(|jump| jump.name).collect();
                format!("{}<-{}", place.address, via.join(","))
            };
            let all: Vec<String> = std::iter::once(first).chain(target.also).map(shown).collect();
            assert_eq!(all.join(" "), tried);
        }
    }
}
