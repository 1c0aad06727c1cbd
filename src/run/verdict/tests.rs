use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::run::facts::Exit;

fn spec() -> E2ERunSpec {
    serde_json::from_value(serde_json::json!({"clusterRef": {"name": "foo"}, "image": "suite:1", "timeout": "30m"}))
        .unwrap()
}

fn exit(code: i64) -> Exit {
    let at = |s| Timestamp::from_second(s).unwrap();
    Exit { started: at(100), finished: at(160), code, out_of_memory: false, error: None }
}

fn judged(exit: Exit, cut: Option<Cut>, xml: Option<&str>, log: &str) -> End {
    let files = xml.map(|xml| ("e2e.xml".to_owned(), xml.as_bytes().to_vec())).into_iter().collect::<BTreeMap<_, _>>();
    let at = HostId { cluster: "u".into(), slot: "m0".into(), incarnation: 0 };
    let container = Container { id: "c".into(), state: ContainerState::Exited(exit) };
    judge(&spec(), (at, container), cut, &Outcome::of_files(&files), log.as_bytes())
}

const GOOD: &str = r#"<testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase></testsuite>"#;
const BAD: &str =
    r#"<testsuite><testcase name="a"/><testcase name="b"><failure message="3 is not 4"/></testcase></testsuite>"#;

#[test]
fn says_how_it_ended() {
    let memory = Exit { out_of_memory: true, ..exit(137) };
    let cases = [
        ("passed", exit(0), None, Some(GOOD), reason::PASSED, "1 case passed, 1 skipped"),
        ("failed", exit(1), None, Some(BAD), reason::CASES_FAILED, "1 of 2 cases failed: b"),
        ("failed with exit code 0", exit(0), None, Some(BAD), reason::CASES_FAILED, "1 of 2 cases failed: b"),
        ("failed and killed", memory.clone(), None, Some(BAD), reason::CASES_FAILED, "want of memory"),
        (
            "nothing",
            exit(0),
            None,
            None,
            reason::NO_RESULTS,
            "no JUnit (*.xml) in /results, exit code 0; it said last: hello | bye",
        ),
        ("crashed", exit(2), None, None, reason::NO_RESULTS, "exit code 2; it said last: hello | bye"),
        ("killed", memory, None, None, reason::NO_RESULTS, "exit code 137, a process was killed for want of memory"),
        ("no cases", exit(0), None, Some("<testsuites/>"), reason::NO_RESULTS, "has no case"),
        (
            "cut off",
            exit(0),
            None,
            Some(r#"<testsuite><testcase name="a"/>"#),
            reason::NO_RESULTS,
            "cannot be read completely: e2e.xml",
        ),
        (
            "cut off after a failure",
            exit(1),
            None,
            Some(BAD.trim_end_matches("</testsuite>")),
            reason::CASES_FAILED,
            "results are missing: e2e.xml",
        ),
        (
            "bad end",
            exit(3),
            None,
            Some(GOOD),
            reason::CONTAINER_FAILED,
            "ended with exit code 3; it said last: hello | bye",
        ),
        (
            "too late",
            exit(143),
            Some(Cut::Deadline),
            Some(GOOD),
            reason::DEADLINE_EXCEEDED,
            "longer than spec.timeout (30m)",
        ),
        (
            "cluster gone",
            exit(0),
            Some(Cut::ClusterGone),
            Some(GOOD),
            reason::CLUSTER_GONE,
            "SwarmCluster foo is being deleted",
        ),
    ];
    for (what, exit, cut, xml, reason, words) in cases {
        let end = judged(exit, cut, xml, "hello\n\nbye\n");
        assert_eq!(end.reason, reason, "{what}: {}", end.message);
        assert!(end.message.contains(words), "{what}: {}", end.message);
        assert_eq!(end.complete, what == "passed", "{what}");
    }
}

#[test]
fn counts_are_there_where_results_are() {
    let counts = |xml| judged(exit(0), Some(Cut::Deadline), xml, "").counts.map(|c| (c.passed, c.failed, c.skipped));
    assert_eq!(counts(Some(BAD)), Some((1, 1, 0)));
    assert_eq!(counts(None), None);
}

#[test]
fn failures_are_bounded() {
    let long = "ü".repeat(5000);
    let cases: String =
        (0..50).map(|n| format!(r#"<testcase name="case{n}"><failure>{long}</failure></testcase>"#)).collect();
    let end = judged(exit(1), None, Some(&format!("<testsuite>{cases}</testsuite>")), "");
    assert_eq!(end.failures.len(), 20);
    assert!(end.failures.iter().all(|f| f.message.chars().count() == 1024));
    assert!(
        end.message.starts_with("50 of 50 cases failed: case0, case1") && end.message.ends_with(", …"),
        "{}",
        end.message
    );
}

#[test]
fn a_log_without_text_is_said() {
    assert!(judged(exit(1), None, None, "").message.ends_with("it wrote nothing"));
}

proptest! {
    #[test]
    fn passes_only_on_exit_0_with_results_that_can_be_read(
        code in prop_oneof![Just(0i64), any::<i64>()],
        cut in prop_oneof![Just(None), Just(Some(Cut::Deadline)), Just(Some(Cut::ClusterGone))],
        xml in prop::option::of(prop_oneof![Just(GOOD.to_owned()), Just(BAD.to_owned()), "<testsuite>.{0,20}", ".{0,40}"]),
        log in prop::collection::vec(any::<u8>(), 0..6000),
    ) {
        let end = judged(exit(code), cut, xml.as_deref(), &String::from_utf8_lossy(&log));
        prop_assert_eq!(end.complete, end.reason == reason::PASSED);
        if end.complete {
            prop_assert!(code == 0 && cut.is_none() && xml.as_deref() == Some(GOOD));
        }
        prop_assert!(!end.message.is_empty());
    }
}
