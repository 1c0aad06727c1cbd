//! HTTP over streams of one SSH connection: the Docker client's transport.
//!
//! Idle streams are kept for the next question. The API version is asked for once a
//! connection and then named in every path, so that no daemon's default decides.
//!
//! What the client reads it holds in memory until it has a whole document, line or piece of a log, however long that
//! is. Whoever is root on a host can put another program in the engine's place. So each answer has a [`Grant`].

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
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
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OnceCell,
};

use crate::host::Host;

/// The header with a login at a registry.
const LOGIN: &str = "x-registry-auth";
const SOCKET: &str = "/var/run/docker.sock";
/// The most that the head of an answer takes: more than the HTTP client reads of one, and than it reads ahead.
const HEAD: u64 = 512 << 10;
/// sshd holds a process's memory for the connection as a whole, so idle streams are cheap; stale ones are not.
const IDLE: Duration = Duration::from_secs(60);

/// How an engine is asked, over whatever leads there.
pub type Ask = Arc<dyn Fn(BollardRequest, Grant) -> Later<Result<Response<Incoming>, Error>> + Send + Sync>;
/// How a stream to an engine is opened.
type Open = Arc<dyn Fn() -> Later<io::Result<Box<dyn Duplex>>> + Send + Sync>;
type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Bytes both ways.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// How the engine of a host is asked.
pub fn of_host(host: Host) -> Ask {
    over(Arc::new(move || -> Later<io::Result<Box<dyn Duplex>>> {
        let host = host.clone();
        Box::pin(async move {
            let stream = host.open_socket(SOCKET).await.map_err(io::Error::other)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }))
}

fn over(open: Open) -> Ask {
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build::<_, Body>(Connector(open));
    let transport = Arc::new(Transport { client, version: OnceCell::new() });
    Arc::new(move |request: BollardRequest, grant: Grant| -> Later<Result<Response<Incoming>, Error>> {
        let transport = transport.clone();
        Box::pin(async move { transport.ask(request, &grant).await })
    })
}

/// The client for questions whose answers have this grant.
#[expect(clippy::expect_used, reason = "fails for no input: it parses a constant URL and a version")]
pub fn docker(ask: &Ask, grant: Grant) -> Docker {
    let ask = ask.clone();
    let asked = move |request: BollardRequest| ask(request, grant.clone());
    Docker::connect_with_custom_transport(asked, Some("http://docker"), 10, API_DEFAULT_VERSION)
        .expect("a constant URL")
}

/// How many bytes an engine may send before something of them can be used.
#[derive(Clone, Debug)]
pub struct Grant {
    most: u64,
    of: Arc<OnceLock<Allowance>>,
}

impl Grant {
    /// So many, for each answer.
    pub fn new(most: u64) -> Self {
        Self { most, of: Arc::default() }
    }

    /// As many again: what came so far is used. Never less than there is: the last of an answer may be used when the
    /// connection already has another one.
    pub fn renew(&self) {
        if let Some(allowance) = self.of.get() {
            allowance.raise(self.most);
        }
    }

    /// An answer has begun to come by a connection with this allowance.
    fn begin(&self, allowance: &Allowance) {
        allowance.set(self.most);
        let _ = self.of.set(allowance.clone());
    }
}

/// What may still come by a connection, in bytes. A connection carries one answer at a time.
#[derive(Clone, Debug)]
struct Allowance(Arc<AtomicU64>);

impl Allowance {
    /// Of a new connection: enough for the head of an answer.
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(HEAD)))
    }

    fn set(&self, most: u64) {
        // A head comes before the next answer has its grant.
        self.0.store(most.saturating_add(HEAD), Ordering::Relaxed);
    }

    fn raise(&self, most: u64) {
        self.0.fetch_max(most.saturating_add(HEAD), Ordering::Relaxed);
    }

    fn spend(&self, bytes: usize) -> io::Result<()> {
        let less = |left: u64| left.checked_sub(bytes as u64);
        let spent = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        spent.map(drop).map_err(|_| io::Error::other("the engine sends more than an answer can be, and no end of it"))
    }
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
    async fn ask(&self, mut request: BollardRequest, grant: &Grant) -> Result<Response<Incoming>, Error> {
        let version = self.version.get_or_try_init(|| self.newest_version()).await?;
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        *request.uri_mut() = at(&format!("/v{version}{path}"))?;
        if let Some(login) = request.headers_mut().get_mut(LOGIN) {
            *login = for_urls(login);
        }
        let answer = self.send(request).await?;
        if let Some(allowance) = answer.extensions().get::<Allowance>() {
            grant.begin(allowance);
        }
        Ok(answer)
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
struct Connector(Open);

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Later<io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let opened = (self.0)();
        Box::pin(async move {
            let allowance = Allowance::new();
            Ok(Stream { io: TokioIo::new(Counted { stream: opened.await?, allowance: allowance.clone() }), allowance })
        })
    }
}

struct Stream {
    io: TokioIo<Counted>,
    allowance: Allowance,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.allowance.clone())
    }
}

/// A stream of which no more is read than is allowed.
struct Counted {
    stream: Box<dyn Duplex>,
    allowance: Allowance,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.allowance.spend(buf.filled().len().saturating_sub(before)))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Read::poll_read(Pin::new(&mut self.io), cx, buf)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write(Pin::new(&mut self.io), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(Pin::new(&mut self.io), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(Pin::new(&mut self.io), cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::swarm::{DOCUMENT, Engine, PIECE, SwarmError};

    const PING: &[u8] = b"HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 2\r\n\r\nOK";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// What an engine answers.
    #[derive(Clone, Copy)]
    enum Answers {
        /// This, and more and more of something.
        Endless(&'static [u8]),
        /// So many pieces of a log, of 16 KiB each.
        Log(usize),
    }

    /// An engine, and how many bytes of its answers were taken.
    fn engine(answers: Answers) -> (Engine, Arc<AtomicU64>) {
        let taken = Arc::new(AtomicU64::new(0));
        let count = taken.clone();
        let open: Open = Arc::new(move || -> Later<io::Result<Box<dyn Duplex>>> {
            let (ours, theirs) = tokio::io::duplex(16 << 10);
            tokio::spawn(serve(theirs, answers, count.clone()));
            Box::pin(async move { Ok(Box::new(ours) as Box<dyn Duplex>) })
        });
        (Engine { ask: over(open), address: String::new() }, taken)
    }

    async fn serve(mut stream: DuplexStream, answers: Answers, taken: Arc<AtomicU64>) -> io::Result<()> {
        loop {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await? == 0 {
                    return Ok(());
                }
            }
            if request.windows(6).any(|word| word == b"/_ping") {
                stream.write_all(PING).await?;
                continue;
            }
            stream.write_all(ANSWER).await?;
            let mut piece = match answers {
                Answers::Endless(begin) => begin.to_vec(),
                Answers::Log(_) => vec![1, 0, 0, 0, 0, 0, 0x40, 0],
            };
            piece.resize(piece.len() + (16 << 10), b'x');
            let mut left = if let Answers::Log(pieces) = answers { pieces } else { usize::MAX };
            while left > 0 {
                stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                stream.write_all(&piece).await?;
                stream.write_all(b"\r\n").await?;
                taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
                if let Answers::Endless(_) = answers {
                    piece.fill(b'x');
                }
                left -= 1;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        }
    }

    #[tokio::test]
    async fn of_an_answer_without_an_end_no_more_is_taken_than_is_held() {
        let (document, taken) = engine(Answers::Endless(br#"{"ID":""#));
        let said = document.info().await.unwrap_err();
        assert!(matches!(&said, SwarmError::Unreachable(words) if words.contains("no end of it")), "{said}");
        assert!((DOCUMENT..DOCUMENT + 2 * HEAD).contains(&taken.load(Ordering::Relaxed)), "{taken:?}");

        // A piece of a log that says that it has two GiB, a line of progress and an event.
        let (log, of_log) = engine(Answers::Endless(&[1, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]));
        let read = log.logs("c1", true, None).try_collect::<Vec<Bytes>>().await;
        assert!(matches!(read, Err(SwarmError::Unreachable(_))), "{read:?}");
        let (lines, of_lines) = engine(Answers::Endless(br#"{"status":""#));
        let pulled = lines.pull("suite:1", None).await;
        assert!(matches!(pulled, Err(SwarmError::Unreachable(_))), "{pulled:?}");
        let (events, of_events) = engine(Answers::Endless(br#"{"Type":""#));
        assert_eq!(events.node_events().next().await, None);
        for taken in [of_log, of_lines, of_events] {
            assert!(taken.load(Ordering::Relaxed) < PIECE + 2 * HEAD, "{taken:?}");
        }
    }

    #[tokio::test]
    async fn a_stream_may_be_of_any_length() {
        let (engine, _) = engine(Answers::Log(200));
        // By the same connection, too.
        for _ in 0..2 {
            let pieces: Vec<Bytes> = engine.logs("c1", false, None).try_collect().await.unwrap();
            assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), 200 * (16 << 10));
        }
        const { assert!(200 * (16 << 10) > PIECE + HEAD) };
    }

    #[test]
    fn a_login_is_in_the_alphabet_that_engines_read() {
        // {"p":"aa?>~~"}, whose base64 has letters in which the alphabets differ.
        let login = for_urls(&HeaderValue::from_static("eyJwIjoiYWE/Pn5+In0="));
        assert_eq!(login.as_bytes(), b"eyJwIjoiYWE_Pn5-In0=");
        assert!(login.is_sensitive());
    }
}
