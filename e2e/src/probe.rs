//! Asking over the network, as a user of a service would: HTTP requests and name look-ups.
//!
//! Every request has a connection of its own, since a kept one would reach the same container again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::tls::{ClientArgs, server_name};

/// A peer that drops packets must cost a try, not the whole wait; and a packet that was dropped is no refusal: TCP
/// sends the first one again after one second, and once more two seconds later.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const LARGEST: usize = 1 << 20;

/// The body of a 200 answer.
pub(crate) async fn get(url: &str) -> Result<String> {
    get_with(url, &ClientArgs::default()).await
}

/// The body of a 200 answer; for https:// it is said who is trusted.
pub(crate) async fn get_with(url: &str, tls: &ClientArgs) -> Result<String> {
    let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    let tls = match uri.scheme_str() {
        Some("http") => None,
        Some("https") => Some(TlsConnector::from(tls.config()?)),
        _ => bail!("{url}: only http:// and https:// are spoken here"),
    };
    let host = uri.host().ok_or_else(|| anyhow!("{url} names no host"))?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let connect = TcpStream::connect((&*host, port));
    let stream = timeout(CONNECT_WITHIN, connect)
        .await
        .map_err(|_| anyhow!("cannot connect to {host}:{port}: no answer within {CONNECT_WITHIN:?}"))?
        .with_context(|| format!("cannot connect to {host}:{port}"))?;
    let ask = async {
        match tls {
            None => ask(stream, uri).await,
            Some(tls) => ask(tls.connect(server_name(&host)?, stream).await?, uri).await,
        }
    };
    timeout(ANSWER_WITHIN, ask)
        .await
        .map_err(|_| anyhow!("GET {url}: no answer within {ANSWER_WITHIN:?}"))?
        .with_context(|| format!("GET {url}"))
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: Uri) -> Result<String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = Request::get(path).header(header::HOST, host).header(header::CONNECTION, "close");
    let answer = match sender.send_request(request.body(Empty::<Bytes>::new())?).await {
        // The connection ended before the request was on its way, and knows of what: a server that refuses a client's
        // certificate says so when for the client of TLS 1.3 the handshake is over.
        Err(error) if error.is_canceled() => return Err(connection.await?.err().unwrap_or(error).into()),
        answer => answer?,
    };
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
    connection.abort();
    let body = String::from_utf8_lossy(&body).into_owned();
    ensure!(status == StatusCode::OK, "answered {status}: {}", body.trim());
    Ok(body)
}

/// Asks so often, and tells which answer came how often. The first error ends it.
pub(crate) async fn count(url: &str, times: usize) -> Result<BTreeMap<String, usize>> {
    count_with(url, times, &ClientArgs::default()).await
}

/// Asks so often with what TLS needs.
pub(crate) async fn count_with(url: &str, times: usize, tls: &ClientArgs) -> Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for nth in 1..=times {
        let answer =
            get_with(url, tls).await.with_context(|| format!("request {nth} of {times}; before: {answers:?}"))?;
        *answers.entry(answer).or_default() += 1;
    }
    Ok(answers)
}

/// Asks without a pause, so many times at once, until it is over; what is under way then is still answered. The first
/// error ends it.
pub(crate) async fn keep_asking(
    url: &str,
    at_once: usize,
    over: impl Future<Output = ()>,
    answered: impl Fn(String),
) -> Result<()> {
    let (ended, answered) = (AtomicBool::new(false), &answered);
    let asking = try_join_all((0..at_once).map(async |_| {
        while !ended.load(Ordering::Relaxed) {
            answered(get(url).await?);
        }
        anyhow::Ok(())
    }));
    let over = async {
        over.await;
        ended.store(true, Ordering::Relaxed);
        Ok(())
    };
    tokio::try_join!(asking, over).map(|_| ())
}

/// The addresses a name has. Having none is an error.
pub(crate) async fn resolve(name: &str) -> Result<BTreeSet<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await.with_context(|| format!("cannot resolve {name}"))?;
    Ok(found.map(|address| address.ip()).collect())
}
