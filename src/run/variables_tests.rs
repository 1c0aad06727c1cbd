use serde_json::{Value, json};

use super::*;

fn spec(change: &Value) -> E2ERunSpec {
    let mut spec = json!({"clusterRef": {"name": "foo"}, "image": "suite:1"});
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn holds(pairs: &[(&str, &[u8])]) -> Source {
    Source::Holds(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect())
}

/// Secret `s` and ConfigMap `c`, a Secret that is not there, and one of the operator's own.
fn sources() -> Sources {
    [
        ((Kind::Secret, "s".to_owned()), holds(&[("token", b"hunter2"), ("raw", &[0xff, 0xfe]), ("zero", b"a\0b")])),
        ((Kind::ConfigMap, "c".to_owned()), holds(&[("LEVEL", b"debug"), ("a.b", b"dotted")])),
        ((Kind::Secret, "gone".to_owned()), Source::Gone),
        ((Kind::Secret, "foo-ssh".to_owned()), Source::Own),
        ((Kind::Secret, "hidden".to_owned()), Source::Refused("secrets \"hidden\" is forbidden".to_owned())),
    ]
    .into()
}

fn secret(name: &str, key: &str) -> Value {
    json!({"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]})
}

#[test]
fn variables_are_those_of_kubernetes_in_its_order() {
    let own = ["TESTKIT_RESULTS=/results", "TESTKIT_IMAGE=suite:1", "TESTKIT_SHARD_INDEX=1", "TESTKIT_SHARD_TOTAL=1"];
    let from_c = json!({"configMapRef": {"name": "c"}});
    let cases: [(Value, &[&str]); 9] = [
        (json!({}), &[]),
        (json!({"env": [{"name": "A", "value": "1"}, {"name": "EMPTY"}]}), &["A=1", "EMPTY="]),
        (json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}), &["A=$(A)2"]),
        (json!({"env": [{"name": "TESTKIT_IMAGE", "value": "mine"}]}), &[]),
        (secret("s", "token"), &["T=hunter2"]),
        (
            json!({"env": [{"name": "L", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "LEVEL"}}}]}),
            &["L=debug"],
        ),
        (json!({"envFrom": [from_c]}), &["LEVEL=debug", "a.b=dotted"]),
        (
            json!({"envFrom": [{"prefix": "CI_", "configMapRef": {"name": "c"}}], "env": [{"name": "CI_LEVEL", "value": "info"}]}),
            &["CI_a.b=dotted", "CI_LEVEL=info"],
        ),
        (
            json!({
                "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "x", "optional": true}}},
                    {"name": "U", "valueFrom": {"secretKeyRef": {"name": "s", "key": "nokey", "optional": true}}}],
                "envFrom": [{"secretRef": {"name": "gone", "optional": true}}],
            }),
            &[],
        ),
    ];
    for (change, wanted) in cases {
        let lines = resolve(&spec(&change), &sources(), Shard::WHOLE).unwrap().lines();
        assert_eq!(lines, [wanted, &own[..]].concat(), "{change}");
    }
}

#[test]
fn what_is_missing_or_of_no_use_is_named_and_its_value_is_not() {
    let whole = |name: &str| json!({"envFrom": [{"secretRef": {"name": name}}]});
    let cases: [(Value, bool, &[&str]); 8] = [
        (secret("gone", "token"), true, &["there is no Secret gone", "variable T of spec.env", "create it"]),
        (secret("s", "tokn"), true, &["Secret s has no key tokn", "variable T of spec.env", "optional: true"]),
        (whole("gone"), true, &["there is no Secret gone", "spec.envFrom[0]"]),
        (secret("hidden", "token"), true, &["Secret hidden", "forbidden"]),
        (secret("foo-ssh", "ssh-privatekey"), false, &["Secret foo-ssh", "the operator's own"]),
        (whole("foo-ssh"), false, &["Secret foo-ssh", "the operator's own"]),
        (secret("s", "raw"), false, &["key raw of Secret s", "no text"]),
        (secret("s", "zero"), false, &["key zero of Secret s", "a byte of zero"]),
    ];
    for (change, may_come, words) in cases {
        let lack = resolve(&spec(&change), &sources(), Shard::WHOLE).unwrap_err();
        assert_eq!(matches!(lack, Lack::Missing(_)), may_come, "{lack:?}");
        let said = format!("{lack:?}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn each_object_is_read_once() {
    let both = json!({
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "b"}}}, {"name": "C", "value": "1"}],
        "envFrom": [{"configMapRef": {"name": "s"}}, {"secretRef": {"name": "s"}}],
    });
    assert_eq!(named(&spec(&both)), [(Kind::Secret, "s".to_owned()), (Kind::ConfigMap, "s".to_owned())]);
}

#[test]
fn no_debug_shows_a_value() {
    let variables = resolve(&spec(&secret("s", "token")), &sources(), Shard::WHOLE).unwrap();
    assert_eq!(format!("{variables:?}"), "Variables(5)");
}

#[test]
fn what_the_operator_made_for_itself_is_known_by_its_label() {
    let made = |by: &str| -> Secret {
        serde_json::from_value(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": by}}})).unwrap()
    };
    assert!(is_own(&made(MANAGER)));
    assert!(!is_own(&made("Helm")) && !is_own(&Secret::default()));
}

#[test]
fn a_shard_knows_which_it_is() {
    let shard = Shard { index: 2, total: 4 };
    let env = json!({"env": [{"name": "GROUP", "value": "$(TESTKIT_SHARD_INDEX)/$(TESTKIT_SHARD_TOTAL)"}, {"name": "TESTKIT_SHARD_INDEX", "value": "9"}]});
    let lines = resolve(&spec(&env), &sources(), shard).unwrap().lines();
    for line in ["GROUP=2/4", "TESTKIT_SHARD_INDEX=2", "TESTKIT_SHARD_TOTAL=4"] {
        assert_eq!(lines.iter().filter(|l| *l == line).count(), 1, "{lines:?}");
    }
    assert_eq!(lines.len(), 5);
    let of_secret = Sources::from([((Kind::Secret, "s".to_owned()), holds(&[("token", b"$(TESTKIT_SHARD_INDEX)")]))]);
    let lines = resolve(&spec(&secret("s", "token")), &of_secret, shard).unwrap().lines();
    assert_eq!(lines[0], "T=$(TESTKIT_SHARD_INDEX)", "what a Secret holds is nobody's to look at");
}
