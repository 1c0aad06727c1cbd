//! From a cluster to its hosts: the key to log in with, the host keys to expect, a connection.
//!
//! All of it comes from the cluster's Secret, which the operator writes. The private key stays
//! in memory: it is never printed, written to a file or put on a command line.
//!
//! All verbs come to hosts this way, so whatever leads there (jump hosts, several addresses) is said here alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    str,
};

use futures::future::join_all;

use super::jump::{Route, for_ssh};
use crate::cli::{Context, failure::Failure, hosts::nodes, kubernetes::Kubernetes};
use crate::{
    api::{NodeStatus, SwarmCluster, secret_key},
    host::{ClientKey, ConnectError, Host, HostPin, Jump, JumpError, Target, written},
};

/// What it takes to log in to the hosts of a cluster.
#[derive(Debug)]
pub struct Reach {
    key: ClientKey,
    known: Vec<Known>,
    secret: String,
    detour: Detour,
}

/// The hosts that are gone through.
#[derive(Debug)]
enum Detour {
    /// The same for all, as the user or the cluster says.
    Said(Vec<Jump>),
    /// As the user's OpenSSH has them for an address.
    Configured(BTreeMap<String, Vec<Jump>>),
}

/// A line of `known_hosts`.
#[derive(Debug)]
struct Known {
    names: Vec<String>,
    pin: HostPin,
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
        let detour = match Detour::said(context, cluster).await? {
            Some(detour) => detour,
            None => match given(cluster, &known, &key)? {
                Some(jump) => Detour::Said(vec![jump]),
                None => Detour::configured(context, cluster).await?,
            },
        };
        Ok(Self { key, known, secret, detour })
    }

    /// Where the node is, how it is come to, and which key it must show.
    pub fn target(&self, node: &NodeStatus) -> Result<Target, Failure> {
        let Some(address) = node.address.as_deref() else {
            return Err(Failure::new(format!("{} has no address yet{}", node.name, state(node))));
        };
        let also = [&node.private_address, &node.public_address].into_iter().flatten().filter(|a| *a != address);
        let also: Vec<String> = also.cloned().collect();
        // The address must fit, too: a slot that is filled again keeps its name.
        let has = |known: &Known, name: &str| known.names.iter().any(|k| k == name);
        let named: Vec<&Known> = self.known.iter().filter(|known| has(known, &node.name)).collect();
        let fits = |known: &&&Known| has(known, address) || also.iter().any(|other| has(known, other));
        let Some(known) = named.iter().find(fits) else {
            return Err(self.not_known(node, address, &named));
        };
        let via = self.detour.to(address);
        // One way leads to all addresses of a target.
        let also = also.into_iter().filter(|other| self.detour.to(other) == via).collect();
        let target = Target::pinned(address, self.key.clone(), known.pin.clone());
        let (port, user) = (node.port.unwrap_or(target.port), node.user.clone().unwrap_or(target.user));
        Ok(Target { port, user, also, via: via.to_vec(), ..target })
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
        .help("if it stays so, see that the operator runs, and what it says: kubectl testkit describe")
    }

    /// A connection of its own to the node.
    pub async fn connect(&self, node: &NodeStatus) -> Result<Host, Failure> {
        let target = self.target(node)?;
        Host::connect_from_afar_for_bulk(&target).await.map_err(|e| not_connected(&node.name, &e))
    }
}

impl Detour {
    /// The hosts on the way to an address.
    fn to(&self, address: &str) -> &[Jump] {
        match self {
            Self::Said(jumps) => jumps,
            Self::Configured(jumps) => jumps.get(address).map_or(&[], Vec::as_slice),
        }
    }

    /// What the user says, else the cluster.
    async fn said(context: &Context, cluster: &SwarmCluster) -> Result<Option<Self>, Failure> {
        let of_spec = cluster.spec.access.as_ref().and_then(|access| access.jump_host.as_deref());
        let said = match (&context.hosts.jump, of_spec) {
            (Some(route), _) => Some(route.clone()),
            (None, Some(text)) => Some(text.parse::<Route>().map_err(|e| {
                Failure::new(format!("spec.access.jumpHost: {e}")).help("--jump says another one, --jump none none")
            })?),
            (None, None) => None,
        };
        match said {
            Some(route) => Ok(Some(Self::Said(route.jumps(&context.configs).await?))),
            None => Ok(None),
        }
    }

    /// As the user's OpenSSH has it.
    async fn configured(context: &Context, cluster: &SwarmCluster) -> Result<Self, Failure> {
        let mut configured = BTreeMap::new();
        let nodes = cluster.status.iter().flat_map(|s| &s.nodes);
        let addresses: BTreeSet<&String> =
            nodes.flat_map(|n| [&n.address, &n.private_address, &n.public_address]).flatten().collect();
        let asked = addresses.into_iter().map(async |address| (address, context.configs.jump_of(address).await));
        for (address, jump) in join_all(asked).await {
            if let Some(text) = jump? {
                let route: Route = text
                    .parse()
                    .map_err(|e| Failure::new(format!("ProxyJump of {address} in the configuration of ssh: {e}")))?;
                configured.insert(address.clone(), route.jumps(&context.configs).await?);
            }
        }
        Ok(Self::Configured(configured))
    }
}

/// The host that the operator goes through, which the cluster's key opens.
fn given(cluster: &SwarmCluster, known: &[Known], key: &ClientKey) -> Result<Option<Jump>, Failure> {
    let Some(jump) = cluster.spec.provider.hosts.as_ref().and_then(|hosts| hosts.jump_host.as_ref()) else {
        return Ok(None);
    };
    let name = written(&jump.address, jump.port);
    let Some(known) =
        known.iter().find(|k| k.names.iter().any(|n| n == secret_key::JUMP_HOST) && k.names.contains(&name))
    else {
        return Err(Failure::new(format!("the host key of the jump host {name} is not in the cluster's Secret yet"))
            .help("the operator takes it from known_hosts of spec.provider.hosts.secretRef: see what it says about the cluster")
            .help("--jump names another way"));
    };
    Ok(Some(Jump::given(&jump.address, jump.port, &jump.user, known.pin.clone(), key.clone())))
}

/// Why there is no connection to a node, and what to do about it.
pub fn not_connected(name: &str, error: &ConnectError) -> Failure {
    let failure = Failure::new(format!("no connection to {name}: {error}"));
    match error.at_first() {
        ConnectError::HostKeyMismatch { .. } => {
            failure.help("try again when the cluster is ready; if it is, somebody may be in between: go no further")
        }
        ConnectError::AuthFailed { .. } | ConnectError::HungUp { .. } => failure.help("try again in a minute"),
        ConnectError::Jump { jump, why } => at_jump(failure, jump, why),
        ConnectError::Refused { .. }
        | ConnectError::Unreachable { .. }
        | ConnectError::Timeout { .. }
        | ConnectError::AtNone { .. } => failure.help(REACHABLE).help(THROUGH),
    }
}

/// What to look at where a host is not reached.
pub const REACHABLE: &str = "see that this machine may reach the hosts: on EC2, spec.accessCIDRs and \
                             spec.provider.ec2.connectTo (Public or Private)";
/// How a host is reached that cannot be reached from here.
pub const THROUGH: &str = "through a host that may reach them: --jump [USER@]HOST[:PORT], or spec.access.jumpHost";

fn at_jump(failure: Failure, jump: &str, why: &JumpError) -> Failure {
    match why {
        JumpError::Key { place, .. } => {
            failure.help("somebody may be in between: go no further, unless you know that it has a new key").help(
                format!("then: ssh-keygen -R {}, and ssh to it once, comparing the fingerprint", in_known_hosts(place)),
            )
        }
        JumpError::Dropped { .. } => failure
            .help("try again in a moment; if many go through it at once, its sshd_config says how many may: MaxStartups")
            .help(format!("see whether ssh {} works from here; --jump names another one, --jump none none", for_ssh(jump))),
        JumpError::Login { .. } => {
            failure.help(format!("see which key lets you in: ssh -v {}; ssh-add gives it to your agent", for_ssh(jump)))
        }
        JumpError::Passage { .. } => {
            failure.help("see that the jump host may reach the hosts: spec.accessCIDRs, and that its sshd forwards TCP")
        }
        JumpError::Connect(_) => {
            let words = for_ssh(jump);
            failure.help(format!("see whether ssh {words} works from here; --jump names another one, --jump none none"))
        }
    }
}

/// What known_hosts has a place by.
fn in_known_hosts(place: &str) -> String {
    match place.split_once(':') {
        Some((host, port)) if !port.contains(':') => format!("'[{host}]:{port}'"),
        _ => place.to_owned(),
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

    fn line(names: &str) -> Known {
        let id = crate::host::HostId { cluster: "uid".to_owned(), slot: "m0".to_owned(), incarnation: 0 };
        known(&format!("{names} {}", HostSeed::generate().host_key(&id).public_line())).unwrap()
    }

    fn reach(names: &str, detour: Detour) -> Reach {
        Reach { key: ClientKey::generate(), known: vec![line(names)], secret: "foo-ssh".to_owned(), detour }
    }

    #[test]
    fn a_host_key_counts_only_for_its_slot_at_its_address() {
        let reach = reach("foo-m0,10.0.0.1", Detour::Said(Vec::new()));
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
        let reach = reach("foo-m0,10.0.0.1,203.0.113.7", Detour::Said(Vec::new()));
        let mut at_both = node("foo-m0", "203.0.113.9");
        at_both.private_address = Some("10.0.0.1".to_owned());
        at_both.public_address = Some("203.0.113.9".to_owned());
        // A public address that has just changed does not keep anybody out.
        let target = reach.target(&at_both).unwrap();
        assert_eq!((target.address.as_str(), target.also), ("203.0.113.9", vec!["10.0.0.1".to_owned()]));
    }

    #[test]
    fn a_detour_is_that_of_the_address_or_of_all() {
        let jump = |name: &str| Jump {
            name: name.to_owned(),
            address: name.to_owned(),
            port: 22,
            user: "me".to_owned(),
            known: Vec::new(),
            key: None,
            agent: None,
            keys: Vec::new(),
            only_keys: false,
        };
        let configured = Detour::Configured([("10.0.0.1".to_owned(), vec![jump("b")])].into());
        for (detour, address, through) in [
            (Detour::Said(vec![jump("a"), jump("b")]), "10.0.0.1", "a b"),
            (configured, "10.0.0.1", "b"),
            (Detour::Configured([("10.0.0.9".to_owned(), vec![jump("b")])].into()), "10.0.0.1", ""),
        ] {
            let via = reach("foo-m0,10.0.0.1", detour).target(&node("foo-m0", address)).unwrap().via;
            assert_eq!(via.into_iter().map(|j| j.name).collect::<Vec<_>>().join(" "), through);
        }
    }
}
