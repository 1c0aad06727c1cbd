//! Machines that exist already, as a cloud that makes and ends none.
//!
//! Its instances are the machines that a cluster has taken, each for a slot; which those are is
//! written down by the caller, for there is nobody else to ask. To launch a slot gives the machine
//! that was taken for it, and to terminate one does nothing to it: who has taken it lets it go.

use std::{net::Ipv4Addr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Account, Answer, CloudError, CloudProvider, Instance, InstanceState, Inventory, Launch, Login, Network,
    NetworkSpec, OwnedNetwork, Owner, Removal, Shortages,
};

/// A machine that exists: what it is called, and the ways to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// What its owner calls it.
    pub name: String,
    /// How it is logged in to.
    #[serde(flatten)]
    pub login: Login,
    /// The address by which other machines reach it.
    pub private_address: String,
}

impl Machine {
    /// What it is called as an instance.
    #[must_use]
    pub fn id(&self) -> String {
        crate::api::Machine::id_of(&self.name)
    }

    /// The machine as an instance that fills a slot.
    #[must_use]
    pub fn instance(&self, owner: &Owner, slot: &str, incarnation: u32) -> Instance {
        Instance {
            id: self.id(),
            owner: owner.clone(),
            slot: slot.to_owned(),
            incarnation,
            // Whether it does is for its sshd to say: nobody else knows.
            state: InstanceState::Running,
            state_reason: None,
            instance_type: String::new(),
            spot: false,
            private_address: Some(self.private_address.clone()),
            public_address: None,
            zone: None,
            subnet: None,
            launched_at: None,
            login: Some(self.login.clone()),
        }
    }
}

/// The machines that a cluster has taken.
#[derive(Debug)]
pub struct Hosts(Vec<Instance>);

impl Account {
    /// The machines that a cluster has taken, as an account of its own.
    #[must_use]
    pub fn of_hosts(taken: Vec<Instance>) -> Self {
        let cloud = Arc::new(Hosts(taken.clone()));
        let inventory = Inventory::given(cloud.clone(), taken);
        Self { cloud, inventory, shortages: Shortages::default() }
    }
}

impl CloudProvider for Hosts {
    fn list(&self) -> Answer<'_, Vec<Instance>> {
        Box::pin(async { Ok(self.0.clone()) })
    }

    /// There are no groups to make: whose network it is sees to that. Of its blocks only the hosts' own surroundings are known.
    fn ensure_network<'a>(&'a self, _owner: &'a Owner, _network: &'a NetworkSpec) -> Answer<'a, Network> {
        let mut cidrs: Vec<String> =
            self.0.iter().filter_map(|i| surroundings(i.private_address.as_deref()?)).collect();
        cidrs.sort();
        cidrs.dedup();
        Box::pin(async { Ok(Network { security_group: String::new(), cidrs }) })
    }

    fn delete_network<'a>(&'a self, _owner: &'a Owner) -> Answer<'a, Removal> {
        Box::pin(async { Ok(Removal::Gone) })
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> Answer<'a, Instance> {
        let found = self.0.iter().find(|i| i.slot == launch.slot && i.incarnation == launch.incarnation).cloned();
        let none = || CloudError::Invalid(format!("no machine was taken for {}", launch.name));
        Box::pin(async move { found.ok_or_else(none) })
    }

    fn start<'a>(&'a self, _id: &'a str) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn terminate<'a>(&'a self, _ids: &'a [String]) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn list_networks(&self) -> Answer<'_, Vec<OwnedNetwork>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn console<'a>(&'a self, _id: &'a str) -> Answer<'a, String> {
        Box::pin(async { Ok(String::new()) })
    }
}

/// The block of 65,536 addresses around an IPv4 address: what its network may well be.
fn surroundings(address: &str) -> Option<String> {
    let [a, b, ..] = address.parse::<Ipv4Addr>().ok()?.octets();
    Some(format!("{a}.{b}.0.0/16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, address: &str) -> Machine {
        let login = Login { address: address.to_owned(), port: 22, user: "root".to_owned(), via: None };
        Machine { name: name.to_owned(), login, private_address: address.to_owned() }
    }

    #[tokio::test]
    async fn what_was_taken_is_there_at_once_and_whatever_is_said_it_stays() {
        let owner = Owner { uid: "u".into(), name: "ns/c".into() };
        let other = Owner { uid: "v".into(), name: "ns/d".into() };
        let taken = vec![
            machine("alpha", "10.1.0.5").instance(&owner, "m0", 0),
            machine("beta", "10.1.7.5").instance(&owner, "w0", 2),
        ];
        let account = Account::of_hosts(taken.clone());
        assert_eq!(account.inventory.snapshot(&owner), Some(taken.clone()));
        assert_eq!(account.inventory.snapshot(&other), Some(Vec::new()));
        account.cloud.terminate(&["host/alpha".to_owned()]).await.unwrap();
        assert_eq!(account.cloud.list().await.unwrap(), taken);
        let spec = NetworkSpec { access_cidrs: Vec::new(), subnets: Vec::new() };
        assert_eq!(account.cloud.ensure_network(&owner, &spec).await.unwrap().cidrs, ["10.1.0.0/16"]);
        assert_eq!(account.cloud.delete_network(&owner).await.unwrap(), Removal::Gone);
    }
}
