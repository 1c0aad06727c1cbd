use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn spec(matrix: &Value) -> E2EMatrixSpec {
    let mut spec = json!({"runTemplate": {"spec": {
        "image": "suite:1",
        "clusterTemplate": {"spec": {"managers": 1, "provider": {"ec2": {"region": "us-east-1"}}}},
    }}});
    spec.as_object_mut().unwrap().extend(matrix.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

/// Each combination in few letters, such as `28.5/3/a`.
fn short(all: &[Combination]) -> Vec<String> {
    let of = |one: &Combination| {
        let numbers = [one.managers, one.workers].map(|n| n.map(|n| n.to_string()));
        let texts = [one.engine_version.clone(), one.ami.clone()];
        texts.into_iter().chain(numbers).chain([one.image.clone()]).flatten().collect::<Vec<_>>().join("/")
    };
    all.iter().map(of).collect()
}

#[test]
fn combinations_are_as_github_makes_them() {
    for (what, matrix, wanted) in [
        ("one axis", json!({"axes": {"image": ["a", "b"]}}), vec!["a", "b"]),
        (
            "two axes",
            json!({"axes": {"engineVersion": ["27.5", "28.5"], "managers": [1, 3]}}),
            vec!["27.5/1", "27.5/3", "28.5/1", "28.5/3"],
        ),
        (
            "left out by one value, and by two",
            json!({"axes": {"engineVersion": ["27.5", "28.5"], "managers": [1, 3, 5]}, "exclude": [{"managers": 5}, {"engineVersion": "27.5", "managers": 3}]}),
            vec!["27.5/1", "28.5/1", "28.5/3"],
        ),
        (
            "what is left out has to be there",
            json!({"axes": {"managers": [1]}, "exclude": [{"image": "a"}]}),
            vec!["1"],
        ),
        ("no axis", json!({"include": [{"managers": 1}, {"managers": 3, "image": "b"}]}), vec!["1", "3/b"]),
        // The example of GitHub's documentation, in our words: fruit and animal are axes, colour and shape are added.
        (
            "include",
            json!({
                "axes": {"image": ["apple", "pear"], "engineVersion": ["1.0", "2.0"]},
                "include": [
                    {"managers": 1},
                    {"managers": 3, "engineVersion": "1.0"},
                    {"image": "apple", "workers": 7},
                    {"image": "banana"},
                    {"image": "banana", "engineVersion": "1.0"},
                ],
            }),
            vec!["1.0/3/7/apple", "1.0/3/pear", "2.0/1/7/apple", "2.0/1/pear", "banana", "1.0/banana"],
        ),
        ("what is included twice is there once", json!({"include": [{"managers": 1}, {"managers": 1}]}), vec!["1"]),
        (
            "what is left out comes in again",
            json!({"axes": {"managers": [1, 3]}, "exclude": [{"managers": 3}], "include": [{"managers": 3}]}),
            vec!["1", "3"],
        ),
    ] {
        assert_eq!(short(&combinations(&spec(&matrix)).unwrap()), wanted, "{what}");
    }
    let none = combinations(&spec(&json!({"axes": {"managers": [1]}, "exclude": [{"managers": 1}]})));
    assert!(none.unwrap_err().contains("spec.exclude"));
    let values: Vec<String> = (0..9).map(|n| format!("i{n}")).collect();
    let many = combinations(&spec(&json!({"axes": {"image": values, "workers": [0, 1, 2, 3, 4, 5, 6, 7]}})));
    assert!(many.unwrap_err().contains("72 combinations"));
}

#[test]
fn each_value_takes_its_place_in_the_template() {
    let one: Combination = serde_json::from_value(
        json!({"engineVersion": "28.5", "ami": "ami-0123456789abcdef0", "managers": 3, "workers": 2, "image": "suite:2"}),
    )
    .unwrap();
    let template = spec(&json!({"axes": {}})).run_template;
    let made = serde_json::to_value(applied(&template, &one).spec).unwrap();
    let cluster = &made["clusterTemplate"]["spec"];
    assert_eq!(made["image"], "suite:2");
    assert_eq!((&cluster["managers"], &cluster["workers"]), (&json!(3), &json!(2)));
    assert_eq!(cluster["engine"], json!({"version": "28.5"}));
    assert_eq!(cluster["provider"]["ec2"]["ami"], json!({"id": "ami-0123456789abcdef0"}));
    assert_eq!(applied(&template, &Combination::default()), template);
}

#[test]
fn names_tell_the_combination() {
    let named = |matrix: &str, all: Value| {
        let all: Vec<Combination> = serde_json::from_value(all).unwrap();
        names(matrix, &all)
    };
    let all = json!([
        {"engineVersion": "28.5", "managers": 3, "workers": 0, "image": "registry.example.com:5000/team/E2E:V1_2-rc.1"},
        {"ami": "ami-0123456789abcdef0"},
        {"engineVersion": "stable"},
    ]);
    assert_eq!(
        named("nightly", all),
        ["nightly-28.5-m3-w0-e2e-v1-2-rc-1", "nightly-ami-0123456789abcdef0", "nightly-stable"]
    );
    let alike = named("m", json!([{"image": "a/e2e:1"}, {"image": "b/e2e:1"}, {"image": "e2e:2"}]));
    assert!(alike[0].starts_with("m-e2e-1-") && alike[0].len() == "m-e2e-1-".len() + HASH, "{alike:?}");
    assert_eq!(alike[2], "m-e2e-2");
    // Where it stands does not matter, so that another order, or one more, gives a run no other name.
    assert_eq!(named("m", json!([{"image": "b/e2e:1"}, {"image": "a/e2e:1"}]))[1], alike[0]);
}

proptest! {
    #[test]
    fn names_are_names_and_each_is_another_one(
        matrix in "[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
        images in prop::collection::btree_set("[a-z0-9][A-Za-z0-9._:/@-]{0,80}", 1..8),
        versions in prop::collection::btree_set("[0-9]{1,2}[.][0-9]{1,8}", 0..4),
    ) {
        let axes = json!({"image": images, "engineVersion": versions, "managers": [1, 3]});
        let all = combinations(&spec(&json!({"axes": axes}))).unwrap();
        let names = names(&matrix, &all);
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        prop_assert_eq!(different.len(), all.len());
        for name in names {
            prop_assert!(name.len() <= NAME && name.starts_with(&matrix), "{}", name);
            // As the API server has it (RFC 1123, a subdomain).
            for part in name.split('.') {
                let ends = part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.ends_with(|c: char| c.is_ascii_alphanumeric());
                prop_assert!(ends && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", name);
            }
        }
    }
}
