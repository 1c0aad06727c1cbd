//! The cases. One file a subject; each hands its cases to `all`.
//!
//! A case says what a user relies on, in the words of the API; how to wait and to clean up is the harness's.

mod networks;
mod nodes;
mod placement;
mod publishing;
mod selftest;
mod services;
mod stored;
mod updates;

use crate::{cli::Selftest, harness::case::Case};

/// Every case, and one that tests whoever runs the suite where that is asked for.
pub(crate) fn all(selftest: Option<Selftest>) -> Vec<Case> {
    // The slowest first, so that the run does not end with one case that all others wait for.
    let mut cases = [
        updates::cases(),
        networks::cases(),
        nodes::cases(),
        services::cases(),
        placement::cases(),
        publishing::cases(),
        stored::cases(),
    ]
    .concat();
    cases.extend(selftest.map(selftest::case));
    cases
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
}
