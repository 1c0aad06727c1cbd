//! One event stream a cluster: a manager tells when a node changes, so that nobody has to ask.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use futures::{Stream, StreamExt};
use tokio::task::AbortHandle;

use super::{Uid, Wake, member::MemberId};
use crate::swarm::Engine;

/// The least between two passes for events. What comes meanwhile is one event: a host that is not what it was may tell
/// of changes without an end, and each pass asks the API server.
const REST: Duration = Duration::from_millis(50);

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
            tell(engine.node_events(), || wake.send(&of)).await;
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

/// Tells of events, and of their end: then the manager is gone, or about to be.
async fn tell(mut events: impl Stream<Item = ()> + Unpin, told: impl Fn()) {
    while events.next().await.is_some() {
        told();
        tokio::time::sleep(REST).await;
    }
    // It is followed again in that pass: one that ends whenever it is begun makes no more of them.
    tokio::time::sleep(REST).await;
    told();
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Instant};

    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn events_without_an_end_are_no_passes_without_a_pause() {
        let (told, began) = (Cell::new(0_u128), Instant::now());
        let flood =
            tokio::time::timeout(Duration::from_millis(300), tell(stream::repeat(()), || told.set(told.get() + 1)));
        assert!(flood.await.is_err());
        let most = began.elapsed().as_millis() / REST.as_millis() + 1;
        assert!(told.get() >= 1 && told.get() <= most, "{} of {most}", told.get());
        told.set(0);
        let began = Instant::now();
        tell(stream::empty(), || told.set(told.get() + 1)).await;
        assert_eq!(told.get(), 1, "of the end, too");
        assert!(began.elapsed() >= REST, "and not at once");
    }
}
