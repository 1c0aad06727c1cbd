use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::{
    api::reason,
    host::HostId,
    run::{
        facts::{Container, ContainerState, Exit},
        verdict::{Course, Cut, End, judge},
    },
};

const NOW: &str = "2026-12-01T12:00:00Z";
/// One that passed, one that was skipped, and two that failed.
const BOTH: &str = r#"<testsuite name="s"><testcase name="good"/><testcase name="idle"><skipped/></testcase>
    <testcase classname="net" name="a"><failure message="1"/></testcase>
    <testcase classname="net" name="b"><failure message="2"/></testcase></testsuite>"#;
const ONE: &str = r#"<testsuite name="s"><testcase name="good"/><testcase classname="net" name="a"><failure message="1"/></testcase></testsuite>"#;
const ALONE: &str =
    r#"<testsuite name="s"><testcase classname="net" name="a"><failure message="1"/></testcase></testsuite>"#;

fn outcome(xml: &str) -> Outcome {
    Outcome::of_files(&BTreeMap::from([("a.xml".to_owned(), xml.as_bytes().to_vec())]))
}

/// Cases by name, in quarantine until then.
fn spec(cases: &[(&str, &str)]) -> E2ERunSpec {
    let items: Vec<_> = cases
        .iter()
        .map(|(name, until)| json!({"name": name, "owner": "net-team", "until": until, "reason": "#12"}))
        .collect();
    serde_json::from_value(json!({
        "clusterRef": {"name": "foo"}, "image": "suite:1", "quarantine": items,
        "retries": {"failedCases": 1, "filter": {"tool": "Libtest"}},
    }))
    .unwrap()
}

fn exit(code: i64) -> Exit {
    Exit { ran: SignedDuration::from_secs(60), code, out_of_memory: false, error: None }
}

fn ended(spec: &E2ERunSpec, exit: Exit, course: &Course, xml: &str, log: &str) -> End {
    let at = HostId { cluster: "u".into(), slot: "m0".into(), incarnation: 0 };
    let state = ContainerState::Exited(exit);
    let started = spec.args.clone();
    let container = Container { id: "c".into(), state, image: None, attempt: 1, filter: None, started };
    judge(spec, (at, container), course, &outcome(xml), log.as_bytes(), NOW.parse().unwrap())
}

const HOLDS: &str = "2026-12-24";
const OVER: &str = "2026-11-30T08:00:00Z";

#[test]
fn a_failure_in_quarantine_is_a_warning_and_nothing_else_is_hidden_by_it() {
    let itself = Course::default();
    let disturbed = Course { disturbed: Some("cut off".into()), ..Course::default() };
    let late =
        Course { overdue: true, ran: Some((NOW.parse().unwrap(), Duration::from_hours(9))), ..Course::default() };
    let stopped = Course { cut: Some(Cut::Deadline), ..Course::default() };
    let a: &[(&str, &str)] = &[("net.a", HOLDS)];
    let both: &[(&str, &str)] = &[("net.a", HOLDS), ("net.b", HOLDS)];
    let memory = Exit { out_of_memory: true, ..exit(1) };
    let words = "1 case passed. 1 case failed in quarantine: net.a (owner net-team, until 2026-12-24: #12)";
    let cut = ONE.trim_end_matches("</testsuite>");
    type Row<'a> = (&'a [(&'a str, &'a str)], Exit, &'a Course, &'a str, &'a str, &'a str, &'a str);
    let table: [Row<'_>; 20] = [
        (a, exit(0), &itself, ONE, "", reason::PASSED, words),
        (a, exit(1), &itself, ONE, "", reason::PASSED, words),
        (a, exit(101), &itself, ONE, "", reason::PASSED, words),
        (both, exit(101), &itself, BOTH, "", reason::PASSED, "1 case passed, 1 skipped. 2 cases failed in quarantine"),
        (
            a,
            exit(1),
            &itself,
            BOTH,
            "",
            reason::CASES_FAILED,
            "1 of 4 cases failed: net.b. 1 case failed in quarantine: net.a",
        ),
        (&[], exit(1), &itself, ONE, "", reason::CASES_FAILED, "1 of 2 cases failed: net.a"),
        (&[("a", HOLDS)], exit(1), &itself, ONE, "", reason::CASES_FAILED, "1 of 2 cases failed: net.a"),
        (
            &[("net.a", OVER)],
            exit(1),
            &itself,
            ONE,
            "",
            reason::CASES_FAILED,
            "1 of 2 cases failed: net.a. Their quarantine has ended: net.a (owner net-team, at 2026-11-30T08:00:00Z)",
        ),
        (&[("net.a", OVER), ("net.a", HOLDS)], exit(1), &itself, ONE, "", reason::PASSED, words),
        (&[("net.a", "2026-02-30")], exit(1), &itself, ONE, "", reason::CASES_FAILED, "quarantine has ended"),
        (
            &[("good", HOLDS)],
            exit(0),
            &itself,
            "<testsuite><testcase name=\"good\"/></testsuite>",
            "",
            reason::PASSED,
            "1 case passed",
        ),
        // What no failed case explains.
        (
            a,
            exit(137),
            &itself,
            ONE,
            "",
            reason::CONTAINER_FAILED,
            "no case failed that counts, but the container ended with exit code 137",
        ),
        (a, exit(125), &itself, ONE, "", reason::CONTAINER_FAILED, "exit code 125"),
        (a, memory, &itself, ONE, "", reason::OOM_KILLED, "want of memory"),
        (a, exit(1), &disturbed, ONE, "", reason::INFRASTRUCTURE, "cut off"),
        (a, exit(1), &itself, ONE, "write: no space left on device", reason::INFRASTRUCTURE, "disk is full"),
        (a, exit(1), &itself, cut, "", reason::NO_RESULTS, "cannot be read completely"),
        (a, exit(0), &itself, ALONE, "", reason::NO_CASES, "no case was run that counts: of 1 1 failed in quarantine"),
        // What is over its time.
        (
            a,
            exit(0),
            &late,
            ONE,
            "",
            reason::DEADLINE_EXCEEDED,
            "1 case had passed and 0 failed. 1 case failed in quarantine",
        ),
        (a, exit(1), &stopped, ONE, "", reason::DEADLINE_EXCEEDED, "1 case had passed and 0 failed"),
    ];
    for (cases, exit, course, xml, log, reason, words) in table {
        let code = exit.code;
        let end = ended(&spec(cases), exit, course, xml, log);
        assert!(end.reason == reason && end.message.contains(words), "{cases:?} {code} {log}: {end:?}");
        assert_eq!(end.complete, reason == reason::PASSED);
    }
    let mut empty = spec(a);
    empty.results.allow_empty = true;
    assert!(ended(&empty, exit(1), &itself, ALONE, "").complete);
    assert!(!ended(&empty, exit(137), &itself, ALONE, "").complete);
}

#[test]
fn what_is_in_quarantine_is_counted_apart_and_not_run_again() {
    let end = ended(&spec(&[("net.a", HOLDS)]), exit(1), &Course::default(), BOTH, "");
    let counts = end.counts.unwrap();
    assert_eq!((counts.passed, counts.failed, counts.skipped, counts.quarantined), (1, 1, 1, 1));
    assert_eq!(counts.total(), 4);
    assert_eq!(end.failures.iter().map(|f| &*f.name).collect::<Vec<_>>(), ["net.b"]);
    assert_eq!(end.again, Some(Ok(vec!["b".to_owned()])));
    let excused = end.excused.unwrap();
    assert_eq!(excused.by.iter().map(|item| &*item.name).collect::<Vec<_>>(), ["net.a"]);
    let all = ended(&spec(&[("net.a", HOLDS), ("net.b", HOLDS)]), exit(1), &Course::default(), BOTH, "");
    assert_eq!((all.again, all.failures.len(), all.complete), (None, 0, true));
    let none = ended(&spec(&[("good", HOLDS)]), exit(1), &Course::default(), BOTH, "");
    assert_eq!((none.excused, none.failures.len()), (None, 2));
}

#[test]
fn a_name_that_no_case_has_is_told_where_the_results_are_whole() {
    let table = [
        (spec(&[("net.a", HOLDS), ("good", OVER)]), BOTH, None),
        (spec(&[("net.a", HOLDS), ("gone", HOLDS), ("a", OVER)]), BOTH, Some("spec.quarantine: gone, a")),
        (
            spec(&[("1", HOLDS), ("2", HOLDS), ("3", HOLDS), ("4", HOLDS), ("5", HOLDS), ("6", HOLDS)]),
            BOTH,
            Some("5, and 1 more"),
        ),
        (spec(&[("gone", HOLDS)]), "<testsuites/>", None),
        (spec(&[("gone", HOLDS)]), ONE.trim_end_matches("</testsuite>"), None),
        (spec(&[]), BOTH, None),
    ];
    for (spec, xml, wanted) in table {
        let got = strangers(&spec, &outcome(xml));
        assert!(
            match wanted {
                Some(words) => got.as_ref().is_some_and(|got| got.contains(words)),
                None => got.is_none(),
            },
            "{:?}: {got:?}",
            spec.quarantine
        );
    }
}

#[test]
fn a_name_that_is_cut_off_is_nobodys() {
    let long = "x".repeat(2000);
    let xml = ONE.replace("\"a\"", &format!("\"{long}\""));
    let listed = outcome(&xml).failures().next().unwrap().0.to_owned();
    let end = ended(&spec(&[(&listed, HOLDS)]), exit(1), &Course::default(), &xml, "");
    assert_eq!(end.reason, reason::CASES_FAILED);
}

#[test]
fn very_many_failures_are_told_in_few_words_and_those_not_listed_count() {
    let cases: String = (0..6000).map(|_| r#"<testcase name="a"><failure message="m"/></testcase>"#).collect();
    let xml = format!(r#"<testsuite><testcase name="good"/>{cases}</testsuite>"#);
    let end = ended(&spec(&[("a", HOLDS)]), exit(1), &Course::default(), &xml, "");
    let counts = end.counts.unwrap();
    assert_eq!((end.reason, counts.quarantined, counts.failed), (reason::CASES_FAILED, 5000, 1000));
    assert!(end.message.len() < 1500, "{}", end.message);
}

#[test]
fn what_left_cases_out_is_not_excused() {
    let (itself, a) = (Course::default(), spec(&[("net.a", HOLDS)]));
    assert_eq!(ended(&a, exit(1), &itself, ONE, "").reason, reason::PASSED);
    let stops = E2ERunSpec { args: vec!["--maxfail=1".into()], ..a.clone() };
    for (spec, code, xml, log, words) in [
        (&stops, 1, ONE.to_owned(), "", "with --maxfail=1"),
        (&a, 1, ONE.to_owned(), "!!! stopping after 1 failures !!!", "stopping after"),
        (&a, 1, ONE.replace("message=\"1\"", "message=\"panic: test timed out\""), "", "may have ended"),
    ] {
        let end = ended(spec, exit(code), &itself, &xml, log);
        assert_eq!((end.reason, end.complete), (reason::CASES_FAILED, false), "{words}: {}", end.message);
        assert!(end.message.contains("The quarantine does not hold") && end.message.contains(words), "{}", end.message);
    }
    // By 2 the tool says something else than that cases failed.
    assert_eq!(ended(&a, exit(2), &itself, ONE, "").reason, reason::CONTAINER_FAILED);
}
