//! How long cases took before, as whoever divides them among several containers tells it.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use super::case::Case;

/// Milliseconds by the name of the case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Durations(BTreeMap<String, u64>);

impl Durations {
    /// How long each of these cases is expected to take, in milliseconds; `None` where nothing is known of any. One of which
    /// nothing is known takes as long as those in the middle.
    pub(crate) fn of(&self, cases: &[Case]) -> Option<Vec<u64>> {
        let took: Vec<Option<u64>> = cases.iter().map(|case| self.0.get(case.name).copied()).collect();
        let mut known: Vec<u64> = took.iter().flatten().copied().collect();
        known.sort_unstable();
        let middle = *known.get(known.len() / 2)?;
        Some(took.into_iter().map(|took| took.unwrap_or(middle)).collect())
    }
}

impl FromStr for Durations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let told: BTreeMap<String, f64> = serde_json::from_str(text)
            .map_err(|error| format!("{error}; write seconds by the name of the case, such as {{\"A\": 1.5}}"))?;
        let read = |(name, seconds): (String, f64)| {
            let took = Duration::try_from_secs_f64(seconds).map_err(|error| format!("{name}: {error}"))?;
            Ok((name, u64::try_from(took.as_millis()).unwrap_or(u64::MAX)))
        };
        told.into_iter().map(read).collect::<Result<_, String>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_by_name_and_nothing_else_is() {
        for text in ["", " ", "{}"] {
            assert_eq!(text.parse(), Ok(Durations::default()), "{text:?}");
        }
        let told = Durations([("A".to_owned(), 1500), ("B".to_owned(), 0)].into());
        assert_eq!(r#"{"A": 1.5, "B": 0}"#.parse(), Ok(told));
        for text in ["1", "[]", r#"{"A": "1s"}"#, r#"{"A": -1}"#, r#"{"A": 1e300}"#, r#"{"A": null}"#, "{"] {
            assert!(text.parse::<Durations>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_case_that_nobody_knows_takes_as_long_as_those_in_the_middle() {
        let case = |name: &&'static str| Case::new(name, |_| async { Ok(()) });
        let cases: Vec<Case> = ["new", "short", "long", "other"].iter().map(case).collect();
        let told: Durations = r#"{"short": 1, "long": 9, "other": 2, "gone": 99}"#.parse().unwrap();
        assert_eq!(told.of(&cases), Some(vec![2000, 1000, 9000, 2000]));
        assert_eq!(told.of(&cases[..1]), None);
        assert_eq!(Durations::default().of(&cases), None);
    }
}
