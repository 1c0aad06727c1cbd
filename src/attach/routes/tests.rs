use bytes::Bytes;
use proptest::prelude::*;

use super::{table::API_VERSION, *};

/// Docker's own description of the API: what is listed is its paths alone.
const DESCRIPTION: &str = include_str!("api-1.53.txt");

fn head(line: &str) -> Head {
    let (method, path) = line.split_once(' ').unwrap();
    let (method, path) = (method.to_owned(), path.to_owned());
    Head { bytes: Bytes::new(), method, path, length: Some(0), upgrade: false }
}

fn described() -> Vec<(&'static str, &'static str)> {
    DESCRIPTION.lines().filter(|l| !l.starts_with('#')).map(|l| l.split_once(' ').unwrap()).collect()
}

/// A request for a path of the description.
fn example(method: &str, path: &str) -> Head {
    head(&format!("{method} /v{API_VERSION}{}", path.replace("{id}", "abc").replace("{name}", "abc")))
}

#[test]
fn every_path_of_the_description_is_in_the_table_once() {
    let described = described();
    assert!(described.len() > 100, "the description is cut short");
    for &(method, path) in &described {
        let example = example(method, path);
        let rows: Vec<_> =
            TABLE.iter().filter(|row| row.method == method && fits(row.path, super::path(&example.path))).collect();
        let first = rows.first().unwrap_or_else(|| panic!("{method} {path} is not in the table"));
        let own = path.replace("{name}", "{id}");
        assert_eq!(first.path.replace("{name}", "{id}"), own, "{method} {path} is taken for another");
    }
    // What buildx and checkpoints ask is in no description.
    let beside = ["/grpc", "checkpoints"];
    for row in TABLE.iter().filter(|row| beside.iter().all(|other| !row.path.contains(other))) {
        let known = |(method, path): &(&str, &str)| {
            *method == row.method && path.replace("{name}", "{id}") == row.path.replace("{name}", "{id}")
        };
        assert!(described.iter().any(known), "{} {} is not in the description", row.method, row.path);
    }
}

#[test]
fn the_description_is_the_one_the_client_library_is_generated_from() {
    let lock = include_str!("../../../Cargo.lock");
    let stubs = lock.split("name = \"bollard-stubs\"").nth(1).unwrap();
    assert!(
        stubs.trim_start().starts_with(&format!("version = \"{API_VERSION}.")),
        "another API: read its description again"
    );
}

#[test]
fn only_questions_are_asked_again() {
    for row in TABLE.iter().filter(|row| row.repeat == Repeat::Again) {
        assert!(matches!(row.method, "GET" | "HEAD"), "{} {}", row.method, row.path);
    }
}

#[test]
fn what_an_engine_has_is_not_the_swarms() {
    let (engines, swarms) = (
        [
            "containers",
            "images",
            "exec",
            "build",
            "volumes",
            "info",
            "version",
            "events",
            "system",
            "commit",
            "auth",
            "plugins",
            "distribution",
            "session",
        ],
        ["services", "tasks", "nodes", "secrets", "configs"],
    );
    for (method, path) in described() {
        let head = example(method, path);
        let owner = Route::of(&head).owner(&head, b"");
        let first = path.split('/').nth(1).unwrap();
        if engines.contains(&first) && (method, path) != ("PUT", "/volumes/{name}") {
            assert_eq!(owner, Owner::Engine, "{method} {path}");
        }
        if swarms.contains(&first) {
            assert_eq!(owner, Owner::Swarm, "{method} {path}");
        }
    }
}

#[test]
fn what_may_be_anybodys_is_told_by_what_is_asked() {
    for (line, body, owner) in [
        ("GET /networks", "", Owner::Engine),
        ("GET /v1.51/networks?filters=%7B%22driver%22%3A%7B%22overlay%22%3Atrue%7D%7D", "", Owner::Swarm),
        ("GET /networks?filters={\"scope\":%20[\"swarm\"]}", "", Owner::Swarm),
        ("GET /networks?filters=%7B%22name%22%3A%5B%22overlay%22%5D%7D", "", Owner::Engine),
        ("GET /networks/web", "", Owner::Engine),
        ("GET /networks/web?scope=swarm", "", Owner::Swarm),
        ("DELETE /networks/web", "", Owner::Engine),
        ("DELETE /v1.51/networks/t0k1y8v4vxc8ff1zzkcb3sckv", "", Owner::Swarm),
        ("DELETE /networks/4f4a2c1e5b6d4f4a2c1e5b6d4f4a2c1e5b6d4f4a2c1e5b6d4f4a2c1e5b6d4f4a", "", Owner::Engine),
        ("POST /networks/create", r#"{"Name":"a"}"#, Owner::Engine),
        ("POST /networks/create", r#"{"Name":"a","Driver":"bridge"}"#, Owner::Engine),
        ("POST /networks/create", r#"{"Name":"a","Driver":"overlay"}"#, Owner::SwarmAndHome),
        ("POST /networks/create", r#"{"Name":"a","Driver":"macvlan","Scope":"swarm"}"#, Owner::SwarmAndHome),
        ("POST /networks/create", "nonsense", Owner::Engine),
        ("POST /networks/web/connect", "", Owner::Engine),
        ("POST /volumes/create", r#"{"Name":"a"}"#, Owner::Engine),
        ("POST /volumes/create", r#"{"Name":"a","ClusterVolumeSpec":{}}"#, Owner::SwarmAndHome),
        ("POST /swarm/leave", "", Owner::Engine),
        ("GET /swarm", "", Owner::Swarm),
        ("HEAD /_ping", "", Owner::Anyone),
        ("GET /_ping", "", Owner::Anyone),
        ("GET /nothing/known", "", Owner::Engine),
    ] {
        let head = head(line);
        assert_eq!(Route::of(&head).owner(&head, body.as_bytes()), owner, "{line} {body}");
    }
}

#[test]
fn documents_share_and_streams_do_not() {
    let way = |line| Route::of(&head(line));
    for line in [
        "HEAD /_ping",
        "GET /v1.47/version",
        "GET /v1.24/containers/json?all=1",
        "GET /v1.41/images/registry:5000/a/b:c/json",
        "GET /services/abc",
        "GET /tasks?filters=%7B%7D",
        "GET /swarm/unlockkey",
        "GET /plugins/a/b/json",
        "GET /distribution/a/b/json",
    ] {
        let route = way(line);
        assert_eq!((route.size, route.repeat), (Size::Small, Repeat::Again), "{line}");
    }
    for line in [
        "POST /v1.47/containers/create?name=x",
        "POST /containers/a/wait?condition=x",
        "POST /containers/a/exec",
        "POST /services/create",
        "DELETE /images/a/b",
        "POST /images/a/b/tag",
    ] {
        let route = way(line);
        assert_eq!((route.size, route.repeat), (Size::Small, Repeat::Once), "{line}");
    }
    for line in [
        "GET /images/get?names=a",
        "GET /v1.47/images/a/b/get",
        "POST /images/load",
        "POST /images/a/b/push",
        "GET /containers/a/logs?follow=1",
        "GET /services/a/logs",
        "GET /events",
        "PUT /containers/a/archive",
        "POST /exec/1/start",
        "POST /grpc",
        "OPTIONS /",
        "GET /x",
    ] {
        assert_eq!(way(line).size, Size::Endless, "{line}");
    }
}

#[test]
fn what_is_large_or_no_longer_http_does_not_share() {
    let route = |length, upgrade| {
        let mut head = head("POST /networks/create");
        (head.length, head.upgrade) = (length, upgrade);
        Route::of(&head)
    };
    assert!(route(Some(1000), false).needs_body());
    for route in [route(Some(1 << 20), false), route(None, false), route(Some(0), true)] {
        assert_eq!((route.size, route.needs_body()), (Size::Endless, false));
    }
    let mut question = head("GET /containers/json");
    question.length = Some(3);
    assert_eq!(Route::of(&question).repeat, Repeat::Once, "a body is sent once");
}

proptest! {
    #[test]
    fn no_path_makes_it_fall(path in "\\PC{0,60}", query in "[%{}\":+a-f0-9]{0,40}") {
        let head = Head { bytes: Bytes::new(), method: "GET".to_owned(), path: format!("{path}?{query}"), length: Some(0), upgrade: false };
        let _ = Route::of(&head).owner(&head, b"");
        let mut networks = head;
        networks.path = format!("/networks?{query}");
        let _ = Route::of(&networks).owner(&networks, b"");
    }
}
