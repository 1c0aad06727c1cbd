//! Engines and swarms, on real hosts of a test bed.
//!
//! ```text
//! testbed/bed up && eval "$(testbed/bed env)" && cargo test --test engine -- --nocapture
//! ```
//!
//! `TESTKIT_TEST_ENGINE` names another engine than 28.5 that the bed has an image of. Without
//! a bed the test says so and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "engine/fleet.rs"]
mod fleet;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fleet::Fleet;
use futures::{StreamExt as _, TryStreamExt as _};
use testkit::{
    api::NodeRole,
    swarm::{Availability, ContainerSpec, Engine, JoinRequest, LocalState, Node, SwarmError},
};

/// An image of a few files of the host's own: nothing is pulled here. `sleep` is there so that it can run for a while.
const MAKE_IMAGE: &str = "mkdir -p /tmp/image/results && touch /tmp/image/results/shipped && cd / && tar -chf - bin/sh bin/cat bin/sleep $(ldd /bin/sh /bin/cat /bin/sleep | grep -o '/[^ ]*' | grep -v : | sort -u | sed 's,^/,,') -C /tmp/image results \
    | docker import --change 'USER 1000' - testkit/probe:v1";
const IMAGE: &str = "testkit/probe:v1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_asked_of_an_engine() {
    let Some(fleet) = Fleet::launch(3).await else { return };
    // In a task of its own, so that the hosts end whatever becomes of it.
    let scenario = tokio::spawn({
        let fleet = fleet.clone();
        async move {
            let begin = Instant::now();
            let step = |what: &str| println!("{:6.2} s  {what}", begin.elapsed().as_secs_f64());
            swarm(&fleet).await;
            step("a swarm");
            images(&fleet).await;
            step("an image on two hosts");
            containers(&fleet).await;
            step("containers");
            following(&fleet).await;
            step("a container that is followed");
            quorum(&fleet).await;
            step("a lost quorum");
        }
    });
    let outcome = scenario.await;
    fleet.end().await;
    outcome.unwrap();
}

/// Outside a swarm, beginning one, joining it at once from two hosts, and changing its nodes.
async fn swarm(fleet: &Fleet) {
    let [first, second, third] = [0, 1, 2].map(|i| fleet.engine(i));
    let info = first.info().await.unwrap();
    assert_eq!((info.state, info.control_available, info.node_id), (LocalState::Inactive, false, None));
    assert!(info.version.starts_with(&fleet::version()), "{}", info.version);
    assert!(matches!(first.nodes().await, Err(SwarmError::NotAManager(_))));
    assert!(matches!(first.tokens().await, Err(SwarmError::NotAManager(_))));
    first.leave(true).await.unwrap();

    let id = first.init(fleet.address(0), None).await.unwrap();
    let again = first.init(fleet.address(0), None).await;
    assert!(matches!(again, Err(SwarmError::AlreadyInSwarm(_))), "{again:?}");
    let info = first.info().await.unwrap();
    assert_eq!((info.state, info.control_available, info.node_id.as_ref()), (LocalState::Active, true, Some(&id)));

    let mut events = first.node_events();
    let tokens = first.tokens().await.unwrap();
    assert!(!format!("{tokens:?}").contains("SWMTKN"));
    let request = |token, i| JoinRequest {
        remote: vec![fleet.address(0).to_owned()],
        token,
        advertise: fleet.address(i).to_owned(),
    };
    let (manager, worker) = (request(tokens.manager, 1), request(tokens.worker, 2));
    futures::future::try_join(second.join(&manager), third.join(&worker)).await.unwrap();
    let again = third.join(&worker).await;
    assert!(matches!(again, Err(SwarmError::AlreadyInSwarm(_))), "{again:?}");

    // Told by the events alone.
    let nodes = until(&first, &mut events, |nodes| nodes.len() == 3 && nodes.iter().all(|n| n.ready)).await;
    assert_eq!(nodes.iter().filter(|n| n.role == NodeRole::Manager && n.reachable).count(), 2);
    assert_eq!(nodes.iter().filter(|n| n.leader).map(|n| n.id.clone()).collect::<Vec<_>>(), [id]);
    let told = third.info().await.unwrap();
    assert_eq!((told.state, told.control_available), (LocalState::Active, false));
    let node = told.node_id.unwrap();
    let of = |nodes: &[Node]| nodes.iter().find(|n| n.id == node).unwrap().clone();
    assert_eq!(of(&nodes).address, fleet.address(2));
    assert_eq!(of(&nodes).engine_version, told.version);

    let label = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
    first.label(&node, &label("a", "1")).await.unwrap();
    // Two writers at once: one of them finds that the node has changed, and looks again.
    let (ab, c) = (label("b", "2"), label("c", "3"));
    let both = futures::future::try_join(first.label(&node, &ab), second.label(&node, &c)).await;
    both.unwrap();
    assert_eq!(of(&first.nodes().await.unwrap()).labels.len(), 3);
    first.drain(&node).await.unwrap();
    assert_eq!(of(&first.nodes().await.unwrap()).availability, Availability::Drain);
    first.activate(&node).await.unwrap();
    first.promote(&node).await.unwrap();
    // Whether a manager is reached is worked out for every answer: no event tells of it.
    let reached = async { while !of(&first.nodes().await.unwrap()).reachable {} };
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("it is promoted");
    first.demote(&node).await.unwrap();
    until(&first, &mut events, |nodes| of(nodes).role == NodeRole::Worker && !of(nodes).reachable).await;
    let refused = first.remove(&node, false).await;
    assert!(matches!(refused, Err(SwarmError::Refused(_))), "{refused:?}");
    let unknown = first.label("nobody", &label("a", "1")).await;
    assert!(matches!(unknown, Err(SwarmError::NotFound(_))), "{unknown:?}");
    first.remove("nobody", true).await.unwrap();
}

/// From one host to another, over connections of their own.
async fn images(fleet: &Fleet) {
    let made = fleet.host(0).exec(MAKE_IMAGE, None).await.unwrap();
    assert!(made.success(), "{}", made.complaint());
    let (source, target) = (fleet.bulk(0).await, fleet.bulk(1).await);
    let (source, target) = (Engine::new(&source), Engine::new(&target));
    let id = source.image_id(IMAGE).await.unwrap().unwrap();
    assert_eq!(target.image_id(IMAGE).await.unwrap(), None);

    let broken =
        source.export(IMAGE).take(2).chain(futures::stream::iter([Err(SwarmError::Unreachable("cut".to_owned()))]));
    let error = target.load(broken).await.unwrap_err();
    assert!(error.to_string().contains("cut"), "{error}");
    assert_eq!(target.image_id(IMAGE).await.unwrap(), None, "half an image is none");
    let error = target.load(futures::stream::iter([Ok::<_, String>(Bytes::from_static(b"no image"))])).await;
    assert!(error.is_err());

    target.load(source.export(IMAGE)).await.unwrap();
    assert_eq!(target.image_id(IMAGE).await.unwrap(), Some(id));
    let missing = source.export("testkit/nothing:v1").try_next().await;
    assert!(matches!(missing, Err(SwarmError::NotFound(_))), "{missing:?}");
    let error = target.pull("registry.invalid/testkit/nothing:v1", None).await.unwrap_err();
    assert!(matches!(error, SwarmError::Refused(_)), "{error:?}");
}

fn probe(name: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["SECRET=tell nobody".to_owned()],
        labels: BTreeMap::from([("testkit.dev/probe".to_owned(), name.to_owned())]),
        host_network: true,
        binds: vec!["/var/run/docker.sock:/var/run/docker.sock".to_owned()],
        volumes: vec!["/results".to_owned()],
        nano_cpus: None,
        memory: Some(64 * 1024 * 1024),
    }
}

/// One that ends by itself, with what it leaves.
async fn containers(fleet: &Fleet) {
    let engine = fleet.engine(1);
    // As a user that may not write into a volume as an engine makes it, where the image has a file of its own.
    let script = "echo out; echo err >&2; echo \"$SECRET\" > /results/a.xml; [ -S /var/run/docker.sock ] && [ ! -e /results/shipped ] && exit 3";
    let spec = probe("first", script);
    assert!(!format!("{spec:?}").contains("tell nobody"));
    let id = engine.create(spec.clone()).await.unwrap();
    let taken = engine.create(spec).await;
    assert!(matches!(taken, Err(SwarmError::Conflict(_))), "{taken:?}");
    let created = engine.inspect(&id).await.unwrap();
    assert_eq!((created.running, created.started_at, created.name.as_str()), (false, None, "first"));
    for _ in 0..2 {
        engine.open_folder(&id, "/results").await.unwrap();
    }
    engine.start(&id).await.unwrap();
    assert_eq!(engine.wait(&id).await.unwrap(), 3);
    let ended = engine.inspect(&id).await.unwrap();
    assert_eq!((ended.running, ended.exit_code, ended.oom_killed, ended.error.as_str()), (false, 3, false, ""));
    assert!(ended.started_at.unwrap() <= ended.finished_at.unwrap());

    let found = engine.containers("testkit.dev/probe", "first").await.unwrap();
    assert_eq!(found.iter().map(|c| (&c.id, c.state.as_str())).collect::<Vec<_>>(), [(&id, "exited")]);
    assert!(engine.containers("testkit.dev/probe", "second").await.unwrap().is_empty());

    let host = fleet.bulk(1).await;
    let bulk = Engine::new(&host);
    let log: Vec<Bytes> = bulk.logs(&id, false, None).try_collect().await.unwrap();
    let mut lines: Vec<_> = log.concat().split(|b| *b == b'\n').map(<[u8]>::to_vec).filter(|l| !l.is_empty()).collect();
    lines.sort();
    assert_eq!(lines, [b"err".to_vec(), b"out".to_vec()]);
    let tar: Vec<Bytes> = bulk.archive(&id, "/results").try_collect().await.unwrap();
    assert!(tar.concat().windows(11).any(|w| w == b"tell nobody"));
    let missing = bulk.archive(&id, "/nowhere").try_collect::<Vec<_>>().await;
    assert!(matches!(missing, Err(SwarmError::NotFound(_))), "{missing:?}");

    engine.remove_container(&id).await.unwrap();
    engine.remove_container(&id).await.unwrap();
    assert!(matches!(engine.inspect(&id).await, Err(SwarmError::NotFound(_))));
    let volumes = fleet.host(1).exec("docker volume ls -q", None).await.unwrap();
    assert!(volumes.stdout.is_empty(), "its volume went with it: {volumes:?}");

    let nothing = engine.create(ContainerSpec { image: "testkit/nothing:v1".to_owned(), ..probe("none", "") }).await;
    assert!(matches!(nothing, Err(SwarmError::NotFound(_))), "{nothing:?}");
    let id =
        engine.create(ContainerSpec { args: vec!["/bin/nothing".to_owned()], ..probe("second", "") }).await.unwrap();
    let error = engine.start(&id).await.unwrap_err();
    assert!(error.to_string().contains("/bin/nothing"), "{error}");
    assert!(!engine.inspect(&id).await.unwrap().error.is_empty());
    engine.remove_container(&id).await.unwrap();
}

/// One that runs until it is stopped, and is followed meanwhile.
async fn following(fleet: &Fleet) {
    let engine = fleet.engine(1);
    // Deaf to the polite signal, so that stopping takes its grace.
    let script = "trap '' TERM; n=0; while :; do n=$((n+1)); echo line-$n; sleep 0.2; done";
    let id = engine.create(probe("third", script)).await.unwrap();
    engine.start(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    let host = fleet.bulk(1).await;
    let mut log = Engine::new(&host).logs(&id, true, None);
    let mut seen = Vec::new();
    while !seen.windows(7).any(|w| w == b"line-5\n") {
        seen.extend_from_slice(&log.try_next().await.unwrap().expect("it goes on"));
    }
    let waiting = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.wait(&id).await }
    });
    engine.stop(&id, Duration::from_secs(1)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 137);
    while log.try_next().await.unwrap().is_some() {}
    engine.stop(&id, Duration::from_secs(1)).await.unwrap();
    engine.remove_container(&id).await.unwrap();
}

/// Two managers of which one leaves without a word.
async fn quorum(fleet: &Fleet) {
    let engine = fleet.engine(0);
    fleet.engine(1).leave(true).await.unwrap();
    assert_eq!(fleet.engine(1).info().await.unwrap().state, LocalState::Inactive);
    let patience = Duration::from_secs(60);
    let refused = async {
        loop {
            match engine.nodes().await {
                Err(SwarmError::NoQuorum(words)) => return words,
                // The leader takes a moment to notice.
                Ok(_) | Err(SwarmError::Unreachable(_)) => tokio::time::sleep(Duration::from_millis(300)).await,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    let words = tokio::time::timeout(patience, refused).await.expect("the quorum is lost");
    println!("no quorum: {words}");
}

/// Looks at the nodes after every event, and only then.
async fn until(
    manager: &Engine,
    events: &mut (impl futures::Stream<Item = ()> + Unpin),
    right: impl Fn(&[Node]) -> bool,
) -> Vec<Node> {
    let wait = async {
        loop {
            let nodes = manager.nodes().await.unwrap();
            if right(&nodes) {
                return nodes;
            }
            events.next().await.expect("events go on");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("an event told of it")
}
