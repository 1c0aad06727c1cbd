//! One event stream a cluster: a manager tells when a node changes, so that nobody has to ask.

use std::{collections::HashMap, sync::Mutex};

use futures::StreamExt;
use tokio::task::AbortHandle;

use super::{Uid, Wake, member::MemberId};
use crate::swarm::Engine;

/// The event streams of all clusters.
#[derive(Debug, Default)]
pub struct Watches(Mutex<HashMap<Uid, (MemberId, AbortHandle)>>);

impl Watches {
    /// Follows the node events of a cluster on this manager, unless that is done already.
    pub fn follow(&self, uid: &Uid, manager: MemberId, engine: &Engine, wake: &Wake) {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if all.get(uid).is_some_and(|(on, task)| *on == manager && !task.is_finished()) {
            return;
        }
        let (engine, wake, of) = (engine.clone(), wake.clone(), uid.clone());
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(engine.node_events());
            while events.next().await.is_some() {
                wake.send(&of);
            }
            // The stream ended: its manager is gone, or about to be.
            wake.send(&of);
        });
        if let Some((_, old)) = all.insert(uid.clone(), (manager, task.abort_handle())) {
            old.abort();
        }
    }

    /// Stops following.
    pub fn forget(&self, uid: &Uid) {
        if let Some((_, task)) = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(uid) {
            task.abort();
        }
    }
}
