//! The manifests in `crds/` are what `src/api` says, no more and no less; and so is docs/api.md.

#[path = "../examples/crds/reference.rs"]
mod reference;

use std::{collections::BTreeSet, fs, path::PathBuf};

const REMEDY: &str = "run `make crds` and commit the result";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crds")
}

#[test]
fn the_manifests_are_what_the_types_say() {
    for (file, crd) in testkit::api::crds() {
        let path = folder().join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}: {REMEDY}", path.display()));
        let committed: serde_json::Value =
            serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}: {REMEDY}", path.display()));
        let generated = serde_json::to_value(&crd).unwrap();
        assert!(
            committed == generated,
            "crds/{file} is not what src/api says: {REMEDY}. First difference: {}",
            difference("", &committed, &generated).unwrap_or_default()
        );
    }
}

#[test]
fn no_manifest_is_forgotten_or_left_over() {
    let generated: BTreeSet<String> = testkit::api::crds().iter().map(|(file, _)| (*file).to_owned()).collect();
    let present: BTreeSet<String> = fs::read_dir(folder())
        .unwrap_or_else(|e| panic!("crds/: {e}: {REMEDY}"))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "Kustomization")
        .collect();
    assert_eq!(present, generated, "crds/ has other manifests than src/api: {REMEDY}");

    let kustomization: serde_json::Value =
        serde_yaml_ng::from_str(&fs::read_to_string(folder().join("Kustomization")).unwrap()).unwrap();
    let listed: BTreeSet<String> = serde_json::from_value(kustomization["resources"].clone()).unwrap();
    assert_eq!(listed, generated, "crds/Kustomization does not list what src/api has: correct its `resources`");
}

#[test]
fn the_reference_is_what_the_manifests_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let committed = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}: {REMEDY}", path.display()));
    let definitions: Vec<serde_json::Value> =
        testkit::api::crds().iter().map(|(_, crd)| serde_json::to_value(crd).unwrap()).collect();
    let page = reference::page(&definitions);
    let first = committed.lines().zip(page.lines()).find(|(is, should)| is != should);
    assert!(committed == page, "docs/api.md is not what src/api says: {REMEDY}. First difference: {first:?}");
    let unexplained: Vec<&str> = page.lines().filter(|line| line.ends_with("|  |")).collect();
    assert!(unexplained.is_empty(), "fields without a word of what they mean: {unexplained:#?}");
}

/// Where two documents first differ, as a path with both values.
fn difference(path: &str, a: &serde_json::Value, b: &serde_json::Value) -> Option<String> {
    use serde_json::Value::{Array, Null, Object};
    match (a, b) {
        (Object(x), Object(y)) => x.keys().chain(y.keys()).collect::<BTreeSet<_>>().into_iter().find_map(|key| {
            difference(&format!("{path}.{key}"), x.get(key).unwrap_or(&Null), y.get(key).unwrap_or(&Null))
        }),
        (Array(x), Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (x, y))| difference(&format!("{path}[{i}]"), x, y))
        }
        _ if a == b => None,
        _ => Some(format!("{path} is {a} and should be {b}")),
    }
}
