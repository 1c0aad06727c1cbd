use futures::{StreamExt, channel::oneshot};

use super::*;
use crate::run::Woken;

fn run() -> E2ERun {
    let mut run: E2ERun = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "nightly", "namespace": "ci"},
        "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"},
    }))
    .unwrap();
    run.metadata.uid = Some("u1".to_owned());
    run
}

fn host() -> HostId {
    HostId { cluster: "c".to_owned(), slot: "m0".to_owned(), incarnation: 0 }
}

#[tokio::test]
async fn a_job_runs_once_at_a_time_and_wakes_its_run() {
    let (wake, mut woken) = Wake::channel();
    let jobs = Jobs::new(wake);
    let (go, wait) = oneshot::channel::<()>();
    let image = || Work::Image(host());
    jobs.ensure(&run(), image(), async { wait.await.map_err(|e| e.to_string()) });
    assert_eq!(jobs.bringing("u1", &Work::Image(host())), Bringing::Busy);
    jobs.ensure(&run(), image(), async { Err("a second one ran".to_owned()) });
    go.send(()).unwrap();
    assert!(matches!(woken.next().await, Some(Woken::Run(run)) if run.name == "nightly"));
    assert_eq!(jobs.bringing("u1", &Work::Image(host())), Bringing::Done);
    assert_eq!(jobs.bringing("u2", &Work::Image(host())), Bringing::Idle);
}

#[tokio::test]
async fn a_job_that_failed_rests_and_keeps_its_words() {
    let (wake, mut woken) = Wake::channel();
    let jobs = Jobs::new(wake);
    jobs.ensure(&run(), Work::Image(host()), async { Err("no such host") });
    assert!(woken.next().await.is_some());
    assert_eq!(
        jobs.bringing("u1", &Work::Image(host())),
        Bringing::Failed { words: "no such host".to_owned(), due: false }
    );
    jobs.ensure(&run(), Work::Image(host()), async { Ok::<_, String>(()) });
    assert_eq!(
        jobs.bringing("u1", &Work::Image(host())),
        Bringing::Failed { words: "no such host".to_owned(), due: false }
    );
}

#[tokio::test]
async fn what_failed_last_is_told_until_it_is_done() {
    let (wake, _woken) = Wake::channel();
    let jobs = Jobs::new(wake);
    assert!(!jobs.knows("u1", &Work::Steps));
    jobs.note("u1", Some("no space left on device"));
    assert_eq!(jobs.failed("u1", &Work::Steps).as_deref(), Some("no space left on device"));
    assert!(jobs.knows("u1", &Work::Steps) && !jobs.knows("u2", &Work::Steps));
    jobs.note("u1", None);
    assert_eq!(jobs.failed("u1", &Work::Steps), None);
}

#[tokio::test]
async fn what_is_forgotten_ends_without_a_word() {
    let (wake, mut woken) = Wake::channel();
    let jobs = Jobs::new(wake);
    let (held, dropped) = oneshot::channel::<()>();
    jobs.ensure(&run(), Work::Follow, async move {
        let _held = held;
        std::future::pending::<Result<(), String>>().await
    });
    jobs.forget("u1");
    assert!(dropped.await.is_err(), "the job is dropped");
    drop(jobs);
    assert!(woken.next().await.is_none());
}
