//! What the operator is about to do, written into the cluster's Secret before it does it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{plan::Offering, slot::Slot};

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
