//! What the API server takes, and what it makes of what is left out.

use serde_json::{Value, json};
use testkit::api::{ClusterPolicy, Duration, E2ERun, ImagePullPolicy, Quantity, Sharing, SwarmCluster};

use super::{
    api_server::Namespace,
    objects::{cluster, ec2, hosts, machine, merged, run},
};

/// Whether all that was written is there, beside defaults; also in each of a list.
fn holds(read: &Value, written: &Value) -> bool {
    match (read, written) {
        (_, Value::Null) => true,
        (Value::Object(read), Value::Object(written)) => {
            written.iter().all(|(key, value)| value.is_null() || read.get(key).is_some_and(|there| holds(there, value)))
        }
        (Value::Array(read), Value::Array(written)) => {
            read.len() == written.len() && read.iter().zip(written).all(|(there, value)| holds(there, value))
        }
        _ => read == written,
    }
}

#[test]
fn right_clusters_are_taken() {
    let namespace = Namespace::new("right");
    for change in [
        json!({"spec": {"managers": 7, "workers": 100, "ttl": "1h30m", "paused": true}}),
        json!({"spec": {"accessCIDRs": ["203.0.113.7/32", "2001:db8::/32"]}}),
        json!({"spec": {"access": {"jumpHost": "bastion.example.com"}}}),
        json!({"spec": {"access": {"jumpHost": "me@10.0.0.5:2222,inner,[fd00::1]:22"}}}),
        json!({"spec": {"engine": {"version": "28.5", "installScript": "https://example.com/install.sh", "daemonJson": {"log-driver": "local", "x": {"y": [1]}}}}}),
        json!({"spec": {"bootTimeout": "30s", "engine": {"addressPools": ["10.200.0.0/16", "172.16.0.0/16"], "subnetSize": 26}}}),
        json!({"spec": {"unhealthyAfter": "30s", "recovery": "ForceNewCluster"}}),
        json!({"spec": {"update": {"maxSurge": 0, "maxUnavailable": 2}}}),
        json!({"spec": {"bootTimeout": "1h", "engine": {"addressPools": ["10.128.0.0/9"]}}}),
        ec2(json!({"region": "eusc-de-east-1"})),
        ec2(json!({"region": "us-isob-east-1"})),
        ec2(json!({"region": "cn-north-1"})),
        ec2(json!({"region": "ap-southeast-10"})),
        hosts(&json!({})),
        hosts(&json!({"installEngine": true})),
        merged(&hosts(&json!({"installEngine": true})), &json!({"spec": {"engine": {"version": "28.5"}}})),
        merged(
            &hosts(&json!({})),
            &json!({"spec": {"managers": 3, "workers": 1, "engine": {"addressPools": ["10.200.0.0/16"]}}}),
        ),
        machine(&json!({"address": "lab-1.example.com", "privateAddress": "10.0.0.5", "port": 2222, "user": "ubuntu"})),
        machine(&json!({"address": "2001:db8::5"})),
        ec2(json!({"region": "us-gov-west-1", "connectTo": "Public", "spot": true, "instanceProfile": "hosts"})),
        ec2(
            json!({"ami": {"ssmParameter": "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"}}),
        ),
        ec2(json!({"ami": {"name": "ubuntu/images/*24.04*", "owner": "099720109477"}})),
        ec2(json!({"ami": {"name": "mine-*"}, "instanceTypes": ["m7i-flex.large", "u-6tb1.metal"]})),
        ec2(
            json!({"subnets": ["subnet-0123abcd", "subnet-0123456789abcdef0"], "securityGroups": ["sg-0123456789abcdef0"]}),
        ),
        ec2(
            json!({"volume": {"sizeGiB": 30, "type": "gp3", "deviceName": "/dev/xvda"}, "credentials": {"name": "aws"}}),
        ),
    ] {
        let object = merged(&cluster(), &change);
        let taken = namespace.try_apply(&object).unwrap_or_else(|e| panic!("{change}: {e}"));
        let read: SwarmCluster = serde_json::from_value(taken.clone()).unwrap_or_else(|e| panic!("{change}: {e}"));
        // Nothing the API server took is lost on the operator.
        let spec = serde_json::to_value(&read.spec).unwrap();
        assert!(holds(&spec, &object["spec"]), "{change}: {spec}");
    }
    for change in [
        json!({"sharing": "Shared"}),
        json!({"dedupeKey": "team/suite:1@sha256-3f2a"}),
        json!({"shards": 1}),
        json!({"cases": ["ServicesScale", "TestA/x y", "é"]}),
        json!({"shards": 32, "sharing": "Shared", "args": ["--shard=$(TESTKIT_SHARD_INDEX)/$(TESTKIT_SHARD_TOTAL)"]}),
        json!({"shards": 4, "clusterRef": null, "clusterTemplate": {"spec": cluster()["spec"]}, "clusterPolicy": "KeepOnFailure"}),
        json!({"shard": {"index": 32, "total": 32}, "dedupeKey": "main", "results": {"format": "ExitCode"}}),
        json!({"env": [
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "a.token", "optional": true}}},
            {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "suite.v1", "key": "LEVEL"}}},
            // As versions before stored a variable without a value.
            {"name": "EMPTY", "value": "", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        ]}),
        json!({"quarantine": [
            {"name": "TestDrain/slow (twice)", "owner": "Net Team <net@example.com>", "until": "2026-12-24"},
            {"name": "slow", "suite": "", "class": "net.Drain", "owner": "me", "until": "2026-12-24T18:00:00.5+01:00", "reason": "#12"},
        ]}),
        json!({"imagePullSecrets": [{"name": "registry"}, {"name": "hub.v2"}]}),
        json!({"resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}),
        json!({"resources": {"limits": {"cpu": "1.5", "memory": "6291456"}}}),
        json!({"resources": {"limits": {"memory": "2G"}}}),
        json!({"envFrom": [{"prefix": "CI_", "secretRef": {"name": "tokens"}}, {"configMapRef": {"name": "suite", "optional": true}}]}),
        json!({"clusterRef": null, "clusterTemplate": {"spec": cluster()["spec"]}}),
        json!({"clusterRef": null, "clusterTemplate": {
            "metadata": {"labels": {"team": "net", "empty": ""}, "annotations": {"why": "to see, and to tell"}},
            "spec": {"managers": 3, "engine": {"daemonJson": {"x": {"y": [1]}}}, "provider": {"ec2": {"region": "us-east-1"}}},
        }, "clusterPolicy": "KeepOnFailure", "holdFor": "168h"}),
        json!({"clusterRef": null, "clusterTemplate": {"spec": cluster()["spec"]}, "clusterPolicy": "Keep"}),
    ] {
        let object = merged(&run(), &json!({ "spec": change }));
        let taken = namespace.try_apply(&object).unwrap_or_else(|e| panic!("{change}: {e}"));
        let read: E2ERun = serde_json::from_value(taken).unwrap_or_else(|e| panic!("{change}: {e}"));
        let spec = serde_json::to_value(&read.spec).unwrap();
        assert_eq!(merged(&spec, &object["spec"]), spec, "{change}");
    }
    for limits in [json!({"cpu": 2}), json!({"memory": 67_108_864, "cpu": "2"})] {
        let change = json!({"spec": {"resources": {"limits": limits}}});
        let taken = namespace.try_apply(&merged(&run(), &change)).unwrap_or_else(|e| panic!("{limits}: {e}"));
        let read: E2ERun = serde_json::from_value(taken).unwrap();
        assert_eq!(read.spec.cpu().and_then(Quantity::whole), Some(2));
    }
    for image in [
        "e2e",
        "dockerswarm/e2e:latest",
        "registry.example.com:5000/team/e2e:V1_2-rc.1",
        "localhost:5000/e2e",
        &format!("e2e:1@sha256:{}", "0".repeat(64)),
    ] {
        let change = json!({"spec": {"image": image, "args": ["--run", "Services.*"], "env": [{"name": "LOG_LEVEL", "value": "debug"}, {"name": "_EMPTY"}]}});
        let taken = namespace.try_apply(&merged(&run(), &change)).unwrap_or_else(|e| panic!("{image}: {e}"));
        serde_json::from_value::<E2ERun>(taken).unwrap();
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let namespace = Namespace::new("defaults");
    let cluster: SwarmCluster = serde_json::from_value(namespace.apply(&cluster()).unwrap()).unwrap();
    let spec = serde_json::to_value(&cluster.spec).unwrap();
    assert_eq!(cluster.status.unwrap().observed_generation, Some(-1), "nobody has looked at it yet");
    // A default of who may reach the hosts is the operator's to have, and nothing that the API server writes down.
    assert_eq!(
        spec,
        json!({
            "managers": 1,
            "workers": 0,
            "bootTimeout": "5m",
            "unhealthyAfter": "2m",
            "update": {"maxSurge": 1, "maxUnavailable": 0},
            "recovery": "None",
            "paused": false,
            "provider": {"ec2": {"region": "us-east-1", "instanceTypes": ["t3.medium", "t3a.medium"], "connectTo": "Private", "spot": false, "spotManagers": false}},
        })
    );

    let run: E2ERun = serde_json::from_value(namespace.apply(&run()).unwrap()).unwrap();
    assert_eq!(run.spec.timeout, Duration::from_secs(30 * 60));
    assert_eq!(run.spec.image_pull_timeout, Duration::from_secs(2 * 60));
    assert_eq!(run.spec.image_pull_policy, ImagePullPolicy::IfNotPresent);
    assert!(run.spec.args.is_empty() && run.spec.env.is_empty() && !run.spec.cancel);
    assert_eq!(run.spec.pending_timeout, Duration::from_secs(60 * 60));
    assert_eq!(run.spec.grace_period, Duration::from_secs(60));
    assert_eq!((run.spec.sharing, run.spec.policy()), (Sharing::Exclusive, ClusterPolicy::Delete));
    assert_eq!((run.spec.cluster_policy, run.spec.hold_for), (None, None));
    assert_eq!(run.spec.held_for(), Duration::from_secs(60 * 60));
    let results = serde_json::to_value(&run.spec.results).unwrap();
    assert_eq!(results, json!({"format": "Auto", "path": "/results", "allowEmpty": false}));
}

/// `null` is left out, at whatever depth: a spec that says it again, or says nothing there, is no other one.
#[test]
fn what_is_null_is_not_written_at_all() {
    let namespace = Namespace::new("null");
    let mut own = run();
    own["spec"]["clusterRef"] = Value::Null;
    own["spec"]["resources"] = json!({"limits": {"cpu": null, "memory": "64Mi"}});
    own["spec"]["env"] = json!([{"name": "A", "value": "1", "valueFrom": null}]);
    own["spec"]["clusterTemplate"] = json!({"metadata": null, "spec": {
        "ttl": null, "accessCIDRs": null, "managers": null,
        "engine": {"version": null, "daemonJson": null, "subnetSize": null},
        "provider": {"hosts": null, "ec2": {"region": "us-east-1", "ami": null, "volume": null, "spot": null}},
    }});
    let stored = namespace.apply(&own).unwrap();
    let spec = stored["spec"].to_string();
    assert!(!spec.contains("null"), "{spec}");
    assert_eq!(stored["spec"]["clusterTemplate"]["spec"]["managers"], 1, "it has its default");
    // Once more, without what was null, and cancelled: nothing else has changed.
    namespace.apply(&own).unwrap();
    namespace.apply(&merged(&json!({}), &own)).unwrap();
    own["spec"]["cancel"] = json!(true);
    namespace.apply(&own).unwrap();
}

#[test]
fn the_samples_are_taken() {
    let namespace = Namespace::new("samples");
    for file in ["cluster.yaml", "run.yaml", "schedule.yaml", "matrix.yaml", "shards.yaml"] {
        let path = format!("{}/deploy/samples/{file}", env!("CARGO_MANIFEST_DIR"));
        let sample: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        namespace.try_apply(&sample).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
}
