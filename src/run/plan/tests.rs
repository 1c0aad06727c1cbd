use proptest::prelude::*;

use super::*;
use crate::run::{
    facts::Exit,
    record::{Placed, Record},
};

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
        "imagePullTimeout": "2m", "timeout": "30m",
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
            HostView { up: true, image: Some(true), container: manager.then_some(None), ..HostView::default() },
        )
    };
    let slots: Vec<String> = ["m0", "m1", "w0"].map(str::to_owned).to_vec();
    Observed {
        finalizer: true,
        cluster: Some(ClusterView {
            uid: UID.to_owned(),
            slots,
            leader: Some("m1".to_owned()),
            ..ClusterView::default()
        }),
        hosts: ["m0", "m1", "w0"].map(host).into(),
        ..Observed::default()
    }
}

fn container(state: ContainerState) -> Container {
    Container { id: "c1".to_owned(), state }
}

fn exited(code: i64) -> ContainerState {
    ContainerState::Exited(Exit { started: before(60), finished: before(1), code, out_of_memory: false, error: None })
}

/// The ready cluster with the run's container on m1.
fn with(state: &ContainerState) -> Observed {
    let mut seen = ready();
    seen.record.placed = Some(Placed { host: id("m1", 0), container: "c1".to_owned(), at: before(61) });
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
    match &plan.stage {
        Stage::Ended(end) => Some((end.reason, &end.message)),
        _ => None,
    }
}

#[test]
fn the_finalizer_comes_first() {
    let seen = Observed { finalizer: false, ..ready() };
    let plan = plan(&spec("IfNotPresent"), &seen, now());
    assert_eq!((plan.steps, plan.stage), (vec![Step::Hold], Stage::Silent));
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
        assert_eq!(plan.steps, [], "{what}");
        assert!(matches!(&plan.stage, Stage::Waiting(w) if w.contains(words)), "{what}: {:?}", plan.stage);
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
    for state in [ContainerState::Created { error: None }, ContainerState::Running { since: before(5) }, exited(0)] {
        let mut seen = with(&state);
        seen.record.placed = None;
        assert_eq!(plan(&spec("IfNotPresent"), &seen, now()).steps, [Step::Adopt(id("m1", 0), container(state))]);
    }
}

#[test]
fn brings_the_image_where_it_is_missing() {
    let failed = |due| Bringing::Failed { words: "no such host".into(), due };
    let (pull, copy) = (|s: &str| Step::Pull(id(s, 0)), |s: &str| Step::Copy { from: id("m1", 0), to: id(s, 0) });
    let cases = [
        ("IfNotPresent", Bringing::Idle, vec![pull("m0"), pull("w0")]),
        ("IfNotPresent", Bringing::Busy, vec![]),
        ("IfNotPresent", failed(false), vec![]),
        ("IfNotPresent", failed(true), vec![copy("m0"), copy("w0")]),
        ("Always", Bringing::Idle, vec![pull("m0"), pull("m1"), pull("w0")]),
        ("Always", failed(true), vec![pull("m0"), pull("m1"), pull("w0")]),
        ("Never", Bringing::Idle, vec![]),
    ];
    for (policy, bringing, steps) in cases {
        let mut seen = ready();
        seen.record.image_missing_since = Some(before(10));
        seen.hosts.values_mut().for_each(|h| h.bringing = bringing.clone());
        for slot in ["m0", "w0"] {
            host(&mut seen, slot).image = Some(false);
        }
        let plan = plan(&spec(policy), &seen, now());
        assert_eq!(plan.steps, steps, "{policy} {bringing:?}");
        assert!(
            matches!(&plan.stage, Stage::Image(w) if w.contains("foo-m0") && w.contains("foo-w0")),
            "{:?}",
            plan.stage
        );
        assert!(plan.again.unwrap() <= SOON);
    }
}

#[test]
fn always_is_satisfied_by_a_pull_of_this_run() {
    let mut seen = ready();
    seen.hosts.values_mut().for_each(|h| h.bringing = Bringing::Done);
    assert_eq!(plan(&spec("Always"), &seen, now()).steps, [Step::Launch(id("m1", 0))]);
}

#[test]
fn the_image_has_its_time_from_when_the_cluster_could_take_it() {
    let mut seen = ready();
    host(&mut seen, "w0").image = Some(false);
    host(&mut seen, "w0").bringing = Bringing::Failed { words: "no such host".into(), due: false };
    let first = plan(&spec("IfNotPresent"), &seen, now());
    assert_eq!(first.steps, [Step::ImageClock(true)]);
    seen.record.image_missing_since = Some(before(119));
    assert_eq!(end(&plan(&spec("IfNotPresent"), &seen, now())), None);
    seen.record.image_missing_since = Some(before(120));
    let last = plan(&spec("IfNotPresent"), &seen, now());
    let (reason, message) = end(&last).unwrap();
    assert_eq!(reason, reason::IMAGE_UNAVAILABLE);
    for words in ["suite:1", "foo-w0", "2m", "no such host", "kubectl testkit load suite:1 --cluster foo", "registry"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    seen.cluster.as_mut().unwrap().not_ready = Some("a node is down".into());
    assert_eq!(plan(&spec("IfNotPresent"), &seen, now()).steps, [Step::ImageClock(false)]);
}

#[test]
fn a_running_container_is_followed_until_its_time_is_up() {
    let follow = plan(&spec("Never"), &with(&ContainerState::Running { since: before(1790) }), now());
    assert_eq!(
        (follow.steps, follow.again),
        (vec![Step::Follow(id("m1", 0), "c1".into())], Some(Duration::from_secs(10)))
    );
    let stop = plan(&spec("Never"), &with(&ContainerState::Running { since: before(1800) }), now());
    assert_eq!(stop.steps, [Step::Stop(id("m1", 0), "c1".into())]);
    let mut again = with(&ContainerState::Running { since: before(5) });
    again.record.stopped = true;
    assert_eq!(plan(&spec("Never"), &again, now()).steps, [Step::Stop(id("m1", 0), "c1".into())]);
}

#[test]
fn a_container_that_ended_is_collected_whatever_its_cluster_is() {
    let mut seen = with(&exited(1));
    for change in [
        |_: &mut ClusterView| {},
        |c: &mut ClusterView| c.deleting = true,
        |c: &mut ClusterView| c.not_ready = Some("x".into()),
    ] {
        change(seen.cluster.as_mut().unwrap());
        assert_eq!(plan(&spec("Never"), &seen, now()).steps, [Step::Collect(id("m1", 0), container(exited(1)))]);
    }
}

#[test]
fn a_container_out_of_sight_is_lost_only_when_that_is_certain() {
    type Change = fn(&mut Observed);
    let down: Change = |s| *host(s, "m1") = HostView { error: Some("refused".into()), ..HostView::default() };
    let cases: [(&str, Change, Option<&str>); 9] = [
        ("removed", |s| host(s, "m1").container = Some(None), Some(reason::CONTAINER_LOST)),
        ("not connected yet", |s| s.hosts.clear(), None),
        ("down", down, None),
        ("its engine silent", |s| (host(s, "m1").container, host(s, "m1").error) = (None, Some("silent".into())), None),
        (
            "replaced",
            |s| {
                s.hosts.remove(&id("m1", 0));
                s.hosts.insert(id("m1", 1), HostView::default());
            },
            Some(reason::CONTAINER_LOST),
        ),
        (
            "shrunk",
            |s| {
                s.hosts.remove(&id("m1", 0));
                s.cluster.as_mut().unwrap().slots = vec!["m0".into()];
            },
            Some(reason::CONTAINER_LOST),
        ),
        ("cluster gone", |s| (s.cluster, s.hosts) = (None, BTreeMap::new()), Some(reason::CLUSTER_GONE)),
        (
            "another cluster of its name",
            |s| (s.cluster.as_mut().unwrap().uid, s.hosts) = ("other".into(), BTreeMap::new()),
            Some(reason::CLUSTER_GONE),
        ),
        (
            "cluster deleted and out of reach",
            |s| (s.cluster.as_mut().unwrap().deleting, s.hosts) = (true, BTreeMap::new()),
            Some(reason::CLUSTER_GONE),
        ),
    ];
    for (what, change, reason) in cases {
        let mut seen = with(&ContainerState::Running { since: before(60) });
        change(&mut seen);
        let plan = plan(&spec("Never"), &seen, now());
        assert_eq!(plan.steps, [], "{what}");
        assert_eq!(end(&plan).map(|(r, _)| r), reason, "{what}: {:?}", plan.stage);
    }
    for (placed, minutes, lost) in [(1800 + 1, 11, true), (1800 + 1, 9, false), (1800 - 1, 11, false)] {
        let mut seen = with(&ContainerState::Running { since: before(60) });
        down(&mut seen);
        host(&mut seen, "m1").out_of_reach = Some(Duration::from_mins(minutes));
        seen.record.placed.as_mut().unwrap().at = before(placed);
        assert_eq!(end(&plan(&spec("Never"), &seen, now())).is_some(), lost, "{placed} s, {minutes} min");
    }
}

#[test]
fn a_container_that_will_not_start_says_so() {
    let seen = with(&ContainerState::Created { error: Some("exec: \"nope\": not found".into()) });
    let plan = plan(&spec("Never"), &seen, now());
    let (reason, message) = end(&plan).unwrap();
    assert_eq!(reason, reason::CONTAINER_FAILED);
    assert!(message.contains("\"nope\": not found") && message.contains("entrypoint"), "{message}");
}

#[test]
fn what_is_left_is_removed_before_the_finalizer() {
    let gone = |s: &mut Observed| s.hosts.values_mut().for_each(|h| h.container = Some(None));
    type Change<'a> = &'a dyn Fn(&mut Observed);
    let removal = [Step::Remove(id("m1", 0), "c1".into()), Step::Release];
    let cases: [(&str, Change<'_>, &[Step]); 8] = [
        ("there", &|_| {}, &removal),
        ("removed already", &gone, &[Step::Release]),
        ("never placed", &|s| (s.record.placed, s.hosts) = (None, BTreeMap::new()), &[Step::Release]),
        ("out of reach", &|s| *host(s, "m1") = HostView::default(), &[]),
        ("not connected yet", &|s| s.hosts.clear(), &[]),
        ("cluster gone", &|s| (s.cluster, s.hosts) = (None, BTreeMap::new()), &[Step::Release]),
        (
            "cluster deleted, out of reach",
            &|s| (s.cluster.as_mut().unwrap().deleting, s.hosts) = (true, BTreeMap::new()),
            &[Step::Release],
        ),
        ("held by nobody", &|s| s.finalizer = false, &[]),
    ];
    for (what, change, steps) in cases {
        for (deleting, finished) in [(true, false), (false, true), (true, true)] {
            let mut seen = Observed { deleting, finished, ..with(&exited(0)) };
            change(&mut seen);
            let plan = plan(&spec("Never"), &seen, now());
            assert_eq!(plan.steps, steps, "{what}, deleting {deleting}, finished {finished}");
        }
    }
}

fn a_state() -> impl Strategy<Value = ContainerState> {
    prop_oneof![
        Just(ContainerState::Created { error: None }),
        Just(ContainerState::Created { error: Some("no".into()) }),
        (0..4000i64).prop_map(|s| ContainerState::Running { since: before(s) }),
        (0..3i64).prop_map(exited),
    ]
}

fn a_host() -> impl Strategy<Value = HostView> {
    let bringing = prop_oneof![
        Just(Bringing::Idle),
        Just(Bringing::Busy),
        Just(Bringing::Done),
        any::<bool>().prop_map(|due| Bringing::Failed { words: "x".into(), due }),
    ];
    (any::<bool>(), any::<Option<bool>>(), prop::option::of(prop::option::weighted(0.2, a_state())), bringing).prop_map(
        |(up, image, found, bringing)| HostView {
            up,
            error: None,
            out_of_reach: None,
            image: image.filter(|_| up),
            container: found.filter(|_| up).map(|c| c.map(container)),
            bringing,
        },
    )
}

prop_compose! {
    fn anything()(
        flags in any::<(bool, bool, bool, bool, bool, bool)>(),
        placed in prop::option::of((0..3usize, 0..2u32, 0..4000i64)),
        missing in prop::option::of(0..300i64),
        cluster in prop::option::weighted(0.9, (any::<bool>(), prop::option::weighted(0.3, Just("x".to_owned())), 0..3usize)),
        hosts in prop::collection::btree_map((0..3usize, 0..2u32), a_host(), 0..5),
    ) -> Observed {
        let slots = ["m0", "m1", "w0"];
        let (deleting, finalizer, finished, stopped, rarely, also) = flags;
        Observed {
            deleting: deleting && rarely,
            finalizer: finalizer || also,
            finished: finished && rarely,
            record: Record {
                placed: placed.map(|(slot, n, ago)| Placed { host: id(slots[slot], n), container: "c1".into(), at: before(ago) }),
                image_missing_since: missing.map(before),
                stopped,
            },
            cluster: cluster.map(|(deleting, not_ready, n)| ClusterView {
                uid: UID.into(), deleting, not_ready,
                slots: slots[..=n].iter().map(|s| (*s).to_owned()).collect(), leader: Some("m1".into()),
            }),
            hosts: hosts.into_iter().map(|((slot, n), view)| (id(slots[slot], n), view)).collect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_container_is_made_only_where_none_can_be(seen in anything(), policy in prop::sample::select(vec!["Always", "IfNotPresent", "Never"])) {
        let plan = plan(&spec(policy), &seen, now());
        if plan.steps.iter().any(|s| matches!(s, Step::Launch(_))) {
            prop_assert!(seen.finalizer && !seen.finished && !seen.deleting);
            prop_assert!(seen.record.placed.is_none());
            let managers = seen.hosts.iter().filter(|(id, _)| id.slot.starts_with('m'));
            prop_assert!(managers.clone().count() > 0);
            for (_, manager) in managers { prop_assert_eq!(&manager.container, &Some(None)); }
            let cluster = seen.cluster.as_ref().unwrap();
            prop_assert!(cluster.not_ready.is_none() && !cluster.deleting);
        }
    }

    #[test]
    fn nothing_is_touched_without_the_finalizer_nor_after_the_end(seen in anything()) {
        let plan = plan(&spec("IfNotPresent"), &seen, now());
        if !seen.finalizer {
            prop_assert!(plan.steps.iter().all(|s| *s == Step::Hold));
        }
        if seen.finished || seen.deleting {
            prop_assert!(plan.steps.iter().all(|s| matches!(s, Step::Remove(..) | Step::Release)));
            prop_assert!(!matches!(plan.stage, Stage::Ended(_)));
        }
    }

    #[test]
    fn a_run_that_is_not_over_is_looked_at_again(seen in anything()) {
        let plan = plan(&spec("IfNotPresent"), &seen, now());
        prop_assert!(plan.again.is_some() || !seen.finalizer);
    }

    #[test]
    fn no_end_is_a_pass_without_a_look_at_results(seen in anything()) {
        if let Stage::Ended(end) = plan(&spec("IfNotPresent"), &seen, now()).stage {
            prop_assert!(!end.complete);
        }
    }
}
