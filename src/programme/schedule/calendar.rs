//! When a schedule is due: a cron expression in a time zone.
//!
//! As a CronJob's: an hour that the clocks skip has no starts, and one that they repeat has its starts twice.

use cronexpr::Crontab;
use k8s_openapi::jiff::{Timestamp, tz};

use crate::api::{E2EScheduleSpec, text};

/// The zone where the spec names none.
const UTC: &str = "UTC";
/// The most characters of what is wrong with an expression.
const WORDS: usize = 300;

/// The times that a spec asks for.
#[derive(Clone, Debug)]
pub struct Calendar(Crontab);

impl Calendar {
    /// Reads a spec.
    ///
    /// # Errors
    /// In words, with what to write: what is no expression, no time zone, or a day that never comes.
    pub fn of(spec: &E2EScheduleSpec, now: Timestamp) -> Result<Self, String> {
        let zone = spec.time_zone.as_deref().unwrap_or(UTC);
        // The expression's own reader takes more than names of zones.
        if tz::db().get(zone).is_err() {
            return Err(format!(
                "spec.timeZone: there is no time zone {zone:?} in the tz database: write a name such as Europe/Berlin"
            ));
        }
        let calendar = cronexpr::parse_crontab(&format!("{} {zone}", spec.schedule)).map(Self).map_err(|error| {
            // The expression, a mark under what is wrong, and why.
            let said = error.to_string();
            let why = said.rsplit_once('^').map_or(said.as_str(), |(_, why)| why).trim();
            format!("spec.schedule {:?}: {}", spec.schedule, text::line(why, WORDS))
        })?;
        match calendar.next(now) {
            Some(_) => Ok(calendar),
            None => Err(format!("spec.schedule {:?} is never due: write a day that its months have", spec.schedule)),
        }
    }

    /// The first time after this one. `None` where there is none in the next four years.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.0.find_next(after).ok().map(|due| due.timestamp())
    }

    /// The last time after `after` and until `until`. In few steps, however many there are.
    #[must_use]
    pub fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let due_by = |from: i64| {
            let from = Timestamp::from_second(from).ok()?;
            self.next(from).filter(|due| *due <= until)
        };
        // Something is due after `low` and until `until`; nothing is after `high`. Times are whole minutes.
        let (mut low, mut high) = (after.as_second(), until.as_second());
        let mut found = due_by(low)?;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match due_by(middle) {
                Some(due) => (low, found) = (middle, due),
                None => high = middle,
            }
        }
        Some(found)
    }

    /// How many times there are after `after` and before `before`, of which at most this many are counted.
    #[must_use]
    pub fn count(&self, after: Timestamp, before: Timestamp, most: usize) -> usize {
        let times = std::iter::successors(self.next(after), |due| self.next(*due));
        times.take_while(|due| *due < before).take(most).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn calendar(schedule: &str, zone: &str) -> Result<Calendar, String> {
        let spec = json!({"schedule": schedule, "timeZone": zone, "runTemplate": {"spec": {"image": "suite:1", "clusterRef": {"name": "foo"}}}});
        Calendar::of(&serde_json::from_value(spec).unwrap(), at("2026-01-01T00:00:00Z"))
    }

    #[test]
    fn what_is_due_next() {
        for (schedule, zone, after, next) in [
            ("*/15 * * * *", "UTC", "2026-11-28T09:00:00Z", "2026-11-28T09:15:00Z"),
            ("*/15 * * * *", "UTC", "2026-11-28T09:14:59.5Z", "2026-11-28T09:15:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-11-28T00:00:00Z", "2026-11-28T02:00:00Z"),
            ("0 3 * * MON-FRI", "UTC", "2026-11-27T04:00:00Z", "2026-11-30T03:00:00Z"),
            ("0 0 13 * fri", "UTC", "2026-11-28T00:00:00Z", "2026-12-04T00:00:00Z"),
            ("0 0 * * 7", "UTC", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"),
            ("0 0 29 2 *", "UTC", "2026-11-28T00:00:00Z", "2028-02-29T00:00:00Z"),
            // The clocks go from 2:00 to 3:00: nothing is due between, and hours go on.
            ("30 2 * * *", "America/New_York", "2026-03-08T00:00:00Z", "2026-03-09T06:30:00Z"),
            ("0 * * * *", "America/New_York", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-30T00:30:00Z"),
            // They go back from 2:00 to 1:00: twice.
            ("30 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", "2026-11-01T05:30:00Z"),
            ("30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
            ("30 1 * * *", "America/New_York", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"),
            // By half an hour, and at midnight.
            ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T16:00:00Z", "2026-10-04T15:15:00Z"),
            ("0 0 * * *", "America/Havana", "2026-03-07T06:00:00Z", "2026-03-09T04:00:00Z"),
        ] {
            let found = calendar(schedule, zone).unwrap().next(at(after));
            assert_eq!(found, Some(at(next)), "{schedule} {zone} after {after}");
        }
    }

    #[test]
    fn the_latest_is_found_and_what_is_before_it_counted() {
        let hourly = calendar("0 * * * *", "UTC").unwrap();
        let (from, until) = (at("2026-11-28T09:00:00Z"), at("2026-11-28T12:30:00Z"));
        assert_eq!(hourly.latest(from, until), Some(at("2026-11-28T12:00:00Z")));
        assert_eq!(hourly.latest(from, at("2026-11-28T09:59:59Z")), None);
        assert_eq!(hourly.latest(from, at("2026-11-28T10:00:00Z")), Some(at("2026-11-28T10:00:00Z")));
        assert_eq!(hourly.latest(until, from), None, "a clock that goes back");
        assert_eq!(hourly.count(from, at("2026-11-28T12:00:00Z"), 100), 2);
        let minutely = calendar("* * * * *", "UTC").unwrap();
        let (from, until) = (at("2020-01-01T00:00:00Z"), at("2026-11-28T09:00:30Z"));
        assert_eq!(minutely.latest(from, until), Some(at("2026-11-28T09:00:00Z")));
        assert_eq!(minutely.count(from, until, 100), 100);
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (schedule, zone, words) in [
            ("0 0 31 2 *", "UTC", "never due"),
            ("30-10 * * * *", "UTC", "ascending"),
            ("*/90 * * * *", "UTC", "range"),
            ("0 0 * *", "UTC", "spec.schedule"),
            ("0 0 * * FRI-MON", "UTC", "ascending"),
            ("0 0 * * *", "Europe/Atlantis", "no time zone \"Europe/Atlantis\""),
            ("0 0 * * *", "EST5EDT,M3.2.0,M11.1.0", "no time zone"),
        ] {
            let error = calendar(schedule, zone).unwrap_err();
            assert!(error.contains(words) && !error.contains('\n'), "{schedule} {zone}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn the_latest_is_the_last_of_all(from in 1_790_000_000i64..1_800_000_000, takes in 0..200_000i64, which in 0..5usize) {
            let (schedule, zone) = [
                ("*/7 * * * *", "UTC"),
                ("3 1,2,3 * * *", "America/New_York"),
                ("*/20 2 1-7 * MON", "Europe/Berlin"),
                ("0 0 * * *", "Australia/Lord_Howe"),
                ("59 23 29 2 *", "UTC"),
            ][which];
            let calendar = calendar(schedule, zone).unwrap();
            let (from, until) = (Timestamp::from_second(from).unwrap(), Timestamp::from_second(from + takes).unwrap());
            let mut last = None;
            let mut next = calendar.next(from);
            while let Some(due) = next.filter(|due| *due <= until) {
                (last, next) = (Some(due), calendar.next(due));
            }
            prop_assert_eq!(calendar.latest(from, until), last);
        }
    }
}
