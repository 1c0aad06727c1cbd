//! Which states of objects were shown.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kube::{Resource, ResourceExt};

/// An object's UID, and which state of it.
pub type Seen = (Option<String>, Option<String>);

pub fn of<K: Resource>(object: &K) -> Seen {
    (object.uid(), object.resource_version())
}

/// The last state of each object that was shown.
pub struct Versions(Mutex<HashMap<Option<String>, Option<String>>>);

impl Versions {
    pub fn new(seen: Vec<Seen>) -> Self {
        Self(Mutex::new(seen.into_iter().collect()))
    }

    /// Whether this state is another one than was shown last; it counts as shown from here on.
    pub fn is_new<K: Resource>(&self, object: &K) -> bool {
        let (uid, version) = of(object);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(uid, version.clone()).is_none_or(|before| before != version)
    }
}
