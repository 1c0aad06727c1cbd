//! Cases that are known to fail at times, and that make no run red for a while.

use k8s_openapi::jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{CaseNames, schema::required_by_rule};

/// RFC 3339, of the profile that has `T` and `Z` in capitals, or its date alone. A day that its month does not have is none to `timestamp`.
const UNTIL: &str = "self.matches('^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$') && timestamp(size(self) == 10 ? self + 'T00:00:00Z' : self) > timestamp('2000-01-01T00:00:00Z')";

/// A case that is known to fail at times. A failure of it before `until` does not make the run red.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.name) && has(self.owner) && has(self.until)").message("write the case, who sees to it and until when, such as {name: TestDrain, owner: net-team, until: \"2026-12-24\"}"))]
pub struct Quarantined {
    /// The case, exactly as `kubectl testkit results` lists it; or, beside `class`, as the JUnit has it.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("size(self) > 0").message("write the name of a case as kubectl testkit results lists it, such as TestDrain"))]
    pub name: String,

    /// The suite of the JUnit that the case is in. By default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub suite: Option<String>,

    /// The case's class in the JUnit (`classname`). By default any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub class: Option<String>,

    /// Who sees to it that the case is mended: a person or a team.
    #[schemars(length(max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^\\\\S(.*\\\\S)?$')").message("write who sees to the case, a person or a team, such as net-team"))]
    pub owner: String,

    /// When its failures count again: a time as RFC 3339 has it, or a date, which is its begin in UTC.
    #[schemars(length(max = 40))]
    #[x_kube(validation = Rule::new(UNTIL).message("write when the failures of the case count again, as a date such as \"2026-12-24\", or as a time such as 2026-12-24T18:00:00Z"))]
    pub until: String,

    /// Why, such as the number of an issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

impl Quarantined {
    /// Whether it speaks of this case.
    #[must_use]
    pub fn names(&self, case: CaseNames<'_>) -> bool {
        let of = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let named = self.name == case.listed || self.class.is_some() && self.name == case.own;
        named && of(&self.suite, case.suite) && of(&self.class, case.class)
    }

    /// What of a quarantine speaks of this case; of several what holds longest.
    #[must_use]
    pub fn of<'a>(quarantine: &'a [Self], case: CaseNames<'_>) -> Option<&'a Self> {
        quarantine.iter().filter(|item| item.names(case)).max_by_key(|item| item.ends())
    }

    /// When the failures of the case count again. What is no time (the API server takes none such) has no end that
    /// could be kept: it never held.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        // A date alone is of ten characters.
        let time = if self.until.len() == 10 { format!("{}T00:00:00Z", self.until) } else { self.until.clone() };
        // The last days of the year 9999 are beyond what a timestamp holds, in some time zone.
        time.parse().ok().or_else(|| self.until.starts_with("9999-12-3").then_some(Timestamp::MAX))
    }

    /// Whether failures of the case do not count at this time.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.ends().is_some_and(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, suite: Option<&str>, class: Option<&str>) -> Quarantined {
        let some = |text: Option<&str>| text.map(str::to_owned);
        Quarantined { name: name.into(), suite: some(suite), class: some(class), ..Quarantined::default() }
    }

    #[test]
    fn a_case_is_named_exactly() {
        let case = CaseNames { suite: "s", class: "net.Drain", own: "slow", listed: "net.Drain.slow" };
        let table = [
            (of("net.Drain.slow", None, None), true),
            (of("net.Drain.slow", Some("s"), None), true),
            (of("net.Drain.slow", Some("s"), Some("net.Drain")), true),
            (of("slow", None, Some("net.Drain")), true),
            (of("slow", None, None), false),
            (of("net.Drain.slow", Some("S"), None), false),
            (of("net.Drain.slow", Some(""), None), false),
            (of("slow", None, Some("net")), false),
            (of("net.Drain.slo", None, None), false),
            (of("net.Drain.slow ", None, None), false),
            (of("", None, None), false),
        ];
        for (item, wanted) in table {
            assert_eq!(item.names(case), wanted, "{item:?}");
        }
    }

    #[test]
    fn it_holds_until_its_time_and_not_a_moment_longer() {
        let table = [
            ("2026-12-24", "2026-12-23T23:59:59Z", true),
            ("2026-12-24", "2026-12-24T00:00:00Z", false),
            ("2026-12-24T18:00:00Z", "2026-12-24T17:59:59.999Z", true),
            ("2026-12-24T18:00:00Z", "2026-12-24T18:00:00Z", false),
            ("2026-12-24T18:00:00+02:00", "2026-12-24T16:00:00Z", false),
            ("2026-12-24T18:00:00.5-01:30", "2026-12-24T19:30:00.4Z", true),
            ("9999-12-31", "2026-01-01T00:00:00Z", true),
            ("2026-02-30", "2026-01-01T00:00:00Z", false),
            ("tomorrow", "2026-01-01T00:00:00Z", false),
            ("", "2026-01-01T00:00:00Z", false),
        ];
        for (until, now, wanted) in table {
            let item = Quarantined { until: until.into(), ..Quarantined::default() };
            assert_eq!(item.holds(now.parse().unwrap()), wanted, "{until} at {now}");
        }
    }
}
