use std::collections::BTreeMap;

use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::{
    api::reason,
    run::{
        facts::{Bringing, ClusterView, ContainerState, Exit, Kept},
        queue::{Behind, Place},
        record::{Placed, Record},
        variables::{Lack, Variables},
    },
    swarm::Image,
};

mod crashes;
mod generated;
mod image;
mod out_of_sight;
mod own;
mod retry;

const UID: &str = "11111111-2222";

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn before(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn spec(policy: &str) -> E2ERunSpec {
    let json = serde_json::json!({
        "clusterRef": {"name": "foo"}, "image": "suite:1", "imagePullPolicy": policy,
        "imagePullTimeout": "2m", "timeout": "30m", "pendingTimeout": "1h", "gracePeriod": "45s",
        "retries": {"infrastructure": 0},
    });
    serde_json::from_value(json).unwrap()
}

fn id(slot: &str, incarnation: u32) -> HostId {
    HostId { cluster: UID.to_owned(), slot: slot.to_owned(), incarnation }
}

/// Three nodes that have the image and no container, on a ready cluster whose leader is m1.
fn ready() -> Observed {
    let host = |slot: &str| {
        let manager = slot.starts_with('m');
        (
            id(slot, 0),
            HostView {
                up: true,
                image: Some(Some(Image::default())),
                container: manager.then_some(None),
                ..HostView::default()
            },
        )
    };
    let slots: Vec<String> = ["m0", "m1", "w0"].map(str::to_owned).to_vec();
    Observed {
        finalizer: true,
        cluster: Some(ClusterView {
            uid: UID.to_owned(),
            slots,
            leader: Some("m1".to_owned()),
            place: Place::Held,
            ..ClusterView::default()
        }),
        hosts: ["m0", "m1", "w0"].map(host).into(),
        ..Observed::default()
    }
}

fn container(state: ContainerState) -> Container {
    Container { id: "c1".to_owned(), state, image: None, attempt: 1, filter: None, started: Vec::new() }
}

fn exited(code: i64) -> ContainerState {
    ContainerState::Exited(Exit { ran: SignedDuration::from_secs(59), code, out_of_memory: false, error: None })
}

/// The ready cluster with the run's container on m1.
fn with(state: &ContainerState) -> Observed {
    let mut seen = ready();
    seen.record.placed = Some(Placed { host: id("m1", 0), container: "c1".to_owned(), at: before(61) });
    seen.record.since = [(Stage::Pending, before(90)), (Stage::Running, before(60))].into();
    for (host, view) in &mut seen.hosts {
        view.image = None;
        view.container = (host.slot == "m1").then(|| Some(container(state.clone())));
    }
    seen
}

fn host<'a>(seen: &'a mut Observed, slot: &str) -> &'a mut HostView {
    seen.hosts.get_mut(&id(slot, 0)).unwrap()
}

fn end(plan: &Plan) -> Option<(&'static str, &str)> {
    match &plan.says {
        Says::Ended(end) => Some((end.reason, &end.message)),
        _ => None,
    }
}

#[test]
fn the_finalizer_comes_first() {
    let seen = Observed { finalizer: false, ..ready() };
    let plan = plan(&spec("IfNotPresent"), &seen, now());
    assert_eq!((plan.steps, plan.says), (vec![Step::Hold], Says::Nothing));
}

#[test]
fn waits_for_its_cluster_and_says_why() {
    type Change = fn(&mut Observed);
    let cases: [(&str, Change, &str); 7] = [
        ("no such cluster", |s| s.cluster = None, "there is no SwarmCluster foo in this namespace"),
        (
            "not ready",
            |s| s.cluster.as_mut().unwrap().not_ready = Some("launching foo-m0".into()),
            "not ready: launching foo-m0",
        ),
        ("deleted", |s| s.cluster.as_mut().unwrap().deleting = true, "is being deleted"),
        ("no connections yet", |s| s.hosts.clear(), "waiting for foo-m0: not connected yet"),
        (
            "a host down",
            |s| (host(s, "w0").up, host(s, "w0").error) = (false, Some("refused".into())),
            "waiting for foo-w0: refused",
        ),
        ("an engine silent", |s| host(s, "m0").image = None, "waiting for foo-m0"),
        (
            "a manager that may have it",
            |s| (host(s, "m0").container, host(s, "m0").error) = (None, Some("busy".into())),
            "waiting for foo-m0: busy",
        ),
    ];
    for (what, change, words) in cases {
        let mut seen = ready();
        change(&mut seen);
        let plan = plan(&spec("IfNotPresent"), &seen, now());
        let not_ready = ["not ready", "deleted"].contains(&what);
        assert_eq!(plan.steps, if not_ready { vec![Step::Vacate] } else { vec![] }, "{what}");
        assert!(matches!(&plan.says, Says::Waiting(w) if w.contains(words)), "{what}: {:?}", plan.says);
        assert!(plan.again.is_some(), "{what}");
    }
}

#[test]
fn starts_on_the_leader_or_on_any_manager() {
    let mut seen = ready();
    assert_eq!(plan(&spec("IfNotPresent"), &seen, now()).steps, [Step::Launch(id("m1", 0))]);
    seen.cluster.as_mut().unwrap().leader = None;
    assert_eq!(plan(&spec("IfNotPresent"), &seen, now()).steps, [Step::Launch(id("m0", 0))]);
}

#[test]
fn a_container_that_is_there_is_never_made_again() {
    for state in [ContainerState::Created { error: None }, ContainerState::Running, exited(0)] {
        let mut seen = with(&state);
        seen.record.placed = None;
        assert_eq!(plan(&spec("IfNotPresent"), &seen, now()).steps, [Step::Adopt(id("m1", 0), container(state))]);
    }
}

#[test]
fn waiting_has_an_end_that_says_for_what() {
    type Change = fn(&mut Observed);
    let cases: [(Change, &str); 4] = [
        (|s| s.cluster = None, "there is no SwarmCluster foo"),
        (|s| s.cluster.as_mut().unwrap().not_ready = Some("launching foo-m0".into()), "launching foo-m0"),
        (|s| s.cluster.as_mut().unwrap().deleting = true, "is being deleted"),
        (|s| s.hosts.clear(), "waiting for foo-m0"),
    ];
    for (change, words) in cases {
        for (waited, over) in [(3599, false), (3600, true)] {
            let mut seen = ready();
            change(&mut seen);
            seen.record.since.insert(Stage::Pending, before(waited));
            let plan = plan(&spec("IfNotPresent"), &seen, now());
            let ended = end(&plan).filter(|(_, m)| m.contains(words) && m.contains("spec.pendingTimeout (1h)"));
            assert_eq!(ended.map(|(r, _)| r), over.then_some(reason::PENDING_TIMEOUT), "{words}: {plan:?}");
        }
    }
}

#[test]
fn what_its_environment_is_made_of_is_waited_for_before_anything_is_made() {
    let missing = || Some(Err(Lack::Missing("there is no Secret tokens".into())));
    let mut own = spec("IfNotPresent");
    own.cluster_template =
        serde_json::from_value(serde_json::json!({"spec": {"provider": {"ec2": {"region": "us-east-1"}}}})).unwrap();
    let free = |seen: &mut Observed| seen.cluster.as_mut().unwrap().place = Place::Free;
    let none = |seen: &mut Observed| seen.cluster = None;
    for (spec, change) in [(spec("IfNotPresent"), free as fn(&mut Observed)), (own, none)] {
        let mut seen = ready();
        change(&mut seen);
        seen.variables = missing();
        for (waited, again) in [(10, 2), (70, 15)] {
            seen.record.since = [(Stage::Pending, before(waited))].into();
            let plan = plan(&spec, &seen, now());
            assert_eq!((plan.steps.as_slice(), plan.again), (&[][..], Some(Duration::from_secs(again))));
            assert!(matches!(&plan.says, Says::Lacking(w) if w.contains("tokens")), "{:?}", plan.says);
        }
        seen.record.since = [(Stage::Pending, before(3600))].into();
        let last = plan(&spec, &seen, now());
        let (reason, message) = end(&last).unwrap();
        assert_eq!(reason, reason::INVALID_SPEC);
        assert!(message.contains("spec.pendingTimeout (1h)") && message.contains("no Secret tokens"), "{message}");
        // What no waiting makes right.
        seen.record.since = [(Stage::Pending, before(1))].into();
        seen.variables = Some(Err(Lack::Wrong("Secret foo-ssh is the operator's own".into())));
        assert_eq!(end(&plan(&spec, &seen, now())).map(|(r, _)| r), Some(reason::INVALID_SPEC));
    }
    let mut there = ready();
    there.variables = Some(Ok(Variables::default()));
    assert_eq!(plan(&spec("IfNotPresent"), &there, now()).steps, [Step::Launch(id("m1", 0))]);
}

#[test]
fn a_host_that_falls_silent_while_the_image_is_brought_stops_no_clock() {
    let mut seen = ready();
    *host(&mut seen, "w0") = HostView { error: Some("silent".into()), ..HostView::default() };
    for (waited, reason) in [(119, None), (120, Some(reason::INFRASTRUCTURE))] {
        seen.record.since = [(Stage::Pending, before(9000)), (Stage::Image, before(waited))].into();
        let plan = plan(&spec("IfNotPresent"), &seen, now());
        assert_eq!(end(&plan).map(|(r, _)| r), reason, "{plan:?}");
        assert!(end(&plan).is_none_or(|(_, m)| m.contains("2m") && m.contains("foo-w0: silent")), "{plan:?}");
    }
}

#[test]
fn a_container_that_cannot_be_made_is_tried_for_a_while() {
    let mut seen = ready();
    seen.trouble = Some("no space left on device".into());
    assert_eq!(plan(&spec("Never"), &seen, now()).enters, Some((Stage::Starting, now())));
    seen.record.since.insert(Stage::Starting, before(119));
    assert_eq!(plan(&spec("Never"), &seen, now()).steps, [Step::Launch(id("m1", 0))]);
    seen.record.since.insert(Stage::Starting, before(120));
    let last = plan(&spec("Never"), &seen, now());
    let (reason, message) = end(&last).unwrap();
    assert!(reason == reason::INFRASTRUCTURE && message.contains("no space left on device"), "{message}");
}

#[test]
fn a_running_container_is_followed_until_its_time_is_up() {
    let since = |seconds| {
        let mut seen = with(&ContainerState::Running);
        seen.record.since.insert(Stage::Running, before(seconds));
        seen
    };
    let follow = plan(&spec("Never"), &since(1790), now());
    assert_eq!(
        (follow.steps, follow.again),
        (vec![Step::Follow(id("m1", 0), "c1".into())], Some(Duration::from_secs(10)))
    );
    let stop = plan(&spec("Never"), &since(1800), now());
    assert_eq!(stop.steps, [Step::Stop(Cut::Deadline, id("m1", 0), "c1".into())]);
    assert_eq!(stop.enters, Some((Stage::Stopping, now())));
    // Where nobody saw it start, its time goes from before that.
    let mut unseen = with(&ContainerState::Running);
    unseen.record.since.remove(&Stage::Running);
    assert_eq!(plan(&spec("Never"), &unseen, now()).enters, Some((Stage::Running, before(61))));
}

#[test]
fn what_a_person_asks_for_stops_the_container_with_its_grace() {
    let mut cancelled = spec("Never");
    cancelled.cancel = true;
    let running = || with(&ContainerState::Running);
    let deleted = Observed { deleting: true, ..running() };
    let mut leaving = running();
    leaving.cluster.as_mut().unwrap().deleting = true;
    let mut before_that = running();
    before_that.record.cut = Some(Cut::Deadline);
    let cases = [
        (&cancelled, running(), Cut::Cancelled),
        (&cancelled, before_that, Cut::Deadline),
        (&spec("Never"), deleted, Cut::Deleted),
        (&spec("Never"), leaving, Cut::ClusterGone),
    ];
    for (spec, mut seen, cut) in cases {
        assert_eq!(plan(spec, &seen, now()).steps, [Step::Stop(cut, id("m1", 0), "c1".into())]);
        // 45 s, and 30 for the engine to kill it: then it is kept as it is, or removed.
        seen.record.cut = Some(cut);
        seen.record.since.insert(Stage::Stopping, before(75));
        let late = plan(spec, &seen, now()).steps;
        assert!(
            matches!(late.as_slice(), [Step::Keep(_, _, c)] if c.cut == Some(cut)) || cut == Cut::Deleted,
            "{late:?}"
        );
        assert!(
            matches!(late.as_slice(), [Step::Remove(..), Step::Vacate, Step::Release]) || cut != Cut::Deleted,
            "{late:?}"
        );
    }
    let pending = plan(&cancelled, &ready(), now());
    assert_eq!(end(&pending).map(|(r, _)| r), Some(reason::CANCELLED));
    let created = plan(&cancelled, &with(&ContainerState::Created { error: None }), now());
    assert_eq!(end(&created).map(|(r, _)| r), Some(reason::CANCELLED));
}

#[test]
fn a_container_that_ended_is_kept_whatever_its_cluster_is() {
    let mut seen = with(&exited(1));
    for change in [
        |_: &mut ClusterView| {},
        |c: &mut ClusterView| c.deleting = true,
        |c: &mut ClusterView| c.not_ready = Some("x".into()),
    ] {
        change(seen.cluster.as_mut().unwrap());
        let plan = plan(&spec("Never"), &seen, now());
        let [Step::Keep(at, found, course)] = plan.steps.as_slice() else { panic!("{plan:?}") };
        assert_eq!((at, found, course.cut), (&id("m1", 0), &container(exited(1)), None));
        assert_eq!(plan.enters, Some((Stage::Collecting, now())));
    }
}

#[test]
fn what_is_kept_is_the_end_and_what_cannot_be_is_said_until_the_time_is_over() {
    let judged = End { complete: true, ..End::without_container(reason::PASSED, "2 cases passed".into()) };
    let mut seen = with(&exited(0));
    seen.record.since.insert(Stage::Collecting, before(5));
    seen.kept = Some(Kept::Done(Box::new(judged.clone())));
    assert_eq!(plan(&spec("Never"), &seen, now()).says, Says::Ended(Box::new(judged.clone())));

    seen.kept = Some(Kept::Unstored(Box::new(judged), "the name is taken".into()));
    let told = plan(&spec("Never"), &seen, now());
    assert_eq!(told.says, Says::Storing("the name is taken".into()));
    assert!(matches!(told.steps.as_slice(), [Step::Keep(..)]) && told.enters == Some((Stage::Storing, now())));
    seen.record.since.extend([(Stage::Collecting, before(3000)), (Stage::Storing, before(600))]);
    let Says::Ended(end) = plan(&spec("Never"), &seen, now()).says else { panic!("it is over") };
    assert!(!end.complete && end.reason == reason::NOT_KEPT, "{end:?}");
    assert!(end.message.contains("the name is taken") && end.message.contains("2 cases passed"), "{}", end.message);

    let mut unread = with(&exited(0));
    unread.kept = Some(Kept::Unread("cut off".into()));
    for (cut, reason) in [(None, reason::INFRASTRUCTURE), (Some(Cut::Deadline), reason::DEADLINE_EXCEEDED)] {
        unread.record.cut = cut;
        unread.record.since.insert(Stage::Collecting, before(599));
        assert!(
            matches!(&plan(&spec("Never"), &unread, now()).says, Says::Collecting(Some(w)) if w.contains("cut off"))
        );
        unread.record.since.insert(Stage::Collecting, before(600));
        let last = plan(&spec("Never"), &unread, now());
        assert!(super::tests::end(&last).is_some_and(|(r, m)| r == reason && m.contains("cut off")), "{last:?}");
    }
}

#[test]
fn a_container_that_will_not_start_says_whose_fault_that_is() {
    let cases = [
        ("exec: \"nope\": executable file not found in $PATH", reason::INVALID_SPEC, "entrypoint"),
        ("write /var/lib/docker/x: no space left on device", reason::INFRASTRUCTURE, "disk is full"),
    ];
    for (error, reason, remedy) in cases {
        let seen = with(&ContainerState::Created { error: Some(error.into()) });
        let plan = plan(&spec("Never"), &seen, now());
        let (why, message) = end(&plan).unwrap();
        assert!(why == reason && message.contains(error) && message.contains(remedy), "{why}: {message}");
    }
}

#[test]
fn what_is_left_is_removed_before_the_finalizer() {
    let gone = |s: &mut Observed| s.hosts.values_mut().for_each(|h| h.container = Some(None));
    type Change<'a> = &'a dyn Fn(&mut Observed);
    let remove = Step::Remove(id("m1", 0), "c1".into());
    let removal = [Step::Vacate, remove.clone(), Step::Release];
    let last = [Step::Vacate, Step::Release];
    let running = |s: &mut Observed| host(s, "m1").container = Some(Some(container(ContainerState::Running)));
    let cases: [(&str, Change<'_>, &[Step]); 10] = [
        ("there", &|_| {}, &removal),
        // Only when it does not run any more is it somebody else's turn.
        ("there, and runs", &running, &[remove.clone(), Step::Vacate, Step::Release]),
        ("there, without a place", &|s| s.cluster.as_mut().unwrap().place = Place::Unknown, &[remove, Step::Release]),
        ("removed already", &gone, &last),
        ("never placed", &|s| (s.record.placed, s.hosts) = (None, BTreeMap::new()), &last),
        ("out of reach", &|s| *host(s, "m1") = HostView::default(), &[]),
        ("not connected yet", &|s| s.hosts.clear(), &[]),
        ("cluster gone", &|s| (s.cluster, s.hosts) = (None, BTreeMap::new()), &[Step::Release]),
        (
            "cluster deleted, out of reach",
            &|s| (s.cluster.as_mut().unwrap().deleting, s.hosts) = (true, BTreeMap::new()),
            &last,
        ),
        ("held by nobody", &|s| s.finalizer = false, &[]),
    ];
    for (what, change, steps) in cases {
        for deleting in [false, true] {
            let finished = true;
            let mut seen = Observed { deleting, finished, ..with(&exited(0)) };
            change(&mut seen);
            let plan = plan(&spec("Never"), &seen, now());
            assert_eq!(plan.steps, steps, "{what}, deleting {deleting}, finished {finished}");
        }
    }
}

#[test]
fn a_run_that_is_deleted_is_read_once_and_never_kept_from_going() {
    let deleted = |kept| Observed { deleting: true, kept, ..with(&exited(0)) };
    let steps = |seen: &Observed| plan(&spec("Never"), seen, now()).steps;
    let gone = [Step::Vacate, Step::Remove(id("m1", 0), "c1".into()), Step::Release];
    assert!(matches!(steps(&deleted(None)).as_slice(), [Step::Keep(..)]));
    assert_eq!(steps(&deleted(Some(Kept::Unread("cut off".into())))), gone);
    let end = End::without_container(reason::CANCELLED, "x".into());
    assert_eq!(steps(&deleted(Some(Kept::Unstored(Box::new(end), "terminating".into())))), gone);
    let created = Observed { deleting: true, ..with(&ContainerState::Created { error: None }) };
    assert_eq!(steps(&created), gone);

    let mut unreachable = Observed { deleting: true, ..with(&ContainerState::Running) };
    *host(&mut unreachable, "m1") = HostView { error: Some("refused".into()), ..HostView::default() };
    assert!(matches!(plan(&spec("Never"), &unreachable, now()).says, Says::Deleting(w) if w.contains("refused")));
    unreachable.record.since.insert(Stage::Leaving, before(300));
    assert!(
        matches!(steps(&unreachable).as_slice(), [Step::Abandon(words), Step::Vacate, Step::Release] if words.contains("foo-m1"))
    );
    let mut stubborn = deleted(Some(Kept::Unread("cut off".into())));
    stubborn.record.since.insert(Stage::Leaving, before(300));
    assert_eq!(steps(&stubborn), [Step::TryRemove(id("m1", 0), "c1".into()), Step::Vacate, Step::Release]);
}

#[test]
fn a_place_is_taken_before_anything_is_done_on_the_hosts() {
    let free = |image: bool, hosts: bool| {
        let mut seen = ready();
        seen.cluster.as_mut().unwrap().place = Place::Free;
        host(&mut seen, "w0").image = Some(image.then(Image::default));
        seen.hosts.retain(|_, _| hosts);
        plan(&spec("IfNotPresent"), &seen, now()).steps
    };
    assert_eq!(free(true, true), [Step::Take, Step::Launch(id("m1", 0))]);
    assert_eq!(free(false, true), [Step::Take, Step::Pull(id("w0", 0))]);
    assert_eq!(free(true, false), [], "nobody is kept waiting for one who cannot begin");
}

#[test]
fn whose_turn_it_is_not_waits_within_the_time_of_pending_and_says_behind_whom() {
    let mut seen = ready();
    let behind = Behind { runs: vec!["run-a".into()], number: 2 };
    seen.cluster.as_mut().unwrap().place = Place::Behind(behind);
    seen.record.since = [(Stage::Pending, before(3000))].into();
    let first = plan(&spec("IfNotPresent"), &seen, now());
    assert_eq!((first.steps, first.enters), (vec![], Some((Stage::Queued, now()))));
    seen.record.since.insert(Stage::Queued, before(30));
    seen.record.since.insert(Stage::Image, before(40));
    let later = plan(&spec("IfNotPresent"), &seen, now());
    assert_eq!((later.steps, later.enters), (vec![Step::Forget(vec![Stage::Image])], None));
    assert!(
        matches!(&later.says, Says::Queued(w) if w.contains("waits behind run-a; 2nd in line")),
        "{:?}",
        later.says
    );
    // The cluster comes first, and the whole of waiting has its end.
    seen.cluster.as_mut().unwrap().not_ready = Some("booting".into());
    assert!(matches!(plan(&spec("IfNotPresent"), &seen, now()).says, Says::Waiting(w) if w.contains("booting")));
    seen.cluster.as_mut().unwrap().not_ready = None;
    seen.record.since.insert(Stage::Pending, before(3600));
    let last = plan(&spec("IfNotPresent"), &seen, now());
    let (reason, words) = end(&last).unwrap();
    assert!(reason == reason::PENDING_TIMEOUT && words.contains("waits behind run-a; 2nd in line"), "{words}");
}

#[test]
fn a_container_that_is_there_has_its_place_whatever_is_written() {
    let mut seen = with(&ContainerState::Running);
    seen.cluster.as_mut().unwrap().place = Place::Unknown;
    let follow = Step::Follow(id("m1", 0), "c1".into());
    assert_eq!(plan(&spec("Never"), &seen, now()).steps, [Step::Claim, follow.clone()]);
    seen.cluster.as_mut().unwrap().deleting = true;
    assert!(!plan(&spec("Never"), &seen, now()).steps.contains(&Step::Claim));
    assert_eq!(plan(&spec("Never"), &with(&ContainerState::Running), now()).steps, [follow]);
}
