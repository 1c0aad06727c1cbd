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

    /// The names between backticks in the table's second column, of rows whose first is a test's name.
    fn named(table: &str) -> Vec<&str> {
        let rows = table.lines().filter(|line| line.starts_with("| Test"));
        let cells = rows.filter_map(|row| row.split('|').nth(2));
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
    }

    #[test]
    fn coverage_names_cases_that_exist() {
        let table = include_str!("../../../docs/coverage.md");
        let all = all(None);
        let unknown: Vec<_> =
            named(table).into_iter().filter(|name| all.iter().all(|case| case.name != *name)).collect();
        assert!(unknown.is_empty(), "docs/coverage.md names no cases: {unknown:?}");
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| Test")).collect();
        assert_eq!(rows.len(), 171, "tests of Moby and swarmkit");
        let empty: Vec<_> = rows.iter().filter(|row| !row.contains('`') && !row.contains("not seen")).collect();
        assert!(empty.is_empty(), "neither a case nor a reason: {empty:?}");
    }
}
