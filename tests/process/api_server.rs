//! An API server in this process: it serves our kinds, has no object of them, and keeps a Lease.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, thread};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

type Lease = Arc<watch::Sender<Option<Value>>>;

/// Our kinds.
const KINDS: [(&str, &str); 4] = [
    ("swarmclusters", "SwarmCluster"),
    ("e2eruns", "E2ERun"),
    ("e2eschedules", "E2ESchedule"),
    ("e2ematrices", "E2EMatrix"),
];

/// It serves until it is dropped.
pub struct ApiServer {
    pub at: SocketAddr,
    lease: Lease,
    _until: oneshot::Sender<()>,
}

impl ApiServer {
    pub fn start() -> Self {
        let lease: Lease = Arc::new(watch::Sender::new(None));
        let (until, dropped) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let kept = Arc::clone(&lease);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, kept) => {}
                    _ = dropped => {}
                }
            });
        });
        Self { at, lease, _until: until }
    }

    pub fn holder(&self) -> String {
        let lease = self.lease.borrow();
        lease.as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
    }

    /// Somebody takes the Lease.
    pub fn seize(&self, who: &str) {
        self.lease.send_modify(|lease| {
            let lease = lease.as_mut().unwrap();
            lease["spec"]["holderIdentity"] = json!(who);
            lease["metadata"]["resourceVersion"] = json!((version(lease) + 1).to_string());
        });
    }
}

async fn serve(listener: TcpListener, lease: Lease) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let lease = Arc::clone(&lease);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &lease));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, lease: &Lease) -> Result<Response<Full<Bytes>>, Infallible> {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let (status, body) = if path.contains("/leases") {
        of_lease(request, &query, lease).await
    } else if query.contains("watch=true") {
        // Nothing ever happens.
        std::future::pending().await
    } else {
        of_others(&path)
    };
    let body = Full::new(Bytes::from(body.to_string()));
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(body).unwrap())
}

fn of_others(path: &str) -> (u16, Value) {
    let kind = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list", "watch", "patch"]});
    match path {
        "/apis/testkit.dev/v1alpha1" => {
            let kinds = KINDS.map(|(name, of)| kind(name, of));
            (
                200,
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "testkit.dev/v1alpha1", "resources": kinds}),
            )
        }
        _ => match KINDS.iter().find(|(name, _)| path.strip_prefix("/apis/testkit.dev/v1alpha1/") == Some(*name)) {
            Some((_, kind)) => (
                200,
                json!({"kind": format!("{kind}List"), "apiVersion": "testkit.dev/v1alpha1", "metadata": {"resourceVersion": "1"}, "items": []}),
            ),
            None => refusal(404, "NotFound"),
        },
    }
}

async fn of_lease(request: Request<Incoming>, query: &str, lease: &Lease) -> (u16, Value) {
    if query.contains("watch=true") {
        let seen: u64 = query.split("resourceVersion=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        let mut lease = lease.subscribe();
        let now = lease.wait_for(|lease| lease.as_ref().is_some_and(|l| version(l) > seen)).await.unwrap().clone();
        return (200, json!({"type": "MODIFIED", "object": now}));
    }
    if request.method() == Method::GET {
        let lease = lease.borrow().clone();
        return lease.map_or_else(|| refusal(404, "NotFound"), |lease| (200, lease));
    }
    let sent = request.into_body().collect().await.unwrap().to_bytes();
    let mut sent: Value = serde_json::from_slice(&sent).unwrap();
    let mut answer = refusal(409, "Conflict");
    lease.send_if_modified(|lease| {
        let there = lease.as_ref().map(version);
        let over = sent["metadata"]["resourceVersion"].as_str().map(|v| v.parse().unwrap());
        if there == over {
            sent["metadata"]["resourceVersion"] = json!((there.unwrap_or_default() + 1).to_string());
            *lease = Some(sent.clone());
            answer = (200, sent.clone());
        }
        there == over
    });
    answer
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
