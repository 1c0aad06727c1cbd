//! What holds whatever is seen, in worlds that a generator makes.

use proptest::prelude::*;

use super::*;

fn a_state() -> impl Strategy<Value = ContainerState> {
    prop_oneof![
        Just(ContainerState::Created { error: None }),
        Just(ContainerState::Created { error: Some("no".into()) }),
        Just(ContainerState::Running),
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
            image: image.filter(|_| up).map(|there| there.then(Image::default)),
            container: found.filter(|_| up).map(|c| c.map(container)),
            bringing,
            ..HostView::default()
        },
    )
}

fn a_place() -> impl Strategy<Value = Place> {
    let behind = Behind { runs: vec!["run-a".into()], number: 1 };
    prop::sample::select(vec![Place::Held, Place::Held, Place::Free, Place::Behind(behind), Place::Unknown])
}

prop_compose! {
    fn anything()(
        flags in any::<(bool, bool, bool, bool, bool, bool)>(),
        placed in prop::option::of((0..3usize, 0..2u32, 0..4000i64)),
        missing in prop::option::of(0..300i64),
        cluster in prop::option::weighted(0.9, (any::<bool>(), prop::option::weighted(0.3, Just("x".to_owned())), 0..3usize)),
        hosts in prop::collection::btree_map((0..3usize, 0..2u32), a_host(), 0..5),
        place in a_place(),
    ) -> Observed {
        let slots = ["m0", "m1", "w0"];
        let (deleting, finalizer, finished, stopped, rarely, also) = flags;
        Observed {
            deleting: deleting && rarely,
            finalizer: finalizer || also,
            finished: finished && rarely,
            record: Record {
                placed: placed.map(|(slot, n, ago)| Placed { host: id(slots[slot], n), container: "c1".into(), at: before(ago) }),
                since: missing.map(|ago| (Stage::Image, before(ago))).into_iter().collect(),
                cut: stopped.then_some(Cut::Deadline),
                disturbed: None,
                attempts: vec![],
            },
            cluster: cluster.map(|(deleting, not_ready, n)| ClusterView {
                uid: UID.into(), deleting, not_ready, place: place.clone(),
                slots: slots[..=n].iter().map(|s| (*s).to_owned()).collect(), leader: Some("m1".into()),
                ..ClusterView::default()
            }),
            hosts: hosts.into_iter().map(|((slot, n), view)| (id(slots[slot], n), view)).collect(),
            ..Observed::default()
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
            let takes = plan.steps.first() == Some(&Step::Take);
            prop_assert!(cluster.place == Place::Held || cluster.place == Place::Free && takes);
        }
    }

    #[test]
    fn nothing_is_touched_without_the_finalizer_nor_after_the_end(seen in anything()) {
        let plan = plan(&spec("IfNotPresent"), &seen, now());
        if !seen.finalizer {
            prop_assert!(plan.steps.iter().all(|s| *s == Step::Hold));
        }
        if seen.finished {
            prop_assert!(plan.steps.iter().all(|s| matches!(s, Step::Vacate | Step::Remove(..) | Step::Release)));
            prop_assert!(!matches!(plan.says, Says::Ended(_)));
        }
        if seen.deleting {
            prop_assert!(plan.steps.iter().all(|s| !matches!(s, Step::Launch(_) | Step::Adopt(..))));
        }
    }

    #[test]
    fn no_step_is_taken_on_a_host_of_another_cluster_whatever_is_written(seen in anything(), earlier in any::<bool>()) {
        let mut seen = seen;
        // As whoever may change the object may write it.
        let other = HostId { cluster: "33333333-4444".into(), slot: "m0".into(), incarnation: 0 };
        if earlier {
            let attempt = serde_json::json!({
                "outcome": "Infrastructure", "reason": "InfrastructureFailed", "message": "m", "host": other,
                "container": "c1", "ran": null, "counts": null, "failed": [], "results": null,
            });
            (seen.record.placed, seen.record.attempts) = (None, vec![serde_json::from_value(attempt).unwrap()]);
        } else {
            seen.record.placed = Some(Placed { host: other, container: "c1".into(), at: before(60) });
        }
        for step in plan(&spec("IfNotPresent"), &seen, now()).steps {
            prop_assert!(!format!("{step:?}").contains("33333333"), "{step:?}");
        }
    }

    #[test]
    fn a_run_that_is_not_over_is_looked_at_again(seen in anything()) {
        let plan = plan(&spec("IfNotPresent"), &seen, now());
        prop_assert!(plan.again.is_some() || !seen.finalizer);
    }

    #[test]
    fn no_end_is_a_pass_without_a_look_at_results(seen in anything()) {
        if let Says::Ended(end) = plan(&spec("IfNotPresent"), &seen, now()).says {
            prop_assert!(!end.complete);
        }
    }
}
