//! What the operator is about to do, written into the cluster's Secret before it does it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{losses::Losses, slot::Slot};
use crate::cloud::Offering;

/// Which instance of which slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filler {
    /// The slot.
    pub slot: Slot,
    /// Which instance of the slot, counted from 0.
    pub incarnation: u32,
}

/// Steps that must be taken again, and not another way, after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// By slot, what its instance is launched as.
    #[serde(default)]
    pub launches: BTreeMap<String, Launching>,
    /// The host the swarm is begun on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm: Option<Filler>,
    /// By slot, the instances that came to nothing, in a row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub losses: BTreeMap<String, Losses>,
}

/// A launch that may have been asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What of the spec it was launched by, as a [`template`](super::plan::template).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
}

impl Intent {
    /// What was written down of the launch of exactly this instance.
    #[must_use]
    pub fn launching(&self, filler: Filler) -> Option<&Launching> {
        self.launches.get(&filler.slot.to_string()).filter(|l| l.incarnation == filler.incarnation)
    }

    /// Whether this instance is written down as lost: it is on its way out, and nothing brings it back.
    #[must_use]
    pub fn lost(&self, filler: Filler) -> bool {
        self.losses.get(&filler.slot.to_string()).is_some_and(|l| l.incarnation == filler.incarnation)
    }
}

const fn yes() -> bool {
    true
}

impl fmt::Display for Filler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.incarnation)
    }
}

impl fmt::Debug for Filler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Filler {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Filler {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed =
            text.split_once('.').and_then(|(s, i)| Some(Self { slot: s.parse().ok()?, incarnation: i.parse().ok()? }));
        parsed.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a slot and incarnation such as m0.1")))
    }
}
