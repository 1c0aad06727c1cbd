use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::*;
use crate::api::{ClusterCost, SwarmCluster, SwarmClusterStatus, condition, reason};

const PAGE: &str = include_str!("../../docs/metrics.md");

/// One of each.
fn used() -> Metrics {
    let all = Metrics::new();
    all.run(None, &ended(Phase::Failed, type_::FAILED, reason::CASES_FAILED));
    all.call("RunInstances", Some(("RequestLimitExceeded", true)));
    for second in [0, 10] {
        all.costs.note(&cluster_in("ci", "a"), Some(&cost("0.36")), at(second));
    }
    all
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn cluster_in(namespace: &str, uid: &str) -> SwarmCluster {
    let object = serde_json::json!({
        "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster",
        "metadata": {"name": uid, "namespace": namespace, "uid": uid},
        "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
    });
    serde_json::from_value(object).unwrap()
}

/// What has cost a dollar at the beginning, and this much an hour since.
fn cost(hourly: &str) -> ClusterCost {
    let cost =
        serde_json::json!({"currency": "USD", "hourly": hourly, "accrued": "1", "accruedAt": "1970-01-01T00:00:00Z"});
    serde_json::from_value(cost).unwrap()
}

fn ended(phase: Phase, type_: &str, reason: &str) -> E2ERunStatus {
    let conditions = vec![condition(type_, true, reason, "", None, Timestamp::UNIX_EPOCH)];
    E2ERunStatus { phase: Some(phase), conditions, ..E2ERunStatus::default() }
}

/// The value of a sample, such as `testkit_leader` or `testkit_clusters{state="ready"}`.
fn value(all: &Metrics, sample: &str) -> Option<f64> {
    let text = all.text();
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
}

/// The families and what kind each is, with the labels that samples have.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut all: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            all.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((name, rest)) = line.split_once('{')
            && let Some((labels, _)) = rest.rsplit_once('}')
        {
            let family =
                all.iter_mut().filter(|(family, _)| name.starts_with(family.as_str())).max_by_key(|f| f.0.len());
            let names = labels.split("\",").filter_map(|l| l.split_once('=')).map(|(label, _)| label.to_owned());
            family.unwrap().1.1.extend(names.filter(|label| label != "le"));
        }
    }
    all
}

#[test]
fn the_page_and_the_registry_agree() {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `testkit_")?.split_once("` |"));
    let page: BTreeMap<_, _> = rows
        .map(|(name, rest)| {
            let mut cells = rest.split('|').map(str::trim);
            let kind = cells.next().unwrap().to_owned();
            let labels = cells.next().unwrap().split(", ").map(|l| l.trim_matches('`').to_owned());
            let bare = ["_total", "_info"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            (format!("testkit_{bare}"), (kind, labels.filter(|l| !l.is_empty()).collect::<BTreeSet<_>>()))
        })
        .collect();
    assert_eq!(families(&used().text()), page, "src/metrics (left) and docs/metrics.md (right)");
}

#[test]
fn names_are_as_the_page_has_them() {
    let text = used().text();
    for name in PAGE.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0)) {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} of docs/metrics.md is in no sample");
    }
}

#[test]
fn a_run_is_counted_once_when_it_ends() {
    let all = Metrics::new();
    let running = E2ERunStatus { phase: Some(Phase::Running), ..E2ERunStatus::default() };
    let complete = ended(Phase::Complete, type_::COMPLETE, reason::PASSED);
    let sample = r#"testkit_runs_total{verdict="Complete",reason="CasesPassed"}"#;
    all.run(None, &running);
    assert_eq!(value(&all, sample), None);
    all.run(Some(&running), &complete);
    all.run(Some(&complete), &complete);
    assert_eq!(value(&all, sample), Some(1.0));
}

#[test]
fn a_call_is_counted_by_what_became_of_it() {
    let all = Metrics::new();
    all.call("RunInstances", None);
    all.call("RunInstances", Some(("RequestLimitExceeded", true)));
    all.call("RunInstances", Some(("UnauthorizedOperation", false)));
    assert_eq!(value(&all, r#"testkit_aws_calls_total{operation="RunInstances"}"#), Some(3.0));
    assert_eq!(value(&all, r#"testkit_aws_throttles_total{operation="RunInstances"}"#), Some(1.0));
    let code = r#"testkit_aws_errors_total{operation="RunInstances",code="UnauthorizedOperation"}"#;
    assert_eq!(value(&all, code), Some(1.0));
}

#[tokio::test]
async fn a_pass_is_measured_and_its_error_counted() {
    let all = Metrics::new();
    let failed = all.pass("E2ERun", async { Err::<(), _>("no") }).await;
    let _ = all.pass("E2ERun", async { Ok::<_, ()>(()) }).await;
    assert_eq!(failed, Err("no"), "it is passed on");
    assert_eq!(value(&all, r#"testkit_reconcile_seconds_count{kind="E2ERun"}"#), Some(2.0));
    assert_eq!(value(&all, r#"testkit_reconcile_errors_total{kind="E2ERun"}"#), Some(1.0));
    assert_eq!(value(&all, r#"testkit_reconcile_errors_total{kind="SwarmCluster"}"#), Some(0.0));
}

#[test]
fn clusters_are_counted_by_state_and_their_way_to_ready_measured_once() {
    let all = Metrics::new();
    let created = Timestamp::UNIX_EPOCH;
    let cluster = |uid: &str, status: Option<SwarmClusterStatus>| {
        let object = serde_json::json!({
            "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster",
            "metadata": {"name": uid, "uid": uid, "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
        });
        SwarmCluster { status, ..serde_json::from_value(object).unwrap() }
    };
    let status = |type_: &str, why: &str| {
        let mut conditions = vec![condition(type_::READY, type_ == type_::READY, why, "", None, created)];
        if type_ != type_::READY {
            conditions.push(condition(type_, true, why, "", None, created));
        }
        SwarmClusterStatus { conditions, ..SwarmClusterStatus::default() }
    };
    let booting = status(type_::RECONCILING, reason::BOOTING);
    let ready = status(type_::READY, reason::READY);
    let after = |seconds| created + SignedDuration::from_secs(seconds);
    let state = |name: &str| value(&all, &format!("testkit_clusters{{state=\"{name}\"}}")).unwrap();
    let took = || {
        let of = |part: &str| value(&all, &format!("testkit_cluster_ready_seconds_{part}")).unwrap();
        (of("count"), of("sum"))
    };

    all.clusters.note(&cluster("a", None), &booting, after(1));
    all.clusters.note(&cluster("b", Some(booting.clone())), &booting, after(1));
    assert_eq!((state("reconciling"), state("ready"), took().0), (2.0, 0.0, 0.0));
    all.clusters.note(&cluster("a", Some(booting.clone())), &ready, after(50));
    all.clusters.note(&cluster("b", Some(booting.clone())), &ready, after(70));
    assert_eq!((state("reconciling"), state("ready")), (0.0, 2.0));
    assert_eq!(took(), (1.0, 50.0), "b was there before this process");
    all.clusters.note(&cluster("a", Some(ready.clone())), &status(type_::STALLED, reason::NO_QUORUM), after(80));
    all.clusters.note(&cluster("a", Some(booting.clone())), &ready, after(90));
    assert_eq!(took(), (1.0, 50.0), "the first time counts");
    all.clusters.note(&cluster("a", Some(ready.clone())), &status(type_::RECONCILING, reason::DELETING), after(95));
    all.clusters.note(&cluster("b", Some(ready)), &status(type_::RECONCILING, reason::PAUSED), after(95));
    assert_eq!((state("deleting"), state("paused"), state("ready")), (1.0, 1.0, 0.0));
    all.clusters.forget("a");
    all.clusters.forget("unknown");
    assert_eq!((state("deleting"), state("paused")), (0.0, 1.0));
}

#[test]
fn what_clusters_cost_is_summed_up_by_namespace() {
    let all = Metrics::new();
    let of = |name: &str, namespace: &str| value(&all, &format!("{name}{{cluster_namespace=\"{namespace}\"}}"));
    let told = |namespace: &str| {
        (
            of("testkit_cost_usd_per_hour", namespace),
            of("testkit_cost_usd_total", namespace),
            of("testkit_clusters_unpriced", namespace),
        )
    };
    let note = |namespace: &str, uid: &str, cost: Option<&ClusterCost>, second: i64| {
        all.costs.note(&cluster_in(namespace, uid), cost, at(second));
    };
    assert_eq!(told("ci"), (None, None, None));
    note("ci", "a", Some(&cost("0.5")), 0);
    note("ci", "b", Some(&cost("0.25")), 0);
    note("qa", "c", Some(&cost("4")), 0);
    assert_eq!(told("ci"), (Some(0.75), None, Some(0.0)), "what it cost before it was seen is not counted");
    for second in [1800, 3600, 3600] {
        note("ci", "a", Some(&cost("0.5")), second);
    }
    note("ci", "b", Some(&cost("0.25")), 3600);
    assert_eq!(told("ci"), (Some(0.75), Some(0.75), Some(0.0)));
    let unknown = ClusterCost { unpriced: vec!["m7i.large".to_owned()], ..ClusterCost::default() };
    note("ci", "b", Some(&unknown), 7200);
    assert_eq!(told("ci"), (Some(0.5), Some(0.75), Some(1.0)), "a cluster of unknown price is in no sum");
    note("ci", "b", Some(&cost("0.25")), 7200);
    assert_eq!(told("ci"), (Some(0.75), Some(0.75), Some(0.0)), "nor is it counted once it is known again");
    all.costs.forget("a");
    note("ci", "b", None, 7200);
    assert_eq!(told("ci"), (None, Some(0.75), None), "a namespace without clusters has no series but what was counted");
    assert_eq!(told("qa"), (Some(4.0), None, Some(0.0)));

    let now = Instant::now();
    all.costs.prune(now + costs::KEPT / 2);
    assert_eq!(told("ci").1, Some(0.75), "whoever asks seldom hears of it, too");
    note("qa", "c", Some(&cost("4")), 3600);
    all.costs.prune(now + costs::KEPT * 2);
    assert_eq!((told("ci"), told("qa")), ((None, None, None), (Some(4.0), Some(4.0), Some(0.0))));
    // One that comes back counts anew, and stays as long as there is a cluster.
    for second in [0, 3600] {
        note("ci", "d", Some(&cost("0.5")), second);
    }
    all.costs.prune(now + costs::KEPT * 2);
    assert_eq!(told("ci"), (Some(0.5), Some(0.5), Some(0.0)));
}
