//! As what a slot is launched after each kind of answer, as tables.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use super::{
    super::{
        Plan, World, plan,
        tests::{NOW, instance, member, spec, world},
    },
    *,
};
use crate::{
    cloud::{CloudError, InstanceState, StateReason},
    cluster::{journal::Journal, memory::LaunchMemory},
};

fn offering(instance_type: &str) -> Offering {
    Offering { instance_type: instance_type.into(), subnet: None, spot: false }
}

fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

/// What a plan launches, by type.
fn launched(plan: &Plan) -> Vec<String> {
    let types = plan.actions.iter().filter_map(|a| match a {
        Action::Launch(_, o) => Some(o.instance_type.clone()),
        _ => None,
    });
    types.collect()
}

/// m0 was asked for as this type, and answered so.
fn answered(instance_type: &str, error: &CloudError) -> World {
    let mut world = world(vec![]);
    let (asked, template) = (offering(instance_type), template(&spec(1, 0)));
    let launching = Launching { incarnation: 0, offering: asked, booted: false, template, ends: None };
    world.journal = Some(Journal { launches: [("m0".to_owned(), launching)].into(), ..Journal::default() });
    let mut memory = LaunchMemory::default();
    memory.attempt(member("m0.0"), &offering(instance_type), false, Duration::ZERO);
    memory.note(member("m0.0"), &offering(instance_type), error, Duration::ZERO);
    world.launches = memory;
    if let Some(lack) = Lack::of(error) {
        world.shortages.insert(offering(instance_type), Shortage::new(lack, &error.to_string(), NOW));
    }
    world
}

#[test]
fn a_refusal_frees_the_slot_for_what_the_spec_says_now() {
    let words = || "no".to_owned();
    let forbidden = |p: &str| CloudError::Unauthorized { permission: Some(p.to_owned()), message: words() };
    // The type that was asked for, the answer, and what is launched next by a spec of a.large and b.large.
    let table = [
        // A typo that was corrected since, whatever the answer to it was.
        ("t3.mediun", CloudError::Invalid(words()), "a.large"),
        ("t3.mediun", CloudError::Quota(words()), "a.large"),
        ("t3.mediun", forbidden("ec2:RunInstances"), "a.large"),
        ("t3.mediun", forbidden("ec2:DescribeImages"), "a.large"),
        ("t3.mediun", CloudError::Throttled(words()), "a.large"),
        ("t3.mediun", CloudError::Refused(words()), "a.large"),
        ("t3.mediun", CloudError::Capacity(words()), "a.large"),
        // Nobody knows: the same is asked for again.
        ("t3.mediun", CloudError::Unavailable(words()), "t3.mediun"),
        // What only this type lacks has the next one tried.
        ("a.large", CloudError::Capacity(words()), "b.large"),
        ("a.large", CloudError::Quota(words()), "b.large"),
        ("a.large", forbidden("ec2:RunInstances"), "b.large"),
        // What another type would not mend has not.
        ("a.large", CloudError::Invalid(words()), "a.large"),
        ("a.large", forbidden("ec2:DescribeImages"), "a.large"),
        ("a.large", CloudError::Throttled(words()), "a.large"),
        ("a.large", CloudError::Refused(words()), "a.large"),
    ];
    for (asked, error, next) in table {
        let plan = plan(&spec(1, 0), &answered(asked, &error), at(1));
        assert_eq!(launched(&plan), [next], "{asked}: {error:?}");
    }
}

#[test]
fn what_is_accepted_and_ends_for_want_of_its_type_has_the_next_one_tried() {
    let ended = |code: &str, types: [&str; 2]| {
        let spec = spec(1, 0);
        let mut world = answered(types[0], &CloudError::Unavailable("no".into()));
        let reason = StateReason { code: code.into(), message: "as it came up".into() };
        let state_reason = Some(reason);
        world.instances = Some(vec![Instance { state_reason, ..instance("m0", 0, InstanceState::Terminated) }]);
        for t in &types[1..] {
            world.shortages.insert(offering(t), Shortage::new(Lack::Capacity, "none", NOW));
        }
        (spec, world)
    };
    for (code, lack, next) in [
        ("Server.InsufficientInstanceCapacity", Some(Lack::Capacity), "b.large"),
        ("Client.InstanceLimitExceeded", Some(Lack::Quota), "b.large"),
        ("Client.VolumeLimitExceeded", None, "a.large"),
        ("Server.InternalError", None, "a.large"),
    ] {
        let (spec, world) = ended(code, ["a.large", "c.large"]);
        let plan = plan(&spec, &world, at(1));
        assert_eq!(launched(&plan), [next], "{code}");
        let words = format!("i-m0-0 ended: as it came up ({code})");
        let short: Vec<_> = lack.into_iter().map(|lack| (offering("a.large"), lack, words.clone())).collect();
        assert_eq!(plan.short, short, "{code}");
    }
    // With no other to be had, it is told as what it is.
    let (spec, world) = ended("Server.InsufficientInstanceCapacity", ["a.large", "b.large"]);
    let plan = plan(&spec, &world, at(1));
    assert_eq!((launched(&plan), plan.again_at), (vec![], Some(at(60))));
    let told: Vec<_> = plan.troubles.values().map(|t| (t.reason(), t.stalls())).collect();
    assert_eq!(told, [(crate::api::reason::NO_CAPACITY, false)]);
}

#[test]
fn without_an_answer_the_same_is_asked_for_whatever_the_spec_says_now() {
    let mut world = world(vec![]);
    // An operator before us wrote this down.
    world.journal = plan(&spec(1, 0), &world, NOW).save;
    world.shortages.insert(offering("a.large"), Shortage::new(Lack::Capacity, "none", NOW));
    assert_eq!(launched(&plan(&spec(1, 0), &world, NOW)), ["a.large"]);
}

#[test]
fn a_changed_offering_is_another_one() {
    let mut spec = spec(1, 0);
    let mut world = answered("a.large", &CloudError::Quota("no".into()));
    let ec2 = spec.provider.ec2.as_mut().unwrap();
    ec2.instance_types = vec!["a.large".into()];
    assert_eq!(launched(&plan(&spec, &world, at(1))), [] as [&str; 0]);
    // Spot has a quota of its own.
    let ec2 = spec.provider.ec2.as_mut().unwrap();
    (ec2.spot, ec2.spot_managers) = (true, true);
    let plan = plan(&spec, &world, at(1));
    assert!(matches!(plan.actions.as_slice(), [Action::Launch(_, o)] if o.spot), "{plan:?}");
    world.shortages.clear();
}

#[test]
fn managers_are_on_demand_unless_the_spec_says_otherwise() {
    for (spot, managers, is) in [
        (false, false, [false, false]),
        (true, false, [false, true]),
        (true, true, [true, true]),
        // The API server refuses it.
        (false, true, [false, false]),
    ] {
        let mut spec = spec(1, 1);
        let ec2 = spec.provider.ec2.as_mut().unwrap();
        (ec2.spot, ec2.spot_managers) = (spot, managers);
        let launches = plan(&spec, &world(vec![]), NOW).actions;
        let spots = launches.iter().map(|a| matches!(a, Action::Launch(_, o) if o.spot));
        assert_eq!(spots.collect::<Vec<_>>(), is, "{launches:?}");
    }
}

#[test]
fn where_nothing_is_to_be_had_it_is_told_by_who_can_end_it() {
    let short = |lacks: [Lack; 2]| {
        let mut world = world(vec![]);
        for (t, lack) in ["a.large", "b.large"].into_iter().zip(lacks) {
            world.shortages.insert(offering(t), Shortage::new(lack, &format!("{lack:?} of {t}"), NOW));
        }
        plan(&spec(2 - 1, 1), &world, NOW)
    };
    for (lacks, words, stalls, again) in [
        ([Lack::Capacity, Lack::Capacity], "Capacity of a.large", false, 60),
        ([Lack::Quota, Lack::Capacity], "Capacity of b.large", false, 15),
        ([Lack::Quota, Lack::Permission], "Quota of a.large", true, 15),
        ([Lack::Permission, Lack::Quota], "Permission of a.large", true, 15),
    ] {
        let plan = short(lacks);
        assert_eq!((plan.actions.len(), plan.troubles.len(), plan.again_at), (0, 2, Some(at(again))), "{lacks:?}");
        for trouble in plan.troubles.values() {
            let Trouble::Short(shortage) = trouble else { panic!("{trouble:?}") };
            assert_eq!((shortage.words.as_str(), trouble.stalls()), (words, stalls), "{lacks:?}");
        }
        // Nothing was asked for, so nothing is written down.
        assert_eq!(plan.save, Some(Journal::default()), "{lacks:?}");
    }
}

#[test]
fn slots_spread_over_the_subnets_and_pass_over_those_without_room() {
    let mut spec = spec(3, 0);
    spec.provider.ec2.as_mut().unwrap().subnets = vec!["subnet-1".into(), "subnet-2".into()];
    let subnets = |world: &World| -> Vec<_> {
        let of = |a: &Action| match a {
            Action::Launch(_, o) => o.subnet.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        plan(&spec, world, NOW).actions.iter().map(of).collect()
    };
    let mut world = world(vec![]);
    assert_eq!(subnets(&world), ["subnet-1", "subnet-2", "subnet-1"]);
    let full = Offering { subnet: Some("subnet-1".into()), ..offering("a.large") };
    world.shortages.insert(full, Shortage::new(Lack::Capacity, "full", NOW));
    assert_eq!(subnets(&world), ["subnet-2", "subnet-2", "subnet-2"]);
}
