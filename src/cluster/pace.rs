//! How soon a pass follows one that changed something.

use std::time::{Duration, Instant};

/// So many follow at once: more than one event needs until all of it is done.
const AT_ONCE: u32 = 20;
/// The time for each beyond these: a host that is not what it was may take every step and change nothing by it, and each
/// pass asks the API server.
const EACH: Duration = Duration::from_millis(250);

/// Until when the passes so far are paid for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace(Option<Instant>);

impl Pace {
    /// How long the next pass has to wait.
    pub fn next(&mut self, now: Instant) -> Duration {
        // Of passes that something else woke before their time no debt is left, but for one.
        let most = now + EACH * (AT_ONCE + 1);
        let paid = self.0.map_or(now, |paid| paid.max(now)) + EACH;
        let paid = paid.min(most);
        self.0 = Some(paid);
        paid.duration_since(now).saturating_sub(EACH * AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many passes there are in so long, each of which changes something and takes so long, where others are woken
    /// by something else after `woken` at the latest.
    fn passes(long: Duration, pass: Duration, woken: Duration) -> u32 {
        let (begin, mut pace, mut passes) = (Instant::now(), Pace::default(), 0);
        let mut now = begin;
        while now < begin + long {
            passes += 1;
            now += pass + pace.next(now + pass).min(woken);
        }
        passes
    }

    #[test]
    fn what_changes_without_an_end_has_its_rate_and_what_ends_has_none() {
        let (ms, for_ever) = (Duration::from_millis, Duration::MAX);
        // A manager that takes every step at once: four passes a second beside the first ones.
        let hostile = passes(Duration::from_secs(600), ms(1), for_ever);
        assert!((2400..=2400 + AT_ONCE + 1).contains(&hostile), "{hostile} passes");
        // One that keeps nothing waiting for long has not to wait for what it did not take.
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for _ in 0..1000 {
            pace.next(now);
        }
        assert_eq!(pace.next(now), EACH, "there is no more to wait than for one");
        // All that one event asks for is done at once, and so is the next one after a while.
        for _ in 0..3 {
            now += EACH * (AT_ONCE + 1);
            assert!((0..AT_ONCE).all(|_| pace.next(now).is_zero()));
            assert!(!pace.next(now).is_zero());
        }
        assert_eq!(passes(Duration::from_secs(60), EACH, for_ever), 240, "slower ones never wait");
        let woken = passes(Duration::from_secs(60), ms(1), ms(49));
        assert!(woken <= 60 * 20 + AT_ONCE, "events have a rest of their own: {woken} passes");
    }
}
