use serde_json::{Value, json};

use super::*;
use crate::{api::Phase, programme::children::Ended};

const CREATED: &str = "2026-11-27T00:30:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A time of 2026-11-28.
fn on(time: &str) -> Timestamp {
    at(&format!("2026-11-28T{time}Z"))
}

fn spec(change: &Value) -> E2EScheduleSpec {
    let mut spec =
        json!({"schedule": "0 * * * *", "runTemplate": {"spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"}}});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn child(due: Timestamp, passed: Option<bool>) -> Child {
    let name = name("s", due);
    Child {
        uid: format!("uid-{name}"),
        name,
        created: due,
        scheduled: Some(due),
        phase: Phase::Running,
        ended: passed.map(|passed| Ended { passed, at: due + SignedDuration::from_mins(10) }),
        cancelled: false,
        deleting: false,
        joined: false,
        outcome: crate::programme::children::Outcome::default(),
    }
}

fn seen(last: Option<Timestamp>, children: Vec<Child>) -> Seen {
    Seen { created: at(CREATED), last, missed: None, children }
}

/// What is made and what is missed, as `make` and `missed` have it.
fn starts(plan: &Plan) -> (Option<Timestamp>, usize, Option<Timestamp>) {
    (plan.make.map(|s| s.due), plan.make.map_or(0, |s| s.skipped), plan.missed.map(|s| s.due))
}

#[test]
fn a_start_is_made_once_and_of_those_missed_the_latest() {
    let ten = Some(on("10:00:00"));
    for (what, spec_of, last, now, made, skipped, missed) in [
        ("not due", json!({}), ten, "10:59:59", None, 0, None),
        ("due", json!({}), ten, "11:00:00", Some("11:00:00"), 0, None),
        ("a little late", json!({}), ten, "11:00:07", Some("11:00:00"), 0, None),
        ("made before", json!({}), Some(on("11:00:00")), "11:00:07", None, 0, None),
        ("the operator was away", json!({}), ten, "14:30:00", Some("14:00:00"), 3, None),
        ("away, with a deadline", json!({"startingDeadlineSeconds": 3600}), ten, "14:30:00", Some("14:00:00"), 3, None),
        ("too late", json!({"startingDeadlineSeconds": 60}), ten, "14:30:00", None, 0, Some("14:00:00")),
        ("just in time", json!({"startingDeadlineSeconds": 60}), ten, "14:00:59", Some("14:00:00"), 3, None),
        ("just too late", json!({"startingDeadlineSeconds": 60}), ten, "14:01:00", None, 0, Some("14:00:00")),
        ("suspended", json!({"suspend": true}), ten, "14:30:00", None, 0, None),
        ("more than are counted", json!({"schedule": "* * * * *"}), ten, "14:30:00", Some("14:30:00"), COUNTED, None),
        ("the first", json!({}), None, "01:00:00", Some("01:00:00"), 24, None),
        (
            "in a zone",
            json!({"schedule": "0 12 * * *", "timeZone": "Asia/Tokyo"}),
            Some(at("2026-11-27T03:00:00Z")),
            "03:00:00",
            Some("03:00:00"),
            0,
            None,
        ),
    ] {
        let plan = plan(&spec(&spec_of), &seen(last, Vec::new()), on(now));
        assert_eq!(starts(&plan), (made.map(on), skipped, missed.map(on)), "{what}: {plan:?}");
    }
}

#[test]
fn what_was_missed_is_told_once() {
    let spec = spec(&json!({"startingDeadlineSeconds": 60}));
    let mut seen = seen(Some(on("10:00:00")), Vec::new());
    seen.missed = Some(on("14:00:00"));
    assert_eq!(starts(&plan(&spec, &seen, on("14:30:00"))), (None, 0, None));
    assert_eq!(starts(&plan(&spec, &seen, on("15:02:00"))), (None, 0, Some(on("15:00:00"))));
}

/// A run is there and status does not know of it: the operator ended in between.
#[test]
fn a_run_that_is_there_counts_whatever_status_says() {
    for ended in [None, Some(true), Some(false)] {
        let seen = seen(Some(on("10:00:00")), vec![child(on("11:00:00"), ended)]);
        let plan = plan(&spec(&json!({})), &seen, on("11:00:03"));
        assert_eq!((plan.make, plan.last), (None, Some(on("11:00:00"))));
    }
    let plan = plan(&spec(&json!({})), &seen(None, Vec::new()), on("11:00:03"));
    assert_eq!(plan.last, None);
}

#[test]
fn runs_that_have_not_ended_are_let_be_waited_for_or_cancelled() {
    let before = child(on("10:00:00"), None);
    let over = child(on("09:00:00"), Some(true));
    let told = Child { cancelled: true, ..before.clone() };
    let new = || child(on("11:00:00"), None);
    for (policy, children, made, says, cancelled) in [
        ("Allow", vec![before.clone()], true, Says::Scheduled, 0),
        ("Forbid", vec![before.clone(), over.clone()], false, Says::Blocked(on("11:00:00")), 0),
        ("Forbid", vec![over.clone()], true, Says::Scheduled, 0),
        // Once the new one is there.
        ("Replace", vec![before.clone(), over.clone()], true, Says::Scheduled, 0),
        ("Replace", vec![before.clone(), over, new()], false, Says::Scheduled, 1),
        ("Replace", vec![told, new()], false, Says::Scheduled, 0),
        ("Allow", vec![before.clone(), new()], false, Says::Scheduled, 0),
    ] {
        let plan =
            plan(&spec(&json!({"concurrencyPolicy": policy})), &seen(Some(on("10:00:00")), children), on("11:00:01"));
        assert_eq!((plan.make.is_some(), plan.says, plan.cancel.len()), (made, says, cancelled), "{policy}");
    }
    // Of those that came meanwhile the latest is made, where it is not too late.
    let spec = spec(&json!({"concurrencyPolicy": "Forbid", "startingDeadlineSeconds": 1200}));
    let after = |now| {
        let ended = vec![child(on("10:00:00"), Some(true))];
        starts(&plan(&spec, &seen(Some(on("10:00:00")), ended), on(now)))
    };
    assert_eq!(after("13:10:00"), (Some(on("13:00:00")), 2, None));
    assert_eq!(after("13:30:00"), (None, 0, Some(on("13:00:00"))));
}

#[test]
fn as_many_runs_are_kept_as_the_limits_say() {
    let children = || {
        let hours = |passed| (1..=5).map(move |hour| child(on(&format!("0{hour}:00:00")), Some(passed)));
        hours(true).chain(hours(false)).chain([child(on("00:00:00"), None)]).collect::<Vec<_>>()
    };
    for (limits, kept) in [
        (json!({}), 3 + 1 + 1),
        (json!({"successfulRunsHistoryLimit": 0, "failedRunsHistoryLimit": 0}), 1),
        (json!({"successfulRunsHistoryLimit": 9, "failedRunsHistoryLimit": 9}), 11),
        // Also of a schedule that makes none.
        (json!({"suspend": true}), 5),
        (json!({"schedule": "0 0 31 2 *"}), 5),
    ] {
        let plan = plan(&spec(&limits), &seen(None, children()), on("06:30:00"));
        assert_eq!(plan.delete.len(), 11 - kept, "{limits}");
        assert!(!plan.delete.contains(&("s-29930400".to_owned(), "uid-s-29930400".to_owned())), "it runs");
    }
    let plan = plan(&spec(&json!({})), &seen(None, children()), on("06:30:00"));
    assert_eq!(plan.delete[0].0, name("s", on("01:00:00")), "the oldest first");
    // Of one that joined another the evidence is with that one.
    let newest =
        children().into_iter().filter(|c| c.ended.is_some_and(|e| e.passed)).max_by_key(|c| c.created).unwrap();
    let joined: Vec<_> = children().into_iter().map(|c| Child { joined: c.name == newest.name, ..c }).collect();
    let plan = super::plan(&spec(&json!({})), &seen(None, joined), on("06:30:00"));
    assert_eq!(plan.delete[0].0, newest.name, "the copy first");
    let gone: Vec<_> = children().into_iter().map(|c| Child { deleting: true, ..c }).collect();
    assert_eq!(super::plan(&spec(&json!({})), &seen(None, gone), on("06:30:00")).delete, []);
}

#[test]
fn a_clock_that_jumps_makes_no_run_twice_and_stops_no_schedule() {
    let hourly = spec(&json!({}));
    let make = |last: &str, children: Vec<Child>, now: &str| {
        plan(&hourly, &seen(Some(at(last)), children), at(now)).make.map(|s| s.due)
    };
    // Half an hour back: what was made then is waited for.
    assert_eq!(make("2026-11-28T11:00:00Z", vec![], "2026-11-28T10:30:00Z"), None);
    assert_eq!(make("2026-11-28T11:00:00Z", vec![], "2026-11-28T11:00:01Z"), None);
    assert_eq!(make("2026-11-28T11:00:00Z", vec![], "2026-11-28T12:00:01Z"), Some(on("12:00:00")));
    // It was a year ahead: that is not believed, and nothing of before is made up for.
    assert_eq!(make("2027-11-28T11:00:00Z", vec![], "2026-11-28T10:30:00Z"), None);
    assert_eq!(make("2027-11-28T11:00:00Z", vec![], "2026-11-28T11:00:01Z"), Some(on("11:00:00")));
    let there = vec![child(at("2027-11-28T11:00:00Z"), Some(true)), child(on("11:00:00"), None)];
    assert_eq!(make("2027-11-28T11:00:00Z", there.clone(), "2026-11-28T11:00:02Z"), None, "it is there");
    assert_eq!(make("2026-11-28T11:00:00Z", there, "2026-11-28T12:00:00Z"), Some(on("12:00:00")));
    // A day forth: one run.
    assert_eq!(make("2026-11-28T11:00:00Z", vec![], "2026-11-29T11:30:00Z"), Some(at("2026-11-29T11:00:00Z")));
    // The API server's clock, by which the schedule was created, is ahead.
    let young = Seen { created: at("2026-12-01T00:00:00Z"), ..seen(None, vec![]) };
    assert_eq!(plan(&hourly, &young, on("11:00:01")).make.map(|s| s.due), Some(on("11:00:00")));
}

#[test]
fn it_looks_again_when_the_next_is_due_and_soon_enough_to_see_that_a_clock_was_set() {
    let of = |change: Value, now| {
        let plan = plan(&spec(&change), &seen(Some(on("10:00:00")), vec![]), on(now));
        (plan.next, plan.again)
    };
    assert_eq!(of(json!({}), "10:59:30"), (Some(on("11:00:00")), Some(Duration::from_secs(30))));
    assert_eq!(of(json!({}), "10:30:00"), (Some(on("11:00:00")), Some(LOOK)));
    assert_eq!(of(json!({"suspend": true}), "10:30:00"), (None, None));
    assert_eq!(of(json!({"schedule": "0 0 30 2 *"}), "10:30:00"), (None, None));
    // A time that was made ahead of the clock is not due again.
    let ahead = plan(&spec(&json!({})), &seen(Some(on("11:00:00")), vec![]), on("10:30:00"));
    assert_eq!(ahead.next, Some(on("12:00:00")));
}

/// Every minute of two days around the change of the clocks, with an operator that ends between any two steps.
#[test]
fn over_a_change_of_the_clocks_each_start_is_made_once() {
    let spec = spec(&json!({"schedule": "30 * * * *", "timeZone": "Europe/Berlin", "successfulRunsHistoryLimit": 100}));
    for night in ["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"] {
        let begin = at(night);
        let (mut last, mut made, mut children) = (Some(begin), Vec::new(), Vec::new());
        for minute in 0..24 * 60 {
            let now = begin + SignedDuration::from_mins(minute);
            let plan = plan(&spec, &seen(last, children.clone()), now);
            if let Some(start) = plan.make {
                made.push(start.due);
                children.push(child(start.due, Some(true)));
                // Every other time its status is not written any more.
                if made.len() % 2 == 0 {
                    last = Some(start.due);
                }
            }
        }
        let wanted: Vec<_> = (0..24).map(|hour| begin + SignedDuration::from_mins(60 * hour + 30)).collect();
        assert_eq!(made, wanted, "{night}");
    }
}
