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
    let answer = match cluster.host.split_once("://") {
        Some(("unix", socket)) => send(UnixStream::connect(socket).await?, cluster, method, path, body).await,
        Some(("tcp" | "http", host)) => send(TcpStream::connect(host).await?, cluster, method, path, body).await,
        _ => bail!("{} is no address of an engine that is asked directly", cluster.host),
    };
    answer.with_context(|| format!("{path} of the engine"))
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    cluster: &Cluster,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (major, minor) = cluster.api;
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
