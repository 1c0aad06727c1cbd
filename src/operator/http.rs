//! The endpoint of the process: `/healthz`, `/readyz` and `/metrics`.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::health::State;
use crate::metrics;

/// How long a head of a request may take: who holds connections open must not use up the process.
const HEAD: Duration = Duration::from_secs(10);

/// How long to pause where no connection can be taken, as when there are too many.
const PAUSE: Duration = Duration::from_millis(200);

/// Listens; what it returns serves for ever.
pub async fn serve(listen: SocketAddr, state: State) -> anyhow::Result<impl Future<Output = ()>> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen} for health checks: choose another address with --listen")
    })?;
    Ok(async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the health endpoint could not be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let state = state.clone();
            tokio::spawn(async move {
                let service =
                    service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&request, &state))));
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEAD);
                // A probe that hangs up early is its own affair.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

fn answer<B>(request: &Request<B>, state: &State) -> Response<Full<Bytes>> {
    let said = match request.uri().path() {
        "/healthz" => state.alive(),
        "/readyz" => state.ready(),
        "/metrics" => return page(StatusCode::OK, metrics::CONTENT_TYPE, metrics::metrics().text()),
        _ => return page(StatusCode::NOT_FOUND, "text/plain", "there are /healthz, /readyz and /metrics\n".to_owned()),
    };
    match said {
        Ok(words) => page(StatusCode::OK, "text/plain", format!("{words}\n")),
        Err(words) => page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{words}\n")),
    }
}

fn page(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_paths_are_answered_from_the_first_moment() {
        let state = State::new(true);
        let ask = async |path: &str| {
            let response = answer(&Request::get(path).body(()).unwrap(), &state);
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        assert_eq!(ask("/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(ask("/readyz").await, (503, "the API server has not answered yet\n".to_owned()));
        assert_eq!(ask("/").await.0, 404);
        assert!(ask("/metrics").await.1.contains("testkit_build_info{"));
        state.api(Ok(()));
        state.lease(Ok(Some("another")));
        assert_eq!(ask("/readyz").await, (200, "standing by: another leads\n".to_owned()));
    }
}
