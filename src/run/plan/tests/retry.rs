//! What follows on an attempt that ended, as far as hosts and time have a say in it.

use super::*;
use crate::{
    api::{AttemptOutcome, ImagePullPolicy, Retries},
    run::{attempt::Attempt, verdict::End},
};

fn retrying() -> E2ERunSpec {
    E2ERunSpec { retries: Retries { failed_cases: 1, infrastructure: 1, filter: None }, ..spec("IfNotPresent") }
}

/// The container on m1 ended, and this was read of it.
fn ended(end: End) -> Observed {
    let mut seen = with(&exited(1));
    seen.kept = Some(Kept::Done(Box::new(end)));
    seen
}

fn lost() -> Observed {
    ended(End::without_container(reason::INFRASTRUCTURE, "the engine was lost".into()))
}

fn failed() -> Observed {
    let again = Some(Ok(vec!["a".to_owned()]));
    ended(End { again, ..End::without_container(reason::CASES_FAILED, "1 of 2 cases failed: a".into()) })
}

fn again(plan: &Plan) -> Option<&Attempt> {
    match plan.steps.as_slice() {
        [Step::Again(attempt, _)] => Some(attempt),
        _ => None,
    }
}

/// Between two attempts: the first one was lost on m1, or its cases failed there.
fn between(outcome: AttemptOutcome) -> Observed {
    let mut seen = ready();
    seen.record.since = [(Stage::Pending, before(1))].into();
    seen.record.attempts = vec![Attempt {
        outcome,
        reason: reason::INFRASTRUCTURE.into(),
        message: "it was lost".into(),
        host: Some(id("m1", 0)),
        container: Some("c1".into()),
        image: None,
        ran: Some((before(100), 60_000)),
        counts: None,
        failed: vec![],
        results: None,
    }];
    seen
}

#[test]
fn what_was_lost_is_begun_again_where_there_is_another_manager() {
    let plan = plan(&retrying(), &lost(), now());
    let attempt = again(&plan).expect("another attempt");
    assert_eq!((attempt.outcome, attempt.host.clone()), (AttemptOutcome::Infrastructure, Some(id("m1", 0))));
    assert_eq!((plan.says, plan.enters), (Says::Nothing, None));
    type Change = fn(&mut Observed);
    let cases: [(&str, bool, Change); 7] = [
        ("the host was replaced", true, |s| {
            s.hosts.insert(id("m1", 1), HostView::default());
            s.cluster.as_mut().unwrap().slots = vec!["m1".into()];
        }),
        ("no other manager", false, |s| s.cluster.as_mut().unwrap().slots = vec!["m1".into(), "w0".into()]),
        ("no cluster", false, |s| s.cluster = None),
        ("cancelled by the record", false, |s| s.record.cut = Some(Cut::Cancelled)),
        ("deleted", false, |s| s.deleting = true),
        ("the cluster is deleted", false, |s| s.cluster.as_mut().unwrap().deleting = true),
        ("its time is over", false, |s| s.record.since = [(Stage::Running, before(1800))].into()),
    ];
    for (what, wanted, change) in cases {
        let mut seen = lost();
        change(&mut seen);
        let plan = super::plan(&retrying(), &seen, now());
        assert_eq!(again(&plan).is_some(), wanted, "{what}: {plan:?}");
        assert_eq!(end(&plan).map(|(why, _)| why), (!wanted).then_some(reason::INFRASTRUCTURE), "{what}");
    }
    let cancelled = E2ERunSpec { cancel: true, ..retrying() };
    assert!(again(&super::plan(&cancelled, &lost(), now())).is_none());
}

#[test]
fn what_cannot_be_made_on_one_manager_is_made_on_another() {
    let mut seen = ready();
    seen.record.since = [(Stage::Pending, before(200)), (Stage::Starting, before(120))].into();
    let plan = plan(&retrying(), &seen, now());
    assert_eq!(again(&plan).and_then(|a| a.host.clone()), Some(id("m1", 0)), "{plan:?}");
}

#[test]
fn failed_cases_are_run_again_while_there_is_time() {
    let plan = plan(&retrying(), &failed(), now());
    assert_eq!(again(&plan).map(|a| a.failed.clone()), Some(vec!["a".to_owned()]));
    let mut late = failed();
    late.record.since.insert(Stage::Running, before(1800));
    assert_eq!(end(&super::plan(&retrying(), &late, now())).unwrap().0, reason::CASES_FAILED);
}

#[test]
fn a_later_attempt_goes_where_the_run_was_not_lost() {
    let launched = |seen: &Observed| super::plan(&retrying(), seen, now()).steps;
    assert_eq!(launched(&between(AttemptOutcome::Test)), [Step::Launch(id("m1", 0))]);
    assert_eq!(launched(&between(AttemptOutcome::Infrastructure)), [Step::Launch(id("m0", 0))]);
}

#[test]
fn nothing_is_made_while_something_is_left_of_an_attempt_before() {
    let mut seen = between(AttemptOutcome::Infrastructure);
    host(&mut seen, "m1").left = vec!["c1".into()];
    let plan = plan(&retrying(), &seen, now());
    assert_eq!(plan.steps, [Step::Remove(id("m1", 0), "c1".into())]);
    assert!(plan.again.is_some_and(|again| again <= SOON));
    // Where it is not in sight, it may be there.
    host(&mut seen, "m1").container = None;
    host(&mut seen, "m1").left = vec![];
    assert!(!super::plan(&retrying(), &seen, now()).steps.iter().any(|s| matches!(s, Step::Launch(_))));
}

#[test]
fn what_is_left_goes_with_a_run_that_ends_between_two_attempts() {
    let mut seen = between(AttemptOutcome::Infrastructure);
    (seen.finished, seen.deleting) = (true, true);
    host(&mut seen, "m1").left = vec!["c1".into()];
    // Its place is given up before that.
    assert_eq!(plan(&retrying(), &seen, now()).steps, [Step::Vacate, Step::Remove(id("m1", 0), "c1".into())]);
    seen.record.since.insert(Stage::Leaving, before(300));
    let last = plan(&retrying(), &seen, now()).steps;
    assert_eq!(last.first(), Some(&Step::TryRemove(id("m1", 0), "c1".into())), "{last:?}");
    assert!(last.contains(&Step::Release));
    // On a host that nobody reaches it is waited for.
    host(&mut seen, "m1").left = vec![];
    host(&mut seen, "m1").container = None;
    seen.record.since.remove(&Stage::Leaving);
    assert!(!plan(&retrying(), &seen, now()).steps.contains(&Step::Release));
}

#[test]
fn between_attempts_the_time_of_the_run_goes_on_and_its_cluster_stays_the_same() {
    type Change = fn(&mut Observed);
    let cases: [(&str, Change, &str); 4] = [
        ("its time", |s| s.record.attempts[0].ran = Some((before(1800), 60_000)), reason::INFRASTRUCTURE),
        ("no cluster", |s| s.cluster = None, reason::CLUSTER_GONE),
        ("another cluster", |s| s.cluster.as_mut().unwrap().uid = "another".into(), reason::CLUSTER_GONE),
        ("it is deleted", |s| s.cluster.as_mut().unwrap().deleting = true, reason::CLUSTER_GONE),
    ];
    for (what, change, why) in cases {
        let mut seen = between(AttemptOutcome::Infrastructure);
        change(&mut seen);
        let plan = plan(&retrying(), &seen, now());
        assert_eq!(end(&plan).map(|(why, _)| why), Some(why), "{what}: {plan:?}");
    }
    let seen = between(AttemptOutcome::Infrastructure);
    let plan = super::plan(&retrying(), &seen, before(100) + SignedDuration::from_secs(1795));
    assert!(plan.again.is_some_and(|again| again <= Duration::from_secs(5)), "{plan:?}");
}

#[test]
fn the_second_container_has_what_the_first_left_of_the_time() {
    let mut seen = with(&ContainerState::Running);
    seen.record.attempts = between(AttemptOutcome::Infrastructure).record.attempts;
    for host in seen.hosts.values_mut() {
        if let Some(Some(container)) = &mut host.container {
            container.attempt = 2;
        }
    }
    let stops =
        |seen: &Observed| super::plan(&retrying(), seen, now()).steps.iter().any(|s| matches!(s, Step::Stop(..)));
    assert!(!stops(&seen));
    seen.record.attempts[0].ran = Some((before(1800), 60_000));
    assert!(stops(&seen));
}

#[test]
fn a_container_of_another_attempt_than_is_written_is_never_judged() {
    let mut seen = with(&exited(0));
    for host in seen.hosts.values_mut() {
        if let Some(Some(container)) = &mut host.container {
            container.attempt = 2;
        }
    }
    let plan = plan(&retrying(), &seen, now());
    assert_eq!(end(&plan).map(|(why, _)| why), Some(reason::NO_RESULTS), "{plan:?}");
}

#[test]
fn of_a_container_that_was_lost_unseen_its_id_and_its_time_are_remembered() {
    let mut seen = with(&ContainerState::Running);
    let view = seen.hosts.remove(&id("m1", 0)).unwrap();
    seen.hosts.insert(id("m1", 1), HostView { container: Some(None), ..view });
    let plan = plan(&retrying(), &seen, now());
    let attempt = again(&plan).expect("another attempt");
    assert_eq!((attempt.container.as_deref(), attempt.ran), (Some("c1"), Some((before(60), 60_000))));
}

#[test]
fn cases_that_failed_are_run_again_by_the_image_they_failed_by() {
    let image = |id: &str, digests: &[&str]| {
        let digests = digests.iter().map(ToString::to_string).collect();
        Some(Some(Image { id: id.into(), digests, ..Image::default() }))
    };
    let (one, copied, moved) = (image("i1", &["suite@d1"]), image("i1", &[]), image("i2", &["suite@d2"]));
    // What the cases failed by, what m0 and m1 have, of which m1 leads, and whether they are run again there.
    let table = [
        (None, &moved, &moved, true),
        (Some("suite@d1"), &one, &one, true),
        (Some("i1"), &copied, &copied, true),
        (Some("suite@d1"), &one, &copied, true),
        (Some("suite@d1"), &moved, &moved, false),
        (Some("suite@d1"), &one, &moved, false),
        (Some("i1"), &moved, &moved, false),
    ];
    for (was, m0, m1, wanted) in table {
        for policy in [ImagePullPolicy::IfNotPresent, ImagePullPolicy::Always] {
            let mut seen = between(AttemptOutcome::Test);
            seen.record.attempts[0].image = was.map(str::to_owned);
            for (slot, image) in [("m0", m0), ("m1", m1), ("w0", m1)] {
                host(&mut seen, slot).image.clone_from(image);
            }
            let spec = E2ERunSpec { image_pull_policy: policy, ..retrying() };
            let plan = plan(&spec, &seen, now());
            let (launches, ends) = (plan.steps.iter().any(|s| matches!(s, Step::Launch(_))), end(&plan));
            let aligns = plan.steps.iter().any(|s| matches!(s, Step::Align { .. }));
            assert_eq!(launches || aligns, wanted, "{was:?} {m0:?} {m1:?}: {plan:?}");
            assert_eq!(ends.is_some_and(|(_, words)| words.contains("another image")), !wanted, "{plan:?}");
        }
    }
}
