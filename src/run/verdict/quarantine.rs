//! What `spec.quarantine` says of the cases that failed: which of them make the run red, and which are a warning.

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::{E2ERunSpec, Quarantined, text},
    results::{Case, Outcome, Verdict},
};

/// How many cases are told of, and the most characters of a name and of what is beside it.
const TOLD: (usize, usize) = (5, 100);

/// What a quarantine kept from making a run red.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excused {
    /// The cases, in words.
    pub words: String,
    /// What of the quarantine speaks of them.
    pub by: Vec<Quarantined>,
}

/// The cases that failed, by what the quarantine says of them.
#[derive(Debug, Default)]
pub(super) struct Quarantine<'a> {
    /// They count.
    failures: Vec<&'a Case>,
    /// They do not, and by what.
    excused: Vec<(&'a Case, &'a Quarantined)>,
    /// They count, as the quarantine of them has ended.
    ended: Vec<(&'a Case, &'a Quarantined)>,
    /// How many count, listed or not.
    failed: usize,
}

impl<'a> Quarantine<'a> {
    /// What it says at this time.
    pub(super) fn of(items: &'a [Quarantined], outcome: &'a Outcome, now: Timestamp) -> Self {
        let mut all = Self::default();
        for case in outcome.cases.iter().filter(|case| matches!(case.verdict, Verdict::Failed(_))) {
            let item = case.names().and_then(|names| Quarantined::of(items, names));
            match item {
                Some(item) if item.holds(now) => all.excused.push((case, item)),
                item => {
                    all.failures.push(case);
                    all.ended.extend(item.map(|item| (case, item)));
                }
            }
        }
        all.failed = outcome.failed() - all.excused.len();
        all
    }

    /// How many cases failed that count.
    pub(super) const fn failed(&self) -> usize {
        self.failed
    }

    /// How many failed that do not.
    pub(super) const fn excused(&self) -> usize {
        self.excused.len()
    }

    /// Those that count and what they said, as far as they are listed.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.failures.iter().filter_map(|case| match &case.verdict {
            Verdict::Failed(words) => Some((&*case.name, &**words)),
            Verdict::Passed | Verdict::Flaky(_) | Verdict::Skipped => None,
        })
    }

    /// Whether this failure does not count.
    pub(super) fn excuses(&self, case: &Case) -> bool {
        self.excused.iter().any(|(excused, _)| std::ptr::eq(*excused, case))
    }

    /// What is to be warned of.
    pub(super) fn warning(&self) -> Option<Excused> {
        let mut by: Vec<Quarantined> = Vec::new();
        for (_, item) in &self.excused {
            if !by.contains(item) {
                by.push((*item).clone());
            }
        }
        let words = told(&self.excused, |item| format!("{}, until {}{}", owner(item), until(item), why(item)));
        (!by.is_empty())
            .then(|| Excused { words: format!("{} failed in quarantine: {words}", cases(self.excused())), by })
    }

    /// What there is to say of it beside a verdict, as sentences to follow.
    pub(super) fn words(&self) -> String {
        let mut words = self.warning().map_or_else(String::new, |warning| format!(". {}", warning.words));
        if !self.ended.is_empty() {
            let ended = told(&self.ended, |item| format!("{}, at {}", owner(item), until(item)));
            words.push_str(&format!(". Their quarantine has ended: {ended}"));
        }
        words
    }
}

/// What the quarantine names that is not in the results, as a sentence to follow; none where the results are not whole.
#[must_use]
pub fn strangers(spec: &E2ERunSpec, outcome: &Outcome) -> Option<String> {
    let whole = outcome.total() > 0 && outcome.left_out.total() == 0 && outcome.problems.is_empty();
    let known = |item: &Quarantined| outcome.cases.iter().filter_map(Case::names).any(|names| item.names(names));
    let strange: Vec<String> = spec
        .quarantine
        .iter()
        .filter(|item| whole && !known(item))
        .map(|item| text::line(&item.name, TOLD.1))
        .collect();
    let more = if strange.len() > TOLD.0 { format!(", and {} more", strange.len() - TOLD.0) } else { String::new() };
    let first = strange.iter().take(TOLD.0).map(String::as_str).collect::<Vec<_>>().join(", ");
    (!strange.is_empty()).then(|| format!(". No case of the results has this name of spec.quarantine: {first}{more}"))
}

/// Cases by name, and what is said of each.
fn told(of: &[(&Case, &Quarantined)], say: impl Fn(&Quarantined) -> String) -> String {
    let one = |(case, item): &(&Case, &Quarantined)| format!("{} ({})", text::line(&case.name, TOLD.1), say(item));
    let first: Vec<String> = of.iter().take(TOLD.0).map(one).collect();
    let more = if of.len() > TOLD.0 { format!(", and {} more", of.len() - TOLD.0) } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn owner(item: &Quarantined) -> String {
    format!("owner {}", text::line(&item.owner, TOLD.1))
}

fn until(item: &Quarantined) -> String {
    text::line(&item.until, TOLD.1)
}

fn why(item: &Quarantined) -> String {
    item.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", text::line(reason, TOLD.1)))
}

fn cases(count: usize) -> String {
    format!("{count} {}", super::cases(count))
}

#[cfg(test)]
mod tests;
