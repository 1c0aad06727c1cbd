use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use k8s_openapi::ByteString;
use serde_json::json;

use super::*;

fn run(name: &str, change: &serde_json::Value) -> E2ERun {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "ci", "uid": format!("u-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"clusterRef": {"name": "foo"}, "image": "e2e:1"},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "CasesPassed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Complete", "status": "True", "reason": "CasesPassed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ],
            "passed": 1, "failed": 0, "results": format!("{name}-results"), "imageID": "e2e@sha256:1",
            "finishedAt": format!("2026-01-01T00:00:0{name}Z"),
        },
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        object["status"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

#[test]
fn the_last_runs_of_each_suite_are_read_that_ended_by_themselves() {
    let failed = |reason: &str| {
        json!({"conditions": [
            {"type": "Ready", "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Failed", "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]})
    };
    let mut chosen = Chosen::new(2);
    for (name, change) in [
        ("3", json!({})),
        ("1", json!({})),
        ("2", failed("CasesFailed")),
        ("4", failed("Cancelled")),
        ("5", failed("InfrastructureFailed")),
        ("6", json!({"joined": "3"})),
        ("7", json!({"conditions": []})),
    ] {
        chosen.take(&run(name, &change));
    }
    let (suites, cut_off) = chosen.finish();
    let suite = &suites[&("ci".to_owned(), "e2e".to_owned())];
    let names: Vec<_> = suite.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!((names, suite.older, cut_off), (vec!["2", "3"], 1, 2));
}

fn map(name: &str, uid: &str, junit: Option<&str>) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(format!("{name}-results"));
    map.metadata.namespace = Some("ci".to_owned());
    map.metadata.labels = Some(BTreeMap::from([(label::RUN_UID.to_owned(), uid.to_owned())]));
    let packed = junit.map(|junit| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(junit.as_bytes()).unwrap();
        ByteString(packed.finish().unwrap())
    });
    map.binary_data = packed.map(|packed| BTreeMap::from([(kept::JUNIT.to_owned(), packed)]));
    map
}

#[test]
fn what_results_do_not_tell_is_said() {
    let good = r#"<testsuite><testcase name="a"/></testsuite>"#;
    let table = [
        (map("1", "u-1", Some(good)), 1, None),
        (map("1", "u-1", None), 1, Some("run 1 left no results")),
        (map("1", "u-0", Some(good)), 1, Some("the results of run 1 are gone")),
        (map("2", "u-1", Some(good)), 1, Some("the results of run 1 are gone")),
        (map("1", "u-1", Some(good)), 9, Some("of the 9 cases of run 1 1 are listed")),
        (map("1", "u-1", Some("<testsuite><testcase name=\"a\"/>")), 1, Some("the results of run 1 are not whole")),
    ];
    for (map, passed, wanted) in table {
        let mut chosen = Chosen::new(2);
        chosen.take(&run("1", &json!({"passed": passed})));
        let mut gathered = Gathered { suites: chosen.finish().0, ..Gathered::default() };
        let place = Place { suite: ("ci".to_owned(), "e2e".to_owned()), run: 0, uid: "u-1".to_owned() };
        let mut open = Open::from([(("ci".to_owned(), "1-results".to_owned()), place)]);
        let mut reader = Reader::new(false, &mut gathered);
        reader.take(&mut open, map);
        for ((_, map), place) in open {
            reader.lack(&place, Why::Gone(map));
        }
        let said: Vec<String> = gathered.lacks.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), usize::from(wanted.is_some()), "{said:?}");
        assert!(wanted.is_none_or(|words| said[0].contains(words)), "{said:?}");
    }
}
