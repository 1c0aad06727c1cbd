use std::collections::BTreeMap;

use super::*;
use crate::results::Outcome;

/// The document that is kept of these cases.
fn kept(cases: &str) -> Vec<u8> {
    let xml = format!("<testsuites><testsuite name=\"s\">{cases}</testsuite></testsuites>");
    let outcome = Outcome::of_files(&BTreeMap::from([("a.xml".to_owned(), xml.into_bytes())]));
    outcome.junit.unwrap().into_packed()
}

/// `a` passed, `A` failed, `a?` was skipped, `a!` is flaky; a space between two.
fn cases(words: &str) -> String {
    let case = |word: &str| {
        let (name, inner) = match word.as_bytes() {
            [_, b'?'] => (&word[..1], "<skipped/>"),
            [_, b'!'] => (&word[..1], "<flakyFailure message=\"m\"/>"),
            [c] if c.is_ascii_uppercase() => (word, "<failure message=\"m\"/>"),
            _ => (word, ""),
        };
        format!("<testcase classname=\"c\" name=\"{}\">{inner}</testcase>", name.to_lowercase())
    };
    words.split_whitespace().map(case).collect()
}

fn of(shards: &[Vec<u8>]) -> Together {
    let parts: Vec<_> = shards.iter().zip(1..).map(|(junit, number)| Part { number, junit }).collect();
    together(&parts)
}

fn tally(of: Tally) -> (usize, usize, usize, usize) {
    (of.passed, of.flaky, of.failed, of.skipped)
}

#[test]
fn each_case_is_told_once_and_by_the_shard_in_which_it_went_worst() {
    // What the shards ran; what is told: passed, flaky, failed, skipped; what was counted more than once; how it is said.
    type Counts = (usize, usize, usize, usize);
    let table: [(&[&str], Counts, Counts, Option<&str>); 9] = [
        (&["a b", "c D", "e! f?"], (3, 1, 1, 1), (0, 0, 0, 0), None),
        (&["a", "a"], (1, 0, 0, 0), (1, 0, 0, 0), Some("1 case was run by several shards: c.a (shards 1, 2)")),
        (&["a", "A"], (0, 0, 1, 0), (1, 0, 0, 0), Some("(shards 1, 2)")),
        (&["A", "a", "a!"], (0, 0, 1, 0), (1, 1, 0, 0), Some("(shards 1, 2, 3)")),
        (&["a?", "b", "a"], (2, 0, 0, 0), (0, 0, 0, 1), Some("c.a (shards 1, 3)")),
        (
            &["a b c d", "a b c d"],
            (4, 0, 0, 0),
            (4, 0, 0, 0),
            Some("4 cases were run by several shards: c.a (shards 1, 2), c.b"),
        ),
        // Of one shard two may have one name.
        (&["a a", "b"], (3, 0, 0, 0), (0, 0, 0, 0), None),
        (&["a a", "A"], (0, 0, 1, 0), (2, 0, 0, 0), Some("1 case was")),
        (&["", ""], (0, 0, 0, 0), (0, 0, 0, 0), None),
    ];
    for (shards, told, again, words) in table {
        let shards: Vec<_> = shards.iter().map(|words| kept(&cases(words))).collect();
        let got = of(&shards);
        let text = got.junit.as_ref().unwrap().text();
        let read = Outcome::of_kept(text.as_bytes());
        assert_eq!((tally(read.tally()), tally(got.counted_again)), (told, again), "{text}");
        match words {
            None => assert_eq!((got.overlap, got.problems, read.problems), (None, vec![], vec![])),
            Some(words) => {
                let said = got.overlap.unwrap();
                assert!(said.contains(words), "{said}");
                assert_eq!((&got.problems, &read.problems), (&vec![said.clone()], &vec![said]));
            }
        }
    }
}

#[test]
fn cases_are_told_apart_by_suite_class_name_and_file() {
    let a = cases("a");
    for (other, twice) in [
        (a.clone(), true),
        (a.replace("\"c\"", "\"d\""), false),
        (a.replace("\"a\"", "\"b\""), false),
        (a.replace(" name", " file=\"y.js\" name"), false),
        (a.replace(" name", " line=\"9\" name"), true),
        (a.replace("name=\"a\"", "name=\"\""), false),
    ] {
        assert_eq!(of(&[kept(&a), kept(&other)]).overlap.is_some(), twice, "{other}");
    }
    let nameless = a.replace("name=\"a\"", "name=\"\"");
    assert_eq!(of(&[kept(&nameless), kept(&nameless)]).overlap, None);
}

#[test]
fn the_document_says_which_shard_ran_a_suite() {
    let text = of(&[kept(&cases("a")), kept(&cases("b"))]).junit.unwrap().text();
    for part in ["<property name=\"testkit.shard\" value=\"1\"/>", "<property name=\"testkit.shard\" value=\"2\"/>"] {
        assert_eq!(text.matches(part).count(), 1, "{text}");
    }
    assert_eq!(text.matches("<testsuite ").count(), 2, "{text}");
}

#[test]
fn what_is_not_in_order_in_a_shard_is_a_problem_of_all() {
    let good = kept(&cases("a"));
    let cut = Outcome::of_files(&BTreeMap::from([("b.xml".to_owned(), b"<testsuite><testcase name=\"b\"/>".to_vec())]));
    let cut = cut.junit.unwrap().into_packed();
    for (bad, words) in [
        (cut, "shard 2: "),
        (good[..good.len() / 2].to_vec(), "the results of shard 2 cannot be read"),
        (b"no gzip".to_vec(), "the results of shard 2 cannot be read"),
    ] {
        let got = of(&[good.clone(), bad]);
        assert!(got.problems.iter().any(|problem| problem.contains(words)), "{:?}", got.problems);
        assert!(!Outcome::of_kept(got.junit.unwrap().text().as_bytes()).problems.is_empty());
    }
    // One that left nothing says nothing.
    assert_eq!(of(&[good, Vec::new()]).problems, Vec::<String>::new());
    assert_eq!(of(&[Vec::new()]), Together::default());
}
