//! HTTP over streams of one SSH connection: the Docker client's transport.
//!
//! Idle streams are kept for the next question. The API version is asked for once a
//! connection and then named in every path, so that no daemon's default decides.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, body_full, errors::Error};
use bytes::Bytes;
use hyper::{Response, Uri, body::Incoming, header::HeaderValue, rt::ReadBufCursor};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::sync::OnceCell;

use crate::host::{Host, SocketStream};

/// The header with a login at a registry.
const LOGIN: &str = "x-registry-auth";
const SOCKET: &str = "/var/run/docker.sock";
/// sshd holds a process's memory for the connection as a whole, so idle streams are cheap; stale ones are not.
const IDLE: Duration = Duration::from_secs(60);

/// The client for a connection.
#[expect(clippy::expect_used, reason = "fails for no input: it parses a constant URL and a version")]
pub fn docker(host: Host) -> Docker {
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build::<_, Body>(Connector(host));
    let transport = Arc::new(Transport { client, version: OnceCell::new() });
    let ask = move |request: BollardRequest| {
        let transport = transport.clone();
        async move { transport.ask(request).await }
    };
    Docker::connect_with_custom_transport(ask, Some("http://docker"), 10, API_DEFAULT_VERSION).expect("a constant URL")
}

type Body = <BollardRequest as Parts>::Body;

/// The client names its body type nowhere in public.
trait Parts {
    type Body;
}

impl<B> Parts for hyper::Request<B> {
    type Body = B;
}

struct Transport {
    client: Client<Connector, Body>,
    version: OnceCell<String>,
}

impl Transport {
    async fn ask(&self, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let version = self.version.get_or_try_init(|| self.newest_version()).await?;
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        *request.uri_mut() = at(&format!("/v{version}{path}"))?;
        if let Some(login) = request.headers_mut().get_mut(LOGIN) {
            *login = for_urls(login);
        }
        self.send(request).await
    }

    /// The newest API version both sides know.
    async fn newest_version(&self) -> Result<String, Error> {
        let ping = hyper::Request::get(at("/_ping")?).body(body_full(Bytes::new()))?;
        let answer = self.send(ping).await?;
        let theirs = answer.headers().get("api-version").and_then(|v| v.to_str().ok()).and_then(parse);
        let ours = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
        let (major, minor) = theirs.ok_or(Error::APIVersionParseError {})?.min(ours);
        Ok(format!("{major}.{minor}"))
    }

    async fn send(&self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        self.client.request(request).await.map_err(|e| Error::IOError { err: io::Error::other(e) })
    }
}

/// The same base64 in the alphabet for URLs, in which engines read a login: they take one in the other alphabet, which
/// the Docker client writes, for none. Nothing that logs headers shows it.
fn for_urls(login: &HeaderValue) -> HeaderValue {
    let text: Vec<u8> = login
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        })
        .collect();
    let mut login = HeaderValue::from_bytes(&text).unwrap_or_else(|_| login.clone());
    login.set_sensitive(true);
    login
}

fn at(path: &str) -> Result<Uri, Error> {
    Ok(Uri::builder().scheme("http").authority("docker").path_and_query(path).build()?)
}

fn parse(version: &str) -> Option<(usize, usize)> {
    let (major, minor) = version.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[derive(Clone)]
struct Connector(Host);

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let host = self.0.clone();
        Box::pin(async move { Ok(Stream(TokioIo::new(host.open_socket(SOCKET).await.map_err(io::Error::other)?))) })
    }
}

struct Stream(TokioIo<SocketStream>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_in_the_alphabet_that_engines_read() {
        // {"p":"aa?>~~"}, whose base64 has letters in which the alphabets differ.
        let login = for_urls(&HeaderValue::from_static("eyJwIjoiYWE/Pn5+In0="));
        assert_eq!(login.as_bytes(), b"eyJwIjoiYWE_Pn5-In0=");
        assert!(login.is_sensitive());
    }
}
