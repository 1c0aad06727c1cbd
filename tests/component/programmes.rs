//! What makes runs: what the API server takes and refuses of it, and that it can be changed.

use serde_json::{Value, json};
use testkit::api::{ConcurrencyPolicy, E2EMatrix, E2ERun, E2ESchedule};

use super::{
    api_server::Namespace,
    objects::{cluster, hosts, matrix, merged, run, schedule},
    refusals::{refuses, said},
};

fn spec(change: Value) -> Value {
    json!({ "spec": change })
}

/// A change of the spec of the runs.
fn runs(change: Value) -> Value {
    json!({"spec": {"runTemplate": {"spec": change}}})
}

#[test]
fn wrong_schedules_are_refused_with_what_to_write() {
    let fields = &["spec.schedule", "write five fields", "0 3 * * *"][..];
    refuses(
        &schedule(),
        &[
            ("no schedule", spec(json!({"schedule": null})), &["write when to make runs"]),
            ("an empty schedule", spec(json!({"schedule": ""})), fields),
            ("four fields", spec(json!({"schedule": "0 3 * *"})), fields),
            ("six fields", spec(json!({"schedule": "0 0 3 * * *"})), fields),
            ("a macro", spec(json!({"schedule": "@daily"})), fields),
            ("a zone in it", spec(json!({"schedule": "CRON_TZ=UTC 0 3 * * *"})), fields),
            ("a minute too many", spec(json!({"schedule": "60 3 * * *"})), fields),
            ("an hour too many", spec(json!({"schedule": "0 24 * * *"})), fields),
            ("a day 0", spec(json!({"schedule": "0 3 0 * *"})), fields),
            ("a month of its own", spec(json!({"schedule": "0 3 * SMARCH *"})), fields),
            ("a day of the week too many", spec(json!({"schedule": "0 3 * * 8"})), fields),
            ("a step of nothing", spec(json!({"schedule": "*/0 3 * * *"})), fields),
            ("a schedule without end", spec(json!({"schedule": "0 ".repeat(60)})), &["spec.schedule", "100"]),
            ("an offset for a zone", spec(json!({"timeZone": "+02:00"})), &["spec.timeZone", "Europe/Berlin"]),
            ("a path for a zone", spec(json!({"timeZone": "../etc/passwd"})), &["spec.timeZone", "Europe/Berlin"]),
            (
                "no time to start",
                spec(json!({"startingDeadlineSeconds": 0})),
                &["spec.startingDeadlineSeconds", "from 10 to"],
            ),
            (
                "a policy of its own",
                spec(json!({"concurrencyPolicy": "Queue"})),
                &["spec.concurrencyPolicy", "\"Replace\""],
            ),
            (
                "a history of less than nothing",
                spec(json!({"failedRunsHistoryLimit": -1})),
                &["spec.failedRunsHistoryLimit", "from 0 to 100"],
            ),
            ("no template", spec(json!({"runTemplate": null})), &["write what to run, such as runTemplate:"]),
            (
                "a template of nothing",
                spec(json!({"runTemplate": {"spec": null}})),
                &["spec.runTemplate", "write the spec of the E2ERuns"],
            ),
            (
                "a run without a cluster",
                runs(json!({"clusterRef": null})),
                &["spec.runTemplate.spec", "clusterRef: {name: foo}"],
            ),
            (
                "a bad image",
                runs(json!({"image": "Not An Image"})),
                &["spec.runTemplate.spec.image", "dockerswarm/e2e:latest"],
            ),
            (
                "a run that is cancelled",
                runs(json!({"cancel": true})),
                &["unknown field \"spec.runTemplate.spec.cancel\""],
            ),
            (
                "a cluster of 4 managers",
                runs(
                    json!({"clusterRef": null, "clusterTemplate": {"spec": merged(&cluster()["spec"], &json!({"managers": 4}))}}),
                ),
                &["spec.runTemplate.spec.clusterTemplate.spec.managers", "write 1, 3, 5 or 7"],
            ),
            ("a long name", json!({"metadata": {"name": "n".repeat(53)}}), &["metadata.name", "at most 52"]),
        ],
    );
}

#[test]
fn right_schedules_are_taken_and_can_be_changed() {
    let namespace = Namespace::new("schedules");
    let stored = namespace.apply(&schedule()).unwrap();
    let read: E2ESchedule = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(read.spec.concurrency_policy, ConcurrencyPolicy::Allow);
    assert_eq!((read.spec.successful_runs_history_limit, read.spec.failed_runs_history_limit), (3, 1));
    assert_eq!(stored["status"]["observedGeneration"], -1, "nobody has looked at it yet");
    assert_eq!(stored["spec"]["runTemplate"]["spec"]["timeout"], "30m", "a template has the defaults of a run");
    for change in [
        spec(json!({"schedule": "*/15 8-18 1,15 jan-JUN Mon-FRI", "timeZone": "America/Argentina/Buenos_Aires"})),
        spec(json!({"schedule": "5/10   0-23/2 31 12 7", "timeZone": "Etc/GMT+5", "suspend": true})),
        spec(json!({"concurrencyPolicy": "Replace", "startingDeadlineSeconds": 600, "successfulRunsHistoryLimit": 0})),
        json!({"spec": {"runTemplate": {"metadata": {"labels": {"team": "net"}}}}}),
        runs(json!({"image": "suite:2", "timeout": "2h", "sharing": "Shared"})),
        runs(json!({"shards": 4})),
        runs(json!({"clusterRef": null, "clusterTemplate": {"spec": cluster()["spec"]}})),
    ] {
        let object = merged(&schedule(), &change);
        let taken = namespace.apply(&object).unwrap_or_else(|e| panic!("{change}: {e}"));
        let read: E2ESchedule = serde_json::from_value(taken).unwrap_or_else(|e| panic!("{change}: {e}"));
        let spec = serde_json::to_value(&read.spec).unwrap();
        assert_eq!(merged(&spec, &object["spec"]), spec, "{change}");
    }
}

#[test]
fn the_shards_of_a_run_stay_as_they_are() {
    let namespace = Namespace::new("shards");
    let divided = merged(&run(), &spec(json!({"shards": 4})));
    let stored: E2ERun = serde_json::from_value(namespace.apply(&divided).unwrap()).unwrap();
    assert_eq!((stored.spec.shards, stored.spec.shard), (Some(4), None));
    for change in
        [json!({"shards": 8}), json!({"shards": null}), json!({"shards": null, "shard": {"index": 1, "total": 4}})]
    {
        let changed = namespace.apply(&merged(&divided, &spec(change.clone())));
        said(&change.to_string(), changed, &["a run cannot be changed", "another E2ERun"]);
    }
    namespace.apply(&merged(&divided, &spec(json!({"cancel": true})))).unwrap();
}

/// A variable without a value was stored with an empty one once: a manifest that was applied then is applied now, too.
#[test]
fn a_variable_without_a_value_is_as_one_that_is_empty_and_nothing_else_is() {
    let namespace = Namespace::new("variables");
    let env = |name: &str, env: Value| {
        merged(&merged(&run(), &json!({"metadata": {"name": name}})), &spec(json!({ "env": env })))
    };
    let of_secret = json!({"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
    let (empty, none) = (json!({"name": "A", "value": ""}), json!({"name": "A"}));
    for (name, before, now) in [("without", &empty, &none), ("with", &none, &empty)] {
        namespace.apply(&env(name, json!([before, of_secret]))).unwrap();
        let stored = namespace.apply(&env(name, json!([now, of_secret]))).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(stored["spec"]["env"][0], *now, "{name}");
        for (what, changed) in [
            ("a value", json!([{"name": "A", "value": "1"}, of_secret])),
            ("another name", json!([{"name": "C"}, of_secret])),
            ("another order", json!([of_secret, now])),
            ("one less", json!([now])),
            ("one more", json!([now, of_secret, now])),
            ("none", Value::Null),
            ("another key", json!([now, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "l"}}}])),
            (
                "another source",
                json!([now, {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "k"}}}]),
            ),
            ("no source", json!([now, {"name": "B"}])),
        ] {
            said(what, namespace.apply(&env(name, changed)), &["a run cannot be changed", "another E2ERun"]);
        }
    }
}

/// A matrix whose runs make their clusters.
fn with_clusters(change: &Value) -> Value {
    let own = runs(json!({"clusterRef": null, "clusterTemplate": {"spec": cluster()["spec"]}}));
    merged(&merged(&matrix(), &own), change)
}

#[test]
fn wrong_matrices_are_refused_with_what_to_write() {
    let axes = |axes: Value| spec(json!({ "axes": axes }));
    let several = &["write at least one value, and each once"][..];
    let many: Vec<String> = (0..9).map(|n| format!("suite:{n}")).collect();
    refuses(
        &with_clusters(&json!({})),
        &[
            ("nothing to combine", axes(json!({"image": null})), &["spec.axes", "write what to combine"]),
            ("an axis without values", axes(json!({"image": []})), several),
            ("a value twice", axes(json!({"image": ["a", "b", "a"]})), several),
            ("managers twice", axes(json!({"managers": [1, 1]})), several),
            ("2 managers", axes(json!({"managers": [1, 2]})), &["spec.axes.managers", "1, 3, 5 or 7"]),
            ("too many workers", axes(json!({"workers": [101]})), &["spec.axes.workers", "from 0 to 100"]),
            ("no version", axes(json!({"engineVersion": ["latest"]})), &["spec.axes.engineVersion", "28.5.2"]),
            ("an AMI by name", axes(json!({"ami": ["ubuntu"]})), &["spec.axes.ami", "ami-0123456789abcdef0"]),
            ("no image", axes(json!({"image": [""]})), &["spec.axes.image", "dockerswarm/e2e:latest"]),
            ("an axis of its own", axes(json!({"kernel": ["6.1"]})), &["unknown field \"spec.axes.kernel\""]),
            (
                "72 combinations",
                axes(json!({"image": many, "workers": [0, 1, 2, 3, 4, 5, 6, 7]})),
                &["spec.axes", "at most 64 combinations"],
            ),
            ("an empty combination", spec(json!({"include": [{}]})), &["spec.include", "write at least one value"]),
            ("4 managers more", spec(json!({"include": [{"managers": 4}]})), &["spec.include", "write 1, 3, 5 or 7"]),
            ("33 shards of each", runs(json!({"shards": 33})), &["spec.runTemplate.spec.shards", "from 1 to 32"]),
            ("a key for all runs", runs(json!({"dedupeKey": "x"})), &["spec.runTemplate", "write no dedupeKey"]),
            ("none at once", spec(json!({"parallelism": 0})), &["spec.parallelism", "from 1 to 64"]),
            ("days", spec(json!({"ttlAfterFinished": "1d"})), &["spec.ttlAfterFinished", "90s, 30m, 4h or 1h30m"]),
            ("no template", spec(json!({"runTemplate": null})), &["write what to run, such as runTemplate:"]),
            ("a long name", json!({"metadata": {"name": "n".repeat(41)}}), &["metadata.name", "at most 40"]),
        ],
    );
    let machines = merged(&cluster(), &hosts(&json!({})));
    let of_machines = runs(json!({"clusterRef": null, "clusterTemplate": {"spec": machines["spec"]}}));
    refuses(
        &merged(&matrix(), &of_machines),
        &[("images of machines that exist", axes(json!({"ami": ["ami-01234567"]})), &["spec.axes", "provider.ec2"])],
    );
    let other_cluster = &["spec.axes", "write runTemplate.spec.clusterTemplate"][..];
    refuses(
        &matrix(),
        &[
            ("managers of a cluster that is there", axes(json!({"managers": [1, 3]})), other_cluster),
            ("a version of it", spec(json!({"include": [{"engineVersion": "28.5"}]})), other_cluster),
        ],
    );
}

#[test]
fn right_matrices_are_taken_and_are_only_cancelled() {
    let namespace = Namespace::new("matrices");
    for change in [
        spec(
            json!({"axes": {"engineVersion": ["stable", "28.5", "27.5.1"], "managers": [1, 3, 5, 7], "workers": [0, 1]}}),
        ),
        spec(json!({"axes": {"ami": ["ami-0123456789abcdef0", "ami-01234567"]}, "exclude": [{"image": "suite:1"}]})),
        spec(json!({"axes": null, "include": [{"image": "suite:1"}, {"managers": 3, "engineVersion": "28.5"}]})),
        spec(json!({"parallelism": 3, "failFast": true, "ttlAfterFinished": "24h"})),
        runs(json!({"shards": 4})),
    ] {
        let object = with_clusters(&change);
        let taken = namespace.try_apply(&object).unwrap_or_else(|e| panic!("{change}: {e}"));
        let read: E2EMatrix = serde_json::from_value(taken).unwrap_or_else(|e| panic!("{change}: {e}"));
        let spec = serde_json::to_value(&read.spec).unwrap();
        assert_eq!(merged(&spec, &object["spec"]), spec, "{change}");
    }
    let stored: E2EMatrix = serde_json::from_value(namespace.apply(&matrix()).unwrap()).unwrap();
    assert_eq!((stored.spec.at_once(), stored.spec.fail_fast, stored.spec.cancel), (1, false, false));
    for change in [
        spec(json!({"axes": {"image": ["suite:1", "suite:2", "suite:3"]}})),
        spec(json!({"failFast": true})),
        spec(json!({"parallelism": 2})),
        runs(json!({"timeout": "2h"})),
    ] {
        said(
            &change.to_string(),
            namespace.apply(&merged(&matrix(), &change)),
            &["a matrix cannot be changed", "another E2EMatrix"],
        );
    }
    let cancelled = merged(&matrix(), &spec(json!({"cancel": true})));
    namespace.apply(&cancelled).unwrap();
    let back = merged(&matrix(), &spec(json!({"cancel": false})));
    said("a cancellation taken back", namespace.apply(&back), &["spec.cancel", "does not go on"]);
}
