//! Electors before an API server in memory that keeps one Lease, and that some of them may be cut off from.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use hyper::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tower_service::Service;

use super::*;

/// Short times, so that what happens by time happens in a test; the renewals are a tenth of the deadline as there.
const SHORT: Timing = Timing {
    duration: Duration::from_secs(3),
    renew_deadline: Duration::from_secs(1),
    retry: Duration::from_millis(100),
    request: Duration::from_millis(300),
};

/// The same for who is to go on leading, also where this process stands still for a while.
const HELD: Timing = Timing {
    duration: Duration::from_secs(60),
    renew_deadline: Duration::from_secs(40),
    request: Duration::from_secs(10),
    ..SHORT
};

/// The API server as one client sees it.
#[derive(Clone)]
struct Server {
    lease: Arc<watch::Sender<Option<Value>>>,
    cut_off: Arc<AtomicBool>,
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        async move {
            if server.cut_off.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let (status, body) = server.answer(request).await;
            let body = Body::from(body.to_string().into_bytes());
            Ok(Response::builder().status(status).body(body).unwrap())
        }
        .boxed()
    }
}

fn version(lease: &Value) -> u64 {
    lease["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason}),
    )
}

impl Server {
    fn new() -> Self {
        Self { lease: Arc::new(watch::Sender::new(None)), cut_off: Arc::default() }
    }

    /// The same server, for somebody else.
    fn another(&self) -> Self {
        Self { cut_off: Arc::default(), ..self.clone() }
    }

    async fn answer(&self, request: Request<Body>) -> (u16, Value) {
        let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default().to_owned());
        if query.contains("watch=true") {
            let seen =
                query.split("resourceVersion=").nth(1).unwrap().split('&').next().unwrap().parse::<u64>().unwrap();
            let mut lease = self.lease.subscribe();
            let now = lease.wait_for(|lease| lease.as_ref().is_some_and(|l| version(l) > seen)).await.unwrap().clone();
            return (200, json!({"type": "MODIFIED", "object": now}));
        }
        if method == Method::GET {
            let lease = self.lease.borrow().clone();
            return lease.map_or_else(|| refusal(404, "NotFound"), |lease| (200, lease));
        }
        let sent = request.into_body().collect_bytes().await.unwrap();
        self.write(serde_json::from_slice(&sent).unwrap())
    }

    /// Stores a Lease, where it is over the version that is there.
    fn write(&self, mut sent: Value) -> (u16, Value) {
        let mut answer = refusal(409, "Conflict");
        self.lease.send_if_modified(|lease| {
            let there = lease.as_ref().map(version);
            let over = sent["metadata"]["resourceVersion"].as_str().map(|v| v.parse().unwrap());
            if there == over {
                sent["metadata"]["resourceVersion"] = json!((there.unwrap_or_default() + 1).to_string());
                *lease = Some(sent.clone());
                answer = (200, sent);
            }
            there == over
        });
        answer
    }

    fn elector(&self, timing: Timing) -> (Elector, Fence, watch::Receiver<Option<String>>) {
        let (fence, (tell, told)) = (Fence::default(), watch::channel(None));
        let name = LeaseName { namespace: "ns".to_owned(), name: "operator".to_owned() };
        let client = Client::new(self.clone(), "ns");
        let told_of = move |who: Result<Option<&str>, String>| {
            tell.send_replace(who.ok().flatten().map(str::to_owned));
        };
        (Elector::timed(client, &name, fence.clone(), told_of, timing), fence, told)
    }

    fn holder(&self) -> String {
        let lease = self.lease.borrow();
        lease.as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_released_lease_is_taken_at_once_by_who_stands_by() {
    let server = Server::new();
    let (mut first, first_may, _) = server.elector(Timing::DEFAULT);
    first.lead().await.unwrap();
    assert!(first_may.check().is_ok() && server.holder() == first.identity());

    let (mut second, second_may, mut told) = server.another().elector(Timing::DEFAULT);
    let (me, before) = (second.identity().to_owned(), first.identity().to_owned());
    let (won, mut leads) = mpsc::channel(1);
    let stands_by = tokio::spawn(async move {
        second.lead().await.unwrap();
        won.send(Instant::now()).await.unwrap();
        second
    });
    told.wait_for(|holder| *holder == Some(before.clone())).await.unwrap();
    assert!(second_may.check().is_err() && leads.try_recv().is_err());

    let asked = Instant::now();
    first.release().await;
    assert!(first_may.check().is_err(), "closed before anybody else may lead");
    let took = leads.recv().await.unwrap() - asked;
    // It looks every two seconds only: the watch told it.
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(second_may.check().is_ok() && server.holder() == me);
    assert_eq!(record(&serde_json::from_value(server.lease.borrow().clone().unwrap()).unwrap()).transitions, 1);
    drop(stands_by.await.unwrap());
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_another_leads() {
    let server = Server::new();
    let (mut first, first_may, _) = server.elector(SHORT);
    first.lead().await.unwrap();
    let (mut second, _, mut told) = server.another().elector(SHORT);
    let before = first.identity().to_owned();
    let takes = tokio::spawn(async move {
        second.lead().await.unwrap();
        Instant::now()
    });
    told.wait_for(|holder| *holder == Some(before.clone())).await.unwrap();

    server.cut_off.store(true, Ordering::SeqCst);
    let why = first.hold().await.to_string();
    let stopped = Instant::now();
    assert!(why.contains("in time"), "{why}");
    assert!(first_may.check().is_err());
    assert!(!takes.is_finished(), "it was taken before its holder stopped");
    let taken = takes.await.unwrap();
    assert!(taken > stopped, "two led");
}

#[tokio::test]
async fn a_leader_goes_on_when_somebody_writes_a_note_on_its_lease_and_ends_when_it_is_taken() {
    let server = Server::new();
    let (mut elector, may, _) = server.elector(HELD);
    elector.lead().await.unwrap();
    let me = elector.identity().to_owned();
    let holds = tokio::spawn(async move { elector.hold().await.to_string() });

    let mut note = server.lease.borrow().clone().unwrap();
    note["metadata"]["annotations"] = json!({"note": "theirs"});
    let (status, noted) = server.write(note);
    assert_eq!(status, 200);
    let mut lease = server.lease.subscribe();
    let renewed = lease.wait_for(|lease| version(lease.as_ref().unwrap()) > version(&noted) + 2).await.unwrap().clone();
    assert_eq!(renewed.unwrap()["metadata"]["annotations"]["note"], "theirs");
    assert!(may.check().is_ok() && !holds.is_finished() && server.holder() == me);

    let mut other = server.lease.borrow().clone().unwrap();
    other["spec"]["holderIdentity"] = json!("other");
    assert_eq!(server.write(other).0, 200);
    assert!(holds.await.unwrap().contains("took it"));
    assert!(may.check().is_err() && server.holder() == "other");
}
