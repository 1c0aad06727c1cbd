//! EC2's request buckets: so many calls at once, so many more every second. Pure.

use std::{collections::HashMap, time::Instant};

/// The buckets of an account in a region, full to begin with.
#[derive(Default)]
pub(super) struct Buckets(HashMap<&'static str, (f64, Instant)>);

/// Size and refill a second.
fn size(action: &str) -> (f64, f64) {
    match action {
        "RunInstances" => (5.0, 2.0),
        "TerminateInstances" => (100.0, 5.0),
        "CreateSecurityGroup" | "DeleteSecurityGroup" => (50.0, 5.0),
        _ => (100.0, 20.0),
    }
}

impl Buckets {
    /// Takes one call of an action; false when its bucket is empty.
    pub(super) fn draw(&mut self, action: &'static str, now: Instant) -> bool {
        let (most, refill) = size(action);
        let (left, since) = self.0.entry(action).or_insert((most, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * refill).min(most);
        *since = now;
        let enough = *left >= 1.0;
        if enough {
            *left -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Buckets;

    #[test]
    fn five_launches_at_once_and_two_more_every_second() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let drawn = |b: &mut Buckets, at| (0..10).filter(|_| b.draw("RunInstances", at)).count();
        assert_eq!(drawn(&mut buckets, now), 5);
        assert_eq!(drawn(&mut buckets, now + Duration::from_secs(1)), 2);
        assert_eq!(drawn(&mut buckets, now + Duration::from_secs(100)), 5);
    }
}
