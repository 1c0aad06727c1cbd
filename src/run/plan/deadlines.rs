//! Whatever is seen, and whenever: a run ends within the sum of the limits of its stages, and is
//! let go. The record is kept as `act` keeps it.

use proptest::prelude::*;

use super::*;
use crate::{
    run::{
        facts::{ClusterView, ContainerState, Exit, Kept},
        queue::{Behind, Place},
        record::Record,
        stage::elapsed,
        variables::Lack,
    },
    swarm::Image,
};

/// What one look finds; numbers choose among what is possible.
#[derive(Clone, Debug)]
struct Sight {
    cluster: u8,
    host: u8,
    image: bool,
    state: u8,
    kept: u8,
    place: u8,
    /// Something that its environment is made of is missing.
    lacks: bool,
    /// A step that can fail fails.
    fails: bool,
    /// How much of the time until the next planned look passes, in percent.
    pause: u64,
}

fn sight() -> impl Strategy<Value = Sight> {
    // What is good for a run is rare: its end must not hang on it.
    let pause = prop_oneof![3 => Just(100u64), 1 => 1..100u64];
    (
        0..8u8,
        0..6u8,
        prop::bool::weighted(0.7),
        0..8u8,
        0..16u8,
        0..6u8,
        prop::bool::weighted(0.7),
        pause,
        prop::bool::weighted(0.3),
    )
        .prop_map(|(cluster, host, image, state, kept, place, fails, pause, lacks)| Sight {
            cluster,
            host,
            image,
            state,
            kept,
            place,
            lacks,
            fails,
            pause,
        })
}

fn id() -> HostId {
    HostId { cluster: "u1".into(), slot: "m0".into(), incarnation: 0 }
}

/// On a cluster that is there, or on one of its own.
fn spec(own: bool) -> E2ERunSpec {
    let mut json = serde_json::json!({
        "clusterRef": {"name": "foo"}, "image": "suite:1", "imagePullTimeout": "3m", "timeout": "10m",
        "pendingTimeout": "20m", "gracePeriod": "30s",
    });
    if own {
        json["clusterTemplate"] = serde_json::json!({"spec": {"provider": {"ec2": {"region": "us-east-1"}}}});
        (json["clusterPolicy"], json["holdFor"]) = ("KeepOnFailure".into(), "2h".into());
    }
    serde_json::from_value(json).unwrap()
}

fn state(of: u8) -> ContainerState {
    match of {
        0 => ContainerState::Exited(Exit {
            ran: k8s_openapi::jiff::SignedDuration::from_secs(5),
            code: 0,
            out_of_memory: false,
            error: None,
        }),
        1 | 2 => ContainerState::Created { error: None },
        _ => ContainerState::Running,
    }
}

fn seen(sight: &Sight, record: &Record, deleting: bool, finished: bool) -> Observed {
    let cluster = (sight.cluster > 0 || record.placed.is_some()).then(|| ClusterView {
        uid: "u1".into(),
        deleting: sight.cluster == 1,
        not_ready: (sight.cluster < 5).then(|| "booting".into()),
        stalled: (sight.cluster == 2).then(|| "the quota is used up".into()),
        own: sight.kept != 15,
        place: match sight.place {
            0 => Place::Unknown,
            1 => Place::Behind(Behind { runs: vec!["another".into()], number: 1 }),
            2 => Place::Free,
            _ => Place::Held,
        },
        slots: vec!["m0".into()],
        leader: Some("m0".into()),
        ..ClusterView::default()
    });
    let container = record.placed.as_ref().map(|p| Container {
        id: p.container.clone(),
        state: state(sight.state),
        image: None,
        attempt: record.number(),
        filter: None,
        started: Vec::new(),
    });
    let view = HostView {
        up: sight.host > 1,
        error: (sight.host <= 1).then(|| "silent".into()),
        image: (sight.host > 1).then(|| sight.image.then(Image::default)),
        container: (sight.host > 1).then_some(container),
        ..HostView::default()
    };
    let judged = || Box::new(End::without_container("CasesFailed", "x".into()));
    Observed {
        deleting,
        finalizer: true,
        finished,
        record: record.clone(),
        kept: match sight.kept {
            0 => Some(Kept::Done(judged())),
            1..6 => Some(Kept::Unstored(judged(), "the name is taken".into())),
            6..12 => Some(Kept::Unread("cut off".into())),
            _ => None,
        },
        variables: sight.lacks.then(|| Err(Lack::Missing("there is no Secret".into()))),
        cluster,
        hosts: if sight.host == 0 { [].into() } else { [(id(), view)].into() },
        ..Observed::default()
    }
}

/// Keeps the record as the steps would; whether the run is let go.
fn take(plan: &Plan, sight: &Sight, record: &mut Record, now: Timestamp) -> bool {
    let mut entered = false;
    for step in &plan.steps {
        match step {
            Step::Release => return true,
            Step::Forget(stages) => record.since.retain(|stage, _| !stages.contains(stage)),
            Step::Launch(_) | Step::Adopt(..) if sight.fails => break,
            Step::Launch(_) | Step::Adopt(..) => {
                let placed = Placed { host: id(), container: "c1".into(), at: now };
                record.placed.get_or_insert(placed);
                record.since.insert(Stage::Running, now);
                entered = true;
            }
            Step::Stop(cut, ..) if record.cut.is_none() => {
                record.cut = Some(*cut);
                record.since.insert(Stage::Stopping, now);
                entered = true;
            }
            Step::Remove(..) if sight.fails => break,
            Step::Disturbed(words) => record.disturbed = Some(words.clone()),
            _ => {}
        }
    }
    if let Some((stage, at)) = plan.enters.filter(|_| !entered) {
        record.since.insert(stage, at);
    }
    false
}

fn sum(stages: &[Stage]) -> Duration {
    stages.iter().map(|stage| stage.limit(&spec(true))).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn every_run_ends_in_time_whatever_is_seen(
        sights in prop::collection::vec(sight(), 20..60),
        deleted in prop::option::weighted(0.3, 0..200usize),
        own in prop::bool::ANY,
    ) {
        let begin = Timestamp::from_second(1_000_000).unwrap();
        let (mut now, mut record) = (begin, Record::default());
        record.since.insert(Stage::Pending, begin);
        let (mut ended, mut deleting) = (None, None);
        for look in 0..20_000 {
            let sight = &sights[look % sights.len()];
            if deleted == Some(look) { deleting = Some(now); }
            let seen = Observed { ended_at: ended, ..seen(sight, &record, deleting.is_some(), ended.is_some()) };
            let plan = plan(&spec(own), &seen, now);
            if let Says::Ended(_) = plan.says {
                prop_assert!(ended.is_none(), "it ends once");
                ended = Some(now);
            }
            if take(&plan, sight, &mut record, now) { break; }
            let again = plan.again.expect("a run that is held is looked at again");
            prop_assert!(!again.is_zero());
            now += again * u32::try_from(sight.pause).unwrap() / 100;
        }
        let running = [Stage::Pending, Stage::Image, Stage::Starting, Stage::Running, Stage::Stopping, Stage::Collecting, Stage::Storing];
        // What follows an end is looked at a moment later.
        let most = sum(&running) + SOON;
        if let Some(at) = ended {
            prop_assert!(elapsed(begin, at) <= most, "it ended after {:?}", elapsed(begin, at));
            prop_assert!(elapsed(at, now) <= sum(&[Stage::Cleaning, Stage::Leaving, Stage::Kept]) + SOON, "{:?}", elapsed(at, now));
        } else {
            let asked = deleting.expect("a run that did not end was deleted");
            let most = sum(&[Stage::Stopping, Stage::Collecting, Stage::Leaving]) + SOON;
            prop_assert!(elapsed(asked, now) <= most, "{:?}", elapsed(asked, now));
        }
    }
}
