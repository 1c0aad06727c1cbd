//! The cases. One file a subject; each hands its cases to `all`.
//!
//! A case says what a user relies on, in the words of the API; how to wait and to clean up is the harness's.

mod attachable;
mod catalog;
mod disruptive;
mod events;
mod health;
mod jobs;
mod logs;
mod networks;
mod nodes;
mod options;
mod placement;
mod publishing;
mod selftest;
mod services;
mod stored;
mod tls;
mod traffic;
mod updates;
mod volumes;

use crate::{cli::Selftest, harness::case::Case};

/// Every case, and one that tests whoever runs the suite where that is asked for.
pub(crate) fn all(selftest: Option<Selftest>) -> Vec<Case> {
    // The subject with the slowest first, so that the run does not end with one case that all others wait for.
    let mut cases = in_turn([
        updates::cases(),
        traffic::cases(),
        networks::cases(),
        attachable::cases(),
        nodes::cases(),
        services::cases(),
        placement::cases(),
        publishing::cases(),
        stored::cases(),
        tls::cases(),
        jobs::cases(),
        options::cases(),
        events::cases(),
        volumes::cases(),
        health::cases(),
        logs::cases(),
        catalog::cases(),
    ]);
    cases.extend(disruptive::cases());
    cases.extend(selftest.map(selftest::case));
    cases
}

/// One case of each subject, then the next of each: what runs at the same time is not all of the dearest kind, as
/// cases are that make overlays on every node.
fn in_turn<const N: usize>(subjects: [Vec<Case>; N]) -> Vec<Case> {
    let mut subjects = subjects.map(Vec::into_iter);
    let mut cases = Vec::new();
    loop {
        let before = cases.len();
        cases.extend(subjects.iter_mut().filter_map(Iterator::next));
        if cases.len() == before {
            return cases;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_cases_have_one_name() {
        let mut names: Vec<_> = all(None).iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    const COVERAGE: &str = include_str!("../../../docs/coverage.md");
    const BREAKAGE: &str = include_str!("../../../docs/breakage.md");
    /// Tests of Moby and swarmkit.
    const TESTS: usize = 171;

    /// The cells of the rows of docs/coverage.md: a test, one of the three words, and what is said of it.
    fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
        let rows = COVERAGE.lines().filter_map(|line| line.strip_prefix("| Test")?.strip_suffix(" |"));
        let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
        cells
            .map(|cells| match cells[..] {
                [test, word, said] => (test, word, said),
                _ => panic!("a row of docs/coverage.md has not three cells: {cells:?}"),
            })
            .collect()
    }

    /// The names between backticks.
    fn named(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    #[test]
    fn coverage_names_cases_that_exist() {
        let all = all(None);
        let names = rows().into_iter().flat_map(|(.., said)| named(said));
        let unknown: Vec<_> = names.filter(|name| all.iter().all(|case| case.name != *name)).collect();
        assert!(unknown.is_empty(), "docs/coverage.md names no cases: {unknown:?}");
    }

    #[test]
    fn coverage_says_of_each_test_one_of_three_words_and_counts_them() {
        let rows = rows();
        assert_eq!(rows.len(), TESTS, "tests of Moby and swarmkit");
        for (test, word, said) in &rows {
            let cases = named(said).count();
            // What is missing follows the cases; without a case there is a reason.
            let right = match *word {
                "same" => cases > 0,
                "near" => cases > 0 && said.split_once("; ").is_some_and(|(_, missing)| !missing.is_empty()),
                "not" => !said.is_empty() && !said.starts_with('`'),
                _ => false,
            };
            assert!(right, "docs/coverage.md: Test{test} | {word} | {said}");
        }
        for word in ["same", "near", "not"] {
            let count = rows.iter().filter(|(_, it, _)| *it == word).count();
            assert!(COVERAGE.contains(&format!("\n- {count} are *{word}*")), "{count} rows are {word}");
        }
    }

    #[test]
    fn every_case_has_a_scenario_in_which_it_fails() {
        let rows = BREAKAGE.lines().filter(|line| line.starts_with("| `"));
        // The scenario, what is wrong, where, and the cases.
        let cells = rows.filter_map(|row| row.split(" | ").nth(3));
        let failing: Vec<_> = cells.flat_map(named).collect();
        let safe: Vec<_> = all(None).iter().map(|case| case.name).filter(|name| !failing.contains(name)).collect();
        assert!(safe.is_empty(), "no scenario of docs/breakage.md has these fail: {safe:?}");
    }
}
