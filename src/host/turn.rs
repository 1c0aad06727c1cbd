//! Turns at the door of a jump host. All ways of this process through it begin there, and an sshd drops what comes in bursts: with
//! OpenSSH's default (`MaxStartups 10:30:100`) three in ten of those beyond ten that have not logged in yet, and more of more.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// So many at once: others go through it too.
const AT_ONCE: usize = 6;
/// How long whoever has the turn may wait for the first bytes: before these, sshd knows of nobody.
pub const FIRST_BYTES: Duration = Duration::from_secs(1);
/// How long logging in may take of the others' time: about ten round trips of a long way.
pub const LOGGING_IN: Duration = Duration::from_secs(3);

/// Doors by address and port.
type Doors = BTreeMap<(String, u16), Arc<Semaphore>>;

/// Who comes next, at each of them.
static DOORS: LazyLock<Mutex<Doors>> = LazyLock::new(Mutex::default);

/// It is given back when it is dropped.
pub struct Turn(Option<OwnedSemaphorePermit>);

impl Turn {
    /// Waits for a turn there.
    pub async fn at(address: &str, port: u16) -> Self {
        let door = {
            // Nothing panics while it holds this lock.
            let mut doors = DOORS.lock().unwrap_or_else(PoisonError::into_inner);
            // Who waits for a turn and who has one hold the door.
            doors.retain(|_, door| Arc::strong_count(door) > 1);
            let door = doors.entry((address.to_owned(), port));
            door.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone()
        };
        // Nobody closes it.
        Self(door.acquire_owned().await.ok())
    }

    /// Does a step. Where that takes longer than this, it goes on without the turn: a jump host that is silent keeps nobody waiting
    /// who would be told the same.
    pub async fn during<T>(&mut self, limit: Duration, step: impl Future<Output = T>) -> T {
        let mut step = pin!(step);
        tokio::select! {
            done = &mut step => return done,
            () = sleep(limit) => {}
        }
        self.0 = None;
        step.await
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use futures::FutureExt;

    use super::*;

    async fn taken(address: &str) -> Vec<Turn> {
        let mut turns = Vec::new();
        for _ in 0..AT_ONCE {
            turns.push(Turn::at(address, 22).await);
        }
        turns
    }

    #[tokio::test]
    async fn no_more_than_some_are_at_one_door_at_once() {
        let mut turns = taken("bastion").await;
        assert!(Turn::at("bastion", 22).now_or_never().is_none(), "one more");
        for (address, port) in [("bastion", 2222), ("another", 22)] {
            assert!(Turn::at(address, port).now_or_never().is_some(), "{address} {port} is another door");
        }
        turns.pop();
        let next = Turn::at("bastion", 22).now_or_never();
        assert!(next.is_some(), "the next");
        assert!(Turn::at("bastion", 22).now_or_never().is_none(), "and no other");
    }

    #[tokio::test]
    async fn who_is_kept_waiting_lets_others_go_first() {
        let mut turns = taken("silent").await;
        let mut one = turns.pop().unwrap();
        assert_eq!(one.during(Duration::from_secs(3600), ready(7)).await, 7);
        assert!(Turn::at("silent", 22).now_or_never().is_none(), "it is kept from step to step");
        // The step ends when somebody else has had a turn.
        one.during(Duration::ZERO, Turn::at("silent", 22)).await;
    }
}
