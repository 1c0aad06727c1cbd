//! The hosts in between: as the user says, else the cluster, else the user's OpenSSH.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use tokio::sync::Semaphore;

use super::{
    reach::{Known, addresses},
    route::Route,
};
use crate::{
    api::{NodeStatus, SwarmCluster, secret_key},
    cli::{Context, failure::Failure},
    host::{ClientKey, Jump, written},
};

/// So many programs are asked at once, each of which may run others: a cluster has some hundred addresses.
const AT_ONCE: usize = 8;

/// The hosts that are gone through.
#[derive(Debug)]
pub enum Detour {
    /// The same for all, as the user or the cluster says.
    Said(Vec<Jump>),
    /// As the user's OpenSSH has them for an address, or why that cannot be had; none for any other.
    Configured(BTreeMap<String, Result<Vec<Jump>, Failure>>),
}

impl Default for Detour {
    /// None.
    fn default() -> Self {
        Self::Said(Vec::new())
    }
}

impl Detour {
    /// The one that counts.
    ///
    /// # Errors
    /// One that is the same for all cannot be had.
    pub async fn of(
        context: &Context,
        cluster: &SwarmCluster,
        known: &[Known],
        key: &ClientKey,
    ) -> Result<Self, Failure> {
        if let Some(detour) = Self::said(context, cluster).await? {
            return Ok(detour);
        }
        Ok(match given(cluster, known, key)? {
            Some(jump) => Self::Said(vec![jump]),
            None => Self::configured(context, cluster).await,
        })
    }

    /// The hosts on the way to an address.
    pub fn to(&self, address: &str) -> Result<&[Jump], &Failure> {
        match self {
            Self::Said(jumps) => Ok(jumps),
            Self::Configured(jumps) => match jumps.get(address) {
                Some(Ok(jumps)) => Ok(jumps),
                Some(Err(failure)) => Err(failure),
                None => Ok(&[]),
            },
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

    /// As the user's OpenSSH has it. One address without a way is no reason to try no other.
    async fn configured(context: &Context, cluster: &SwarmCluster) -> Self {
        let nodes: Vec<&NodeStatus> = cluster.status.iter().flat_map(|s| &s.nodes).collect();
        let all: BTreeSet<&str> = nodes.iter().copied().flat_map(addresses).collect();
        let at_once = Semaphore::new(AT_ONCE);
        let asked = all.into_iter().map(async |address| {
            // Its time begins with its turn.
            let _turn = at_once.acquire().await;
            (address, context.configs.jump_of(address).await)
        });
        // Many addresses have the same.
        let mut ways: BTreeMap<String, Result<Vec<Jump>, Failure>> = BTreeMap::new();
        let (mut configured, mut silent) = (BTreeMap::new(), Vec::new());
        for (address, said) in join_all(asked).await {
            match said {
                Ok(Some(text)) => {
                    let way = match ways.get(&text) {
                        Some(way) => Result::clone(way),
                        None => by_proxy_jump(context, address, &text).await,
                    };
                    ways.insert(text, way.clone());
                    configured.insert(address.to_owned(), way);
                }
                Ok(None) => {}
                Err(why) => silent.push((address, why)),
            }
        }
        if let Some((why, warning)) = directly(&silent)
            && context.configs.first_time(why)
        {
            context.printer.warn(warning);
        }
        let detour = Self::Configured(configured);
        for (address, failure) in detour.passed_over(&nodes) {
            if context.configs.first_time(failure.what()) {
                context
                    .printer
                    .warn(format_args!("{address} is not tried, and the node's other address is: {failure}"));
            }
        }
        detour
    }

    /// Addresses without a way, of nodes that have another one with a way.
    fn passed_over<'a>(&'a self, nodes: &[&'a NodeStatus]) -> Vec<(&'a str, &'a Failure)> {
        let mut found = Vec::new();
        for node in nodes.iter().copied() {
            let ways: Vec<_> = addresses(node).into_iter().map(|address| (address, self.to(address))).collect();
            if ways.iter().any(|(_, way)| way.is_ok()) {
                found.extend(ways.into_iter().filter_map(|(address, way)| Some((address, way.err()?))));
            }
        }
        found
    }
}

/// Where `ssh` does not tell of these addresses whether they have a `ProxyJump`, and why not: why, and what is said of it.
/// Nothing of the user's is offered to them, so they are tried without one.
fn directly<'a>(silent: &'a [(&str, String)]) -> Option<(&'a str, String)> {
    let (address, why) = silent.first()?;
    let others = match silent.len() - 1 {
        0 => String::new(),
        1 => " and one other address".to_owned(),
        more => format!(" and {more} other addresses"),
    };
    let warning = format!(
        "`ssh -G {address}` does not tell how it is reached: {why}; {address}{others} may have a ProxyJump, and is tried without: \
         mend the configuration of ssh, or say the way with --jump (none for no detour)"
    );
    Some((why.as_str(), warning))
}

/// The hosts that the `ProxyJump` of an address names.
async fn by_proxy_jump(context: &Context, address: &str, text: &str) -> Result<Vec<Jump>, Failure> {
    let route: Route =
        text.parse().map_err(|e| Failure::new(format!("ProxyJump of {address} in the configuration of ssh: {e}")))?;
    route.jumps(&context.configs).await
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

#[cfg(test)]
fn jump(name: &str) -> Jump {
    Jump {
        name: name.to_owned(),
        address: name.to_owned(),
        port: 22,
        user: "me".to_owned(),
        known: Vec::new(),
        known_as: None,
        key: None,
        agent: None,
        keys: Vec::new(),
        only_keys: false,
    }
}

#[cfg(test)]
impl Detour {
    /// The user's OpenSSH has one jump host for each of these addresses, or one that cannot be had.
    pub fn fixture(configured: &[(&str, Option<&str>)]) -> Self {
        let way = |(address, name): &(&str, Option<&str>)| {
            let lost = || Failure::new(format!("the jump host of {address} is not known"));
            ((*address).to_owned(), name.map(|name| vec![jump(name)]).ok_or_else(lost))
        };
        Self::Configured(configured.iter().map(way).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detour_is_that_of_the_address_or_of_all() {
        for (detour, address, through) in [
            (Detour::Said(vec![jump("a"), jump("b")]), "10.0.0.1", Some("a b")),
            (Detour::default(), "10.0.0.1", Some("")),
            (Detour::fixture(&[("10.0.0.1", Some("b"))]), "10.0.0.1", Some("b")),
            (Detour::fixture(&[("10.0.0.9", Some("b"))]), "10.0.0.1", Some("")),
            (Detour::fixture(&[("10.0.0.1", None)]), "10.0.0.1", None),
        ] {
            let found = detour.to(address).ok();
            let found = found.map(|jumps| jumps.iter().map(|j| j.name.as_str()).collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), through, "{detour:?}");
        }
    }

    #[test]
    fn what_is_passed_over_is_told_where_it_is_no_error() {
        let node = |private: &str, public: &str| -> NodeStatus {
            serde_json::from_value(serde_json::json!({
                "name": "foo-m0", "role": "Manager", "state": "Ready", "address": private,
                "privateAddress": private, "publicAddress": public,
            }))
            .unwrap()
        };
        let (one, two) = (node("10.0.0.1", "203.0.113.1"), node("10.0.0.2", "203.0.113.2"));
        for (lost, told) in [
            (&["10.0.0.1"][..], &["10.0.0.1"][..]),
            (&[], &[]),
            // It has no other way: that is an error of what goes there.
            (&["10.0.0.1", "203.0.113.1"], &[]),
            (&["10.0.0.1", "203.0.113.1", "203.0.113.2"], &["203.0.113.2"]),
        ] {
            let lost: Vec<(&str, Option<&str>)> = lost.iter().map(|address: &&str| (*address, None)).collect();
            let detour = Detour::fixture(&lost);
            let found: Vec<&str> = detour.passed_over(&[&one, &two]).into_iter().map(|(address, _)| address).collect();
            assert_eq!(found, told, "{lost:?}");
        }
    }

    #[test]
    fn an_ssh_that_does_not_tell_is_told_once_for_all_addresses() {
        let why = "it took longer than 5 s";
        for (addresses, words) in [
            (
                &["10.0.0.1"][..],
                Some("`ssh -G 10.0.0.1` does not tell how it is reached: it took longer than 5 s; 10.0.0.1 may have"),
            ),
            (&["10.0.0.1", "10.0.0.2"], Some("; 10.0.0.1 and one other address may have a ProxyJump")),
            (&["10.0.0.1", "10.0.0.2", "10.0.0.3"], Some("; 10.0.0.1 and 2 other addresses may have a ProxyJump")),
            (&[], None),
        ] {
            let silent: Vec<(&str, String)> =
                addresses.iter().map(|address: &&str| (*address, why.to_owned())).collect();
            match (directly(&silent), words) {
                (Some((cause, warning)), Some(words)) => assert!(cause == why && warning.contains(words), "{warning}"),
                (found, words) => assert_eq!(found.is_some(), words.is_some(), "{addresses:?}"),
            }
        }
    }
}
