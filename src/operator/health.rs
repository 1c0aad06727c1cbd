//! `/healthz` and `/readyz`.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context as _;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What the endpoints tell.
#[derive(Clone, Debug, Default)]
pub struct State(Arc<AtomicBool>);

impl State {
    /// The controllers run.
    pub fn set_ready(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Listens; what it returns serves, and ends only with an error.
pub async fn serve(listen: SocketAddr, state: State) -> anyhow::Result<impl Future<Output = anyhow::Error>> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen} for health checks: choose another address with --listen")
    })?;
    Ok(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => return anyhow::Error::new(error),
            };
            let state = state.clone();
            tokio::spawn(async move {
                let service =
                    service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&request, &state))));
                // A probe that hangs up early is its own affair.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

fn answer<B>(request: &Request<B>, state: &State) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "ok\n"),
        "/readyz" if state.0.load(Ordering::Relaxed) => (StatusCode::OK, "ok\n"),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "waiting to lead\n"),
        _ => (StatusCode::NOT_FOUND, "there are /healthz and /readyz\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
