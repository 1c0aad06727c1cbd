//! Samples of what tools write, most of them recorded by running the tool: `tests/results/WRITER/`.

use std::{collections::BTreeMap, path::Path};

use super::*;

/// The sample as a file of a run's results.
fn sample(path: &str) -> Outcome {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results").join(path);
    Outcome::of_files(&BTreeMap::from([(path.to_owned(), std::fs::read(file).expect(path))]))
}

#[test]
fn each_writer_is_read_as_it_means_it() {
    // Passed, flaky, failed, skipped.
    let table = [
        ("pytest/passed.xml", (2, 0, 0, 1)),
        ("pytest/flaky.xml", (4, 0, 0, 2)),
        ("pytest/failed.xml", (5, 0, 5, 2)),
        ("gotestsum/rerun.xml", (1, 1, 0, 1)),
        ("nextest/flaky.xml", (1, 1, 1, 0)),
        ("surefire/flaky.xml", (1, 1, 0, 1)),
        ("surefire/rerun.xml", (1, 0, 1, 0)),
        ("phpunit/failed.xml", (3, 0, 1, 0)),
        ("jest/passed.xml", (3, 0, 0, 0)),
        ("jest/failed.xml", (5, 0, 1, 1)),
        ("mocha/xunit-passed.xml", (3, 0, 0, 1)),
        ("mocha/xunit-failed.xml", (1, 0, 2, 2)),
        ("mocha/junit-reporter-passed.xml", (3, 0, 0, 0)),
        ("mocha/junit-reporter-failed.xml", (1, 0, 2, 0)),
        ("node/passed.xml", (2, 0, 0, 1)),
        ("node/failed.xml", (2, 0, 3, 1)),
        ("bats/passed.xml", (1, 0, 0, 1)),
        ("bats/failed.xml", (1, 0, 1, 1)),
        ("ctest/passed.xml", (1, 0, 0, 2)),
        ("ctest/failed.xml", (1, 0, 2, 2)),
        ("robot/passed.xml", (2, 0, 0, 0)),
        ("robot/failed.xml", (2, 0, 1, 1)),
        ("robot/output-passed.xml", (0, 0, 0, 0)),
    ];
    let read = table.map(|(path, _)| {
        let outcome = sample(path);
        let Tally { passed, flaky, failed, skipped } = outcome.tally();
        (path, (passed, flaky, failed, skipped), outcome)
    });
    let counts = read.iter().map(|(path, counts, _)| (*path, *counts)).collect::<Vec<_>>();
    assert_eq!(counts, table);
    for (path, _, outcome) in read {
        assert_eq!(outcome.problems, Vec::<String>::new(), "{path}");
        if let Some(junit) = &outcome.junit {
            let again = Outcome::of_kept(junit.text().as_bytes());
            assert_eq!((&again.cases, &again.problems), (&outcome.cases, &outcome.problems), "{path}");
        }
    }
    assert!(!sample("robot/output-failed.xml").problems.is_empty());
}

#[test]
fn cut_off_at_every_byte_no_sample_of_a_failed_run_is_a_pass() {
    for path in
        ["mocha/xunit-failed.xml", "bats/failed.xml", "ctest/failed.xml", "robot/failed.xml", "gotestsum/rerun.xml"]
    {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results").join(path);
        let whole = std::fs::read(file).expect(path);
        // The last byte is the end of a line.
        for cut in 0..whole.len() - 1 {
            let outcome = Outcome::of_files(&BTreeMap::from([("r.xml".to_owned(), whole[..cut].to_vec())]));
            assert!(!outcome.problems.is_empty() || outcome.failed() > 0 || outcome.flaky() > 0, "{path} at {cut}");
        }
    }
}
