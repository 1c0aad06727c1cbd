//! What silence means on a link, by how far away the other side is and what is under way. Pure.

use std::{collections::VecDeque, time::Duration};

/// After so much silence nothing new is begun there. A busy host answers late at times: this must cost nothing but a change.
pub const SUSPECT: Duration = Duration::from_millis(900);
/// After so much silence it counts as dead, and what is under way there ends with an error.
pub const DEAD: Duration = Duration::from_secs(3);
/// An answer that takes longer may be asked for elsewhere, where that does no harm.
pub const LATE: Duration = Duration::from_millis(500);
/// While much is sent, a sign of life waits behind it in whatever queues there are on the way: seconds of them
/// behind a slow uplink.
const SENDING: Duration = Duration::from_secs(20);
/// So many round trips are looked at: one hiccup does not make a way long.
const REMEMBERED: usize = 8;
/// A way is not taken for longer than this.
const LONGEST: Duration = Duration::from_secs(5);

/// How long the way is, by the signs of life of late.
#[derive(Debug, Default)]
pub struct Rhythm(VecDeque<Duration>);

impl Rhythm {
    /// A sign of life came, so long after it was asked for.
    pub fn heard_after(&mut self, round_trip: Duration) {
        self.0.push_back(round_trip.min(LONGEST));
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// The shortest round trip of late.
    pub fn round_trip(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    /// How much silence is suspect.
    pub fn suspect(&self) -> Duration {
        SUSPECT.max(self.round_trip() * 3)
    }

    /// How much silence is death, also while much is sent.
    pub fn dead(&self, sending: bool) -> Duration {
        DEAD.max(self.round_trip() * 4).max(if sending { SENDING } else { Duration::ZERO })
    }

    /// How long an answer may take before it is asked for elsewhere.
    pub fn late(&self) -> Duration {
        LATE.max(self.round_trip() * 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(trips: &[u64]) -> Rhythm {
        let mut rhythm = Rhythm::default();
        trips.iter().for_each(|ms| rhythm.heard_after(Duration::from_millis(*ms)));
        rhythm
    }

    #[test]
    fn a_short_way_is_judged_soon_and_one_hiccup_does_not_make_it_long() {
        for trips in [&[][..], &[1], &[1, 1, 1500], &[1500, 1, 2900]] {
            let rhythm = after(trips);
            assert_eq!((rhythm.suspect(), rhythm.dead(false), rhythm.late()), (SUSPECT, DEAD, LATE), "{trips:?}");
        }
    }

    #[test]
    fn a_long_way_has_its_time() {
        let rhythm = after(&[4000]);
        assert!(rhythm.suspect() > Duration::from_secs(8) && rhythm.dead(false) > Duration::from_secs(12));
        assert_eq!(after(&[60_000]).dead(false), LONGEST * 4);
        let eight = after(&[1, 400, 400, 400, 400, 400, 400, 400, 400]);
        assert_eq!(eight.suspect(), Duration::from_millis(1200), "the way has become longer");
    }

    #[test]
    fn a_queue_of_five_seconds_before_a_sign_of_life_kills_no_upload() {
        assert!(after(&[1]).dead(true) > Duration::from_secs(10));
    }
}
