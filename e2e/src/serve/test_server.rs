//! The server that the suite's services run. It tells which container answered, and asks other containers on
//! behalf of a case, which itself cannot reach the networks of the swarm.
//!
//! `/`                              the host name of the container
//! `/fanout?url=URL&count=N`        GETs the URL so often, each time anew: JSON, answer to how often it came
//! `/endpoints?name=NAME`           GETs / of each address of the name: JSON, address to answer
//! `/file?path=PATH`                the content of a file in the container
//! `/resolve?name=NAME`             JSON array of the name's addresses

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::probe;

/// Serves until SIGTERM or SIGINT, then finishes no request: a container that is told to stop is gone at once.
pub(crate) async fn serve(listen: SocketAddr, request_time: Option<Duration>) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    eprintln!("e2e: serving http://{}", listener.local_addr()?);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.context("cannot accept a connection")?,
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
        };
        let service = service_fn(move |request| async move { answer(request, request_time).await });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(request: Request<Incoming>, delay: Option<Duration>) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let (status, body) = match request.uri().path() {
        "/" => reply(hostname()),
        "/fanout" => reply(fanout(&query).await),
        "/endpoints" => reply(endpoints(&query).await),
        "/file" => reply(file(&query)),
        "/resolve" => reply(resolve(&query).await),
        path => {
            (StatusCode::NOT_FOUND, format!("there is no {path}; ask for /, /fanout, /endpoints, /file or /resolve\n"))
        }
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    Ok(response)
}

/// What went wrong here is what a case wants to read there.
fn reply(result: Result<String>) -> (StatusCode, String) {
    match result {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}\n")),
    }
}

fn hostname() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host name")?;
    Ok(name.trim().to_owned())
}

async fn fanout(query: &Query) -> Result<String> {
    let url = query.get("url").context("fanout needs ?url=URL")?;
    let count = query.get("count").unwrap_or("1").parse().context("count is no number")?;
    Ok(serde_json::to_string(&probe::count(url, count).await?)?)
}

async fn endpoints(query: &Query) -> Result<String> {
    let name = query.get("name").context("endpoints needs ?name=NAME")?;
    let mut answers = BTreeMap::new();
    for address in probe::resolve(name).await? {
        answers.insert(address, probe::get(&format!("http://{address}/")).await?);
    }
    Ok(serde_json::to_string(&answers)?)
}

fn file(query: &Query) -> Result<String> {
    let path = query.get("path").context("file needs ?path=PATH")?;
    std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

async fn resolve(query: &Query) -> Result<String> {
    let name = query.get("name").context("resolve needs ?name=NAME")?;
    Ok(serde_json::to_string(&probe::resolve(name).await?)?)
}

/// A query string. Its values are host names and plain URLs, which need no escapes but for `&`.
struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        tokio::spawn(serve(address, None));
        address
    }

    async fn get(url: &str) -> Result<String> {
        let (answer, _) = crate::harness::until::until(
            "it serves",
            Duration::from_secs(5),
            |_| (),
            || async {
                match probe::get(url).await {
                    Err(error) if format!("{error:#}").contains("refused") => Err(error),
                    other => Ok(other),
                }
            },
        )
        .await?;
        answer
    }

    #[tokio::test]
    async fn a_container_says_its_name_and_a_fanout_counts_names() {
        let at = server().await;
        let name = get(&format!("http://{at}/")).await.unwrap();
        assert!(!name.is_empty() && !name.contains('\n'));
        let counts = get(&format!("http://{at}/fanout?url=http://{at}/&count=3")).await.unwrap();
        assert_eq!(serde_json::from_str::<BTreeMap<String, usize>>(&counts).unwrap(), [(name, 3)].into());
    }

    #[tokio::test]
    async fn what_the_fanout_ran_into_is_told() {
        let at = server().await;
        let error = get(&format!("http://{at}/fanout?url=http://127.0.0.1:1/")).await.unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("502") && said.contains("cannot connect to 127.0.0.1:1"), "{said}");
    }
}
