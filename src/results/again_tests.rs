use std::collections::BTreeMap;

use super::*;
use crate::results::Tally;

fn outcome(xml: &str) -> Outcome {
    Outcome::of_files(&BTreeMap::from([("a.xml".to_owned(), xml.as_bytes().to_vec())]))
}

fn suite(cases: &str) -> String {
    format!("<testsuite name=\"s\">{cases}</testsuite>")
}

fn case(name: &str, inner: &str) -> String {
    format!("<testcase classname=\"c\" name=\"{name}\">{inner}</testcase>")
}

const FAILED: &str = "<failure message=\"first\"/>";
const AGAIN: &str = "<failure message=\"second\"/>";

fn names(outcome: &Outcome) -> Vec<String> {
    let failed = outcome.cases.iter().filter(|c| matches!(c.verdict, Verdict::Failed(_)));
    failed.map(|c| c.own_name().to_owned()).collect()
}

fn both(first: &str, second: Option<&str>) -> Outcome {
    let first = outcome(&suite(first));
    let second = second.map_or_else(Outcome::default, |cases| outcome(&suite(cases)));
    again(first.junit.as_ref().unwrap().packed(), &names(&first), &second)
}

#[test]
fn a_failure_is_taken_back_by_a_pass_of_the_same_case_alone() {
    let (a, good) = (case("a", FAILED), case("good", ""));
    let first = format!("{a}{good}");
    // Passed, flaky, failed, skipped.
    let table = [
        ("it passes", first.clone(), Some(case("a", "")), (1, 1, 0, 0)),
        ("it fails again", first.clone(), Some(case("a", AGAIN)), (1, 0, 1, 0)),
        ("it is skipped", first.clone(), Some(case("a", "<skipped/>")), (1, 0, 1, 0)),
        ("it passes and is skipped", first.clone(), Some(case("a", "") + &case("a", "<skipped/>")), (1, 0, 1, 0)),
        ("it is not there", first.clone(), Some(case("b", "")), (2, 0, 1, 0)),
        ("there are no results", first.clone(), None, (1, 0, 1, 0)),
        ("there is no case", first.clone(), Some(String::new()), (1, 0, 1, 0)),
        ("one of another class", first.clone(), Some(case("a", "").replace("\"c\"", "\"d\"")), (2, 0, 1, 0)),
        ("its tool tried it again", first.clone(), Some(case("a", "<flakyFailure/>")), (1, 1, 0, 0)),
        ("it passes and fails", first.clone(), Some(case("a", "") + &case("a", AGAIN)), (1, 0, 1, 0)),
        ("another one fails beside it", first.clone(), Some(case("a", "") + &case("good", AGAIN)), (0, 1, 1, 0)),
        ("a new one fails beside it", first.clone(), Some(case("a", "") + &case("new", AGAIN)), (1, 1, 1, 0)),
        (
            "one that was skipped fails",
            a.clone() + &case("b", "<skipped/>"),
            Some(case("a", "") + &case("b", AGAIN)),
            (0, 1, 1, 0),
        ),
        ("two of a name, one passes", format!("{a}{a}"), Some(case("a", "")), (0, 0, 2, 0)),
        ("two of a name, both pass", format!("{a}{a}"), Some(case("a", "") + &case("a", "")), (0, 2, 0, 0)),
        (
            "two that have no name",
            format!("{0}{0}", case("", FAILED)),
            Some(case("", "") + &case("", "")),
            (2, 0, 2, 0),
        ),
    ];
    for (what, first, second, wanted) in table {
        let got = both(&first, second.as_deref());
        let Tally { passed, flaky, failed, skipped } = got.tally();
        assert_eq!((passed, flaky, failed, skipped), wanted, "{what}");
        assert_eq!(got.problems, Vec::<String>::new(), "{what}");
        // What is kept of it says the same.
        let text = got.junit.as_ref().unwrap().text();
        let kept = Outcome::of_kept(text.as_bytes());
        assert_eq!((kept.tally().failed, kept.tally().flaky), (failed, flaky), "{what}: {text}");
    }
}

#[test]
fn the_document_has_each_try_as_surefire_writes_it() {
    let first = case("a", &format!("{FAILED}<system-out>said</system-out>")) + &case("b", FAILED);
    let text = both(&first, Some(&(case("a", "") + &case("b", AGAIN)))).junit.unwrap().text();
    for part in [
        "<flakyFailure message=\"first\"/>",
        "<failure message=\"first\"/>",
        "<rerunFailure message=\"second\"/>",
        "<system-out>said</system-out>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("failures="), "{text}");
}

#[test]
fn a_third_attempt_goes_on_from_the_second() {
    let second = both(&(case("a", FAILED) + &case("b", FAILED)), Some(&(case("a", "") + &case("b", AGAIN))));
    assert_eq!(names(&second), ["b"]);
    let third = again(second.junit.as_ref().unwrap().packed(), &names(&second), &outcome(&suite(&case("b", ""))));
    assert_eq!((third.flaky(), third.failed(), third.total()), (2, 0, 2));
    let text = third.junit.unwrap().text();
    assert_eq!(text.matches("<flakyFailure").count(), 3, "{text}");
}

#[test]
fn what_is_not_in_order_in_either_attempt_is_a_problem_of_both() {
    let first = outcome(&suite(&case("a", FAILED)));
    let packed = first.junit.as_ref().unwrap().packed();
    let cut = outcome("<testsuite name=\"s\"><testcase classname=\"c\" name=\"a\"/>");
    let both = again(packed, &names(&first), &cut);
    assert!(!both.problems.is_empty());
    assert!(!Outcome::of_kept(both.junit.unwrap().text().as_bytes()).problems.is_empty());
    let good = outcome(&suite(&case("a", "")));
    for kept in [&[][..], &packed[..packed.len() / 2], b"no gzip"] {
        assert!(!again(kept, &names(&first), &good).problems.is_empty());
    }
}

#[test]
fn what_a_tool_tried_again_by_itself_stays_as_it_was_judged() {
    // In one file a is flaky; b failed in one and passed in another, which takes nothing back.
    let file = |cases: &str| suite(cases).into_bytes();
    let files = BTreeMap::from([
        ("1.xml".to_owned(), file(&(case("a", FAILED) + &case("a", "") + &case("b", FAILED)))),
        ("2.xml".to_owned(), file(&case("b", ""))),
    ]);
    let first = Outcome::of_files(&files);
    assert_eq!((names(&first), first.flaky()), (vec!["b".to_owned()], 1));
    let packed = first.junit.as_ref().unwrap().packed();
    let nothing = again(packed, &names(&first), &Outcome::default());
    assert_eq!((nothing.flaky(), nothing.failed()), (1, 1));
    for (second, wanted) in [(case("b", ""), (1, 1)), (case("b", "") + &case("b", ""), (2, 0))] {
        let both = again(packed, &names(&first), &outcome(&suite(&second)));
        assert_eq!((both.flaky(), both.failed()), wanted, "{second}");
    }
}
