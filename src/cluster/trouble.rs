//! What keeps a slot from being filled, by who can end it, and in words a person can act on.

use super::losses::Losses;
use crate::{
    api::reason,
    cloud::{Lack, Shortage},
};

/// What keeps a slot from being filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// None of the instance types is to be had.
    Short(Shortage),
    /// Its instances come to nothing.
    Lost {
        /// How often, and the last one.
        losses: Losses,
        /// So often that a person has to look.
        stalls: bool,
        /// It was to take the place of one that is outdated, and is there still.
        updating: bool,
    },
    /// It is a machine that no other can take the place of, and it has not been well for long.
    Sick {
        /// The machine.
        machine: String,
        /// What ails it, as the end of a sentence that begins with its name.
        what: String,
    },
    /// The machines are in a swarm that is not as the spec says, and by what it differs.
    Differs(Vec<String>),
    /// Its instance has no public address to connect to.
    NoPublicAddress {
        /// The instance.
        instance: String,
        /// Its subnet.
        subnet: Option<String>,
    },
}

impl Trouble {
    /// The reason of the object's conditions.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Short(shortage) => match shortage.lack {
                Lack::Capacity => reason::NO_CAPACITY,
                Lack::Quota => reason::QUOTA,
                Lack::Permission => reason::UNAUTHORIZED,
            },
            Self::Lost { losses, .. } => losses.cause.reason(),
            Self::Sick { .. } => reason::NODE_NOT_READY,
            Self::Differs(_) => reason::SWARM_DIFFERS,
            Self::NoPublicAddress { .. } => reason::NO_PUBLIC_ADDRESS,
        }
    }

    /// Whether only a person can end it. The operator goes on trying, slowly.
    #[must_use]
    pub fn stalls(&self) -> bool {
        match self {
            Self::Short(shortage) => shortage.lack != Lack::Capacity,
            Self::Lost { stalls, .. } => *stalls,
            Self::Sick { .. } | Self::Differs(_) | Self::NoPublicAddress { .. } => true,
        }
    }

    /// In one sentence. `who` are the nodes that have this trouble, such as `foo-m0`; `types` the
    /// instance types that are asked for.
    #[must_use]
    pub fn words(&self, who: &str, types: &[String]) -> String {
        match self {
            Self::Short(shortage) => {
                let (words, types) = (&shortage.words, types.join(", "));
                let remedy = match shortage.lack {
                    Lack::Capacity => {
                        "more entries in spec.provider.ec2.instanceTypes or other subnets would help; this is asked for again every minute"
                    }
                    Lack::Quota => {
                        "raise the quota of the account, end something, or name other spec.provider.ec2.instanceTypes; this is tried again by itself"
                    }
                    Lack::Permission => {
                        "add the permission to the operator's IAM policy (deploy/iam-policy.json has all it needs), or name other spec.provider.ec2.instanceTypes; this is tried again by itself"
                    }
                };
                format!("{who} cannot be launched as {types}: {words}. What to do: {remedy}")
            }
            Self::Lost { losses, stalls, updating } => {
                let Losses { count, instance, cause, .. } = losses;
                let which = match (instance.as_str(), updating) {
                    ("", false) => "its instance",
                    ("", true) => "its successor",
                    (instance, _) => instance,
                };
                let stops = if *updating {
                    ". The update stops there, and the machine it was to replace is left as it is; changing the spec back undoes the update"
                } else {
                    ""
                };
                let told = format!("{who}: {which} {cause}{stops}");
                match (count, stalls) {
                    (0 | 1, _) => format!("{told}. Another one takes its place"),
                    (n, false) => {
                        format!("{told}. It is number {n} in a row, and another one takes its place after a pause")
                    }
                    (n, true) => format!(
                        "{told}. It is number {n} in a row: correct spec.provider.ec2 or spec.engine, or raise spec.bootTimeout; a changed spec is tried at once, this one every 10 minutes"
                    ),
                }
            }
            Self::Sick { machine, what } => format!(
                "{who}: {machine} {what}. No other machine takes its place: see to it that it comes back, or take it off spec.provider.hosts.machines"
            ),
            Self::Differs(told) => format!(
                "the machines are in a swarm already, which is adopted only where it is as the spec says: {}. Nothing is touched. Correct spec.provider.hosts.machines, or have the swarm be so (docker swarm leave, docker node promote, docker node rm, docker node update --label-rm); it is looked at again by itself",
                told.join("; ")
            ),
            Self::NoPublicAddress { instance, subnet } => {
                let place = subnet.as_ref().map_or_else(|| "its subnet".to_owned(), |s| format!("subnet {s}"));
                format!(
                    "{who} cannot be reached: {instance} has no public address in {place}, and spec.provider.ec2.connectTo is Public. Set connectTo: Private, or terminate the instance to have it replaced by one with a public address"
                )
            }
        }
    }
}
