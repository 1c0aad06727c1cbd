//! When to try again. Pure.
//!
//! New OpenSSH holds it against an address when a connection ends before anybody logged in
//! (1 s of penalty), and more so when a login fails (5 s); from 15 s on it refuses the whole
//! address for a while. A refused TCP connection costs it nothing. So what sshd never saw is
//! tried again at once, and what it did see no faster than the penalty fades.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use super::{ConnectError, login::Patience};

/// How long a host that refuses is taken for one that boots.
const BOOTING: Duration = Duration::from_secs(180);
const SLOWEST: Duration = Duration::from_secs(10);

/// Counts failures between two successes.
#[derive(Debug, Default)]
pub struct Backoff {
    cheap: u32,
    seen: u32,
    /// The TCP connection was not there in time.
    late: bool,
}

impl Backoff {
    /// How patient the next attempt is. Whether a host is there is told soon; one that was not may only be far away.
    pub fn patience(&self) -> Patience {
        if self.late { Patience::CONTROL.for_a_long_way() } else { Patience::CONTROL }
    }

    /// The wait after a failure, `elapsed` after the first attempt.
    pub fn after(&mut self, error: &ConnectError, elapsed: Duration) -> Duration {
        let (first, count) = match error {
            ConnectError::Refused { .. } | ConnectError::Unreachable { .. } => {
                // While it boots the next attempt may be the one that gets through.
                if elapsed >= BOOTING {
                    self.cheap += 1;
                }
                (150, self.cheap)
            }
            // The attempt itself took its time.
            ConnectError::Timeout { during: super::login::TCP, .. } => {
                self.late = true;
                if elapsed >= BOOTING {
                    self.cheap += 1;
                }
                (10, self.cheap)
            }
            ConnectError::HostKeyMismatch { .. }
            | ConnectError::HungUp { .. }
            | ConnectError::Timeout { .. }
            | ConnectError::Jump { .. }
            | ConnectError::AtNone { .. } => {
                self.seen += 1;
                // The first few within sshd's patience: cloud images restart sshd in their first seconds.
                (500, self.seen.saturating_sub(3))
            }
            ConnectError::AuthFailed { .. } => {
                self.seen += 1;
                (1000, self.seen - 1)
            }
        };
        let grown = Duration::from_millis(first).saturating_mul(1 << count.min(10));
        jittered(grown.min(SLOWEST))
    }

    /// The wait after a connection that was up for so long.
    pub fn after_loss(&mut self, lasted: Duration) -> Duration {
        if lasted >= SLOWEST {
            *self = Self::default();
            return jittered(Duration::from_millis(150));
        }
        self.seen += 1;
        jittered(Duration::from_millis(250).saturating_mul(1 << self.seen.min(10)).min(SLOWEST))
    }
}

/// Up to a fifth less, so that hosts that failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1000;
    wait - wait.mul_f64(random as f64 / 5000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::login::TCP;

    fn refused() -> ConnectError {
        ConnectError::Refused { address: String::new(), message: String::new() }
    }

    fn denied() -> ConnectError {
        ConnectError::AuthFailed { address: String::new(), user: String::new() }
    }

    fn waits(error: &ConnectError, count: usize, elapsed: Duration) -> Vec<Duration> {
        let mut backoff = Backoff::default();
        (0..count).map(|_| backoff.after(error, elapsed)).collect()
    }

    #[test]
    fn a_booting_host_is_tried_again_at_once() {
        assert!(waits(&refused(), 100, Duration::ZERO).iter().all(|w| *w <= Duration::from_millis(150)));
        let late = waits(&refused(), 20, Duration::from_secs(600));
        assert!(late[19] > Duration::from_secs(7) && late[19] <= SLOWEST, "{late:?}");
    }

    /// OpenSSH: 5 s for a failed login, refusing from 15 s on, fading as time goes by.
    #[test]
    fn failed_logins_stay_below_the_penalty() {
        let mut penalty = 0.0_f64;
        for wait in waits(&denied(), 50, Duration::ZERO) {
            penalty += 5.0;
            assert!(penalty < 15.0, "{penalty}");
            penalty = (penalty - wait.as_secs_f64()).max(0.0);
        }
    }

    #[test]
    fn a_host_that_did_not_answer_in_time_is_given_more() {
        let mut backoff = Backoff::default();
        let late = ConnectError::Timeout { address: String::new(), during: TCP, limit: Duration::from_secs(1) };
        let (first, _) = (backoff.patience().tcp(), backoff.after(&late, Duration::ZERO));
        assert!(first <= Duration::from_secs(1), "{first:?}");
        assert!(backoff.patience().tcp() > Duration::from_secs(4), "two seconds each way");
    }

    #[test]
    fn a_connection_that_held_starts_afresh() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.after(&denied(), Duration::ZERO);
        }
        assert!(backoff.after_loss(Duration::from_secs(1)) > Duration::from_secs(7));
        assert!(backoff.after_loss(Duration::from_secs(60)) <= Duration::from_millis(150));
    }
}
