//! One local connection: its requests, the streams that carry them, and both ends of each.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    STATUS_PATH,
    link::{Link, Own},
    managers::{Managers, NoManager, Opened},
    request::{Head, Piece, Requests},
    routes::{Way, way},
};
use crate::host::{HostError, Pipe};

/// What an answer on a shared connection may be ahead of its reader. It is taken off the connection at once, and kept here.
const AHEAD: usize = 4 << 20;
/// How often a question is asked again before its failure is the answer.
const AGAIN: u32 = 3;
/// What is read from the local side at a time: little, until there is much. A unix socket holds about 200 KiB.
const LITTLE: usize = 16 << 10;
const MUCH: usize = 128 << 10;
/// After so many bytes an upload is one, and not a person's typing.
const UPLOAD: usize = 256 << 10;

/// Carries a local connection to its end.
pub async fn carry(local: UnixStream, managers: &Managers) {
    let gone = Gone::of(&local);
    let (reader, writer) = local.into_split();
    let mut local = Local { reader, writer, inbox: BytesMut::new() };
    let ended = tokio::select! {
        ended = talk(&mut local, managers) => ended,
        () = gone.wait() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a conversation ended early");
        if let Error::NoManager(error) = &error {
            local.refuse(&error.to_string()).await;
        }
    }
}

async fn talk(local: &mut Local, managers: &Managers) -> Result<(), Error> {
    match Shared::new(managers).talk(local).await? {
        Next::Over => Ok(()),
        Next::Own(first) => pour(local, first, managers).await,
    }
}

/// Why a conversation ended before its time.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    NoManager(#[from] NoManager),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("the local side: {0}")]
    Local(#[from] io::Error),
    #[error("the reader is {AHEAD} bytes behind on a shared connection")]
    Behind,
}

struct Local {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    /// What was read and not yet looked at.
    inbox: BytesMut,
}

impl Local {
    /// Says why nothing comes, as the daemon would.
    async fn refuse(&mut self, why: &str) {
        let body = serde_json::json!({ "message": format!("kubectl testkit attach: {why}") }).to_string();
        let _ = self.answer("503 Service Unavailable", &body).await;
    }

    async fn answer(&mut self, status: &str, json: &str) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}",
            json.len()
        );
        self.writer.write_all(head.as_bytes()).await?;
        self.writer.shutdown().await
    }
}

/// What follows the requests that share a connection.
enum Next {
    Over,
    /// A request with a connection of its own; these bytes of it were read.
    Own(Bytes),
}

/// The part of a conversation that shares a connection.
struct Shared<'a> {
    managers: &'a Managers,
    requests: Requests,
    stream: Option<Opened<Pipe>>,
    /// What is on its way to the reader.
    outbox: VecDeque<Bytes>,
    ahead: usize,
    /// A question that may be asked again, as long as nothing of its answer came.
    unanswered: Option<Bytes>,
    /// How often it was.
    again: u32,
    local_is_done: bool,
}

/// What happened.
enum Turn {
    Read(usize),
    Written(usize),
    Came(Option<Bytes>),
    /// Nothing of the answer came, and it will not come soon.
    Silent,
}

impl<'a> Shared<'a> {
    fn new(managers: &'a Managers) -> Self {
        Self {
            managers,
            requests: Requests::default(),
            stream: None,
            outbox: VecDeque::new(),
            ahead: 0,
            unanswered: None,
            again: 0,
            local_is_done: false,
        }
    }

    async fn talk(mut self, local: &mut Local) -> Result<Next, Error> {
        loop {
            if let Some(next) = self.ask(local).await? {
                return Ok(next);
            }
            match self.turn(local).await? {
                Turn::Read(0) => {
                    // The answer to the last question may still come.
                    self.local_is_done = true;
                    match &self.stream {
                        Some(opened) => opened.stream.feed.end().await,
                        None => return Ok(Next::Over),
                    }
                }
                Turn::Read(_) => {}
                Turn::Written(count) => self.written(count),
                Turn::Came(Some(piece)) => {
                    self.unanswered = None;
                    self.ahead += piece.len();
                    self.outbox.push_back(piece);
                    if self.ahead > AHEAD {
                        return Err(Error::Behind);
                    }
                }
                Turn::Came(None) => {
                    // A stream that was closed before it answered was closed by its age: the question was not taken.
                    if !self.ask_again().await? {
                        return self.finish(local).await;
                    }
                }
                Turn::Silent => {
                    if !self.ask_again().await? {
                        return Err(Error::Host(HostError::NotConnected(None)));
                    }
                }
            }
        }
    }

    /// Sends what was read; gives back what follows where that does not share a connection.
    async fn ask(&mut self, local: &mut Local) -> Result<Option<Next>, Error> {
        loop {
            match self.requests.next(&mut local.inbox) {
                Ok(None) => return Ok(None),
                Ok(Some(Piece::Body(body))) => self.send(body).await?,
                Ok(Some(Piece::Head(head))) if head.path == STATUS_PATH => {
                    let status = serde_json::to_string(&self.managers.status()).unwrap_or_default();
                    local.answer("200 OK", &status).await?;
                    return Ok(Some(Next::Over));
                }
                Ok(Some(Piece::Head(head))) => match way(&head) {
                    Way::Own => return Ok(Some(Next::Own(joined(head.bytes, local)))),
                    Way::Shared { repeatable } => self.begin(head, repeatable).await?,
                },
                // Whatever it is, it is between the two ends.
                Err(_) => return Ok(Some(Next::Own(joined(Bytes::new(), local)))),
            }
        }
    }

    async fn begin(&mut self, head: Head, repeatable: bool) -> Result<(), Error> {
        (self.unanswered, self.again) = (repeatable.then(|| head.bytes.clone()), 0);
        if self.stream.as_ref().is_some_and(|s| s.link.is_suspect()) {
            self.stream = None;
        }
        if self.stream.is_none() {
            self.stream = Some(self.managers.shared().await?);
        }
        self.send(head.bytes).await
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        let Some(opened) = &self.stream else { return Ok(()) };
        tokio::select! {
            // What is not taken is told by the other half.
            _ = opened.stream.feed.send(bytes) => Ok(()),
            () = opened.link.dead().cancelled() => Ok(()),
        }
    }

    /// Asks the question again at another stream; `false` where it is none to be asked again.
    async fn ask_again(&mut self) -> Result<bool, Error> {
        let Some(question) = self.unanswered.clone().filter(|_| self.again < AGAIN) else { return Ok(false) };
        self.again += 1;
        self.stream = None;
        self.stream = Some(self.managers.shared().await?);
        self.send(question).await?;
        Ok(true)
    }

    fn written(&mut self, count: usize) {
        self.ahead -= count;
        if let Some(first) = self.outbox.front_mut() {
            first.advance(count);
            if first.is_empty() {
                self.outbox.pop_front();
            }
        }
    }

    async fn turn(&mut self, local: &mut Local) -> Result<Turn, Error> {
        let Local { reader, writer, inbox } = local;
        let first = self.outbox.front();
        let repeatable = self.unanswered.is_some();
        let write = async {
            match first {
                Some(piece) => writer.write(piece).await,
                None => std::future::pending().await,
            }
        };
        let came = async {
            match &mut self.stream {
                Some(Opened { stream, link }) => tokio::select! {
                    piece = stream.drain.next() => match piece {
                        Ok(piece) => { link.heard(); Ok(Turn::Came(piece)) }
                        Err(_) if repeatable => Ok(Turn::Silent),
                        Err(error) => Err(error),
                    },
                    () = link.suspect(), if repeatable => Ok(Turn::Silent),
                    () = link.dead().cancelled(), if !repeatable => {
                        Err(HostError::Lost { address: link.name.clone(), reason: link.reason() })
                    }
                },
                None => std::future::pending().await,
            }
        };
        inbox.reserve(LITTLE);
        tokio::select! {
            read = reader.read_buf(inbox), if !self.local_is_done => Ok(Turn::Read(read?)),
            written = write => Ok(Turn::Written(written?)),
            came = came => Ok(came?),
        }
    }

    /// The daemon has said all it will: so does this side.
    async fn finish(mut self, local: &mut Local) -> Result<Next, Error> {
        for piece in self.outbox.drain(..) {
            local.writer.write_all(&piece).await?;
        }
        local.writer.shutdown().await?;
        Ok(Next::Over)
    }
}

/// What was read and belongs to the stream from here on.
fn joined(head: Bytes, local: &mut Local) -> Bytes {
    let rest = local.inbox.split();
    if rest.is_empty() { head } else { [head, rest.freeze()].concat().into() }
}

/// A connection of its own, on loan. One that is quiet at the end is good for the next who
/// needs one: its TCP connection has learnt by then how fast the way is.
struct Loan {
    own: Option<Own>,
    link: Arc<Link>,
    /// A piece waits for the reader; more of them are on the way.
    writing: AtomicBool,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(own) = self.own.take()
            && !self.writing.load(Ordering::Relaxed)
        {
            self.link.give_back(own);
        }
    }
}

/// Carries bytes both ways on a connection of its own, to the end.
async fn pour(local: &mut Local, first: Bytes, managers: &Managers) -> Result<(), Error> {
    let Opened { stream, link } = managers.own().await?;
    let mut loan = Loan { own: Some(stream), link: link.clone(), writing: AtomicBool::new(false) };
    let Loan { own: Some(Own { pipe: Pipe { drain, feed }, host }), writing, .. } = &mut loan else { return Ok(()) };
    let Local { reader, writer, inbox } = local;
    let up = async {
        let _ = feed.send(first).await;
        let (mut sent, mut room) = (0, LITTLE);
        loop {
            inbox.reserve(room);
            let count = reader.read_buf(inbox).await?;
            if count == 0 {
                break;
            }
            room = if count >= room { MUCH } else { room };
            if sent < UPLOAD && sent + count >= UPLOAD {
                host.gather(true);
            }
            sent += count;
            if feed.send(inbox.split().freeze()).await.is_err() {
                break;
            }
        }
        // The last piece must not wait for more.
        host.gather(false);
        feed.end().await;
        // The answer decides when it is over.
        std::future::pending::<Result<(), Error>>().await
    };
    let down = async {
        while let Some(piece) = drain.next().await? {
            link.heard();
            writing.store(true, Ordering::Relaxed);
            writer.write_all(&piece).await?;
            writing.store(false, Ordering::Relaxed);
        }
        writer.shutdown().await?;
        Ok(())
    };
    tokio::select! {
        done = up => done,
        done = down => done,
        () = link.dead().cancelled() => {
            Err(Error::Host(HostError::Lost { address: link.name.clone(), reason: link.reason() }))
        }
    }
}

/// Tells when the local side is gone for good, not only done with its questions: the daemon
/// must not go on for nobody.
struct Gone(Option<UnixStream>);

impl Gone {
    fn of(local: &UnixStream) -> Self {
        use std::os::{fd::AsFd, unix::net::UnixStream as StdStream};
        // A descriptor of its own: readiness that is cleared here is not cleared for the writer.
        let own = local.as_fd().try_clone_to_owned().ok();
        Self(own.and_then(|fd| UnixStream::from_std(StdStream::from(fd)).ok()))
    }

    async fn wait(&self) {
        let Some(socket) = &self.0 else { return std::future::pending().await };
        while let Ok(ready) = socket.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            // Clears the readiness: the next event is news.
            let _ = socket.try_io(Interest::WRITABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
        }
        std::future::pending::<()>().await;
    }
}
