//! Until when this process may act on the world.
//!
//! A leader whose Lease was not renewed in time is ended by its election. This is the second net, for a moment in which
//! the process did not get to that, because it was stopped or starved: whatever writes to the API server or calls the
//! cloud asks here at the last moment before it does.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What the times of fences are counted from.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The fence of this process.
static PROCESS: LazyLock<Fence> = LazyLock::new(Fence::default);

/// Never closed by itself.
const OPEN: u64 = u64::MAX;

/// A time after which nothing may be done any more.
#[derive(Clone, Debug)]
pub struct Fence(Arc<AtomicU64>);

/// What is refused because its time is over.
#[derive(Debug, thiserror::Error)]
#[error("the Lease of this operator was not renewed in time, another one may lead: nothing more is done here")]
pub struct Closed;

impl Default for Fence {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(OPEN)))
    }
}

impl Fence {
    /// The one of this process; open for good where nobody is elected.
    #[must_use]
    pub fn of_process() -> &'static Self {
        &PROCESS
    }

    /// Whether something may still be done.
    ///
    /// # Errors
    /// The time is over.
    pub fn check(&self) -> Result<(), Closed> {
        let now = millis(ORIGIN.elapsed());
        if now < self.0.load(Ordering::Acquire) { Ok(()) } else { Err(Closed) }
    }

    /// Things may be done until then.
    pub fn open_until(&self, at: Instant) {
        self.0.store(millis(at.saturating_duration_since(*ORIGIN)), Ordering::Release);
    }

    /// Nothing may be done any more.
    pub fn close(&self) {
        self.0.store(0, Ordering::Release);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(OPEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_open_until_its_time() {
        let fence = Fence::default();
        assert!(fence.check().is_ok(), "nobody is elected");
        fence.open_until(Instant::now() + Duration::from_secs(60));
        assert!(fence.check().is_ok());
        fence.open_until(Instant::now());
        assert!(fence.check().is_err());
        fence.open_until(Instant::now() + Duration::from_secs(60));
        assert!(fence.clone().check().is_ok(), "renewed");
        fence.close();
        assert!(fence.check().is_err());
    }
}
