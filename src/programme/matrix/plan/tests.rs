use serde_json::{Value, json};

use super::*;
use crate::programme::children::{Ended, Outcome};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn spec(change: &Value) -> E2EMatrixSpec {
    let mut spec = json!({
        "axes": {"image": ["a", "b", "c", "d"]},
        "runTemplate": {"spec": {"image": "suite:1", "clusterRef": {"name": "foo"}, "sharing": "Shared"}},
    });
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

/// A run of the matrix `m`; a letter each way to stand: `r` it runs, `c` it is cancelled and runs, `+` passed, `-` failed.
fn child(image: char, stands: char) -> Child {
    let ended = |passed| Some(Ended { passed, at: at(100) });
    let (phase, ended) = match stands {
        '+' => (Phase::Complete, ended(true)),
        '-' => (Phase::Failed, ended(false)),
        _ => (Phase::Running, None),
    };
    let reason = if stands == '-' { reason::CASES_FAILED } else { reason::PASSED };
    Child {
        name: format!("m-{image}"),
        uid: format!("uid-{image}"),
        created: at(0),
        scheduled: None,
        phase,
        ended,
        cancelled: stands == 'c',
        deleting: false,
        joined: false,
        outcome: Outcome {
            reason: reason.to_owned(),
            message: "why".to_owned(),
            passed: Some(3),
            ..Outcome::default()
        },
    }
}

/// What is made, by image; what is cancelled, likewise; and how each stands: `.` not made, `p` or `r` under way, `+`, `-`.
fn short(plan: &Plan) -> (String, String, String) {
    let image = |name: &str| name.chars().last().unwrap();
    let stands = |one: &MadeRun| match one.phase {
        Phase::Pending => {
            if one.uid.is_some() {
                'p'
            } else {
                '.'
            }
        }
        Phase::Running => 'r',
        Phase::Complete => '+',
        Phase::Failed => {
            if one.uid.is_some() {
                '-'
            } else {
                'x'
            }
        }
    };
    (
        plan.make.iter().map(|number| image(&plan.stand[*number].run)).collect(),
        plan.cancel.iter().map(|(name, _)| image(name)).collect(),
        plan.stand.iter().map(stands).collect(),
    )
}

/// The runs of the images in order, by a letter each as [`child`] has them; a space for none.
fn children(stands: &str) -> Vec<Child> {
    "abcd".chars().zip(stands.chars()).filter(|(_, s)| *s != ' ').map(|(image, s)| child(image, s)).collect()
}

fn of(change: &Value, stands: &str) -> (String, String, String) {
    short(&plan("m", &spec(change), &Seen { children: children(stands), ..Seen::default() }, at(200)))
}

#[test]
fn runs_are_made_as_many_as_may_be_at_once() {
    let exclusive = json!({"runTemplate": {"spec": {"image": "suite:1", "clusterRef": {"name": "foo"}}}});
    let own = json!({"runTemplate": {"spec": {"image": "suite:1", "clusterTemplate": {"spec": {"provider": {"ec2": {"region": "us-east-1"}}}}}}});
    for (what, change, there, make, stand) in [
        ("all", json!({}), "", "abcd", "...."),
        ("two", json!({"parallelism": 2}), "", "ab", "...."),
        ("one has ended", json!({"parallelism": 2}), "+r", "c", "+r.."),
        ("none has ended", json!({"parallelism": 2}), "rr", "", "rr.."),
        ("one that is cancelled goes on still", json!({"parallelism": 2}), "cr", "", "rr.."),
        ("a failure stops nothing", json!({"parallelism": 2}), "-r", "c", "-r.."),
        ("those that take turns are made one by one", exclusive.clone(), "", "a", "...."),
        ("the next one", exclusive, "+", "b", "+..."),
        ("each has its cluster", own, "r", "bcd", "r..."),
        ("all have ended", json!({}), "+-++", "", "+-++"),
    ] {
        assert_eq!(of(&change, there), (make.to_owned(), String::new(), stand.to_owned()), "{what}");
    }
}

#[test]
fn at_the_first_failure_or_when_it_is_cancelled_the_others_end() {
    let fast = json!({"failFast": true, "parallelism": 2});
    for (what, change, there, cancel, stand) in [
        ("the first failure", fast.clone(), "-r", "b", "-rxx"),
        ("it was told to", fast.clone(), "-c", "", "-rxx"),
        ("all are over", fast.clone(), "--", "", "--xx"),
        ("it is cancelled", json!({"cancel": true}), "+r r", "bd", "+rxr"),
        ("before anything is made", json!({"cancel": true}), "", "", "xxxx"),
        ("after its end", json!({"cancel": true}), "++++", "", "++++"),
    ] {
        assert_eq!(of(&change, there), (String::new(), cancel.to_owned(), stand.to_owned()), "{what}");
    }
    let plan = plan("m", &spec(&fast), &Seen { children: children("-r"), ..Seen::default() }, at(200));
    assert_eq!(plan.stand[0].reason.as_deref(), Some(reason::CASES_FAILED));
    assert_eq!(plan.stand[2].reason.as_deref(), Some(reason::CANCELLED));
    assert!(plan.stand[2].message.as_ref().unwrap().contains("m-a failed (spec.failFast)"));
}

#[test]
fn what_has_ended_stays_so_and_no_run_is_made_twice() {
    let before = |stands: &str| {
        plan("m", &spec(&json!({})), &Seen { children: children(stands), ..Seen::default() }, at(200)).stand
    };
    let again = |before: Vec<MadeRun>, there: &str, gone: &[&str]| {
        let gone = gone.iter().map(|name| (*name).to_owned()).collect();
        let seen = Seen { before, children: children(there), gone, finished: None };
        short(&plan("m", &spec(&json!({})), &seen, at(300)))
    };
    let none = String::new;
    // Runs that ended are deleted: by a person, or to make room.
    assert_eq!(again(before("+-rr"), "  rr", &[]), (none(), none(), "+-rr".to_owned()));
    // The watch lags: a run that was made is not made again.
    assert_eq!(again(before("rrrr"), "rr r", &[]), (none(), none(), "rrrr".to_owned()));
    // It was deleted while it ran.
    assert_eq!(again(before("rrrr"), "rr r", &["m-c"]), (none(), none(), "rr-r".to_owned()));
    // The operator ended after it made one, and before it was noted.
    assert_eq!(again(Vec::new(), "r", &[]).0, "bcd");
    // Whatever somebody makes of a run that has ended.
    assert_eq!(again(before("++++"), "-r  ", &[]).2, "++++");
}

#[test]
fn of_a_run_is_kept_how_it_went() {
    let plan = plan("m", &spec(&json!({})), &Seen { children: children("+-r"), ..Seen::default() }, at(200));
    let of = |n: usize| {
        let one: &MadeRun = &plan.stand[n];
        (one.reason.as_deref(), one.message.as_deref(), one.passed)
    };
    assert_eq!(of(0), (Some(reason::PASSED), None, Some(3)));
    assert_eq!(of(1), (Some(reason::CASES_FAILED), Some("why"), Some(3)));
    assert_eq!(of(2), (None, None, Some(3)));
    assert_eq!(of(3), (None, None, None));
}

#[test]
fn its_time_after_its_end_is_kept() {
    let of = |ttl: Option<&str>, finished: Option<i64>, now: i64| {
        let seen = Seen { finished: finished.map(at), ..Seen::default() };
        let plan = plan("m", &spec(&ttl.map_or(json!({}), |ttl| json!({"ttlAfterFinished": ttl}))), &seen, at(now));
        (plan.expired, plan.again.map(|again| again.as_secs()))
    };
    assert_eq!(of(None, Some(0), 99_999), (false, None));
    assert_eq!(of(Some("1h"), None, 99_999), (false, None));
    assert_eq!(of(Some("1h"), Some(0), 3300), (false, Some(300)));
    assert_eq!(of(Some("1h"), Some(0), 0), (false, Some(600)));
    assert_eq!(of(Some("1h"), Some(0), 3600), (true, None));
    assert_eq!(of(Some("1h"), Some(0), 9999), (true, None));
}

#[test]
fn a_matrix_without_a_combination_says_so() {
    let plan =
        plan("m", &spec(&json!({"axes": {"image": ["a"]}, "exclude": [{"image": "a"}]})), &Seen::default(), at(0));
    assert!(plan.invalid.unwrap().contains("spec.exclude") && plan.make.is_empty());
}
