//! What the API server refuses, in which words, and what it makes of a spec it takes.

use serde_json::{Value, json};
use testkit::api::{Duration, E2ERun, ImagePullPolicy, SwarmCluster};

use super::api_server::Namespace;

/// A wrong spec: what is wrong with it, what is changed in the right one (as a JSON merge
/// patch), and the words of the refusal that say where, and what to write instead.
type Wrong = (&'static str, Value, &'static [&'static str]);

#[test]
fn wrong_clusters_are_refused_with_what_to_write() {
    refuses(
        &cluster(),
        &[
            ("even managers", json!({"spec": {"managers": 4}}), &["spec.managers", "write 1, 3, 5 or 7"]),
            ("no managers", json!({"spec": {"managers": 0}}), &["spec.managers", "write 1, 3, 5 or 7"]),
            ("too many managers", json!({"spec": {"managers": 9}}), &["spec.managers", "write 1, 3, 5 or 7"]),
            ("managers in letters", json!({"spec": {"managers": "three"}}), &["spec.managers", "integer"]),
            ("negative workers", json!({"spec": {"workers": -1}}), &["spec.workers", "from 0 to 100"]),
            ("too many workers", json!({"spec": {"workers": 101}}), &["spec.workers", "from 0 to 100"]),
            ("no provider", json!({"spec": {"provider": null}}), &["provider: {ec2: {region: us-east-1}}"]),
            (
                "an empty provider",
                json!({"spec": {"provider": {"ec2": null}}}),
                &["provider: {ec2: {region: us-east-1}}"],
            ),
            (
                "two providers",
                json!({"spec": {"provider": {"hosts": {"addresses": ["10.0.0.1"]}}}}),
                &["spec.provider", "exactly one provider"],
            ),
            (
                "a provider of another name",
                json!({"spec": {"provider": {"gce": {}}}}),
                &["unknown field \"spec.provider.gce\""],
            ),
            (
                "a CIDR without a length",
                json!({"spec": {"accessCIDRs": ["10.0.0.1"]}}),
                &["spec.accessCIDRs", "203.0.113.7/32"],
            ),
            (
                "a CIDR out of range",
                json!({"spec": {"accessCIDRs": ["10.0.0.0/8", "300.0.0.0/8"]}}),
                &["spec.accessCIDRs", "203.0.113.0/24"],
            ),
            ("nobody may reach it", json!({"spec": {"accessCIDRs": []}}), &["spec.accessCIDRs", "203.0.113.0/24"]),
            ("a ttl in days", json!({"spec": {"ttl": "1d"}}), &["spec.ttl", "90s, 30m, 4h or 1h30m"]),
            ("a ttl of nothing", json!({"spec": {"ttl": "0s"}}), &["spec.ttl", "90s, 30m, 4h or 1h30m"]),
            ("an empty ttl", json!({"spec": {"ttl": ""}}), &["spec.ttl", "90s, 30m, 4h or 1h30m"]),
            ("a negative ttl", json!({"spec": {"ttl": "-1h"}}), &["spec.ttl", "90s, 30m, 4h or 1h30m"]),
            ("no region", ec2(json!({"region": null})), &["spec.provider.ec2", "region: us-east-1"]),
            (
                "a zone for a region",
                ec2(json!({"region": "us-east-1a"})),
                &["spec.provider.ec2.region", "us-east-1 or eu-central-1"],
            ),
            (
                "a malformed AMI",
                ec2(json!({"ami": {"id": "ami-xyz"}})),
                &["spec.provider.ec2.ami.id", "ami-0123456789abcdef0"],
            ),
            (
                "an AMI two ways",
                ec2(json!({"ami": {"id": "ami-0123456789abcdef0", "name": "ubuntu-*"}})),
                &["spec.provider.ec2.ami", "exactly one way: id, ssmParameter or name"],
            ),
            ("an AMI no way", ec2(json!({"ami": {}})), &["spec.provider.ec2.ami", "exactly one way"]),
            (
                "an AMI by id and owner",
                ec2(json!({"ami": {"id": "ami-0123456789abcdef0", "owner": "self"}})),
                &["spec.provider.ec2.ami", "owner only beside name"],
            ),
            (
                "an AMI's owner by name",
                ec2(json!({"ami": {"name": "ubuntu-*", "owner": "canonical"}})),
                &["spec.provider.ec2.ami.owner", "12 digits, self, amazon"],
            ),
            (
                "a relative SSM parameter",
                ec2(json!({"ami": {"ssmParameter": "ubuntu/ami-id"}})),
                &["spec.provider.ec2.ami.ssmParameter", "/aws/service/canonical/"],
            ),
            ("no instance type", ec2(json!({"instanceTypes": []})), &["spec.provider.ec2.instanceTypes", "t3.medium"]),
            (
                "an instance family",
                ec2(json!({"instanceTypes": ["t3.medium", "t3"]})),
                &["spec.provider.ec2.instanceTypes", "t3.medium"],
            ),
            (
                "a malformed subnet",
                ec2(json!({"subnets": ["subnet-0123456789abcdef0", "10.0.0.0/24"]})),
                &["spec.provider.ec2.subnets", "subnet-0123456789abcdef0"],
            ),
            (
                "a security group by name",
                ec2(json!({"securityGroups": ["default"]})),
                &["spec.provider.ec2.securityGroups", "sg-0123456789abcdef0"],
            ),
            (
                "an address kind of its own",
                ec2(json!({"connectTo": "IPv6"})),
                &["spec.provider.ec2.connectTo", "\"Private\", \"Public\""],
            ),
            (
                "a small volume",
                ec2(json!({"volume": {"sizeGiB": 1}})),
                &["spec.provider.ec2.volume.sizeGiB", "from 8 to 16384"],
            ),
            (
                "a volume type of its own",
                ec2(json!({"volume": {"sizeGiB": 20, "type": "ssd"}})),
                &["spec.provider.ec2.volume.type", "gp3"],
            ),
            (
                "a bad engine version",
                json!({"spec": {"engine": {"version": "latest"}}}),
                &["spec.engine.version", "28.5 or 28.5.2"],
            ),
            (
                "an http install script",
                json!({"spec": {"engine": {"installScript": "http://example.com/"}}}),
                &["spec.engine.installScript", "https://"],
            ),
            (
                "an install script in words",
                json!({"spec": {"engine": {"installScript": "https://example.com/a b"}}}),
                &["spec.engine.installScript", "https://"],
            ),
            (
                "a daemon.json as text",
                json!({"spec": {"engine": {"daemonJson": "{}"}}}),
                &["spec.engine.daemonJson", "object"],
            ),
            ("an unknown field", json!({"spec": {"worker": 2}}), &["unknown field \"spec.worker\""]),
            (
                "a name that begins with a digit",
                json!({"metadata": {"name": "3nodes"}}),
                &["metadata.name", "a letter first"],
            ),
            (
                "a name with a dot",
                json!({"metadata": {"name": "foo.bar"}}),
                &["metadata.name", "lower-case letters, digits and dashes"],
            ),
            ("a long name", json!({"metadata": {"name": "n".repeat(41)}}), &["metadata.name", "at most 40"]),
            ("no spec", json!({"spec": null}), &["spec", "Required value"]),
        ],
    );
}

#[test]
fn wrong_runs_are_refused_with_what_to_write() {
    refuses(
        &run(),
        &[
            ("no image", json!({"spec": {"image": null}}), &["image: dockerswarm/e2e:latest"]),
            ("an empty image", json!({"spec": {"image": ""}}), &["spec.image", "dockerswarm/e2e:latest"]),
            (
                "an image in capitals",
                json!({"spec": {"image": "DockerSwarm/E2E"}}),
                &["spec.image", "dockerswarm/e2e:latest"],
            ),
            (
                "an image with a blank",
                json!({"spec": {"image": "e2e latest"}}),
                &["spec.image", "dockerswarm/e2e:latest"],
            ),
            (
                "an image with half a digest",
                json!({"spec": {"image": "e2e@sha256:abc"}}),
                &["spec.image", "dockerswarm/e2e:latest"],
            ),
            ("no cluster", json!({"spec": {"clusterRef": null}}), &["clusterRef: {name: foo}"]),
            (
                "a cluster without a name",
                json!({"spec": {"clusterRef": {"name": null}}}),
                &["spec.clusterRef", "name of a SwarmCluster"],
            ),
            (
                "a cluster with an empty name",
                json!({"spec": {"clusterRef": {"name": ""}}}),
                &["spec.clusterRef.name", "name of a SwarmCluster"],
            ),
            (
                "a timeout without a unit",
                json!({"spec": {"timeout": "30"}}),
                &["spec.timeout", "90s, 30m, 4h or 1h30m"],
            ),
            ("a timeout as a number", json!({"spec": {"timeout": 30}}), &["spec.timeout", "string"]),
            (
                "no time to pull",
                json!({"spec": {"imagePullTimeout": "0m"}}),
                &["spec.imagePullTimeout", "90s, 30m, 4h or 1h30m"],
            ),
            (
                "a pull policy of its own",
                json!({"spec": {"imagePullPolicy": "Sometimes"}}),
                &["spec.imagePullPolicy", "\"Always\", \"IfNotPresent\", \"Never\""],
            ),
            (
                "a variable with a dash",
                json!({"spec": {"env": [{"name": "LOG-LEVEL", "value": "1"}]}}),
                &["spec.env[0].name", "LOG_LEVEL"],
            ),
            ("a variable without a name", json!({"spec": {"env": [{"value": "1"}]}}), &["spec.env[0]", "name"]),
            ("an unknown field", json!({"spec": {"imagee": "e2e"}}), &["unknown field \"spec.imagee\""]),
            ("a long name", json!({"metadata": {"name": "n".repeat(64)}}), &["metadata.name", "at most 63"]),
        ],
    );
}

#[test]
fn what_cannot_change_says_so() {
    let namespace = Namespace::new("immutable");
    let with_all = ec2(json!({"subnets": ["subnet-0123456789abcdef0"], "credentials": {"name": "aws"}}));
    let full = merged(&cluster(), &with_all);
    let bare = merged(&cluster(), &json!({"metadata": {"name": "bare"}}));
    for object in [&full, &bare, &run()] {
        namespace.apply(object).unwrap();
    }
    let another = "create another SwarmCluster, or delete this one";
    let cases: [(&str, Value, &[&str]); 9] = [
        ("the region", merged(&full, &ec2(json!({"region": "eu-central-1"}))), &["region cannot be changed", another]),
        (
            "the provider",
            merged(&full, &json!({"spec": {"provider": {"ec2": null, "hosts": {}}}})),
            &["provider cannot be changed", another],
        ),
        (
            "other subnets",
            merged(&full, &ec2(json!({"subnets": ["subnet-fedcba9876543210f"]}))),
            &["subnets cannot be changed", another],
        ),
        ("subnets taken away", merged(&full, &ec2(json!({"subnets": null}))), &["subnets cannot be changed", another]),
        (
            "subnets added",
            merged(&bare, &ec2(json!({"subnets": ["subnet-fedcba9876543210f"]}))),
            &["subnets cannot be changed", another],
        ),
        (
            "other credentials",
            merged(&full, &ec2(json!({"credentials": {"name": "other"}}))),
            &["credentials cannot be changed", "change the Secret's content"],
        ),
        (
            "credentials added",
            merged(&bare, &ec2(json!({"credentials": {"name": "other"}}))),
            &["credentials cannot be changed", "change the Secret's content"],
        ),
        (
            "a run's image",
            merged(&run(), &json!({"spec": {"image": "e2e:2"}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
        (
            "a run's timeout",
            merged(&run(), &json!({"spec": {"timeout": "2h"}})),
            &["a run cannot be changed", "create another E2ERun"],
        ),
    ];
    for (what, object, words) in cases {
        said(what, namespace.apply(&object), words);
    }
    for allowed in [
        json!({"spec": {"managers": 5, "workers": 7, "ttl": "8h", "paused": true, "accessCIDRs": ["10.0.0.0/8"]}}),
        ec2(json!({"instanceTypes": ["m5.large"], "ami": {"id": "ami-0123456789abcdef0"}})),
    ] {
        namespace.apply(&merged(&full, &allowed)).unwrap();
    }
}

#[test]
fn right_clusters_are_taken() {
    let namespace = Namespace::new("right");
    for change in [
        json!({"spec": {"managers": 7, "workers": 100, "ttl": "1h30m", "paused": true}}),
        json!({"spec": {"accessCIDRs": ["203.0.113.7/32", "2001:db8::/32"]}}),
        json!({"spec": {"engine": {"version": "28.5", "installScript": "https://example.com/install.sh", "daemonJson": {"log-driver": "local", "x": {"y": [1]}}}}}),
        json!({"spec": {"provider": {"ec2": null, "hosts": {"addresses": ["10.0.0.1"]}}}}),
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
        assert_eq!(
            merged(&serde_json::to_value(&read.spec).unwrap(), &object["spec"]),
            serde_json::to_value(&read.spec).unwrap(),
            "{change}"
        );
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
    assert_eq!(
        spec,
        json!({
            "managers": 1,
            "workers": 0,
            "accessCIDRs": ["0.0.0.0/0"],
            "paused": false,
            "provider": {"ec2": {"region": "us-east-1", "instanceTypes": ["t3.medium", "t3a.medium"], "connectTo": "Private", "spot": false}},
        })
    );

    let run: E2ERun = serde_json::from_value(namespace.apply(&run()).unwrap()).unwrap();
    assert_eq!(run.spec.timeout, Duration::from_secs(30 * 60));
    assert_eq!(run.spec.image_pull_timeout, Duration::from_secs(2 * 60));
    assert_eq!(run.spec.image_pull_policy, ImagePullPolicy::IfNotPresent);
    assert!(run.spec.args.is_empty() && run.spec.env.is_empty());
}

#[test]
fn the_samples_are_taken() {
    let namespace = Namespace::new("samples");
    for file in ["cluster.yaml", "run.yaml"] {
        let path = format!("{}/deploy/samples/{file}", env!("CARGO_MANIFEST_DIR"));
        let sample: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        namespace.try_apply(&sample).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
}

fn cluster() -> Value {
    json!({
        "apiVersion": "testkit.dev/v1alpha1",
        "kind": "SwarmCluster",
        "metadata": {"name": "foo"},
        "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
    })
}

fn run() -> Value {
    json!({
        "apiVersion": "testkit.dev/v1alpha1",
        "kind": "E2ERun",
        "metadata": {"name": "nightly"},
        "spec": {"clusterRef": {"name": "foo"}, "image": "dockerswarm/e2e:latest"},
    })
}

fn ec2(change: Value) -> Value {
    json!({"spec": {"provider": {"ec2": change}}})
}

fn refuses(right: &Value, wrong: &[Wrong]) {
    let namespace = Namespace::new("wrong");
    namespace.try_apply(right).unwrap();
    for (what, change, words) in wrong {
        said(what, namespace.try_apply(&merged(right, change)), words);
    }
}

fn said(what: &str, answer: Result<Value, String>, words: &[&str]) {
    let message = match answer {
        Ok(taken) => panic!("{what}: the API server took {taken}"),
        Err(message) => message,
    };
    for word in words {
        assert!(message.contains(word), "{what}: {word:?} is not in: {message}");
    }
}

/// A JSON merge patch (RFC 7386), applied.
fn merged(to: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut result = to.as_object().cloned().unwrap_or_default();
    for (key, change) in changes {
        if change.is_null() {
            result.remove(key);
        } else {
            let changed = merged(result.get(key).unwrap_or(&Value::Null), change);
            result.insert(key.clone(), changed);
        }
    }
    Value::Object(result)
}
