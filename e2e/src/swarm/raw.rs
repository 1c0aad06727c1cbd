//! Requests to the engine for which its client library has no word.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::cluster::Cluster;

/// Asks the engine for something, and returns the answer, which is JSON or nothing. A refusal is an error with
/// the engine's words.
pub(crate) async fn ask(cluster: &Cluster, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
    ask_at(&cluster.host, cluster.api, method, path, body).await
}

/// The same of an engine at unix:///PATH or tcp://HOST:PORT, with a version of the API.
pub(crate) async fn ask_at(
    host: &str,
    api: (usize, usize),
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let answer = match host.split_once("://") {
        Some(("unix", socket)) => send(UnixStream::connect(socket).await?, api, method, path, body).await,
        Some(("tcp" | "http", at)) => send(TcpStream::connect(at).await?, api, method, path, body).await,
        _ => bail!("{host} is no address of an engine that is asked directly"),
    };
    answer.with_context(|| format!("{path} of the engine"))
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (major, minor): (usize, usize),
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("/v{major}.{minor}{path}"))
        .header(header::HOST, "docker")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let said = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    ensure!(status.is_success(), "refused with {status}: {}", String::from_utf8_lossy(&said).trim());
    Ok(if said.is_empty() { Value::Null } else { serde_json::from_slice(&said)? })
}
