//! Slots: the places a spec asks for, each filled by one instance at a time.

use std::{fmt, str::FromStr};

use crate::api::{NodeRole, SwarmClusterSpec};

/// A place in a cluster: `m0`, `m1`, …, `w0`, `w1`, ….
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// What fills it: managers come before workers.
    pub role: NodeRole,
    /// Counted from 0 within the role.
    pub index: u32,
}

impl Slot {
    /// Every slot a spec asks for, managers first.
    pub fn all(spec: &SwarmClusterSpec) -> impl Iterator<Item = Self> {
        let managers = (0..spec.count(NodeRole::Manager)).map(|index| Self { role: NodeRole::Manager, index });
        managers.chain((0..spec.count(NodeRole::Worker)).map(|index| Self { role: NodeRole::Worker, index }))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.role.letter(), self.index)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Slot {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let role = match text.get(..1) {
            Some("m") => NodeRole::Manager,
            Some("w") => NodeRole::Worker,
            _ => return Err(()),
        };
        Ok(Self { role, index: text[1..].parse().map_err(|_| ())? })
    }
}
