use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn spec(results: &serde_json::Value) -> E2ERunSpec {
    let json = serde_json::json!({
        "clusterRef": {"name": "foo"}, "image": "suite:1", "timeout": "30m", "gracePeriod": "45s", "results": results,
    });
    serde_json::from_value(json).unwrap()
}

fn exit(code: i64) -> Exit {
    Exit { ran: SignedDuration::from_secs(60), code, out_of_memory: false, error: None }
}

fn cut(cut: Cut) -> Course {
    Course { cut: Some(cut), ..Course::default() }
}

fn judged_by(results: &serde_json::Value, exit: Exit, course: &Course, xml: Option<&str>, log: &str) -> End {
    judged_of(&spec(results), exit, course, xml, log)
}

fn judged_of(spec: &E2ERunSpec, exit: Exit, course: &Course, xml: Option<&str>, log: &str) -> End {
    let files = xml.map(|xml| ("e2e.xml".to_owned(), xml.as_bytes().to_vec())).into_iter().collect::<BTreeMap<_, _>>();
    let at = HostId { cluster: "u".into(), slot: "m0".into(), incarnation: 0 };
    let (state, started) = (ContainerState::Exited(exit), spec.args.clone());
    let container = Container { id: "c".into(), state, image: None, attempt: 1, filter: None, started };
    judge(spec, (at, container), course, &Outcome::of_files(&files), log.as_bytes(), Timestamp::UNIX_EPOCH)
}

fn judged(exit: Exit, course: &Course, xml: Option<&str>, log: &str) -> End {
    judged_by(&serde_json::json!({}), exit, course, xml, log)
}

const GOOD: &str = r#"<testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase></testsuite>"#;
const BAD: &str =
    r#"<testsuite><testcase name="a"/><testcase name="b"><failure message="3 is not 4"/></testcase></testsuite>"#;
const SKIPPED: &str = r#"<testsuite><testcase name="a"><skipped/></testcase></testsuite>"#;

#[test]
fn says_how_it_ended() {
    let memory = Exit { out_of_memory: true, ..exit(137) };
    let itself = Course::default();
    let cases = [
        ("passed", exit(0), Some(GOOD), reason::PASSED, "1 case passed, 1 skipped"),
        ("failed", exit(1), Some(BAD), reason::CASES_FAILED, "1 of 2 cases failed: b"),
        ("failed with exit code 0", exit(0), Some(BAD), reason::CASES_FAILED, "1 of 2 cases failed: b"),
        ("failed and killed", memory.clone(), Some(BAD), reason::CASES_FAILED, "want of memory"),
        (
            "nothing",
            exit(0),
            None,
            reason::NO_RESULTS,
            "no results of a form that is read, in /results or in the log, exit code 0; it said last: hello | bye",
        ),
        ("crashed", exit(2), None, reason::NO_RESULTS, "exit code 2; it said last: hello | bye"),
        ("killed", memory, None, reason::OOM_KILLED, "exit code 137, a process was killed for want of memory"),
        ("no cases", exit(0), Some("<testsuites/>"), reason::NO_CASES, "the results in /results have no case"),
        ("all skipped", exit(0), Some(SKIPPED), reason::NO_CASES, "spec.results.allowEmpty"),
        (
            "cut off",
            exit(0),
            Some(r#"<testsuite><testcase name="a"/>"#),
            reason::NO_RESULTS,
            "cannot be read completely: e2e.xml",
        ),
        (
            "cut off after a failure",
            exit(1),
            Some(BAD.trim_end_matches("</testsuite>")),
            reason::CASES_FAILED,
            "results are missing: e2e.xml",
        ),
        (
            "bad end",
            exit(3),
            Some(GOOD),
            reason::CONTAINER_FAILED,
            "no case failed, but the container ended with exit code 3; it said last: hello | bye",
        ),
    ];
    for (what, exit, xml, reason, words) in cases {
        let end = judged(exit, &itself, xml, "hello\n\nbye\n");
        assert_eq!(end.reason, reason, "{what}: {}", end.message);
        assert!(end.message.contains(words), "{what}: {}", end.message);
        assert_eq!(end.complete, what == "passed", "{what}");
    }
}

#[test]
fn a_want_of_memory_is_said_with_its_limit_and_what_to_do() {
    let memory = |code| Exit { out_of_memory: true, ..exit(code) };
    let (bare, limited) = (serde_json::json!({}), serde_json::json!({"limits": {"cpu": 2, "memory": "64Mi"}}));
    let cases = [
        (&bare, "Auto", memory(137), None, reason::OOM_KILLED, "take a bigger instance type"),
        (&limited, "Auto", memory(137), None, reason::OOM_KILLED, "spec.resources.limits.memory is 64Mi, give it more"),
        (&limited, "Auto", memory(1), Some(GOOD), reason::OOM_KILLED, "64Mi"),
        (&limited, "Auto", memory(1), Some(BAD), reason::CASES_FAILED, "64Mi"),
        (&limited, "ExitCode", memory(137), None, reason::OOM_KILLED, "64Mi"),
        (&limited, "ExitCode", memory(0), None, reason::OOM_KILLED, "64Mi"),
        (&limited, "ExitCode", exit(137), None, reason::CONTAINER_FAILED, "exit code 137"),
    ];
    for (resources, format, exit, xml, reason, words) in cases {
        let mut spec = spec(&serde_json::json!({ "format": format }));
        spec.resources = serde_json::from_value(resources.clone()).unwrap();
        let end = judged_of(&spec, exit, &Course::default(), xml, "");
        assert!((end.reason, end.complete) == (reason, false) && end.message.contains(words), "{end:?}");
    }
}

#[test]
fn what_was_told_to_end_has_not_passed_and_says_what_is_left_of_it() {
    let overdue =
        Course { overdue: true, ran: Some((Timestamp::UNIX_EPOCH, Duration::from_mins(150))), ..Course::default() };
    let cases = [
        (
            cut(Cut::Deadline),
            143,
            Some(GOOD),
            reason::DEADLINE_EXCEEDED,
            "spec.timeout (30m) and was stopped; 1 case had passed",
        ),
        (
            cut(Cut::Deadline),
            137,
            None,
            reason::DEADLINE_EXCEEDED,
            "spec.gracePeriod (45s) and was killed, and left no results. To have them",
        ),
        (cut(Cut::Deadline), 137, Some("<testsuite>"), reason::DEADLINE_EXCEEDED, "e2e.xml"),
        (cut(Cut::Cancelled), 143, Some(GOOD), reason::CANCELLED, "spec.cancel; 1 case had passed and 0 failed"),
        (cut(Cut::Cancelled), 0, None, reason::CANCELLED, "left no results"),
        (cut(Cut::Deleted), 0, Some(GOOD), reason::CANCELLED, "being deleted"),
        (cut(Cut::ClusterGone), 0, Some(GOOD), reason::CLUSTER_GONE, "SwarmCluster foo is being deleted"),
        (
            overdue,
            0,
            Some(GOOD),
            reason::DEADLINE_EXCEEDED,
            "ended by itself after 2h30m, which is longer than spec.timeout (30m)",
        ),
    ];
    for (course, code, xml, reason, words) in cases {
        let end = judged(exit(code), &course, xml, "");
        assert!((end.reason, end.complete) == (reason, false) && end.message.contains(words), "{course:?}: {end:?}");
    }
}

#[test]
fn an_engine_that_was_lost_is_blamed_only_where_no_case_failed() {
    let disturbed = Course { disturbed: Some("the answer was cut off".into()), ..Course::default() };
    let cases = [
        (exit(3), Some(GOOD), reason::INFRASTRUCTURE, "exit code 3"),
        (exit(137), None, reason::INFRASTRUCTURE, "the answer was cut off"),
        (exit(1), Some(BAD), reason::CASES_FAILED, "the answer was cut off"),
        (exit(0), Some(GOOD), reason::PASSED, "1 case passed"),
    ];
    for (exit, xml, reason, words) in cases {
        let end = judged(exit, &disturbed, xml, "");
        assert!(end.reason == reason && end.message.contains(words), "{end:?}");
    }
    let full = judged(exit(1), &Course::default(), None, "write: no space left on device\n");
    assert_eq!(full.reason, reason::INFRASTRUCTURE, "{}", full.message);
    let foreign = judged(exit(255), &Course::default(), None, "exec /tests: exec format error\n");
    assert_eq!(foreign.reason, reason::INVALID_SPEC, "{}", foreign.message);
}

#[test]
fn the_spec_says_what_counts() {
    let by = |results, code, xml| {
        let end = judged_by(&results, exit(code), &Course::default(), xml, "");
        (end.complete, end.reason)
    };
    let (code, empty) = (serde_json::json!({"format": "ExitCode"}), serde_json::json!({"allowEmpty": true}));
    assert_eq!(by(code.clone(), 0, None), (true, reason::PASSED));
    assert_eq!(by(code, 1, None), (false, reason::CONTAINER_FAILED));
    for xml in [None, Some("<testsuites/>"), Some(SKIPPED)] {
        assert_eq!(by(empty.clone(), 0, xml), (true, reason::PASSED), "{xml:?}");
        assert!(!by(empty.clone(), 1, xml).0, "{xml:?}");
    }
    assert_eq!(by(empty.clone(), 0, Some(BAD)), (false, reason::CASES_FAILED));
    assert_eq!(by(empty, 0, Some("<testsuite>")), (false, reason::NO_RESULTS));
    let stopped = judged_by(&serde_json::json!({"format": "ExitCode"}), exit(143), &cut(Cut::Deadline), None, "");
    assert!(stopped.message.ends_with("and was stopped; it ended with exit code 143"), "{}", stopped.message);
    let elsewhere = judged_by(&serde_json::json!({"path": "/out"}), exit(0), &Course::default(), None, "");
    assert!(elsewhere.message.contains("in /out"), "{}", elsewhere.message);
}

#[test]
fn counts_are_there_where_results_are() {
    let counts = |xml| judged(exit(0), &cut(Cut::Deadline), xml, "").counts.map(|c| (c.passed, c.failed, c.skipped));
    assert_eq!(counts(Some(BAD)), Some((1, 1, 0)));
    assert_eq!(counts(None), None);
}

#[test]
fn failures_are_bounded() {
    let long = "ü".repeat(5000);
    let cases: String =
        (0..50).map(|n| format!(r#"<testcase name="case{n}"><failure>{long}</failure></testcase>"#)).collect();
    let end = judged(exit(1), &Course::default(), Some(&format!("<testsuite>{cases}</testsuite>")), "");
    assert_eq!(end.failures.len(), 20);
    assert!(end.failures.iter().all(|f| f.message.chars().count() == 1024));
    assert!(
        end.message.starts_with("50 of 50 cases failed: case0, case1") && end.message.ends_with(", …"),
        "{}",
        end.message
    );
}

#[test]
fn what_a_container_wrote_steers_no_terminal() {
    let xml = r#"<testsuite><testcase name="a&#155;31mb"><failure>x&#155;1my</failure></testcase></testsuite>"#;
    let end = judged(exit(1), &Course::default(), Some(xml), "");
    let log = judged(exit(1), &Course::default(), None, "\u{1b}[31mred\u{7}\n");
    for text in [&end.message, &end.failures[0].name, &end.failures[0].message, &log.message] {
        assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
    }
}

#[test]
fn a_log_without_text_is_said() {
    assert!(judged(exit(1), &Course::default(), None, "").message.ends_with("it wrote nothing"));
}

#[test]
fn times_are_for_people() {
    for (millis, words) in [(300, "0.3s"), (9_940, "9.9s"), (65_000, "1m5s"), (192_400, "3m12s")] {
        assert_eq!(took(Duration::from_millis(millis)), words);
    }
}

proptest! {
    #[test]
    fn passes_only_on_exit_0_in_time_with_results_that_can_be_read(
        code in prop_oneof![Just(0i64), any::<i64>()],
        cut in prop::sample::select(vec![None, Some(Cut::Deadline), Some(Cut::Cancelled), Some(Cut::Deleted), Some(Cut::ClusterGone)]),
        overdue in prop::bool::weighted(0.2),
        xml in prop::option::of(prop_oneof![Just(GOOD.to_owned()), Just(BAD.to_owned()), "<testsuite>.{0,20}", ".{0,40}"]),
        log in prop::collection::vec(any::<u8>(), 0..6000),
    ) {
        let course = Course { cut, overdue, ..Course::default() };
        let end = judged(exit(code), &course, xml.as_deref(), &String::from_utf8_lossy(&log));
        prop_assert_eq!(end.complete, end.reason == reason::PASSED);
        if end.complete {
            prop_assert!(code == 0 && cut.is_none() && !overdue && xml.as_deref() == Some(GOOD));
        }
        prop_assert!(!end.message.is_empty());
    }
}
