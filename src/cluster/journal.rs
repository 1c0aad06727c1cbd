//! What must not happen twice, or must not be forgotten: written down before it is done.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    losses::Losses,
    member::MemberId,
    roster::Taken,
    template::{Template, parts},
};
use crate::cloud::Offering;

/// Steps that must be taken again, and not another way, after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// By slot, what its instance is launched as.
    #[serde(default)]
    pub launches: BTreeMap<String, Launching>,
    /// By slot, what is launched to take the place of the instance above, and does once it is ready.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub successors: BTreeMap<String, Launching>,
    /// By slot, what was launched before the instance above took its place, while it is there still.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub predecessors: BTreeMap<String, Launching>,
    /// By slot, the highest incarnation ever launched, of what is not meant any more: none is used again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spent: BTreeMap<String, u32>,
    /// Who may reach the hosts, as somebody said it last: what they are launched with, and stay so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<String>,
    /// Machines that existed before, each with the slot it was taken for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<Taken>,
    /// The swarm was there before the cluster, and is there after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The host the swarm is begun on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm: Option<MemberId>,
    /// The id of the swarm, once it was begun or adopted. No other one is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm_id: Option<String>,
    /// It was written anew because it was gone: what it does not tell may have been.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
    /// The swarm is lost, and is being made anew as `spec.recovery` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovering>,
    /// By slot, the instances that came to nothing, in a row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub losses: BTreeMap<String, Losses>,
}

/// How a lost swarm is made anew. Written before anything is done about it, and followed to its
/// end whatever the spec says by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Recovering {
    /// From the state this manager has. No other manager of the lost swarm may come back.
    From {
        /// The manager.
        host: MemberId,
    },
    /// With an empty one, once no host is in the lost one any more.
    Anew,
}

/// A launch that may have been asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launching {
    /// Which instance of the slot.
    pub incarnation: u32,
    /// As what.
    #[serde(flatten)]
    pub offering: Offering,
    /// Its engine has answered, so that it may be a node of the swarm: written before it joins.
    /// Versions that did not write this are taken to have seen it.
    #[serde(default = "yes")]
    pub booted: bool,
    /// What of the spec it was launched by.
    #[serde(default, skip_serializing_if = "Template::is_empty", deserialize_with = "parts")]
    pub template: Template,
    /// When EC2 takes it back, where it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

impl Journal {
    /// What was written down of the launch of exactly this instance.
    #[must_use]
    pub fn launching(&self, member: MemberId) -> Option<&Launching> {
        let slot = member.slot.to_string();
        let mut written = [&self.launches, &self.successors].into_iter().filter_map(|of| of.get(&slot));
        written.find(|l| l.incarnation == member.incarnation)
    }

    /// The same, to be changed.
    pub fn launching_mut(&mut self, member: MemberId) -> Option<&mut Launching> {
        let slot = member.slot.to_string();
        let mut written = [&mut self.launches, &mut self.successors].into_iter().filter_map(|of| of.get_mut(&slot));
        written.find(|l| l.incarnation == member.incarnation)
    }

    /// The same, also of one whose place another one has taken.
    #[must_use]
    pub fn written(&self, member: MemberId) -> Option<&Launching> {
        let before = self.predecessors.get(&member.slot.to_string());
        self.launching(member).or(before.filter(|l| l.incarnation == member.incarnation))
    }

    /// The same, to be changed.
    pub fn written_mut(&mut self, member: MemberId) -> Option<&mut Launching> {
        let slot = member.slot.to_string();
        let mut all = [&mut self.launches, &mut self.successors, &mut self.predecessors].into_iter();
        all.find_map(|of| of.get_mut(&slot).filter(|l| l.incarnation == member.incarnation))
    }

    /// Every machine that EC2 takes back.
    pub fn taken_back(&self) -> impl Iterator<Item = &Launching> {
        let all = [&self.launches, &self.successors, &self.predecessors].into_iter().flat_map(BTreeMap::values);
        all.filter(|l| l.ends.is_some())
    }

    /// Whether this instance is to take the place of another one.
    #[must_use]
    pub fn succeeds(&self, member: MemberId) -> bool {
        self.successors.get(&member.slot.to_string()).is_some_and(|l| l.incarnation == member.incarnation)
    }

    /// Whether this instance is written down as lost: it is on its way out, and nothing brings it back.
    #[must_use]
    pub fn lost(&self, member: MemberId) -> bool {
        self.losses.get(&member.slot.to_string()).is_some_and(|l| l.incarnation == member.incarnation)
    }
}

const fn yes() -> bool {
    true
}
