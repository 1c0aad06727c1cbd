//! The inventory against the in-memory cloud. What is waited for are the wake-ups
//! themselves; only the view's time is made up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{Inventory, PACE, Pace, View, Wake, backoff};
use crate::{
    api::AmiSelector,
    cloud::{
        CloudError, CloudProvider, Instance, InstanceState, Launch, NetworkSpec, Owner,
        memory::{Behavior, Memory},
    },
};

const QUICK: Pace =
    Pace { fast: Duration::from_millis(5), idle: Duration::from_secs(3600), most: Duration::from_millis(40) };

fn owner(name: &str) -> Owner {
    Owner { uid: format!("uid-{name}"), name: format!("default/{name}") }
}

fn launch(of: &str, slot: &str, group: &str) -> Launch {
    Launch {
        owner: owner(of),
        slot: slot.to_owned(),
        name: format!("{of}-{slot}"),
        incarnation: 0,
        image: AmiSelector::default(),
        instance_type: "t3.medium".to_owned(),
        subnet: None,
        public_address: false,
        security_groups: vec![group.to_owned()],
        spot: false,
        volume: None,
        instance_profile: None,
        user_data: String::new(),
    }
}

struct Bed {
    memory: Arc<Memory>,
    inventory: Inventory,
    wakes: mpsc::UnboundedReceiver<Owner>,
}

impl Bed {
    fn new(behavior: Behavior) -> Self {
        let memory = Arc::new(Memory::new(behavior));
        let (sender, wakes) = mpsc::unbounded_channel();
        let wake: Wake = Arc::new(move |owner| drop(sender.send(owner.clone())));
        let inventory = Inventory::with_pace(memory.clone(), wake, QUICK);
        Self { memory, inventory, wakes }
    }

    async fn launch(&self, of: &str, slot: &str) -> Instance {
        let spec = NetworkSpec { access_cidrs: vec!["0.0.0.0/0".to_owned()], subnets: vec![] };
        let network = self.memory.ensure_network(&owner(of), &spec).await.unwrap();
        self.memory.launch(&launch(of, slot, &network.security_group)).await.unwrap()
    }

    /// Waits until the snapshot of a cluster is as asked for, looking only when woken.
    async fn until(&mut self, of: &str, is: impl Fn(&[Instance]) -> bool) {
        let all = async {
            loop {
                if self.inventory.snapshot(&owner(of)).is_some_and(|i| is(&i)) {
                    return;
                }
                let woken = self.wakes.recv().await.unwrap();
                assert_eq!(woken, owner(of), "nobody else's instances changed");
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("woken in time");
    }
}

#[tokio::test]
async fn nothing_is_concluded_before_a_sweep_succeeded() {
    let mut bed = Bed::new(Behavior { throttled: 1.0, ..Behavior::default() });
    assert_eq!(bed.inventory.snapshot(&owner("a")), None);
    assert_eq!(bed.wakes.recv().await, Some(owner("a")), "woken to report the failure");
    assert!(matches!(bed.inventory.last_error(), Some(CloudError::Throttled(_))));
    assert_eq!(bed.inventory.snapshot(&owner("a")), None);
    assert_eq!(bed.inventory.owners(), None);

    bed.memory.behave(|b| b.throttled = 0.0);
    bed.inventory.synced().await;
    assert_eq!(bed.wakes.recv().await, Some(owner("a")), "woken to go on");
    assert_eq!(bed.inventory.snapshot(&owner("a")), Some(vec![]));
    assert_eq!(bed.inventory.last_error(), None);
}

#[tokio::test]
async fn a_cluster_is_woken_at_every_step_of_an_instances_life() {
    let times = Duration::from_millis(30);
    let mut bed = Bed::new(Behavior { boot: times, shutdown: times, unlisted: times / 2, ..Behavior::default() });
    bed.inventory.synced().await;
    let instance = bed.launch("a", "m0").await;
    bed.inventory.note(instance.clone());
    let now = bed.inventory.snapshot(&owner("a")).unwrap();
    assert_eq!(now, std::slice::from_ref(&instance), "seen at once though the cloud does not list it");
    assert_eq!(bed.inventory.snapshot(&owner("b")), Some(vec![]));

    bed.until("a", |i| i[0].state == InstanceState::Running).await;
    assert_eq!(bed.inventory.owners(), Some(vec![owner("a")]));

    let ids = [instance.id];
    bed.memory.terminate(&ids).await.unwrap();
    bed.inventory.note_terminating(&ids);
    assert_eq!(bed.inventory.snapshot(&owner("a")).unwrap()[0].state, InstanceState::ShuttingDown);
    bed.until("a", |i| i[0].state == InstanceState::Terminated).await;
    assert_eq!(bed.inventory.owners(), Some(vec![]));
}

#[tokio::test]
async fn sweeps_do_not_grow_with_the_clusters_and_are_rare_when_nothing_happens() {
    let mut bed = Bed::new(Behavior::default());
    bed.inventory.synced().await;
    for i in 0..20 {
        let instance = bed.launch(&format!("c{i}"), "m0").await;
        assert_eq!(instance.state, InstanceState::Running);
    }
    bed.inventory.poke();
    for _ in 0..20 {
        bed.wakes.recv().await.unwrap();
    }
    let sweeps = bed.memory.calls()["DescribeInstances"];
    assert!(sweeps <= 3, "{sweeps} sweeps for 20 clusters");
}

#[tokio::test]
async fn the_last_handle_ends_the_sweeps() {
    let Bed { memory, inventory, .. } = Bed::new(Behavior::default());
    inventory.synced().await;
    let other = inventory.clone();
    drop(inventory);
    other.synced().await;
    assert!(Arc::strong_count(&memory) > 1);
    drop(other);
    let gone = async {
        while Arc::strong_count(&memory) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the task lets go of the cloud");
}

fn instance(id: &str, state: InstanceState) -> Instance {
    Instance {
        id: id.to_owned(),
        owner: owner("a"),
        slot: "m0".to_owned(),
        incarnation: 0,
        state,
        state_reason: None,
        instance_type: "t3.medium".to_owned(),
        spot: false,
        private_address: None,
        public_address: None,
        zone: None,
        subnet: None,
        launched_at: None,
        login: None,
    }
}

/// Sweeps that show nothing, 20 s apart, the first this many seconds after `t`; when the instance was given up.
fn missing(view: &mut View, t: Instant, first: u64) -> u64 {
    let gone = |s: &u64| !view.sweep(vec![], t + Duration::from_secs(*s)).is_empty();
    (first..).step_by(20).take(100).find(gone).expect("given up at last")
}

fn states(view: &View) -> Vec<InstanceState> {
    view.of("uid-a").iter().map(|i| i.state).collect()
}

#[test]
fn a_sweep_does_not_erase_what_was_launched_since_it_began() {
    let (mut view, t) = (View::default(), Instant::now());
    view.note(instance("i-1", InstanceState::Pending), t + Duration::from_secs(1));
    assert!(view.sweep(vec![], t).is_empty());
    assert_eq!(states(&view), [InstanceState::Pending]);
    // Nor one that began after it and does not list it yet.
    assert!(view.sweep(vec![], t + Duration::from_secs(20)).is_empty());
    assert_eq!(states(&view), [InstanceState::Pending]);
    assert!(view.is_transient());
    // But not for ever.
    assert_eq!(missing(&mut view, t, 40), 120);
    assert!(states(&view).is_empty());
}

#[test]
fn nobody_is_missed_while_nobody_lists() {
    let t = Instant::now();
    let after = |seconds| t + Duration::from_secs(seconds);
    // When the sweep is that shows the instance last, when those begin that do not, and when it is given up.
    let table = [
        ("all is well", 0, 20, 120),
        ("the cloud is away for ten minutes", 0, 600, 600 + 100),
        ("this process stood still for a day", 0, 86_400, 86_400 + 100),
        ("an outage before it says nothing either", 600, 620, 720),
    ];
    for (what, listed, first, gone) in table {
        let mut view = View::default();
        view.sweep(vec![], t);
        view.sweep(vec![instance("i-1", InstanceState::Running)], after(listed));
        assert_eq!(missing(&mut view, t, first), gone, "{what}");
    }
    // However rarely one succeeds, each counts as one in time at most.
    let mut view = View::default();
    view.sweep(vec![instance("i-1", InstanceState::Running)], t);
    let gone = (1..).find(|n| !view.sweep(vec![], after(n * 300)).is_empty());
    assert_eq!(gone, Some(4));
    // So for one that was launched in the middle of it.
    let mut view = View::default();
    view.sweep(vec![], t);
    view.note(instance("i-1", InstanceState::Pending), after(600));
    assert_eq!(missing(&mut view, t, 900), 900 + 120);
}

#[test]
fn the_listings_time_goes_on_with_those_that_come() {
    let t = Instant::now();
    let after = |seconds| t + Duration::from_secs(seconds);
    let mut view = View::default();
    assert_eq!(view.listened(after(500)), Duration::ZERO, "there was none yet");
    view.sweep(vec![], after(500));
    for (now, listened) in [(500, 0), (510, 10), (530, 30), (5000, 30)] {
        assert_eq!(view.listened(after(now)), Duration::from_secs(listened), "{now}");
    }
    view.sweep(vec![], after(5000));
    assert_eq!(view.listened(after(5001)), Duration::from_secs(31));
}

#[test]
fn a_listing_that_shows_an_instance_wins_over_the_note() {
    let (mut view, t) = (View::default(), Instant::now());
    view.sweep(vec![instance("i-1", InstanceState::Running)], t);
    view.note(instance("i-1", InstanceState::Pending), t);
    assert_eq!(states(&view), [InstanceState::Running]);
    view.sweep(vec![instance("i-1", InstanceState::Terminated)], t);
    assert_eq!(states(&view), [InstanceState::Terminated]);
}

#[test]
fn a_listing_that_lacks_an_instance_is_not_believed_at_once() {
    let (mut view, t) = (View::default(), Instant::now());
    let after = |seconds| t + Duration::from_secs(seconds);
    let running = || vec![instance("i-1", InstanceState::Running)];
    view.sweep(running(), t);
    // However long it has been there.
    for seconds in [5, 25, 600] {
        view.sweep(running(), after(seconds));
        assert!(view.sweep(vec![], after(seconds + 20)).is_empty());
        assert_eq!(states(&view), [InstanceState::Running]);
    }
    assert_eq!(missing(&mut view, t, 640), 720);
    assert!(states(&view).is_empty());
}

#[test]
fn an_instance_that_ended_leaves_with_the_first_listing_that_lacks_it() {
    let (mut view, t) = (View::default(), Instant::now());
    view.sweep(vec![instance("i-1", InstanceState::Terminated)], t);
    assert_eq!(view.sweep(vec![], t + Duration::from_secs(1)).len(), 1);
    // One that was told to end and never listed may be alive.
    view.note(instance("i-2", InstanceState::Pending), t);
    view.note_terminating(&["i-2".to_owned()], t);
    assert!(view.sweep(vec![], t + Duration::from_secs(30)).is_empty());
    assert_eq!(states(&view), [InstanceState::ShuttingDown]);
}

#[test]
fn an_instance_told_to_end_is_ending_whatever_a_late_listing_shows() {
    let (mut view, t) = (View::default(), Instant::now());
    let running = || vec![instance("i-1", InstanceState::Running)];
    view.sweep(running(), t);
    view.note_terminating(&["i-1".to_owned(), "i-unknown".to_owned()], t + Duration::from_secs(1));
    assert_eq!(states(&view), [InstanceState::ShuttingDown]);
    assert!(view.sweep(running(), t).is_empty(), "no news for anybody");
    assert_eq!(states(&view), [InstanceState::ShuttingDown]);
    // The call may have met an instance the cloud did not know yet: told again then.
    assert_eq!(view.sweep(running(), t + Duration::from_secs(12)).len(), 1);
    assert_eq!(states(&view), [InstanceState::Running]);
}

#[test]
fn pauses_double_up_to_a_minute_and_are_spread() {
    let seconds = |failures, chance| backoff(PACE, failures, chance).as_secs_f64();
    assert!((seconds(0, 1.0) - 1.0).abs() < 1e-9);
    assert!((seconds(0, 0.0) - 0.5).abs() < 1e-9);
    assert!((seconds(3, 1.0) - 8.0).abs() < 1e-9);
    assert!((seconds(40, 1.0) - 60.0).abs() < 1e-9);
}
