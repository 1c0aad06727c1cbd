//! The server that the suite's services run. It tells which container answered, and asks other containers on
//! behalf of a case, which itself cannot reach the networks of the swarm.
//!
//! `/`                              the host name of the container
//! `/fanout?url=URL&count=N`        GETs the URL so often, each time anew: JSON, answer to how often it came
//! `/reach?url=URL&count=N`         the same, and tells no answer: how often one came
//! `/endpoints?name=NAME`           GETs / of each address of the name: JSON, address to answer
//! `/resolve?name=NAME`             JSON array of the name's addresses
//! `/file?path=PATH&or=TEXT`        the content of a file in the container, or the text where there is none
//! `/stat?path=PATH`                its permissions, owner and group: `0440 0 0`
//! `/write?path=PATH&content=TEXT`  writes a file
//! `/env?name=NAME`                 a variable of the environment
//! `/log?line=TEXT`                 writes a line to standard output
//! `/terminal`                      whether its standard input is one: `true` or `false`
//! `/healthy`                       200, or 503 after `/ill` and until `/well`
//! `/exit?code=N`                   ends the server with this exit code

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::IsTerminal as _,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{probe, tls::ServerArgs};

/// How long a client may take to agree on TLS: a server that is told to stop waits for it.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long a client that was refused may take to go.
const PART_WITHIN: Duration = Duration::from_secs(1);

/// How a server is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// How long it takes for every answer.
    pub(crate) request_time: Duration,
    /// Whether it says that it is not healthy until it is asked for `/well`.
    pub(crate) ill: bool,
    /// What it shows and asks for where it speaks TLS.
    pub(crate) tls: Option<ServerArgs>,
}

#[derive(Debug)]
struct Server {
    manner: Manner,
    ill: AtomicBool,
    /// The exit code, once it is to end.
    end: watch::Sender<Option<u8>>,
}

impl Server {
    /// The exit code when it is told to stop. An engine that stops a server because it is not healthy forgets
    /// that reason when the server ends well.
    fn stopped(&self) -> u8 {
        self.ill.load(Ordering::Relaxed).into()
    }
}

/// Serves until SIGTERM or SIGINT. Then it takes no more connections, answers those it has, and ends: a
/// container that is told to stop loses no request. Returns the exit code.
pub(crate) async fn serve(listen: SocketAddr, manner: Manner) -> Result<u8> {
    serve_on(TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?, manner).await
}

/// The same, where it listens already.
pub(crate) async fn serve_on(listener: TcpListener, manner: Manner) -> Result<u8> {
    let name = hostname()?;
    let tls = manner.tls.as_ref().map(|tls| tls.config(&name)).transpose()?.map(TlsAcceptor::from);
    let scheme = if tls.is_some() { "https" } else { "http" };
    say(&format!("{name}: serving {scheme}://{}", listener.local_addr()?));
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (end, mut ended) = watch::channel(None);
    let server = Arc::new(Server { ill: manner.ill.into(), manner, end });
    let mut open = JoinSet::new();
    let code = loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => accepted.context("cannot accept a connection")?,
            _ = term.recv() => break server.stopped(),
            _ = int.recv() => break server.stopped(),
            Ok(code) = ended.wait_for(Option::is_some) => break code.unwrap_or_default(),
            Some(_) = open.join_next() => continue,
        };
        let (server, tls) = (server.clone(), tls.clone());
        open.spawn(async move {
            match tls {
                None => answer_all(server, stream).await,
                Some(tls) => match timeout(HANDSHAKE_WITHIN, tls.accept(stream).into_fallible()).await {
                    Ok(Ok(stream)) => answer_all(server, stream).await,
                    Ok(Err((error, stream))) => {
                        say(&format!("{from}: {error}"));
                        part(stream).await;
                    }
                    Err(_) => say(&format!("{from}: no handshake within {HANDSHAKE_WITHIN:?}")),
                },
            }
        });
    };
    server.end.send_replace(Some(code));
    open.join_all().await;
    Ok(code)
}

/// Closes a connection so that the other side hears why: what it sends meanwhile has to be read, since a socket that is
/// closed before resets the connection, and the reset may be seen before the reason.
async fn part(mut stream: TcpStream) {
    let read = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // The other side may go as it likes, or not go.
    let _ = timeout(PART_WITHIN, read).await;
}

/// Answers what is asked on a connection until its end, or the server's.
async fn answer_all(server: Arc<Server>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut ended = server.end.subscribe();
    let service = service_fn(move |request| answer(server.clone(), request));
    let told = async move { ended.wait_for(Option::is_some).await.map(|_| ()) };
    let mut connection = std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let end = tokio::select! {
        end = &mut connection => end,
        _ = told => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // The other side may go as it likes.
    drop(end);
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::time::sleep(server.manner.request_time).await;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let (status, body) = match request.uri().path() {
        "/" => reply(hostname()),
        "/fanout" => reply(fanout(&query).await),
        "/reach" => reply(reach(&query).await),
        "/endpoints" => reply(endpoints(&query).await),
        "/resolve" => reply(resolve(&query).await),
        "/file" => reply(file(&query)),
        "/stat" => reply(stat(&query)),
        "/write" => reply(write(&query)),
        "/env" => reply(env(&query)),
        "/log" => reply(log(&query)),
        "/terminal" => reply(Ok(format!("{}\n", std::io::stdin().is_terminal()))),
        "/healthy" if server.ill.load(Ordering::Relaxed) => (StatusCode::SERVICE_UNAVAILABLE, "ill\n".to_owned()),
        "/healthy" => reply(Ok("healthy\n".to_owned())),
        path @ ("/ill" | "/well") => {
            server.ill.store(path == "/ill", Ordering::Relaxed);
            reply(Ok("so it is\n".to_owned()))
        }
        "/exit" => reply(query.number("code").map(|code| {
            server.end.send_replace(Some(code));
            "ending\n".to_owned()
        })),
        path => (StatusCode::NOT_FOUND, format!("there is no {path}; e2e/README.md tells what there is\n")),
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

/// Which answer came how often.
async fn ask(query: &Query) -> Result<BTreeMap<String, usize>> {
    let count = if query.get("count").is_ok() { query.number("count")? } else { 1 };
    probe::count(query.get("url")?, count).await
}

async fn fanout(query: &Query) -> Result<String> {
    Ok(serde_json::to_string(&ask(query).await?)?)
}

/// For answers that are to be nowhere but on the way here.
async fn reach(query: &Query) -> Result<String> {
    Ok(format!("{}\n", ask(query).await?.values().sum::<usize>()))
}

async fn endpoints(query: &Query) -> Result<String> {
    let mut answers = BTreeMap::new();
    for address in probe::resolve(query.get("name")?).await? {
        answers.insert(address, probe::get(&format!("http://{address}/")).await?);
    }
    Ok(serde_json::to_string(&answers)?)
}

fn file(query: &Query) -> Result<String> {
    let path = query.get("path")?;
    match (std::fs::read_to_string(path), query.get("or")) {
        (Err(error), Ok(other)) if error.kind() == std::io::ErrorKind::NotFound => Ok(other.to_owned()),
        (content, _) => content.with_context(|| format!("cannot read {path}")),
    }
}

fn stat(query: &Query) -> Result<String> {
    let path = query.get("path")?;
    let about = std::fs::metadata(path).with_context(|| format!("cannot look at {path}"))?;
    Ok(format!("{:04o} {} {}", about.mode() & 0o7777, about.uid(), about.gid()))
}

fn write(query: &Query) -> Result<String> {
    let path = query.get("path")?;
    std::fs::write(path, query.get("content")?).with_context(|| format!("cannot write {path}"))?;
    Ok("written\n".to_owned())
}

fn env(query: &Query) -> Result<String> {
    let name = query.get("name")?;
    std::env::var(name).with_context(|| format!("no {name} in the environment"))
}

fn log(query: &Query) -> Result<String> {
    say(query.get("line")?);
    Ok("said\n".to_owned())
}

#[expect(clippy::print_stdout, reason = "it is what a container's log is made of")]
fn say(line: &str) {
    println!("{line}");
}

async fn resolve(query: &Query) -> Result<String> {
    Ok(serde_json::to_string(&probe::resolve(query.get("name")?).await?)?)
}

/// A query string. Its values are host names and plain URLs, which need no escapes but for `&`.
struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).with_context(|| format!("?{key}=… is missing"))
    }

    fn number<N: std::str::FromStr>(&self, key: &str) -> Result<N> {
        let text = self.get(key)?;
        text.parse().ok().with_context(|| format!("?{key}={text} is no number that fits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        tokio::spawn(serve(address, Manner::default()));
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

    #[tokio::test]
    async fn a_server_that_is_told_to_end_answers_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        let slow = Manner { request_time: Duration::from_secs(2), ..Manner::default() };
        let server = tokio::spawn(serve(at, slow));
        let (exit, other) = (format!("http://{at}/exit?code=7"), format!("http://{at}/healthy"));
        // The second is under way when the first has ended the server.
        let (first, second) = tokio::join!(get(&exit), async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            get(&other).await
        });
        assert_eq!((first.unwrap().trim(), second.unwrap().trim()), ("ending", "healthy"));
        assert_eq!(server.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn health_comes_and_goes() {
        let at = server().await;
        get(&format!("http://{at}/ill")).await.unwrap();
        assert!(format!("{:#}", get(&format!("http://{at}/healthy")).await.unwrap_err()).contains("503"));
        get(&format!("http://{at}/well")).await.unwrap();
        assert!(get(&format!("http://{at}/healthy")).await.is_ok());
    }
}
