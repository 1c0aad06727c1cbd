//! A small question and its answer, on a connection that others share: the answer is taken off it at once.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::{
    answer::Answer,
    conversation::{Asked, Error, LITTLE, Local, note, sent},
    homes::{Next, Trouble},
    nodes::{Nodes, Opened},
    request::Requests,
};
use crate::host::{HostError, Pipe};

/// What one answer may be ahead of its reader: the list of all tasks of a large swarm is some MiB.
const AHEAD: usize = 32 << 20;
/// What all of them may be.
const AHEAD_IN_ALL: usize = 128 << 20;

/// One question on its way.
pub struct Exchange<'a> {
    nodes: &'a Nodes,
    asked: Asked,
    stream: Option<Opened<Pipe>>,
    sent: Instant,
    answer: Answer,
    outbox: Outbox<'a>,
}

/// What is on its way to the reader.
struct Outbox<'a> {
    pieces: VecDeque<Bytes>,
    ahead: usize,
    in_all: &'a AtomicUsize,
}

/// What happened.
enum Turn {
    Read(usize),
    Written(usize),
    Came(Result<Option<Bytes>, HostError>),
    /// Nothing of the answer came, and somebody else would give it.
    Late,
}

impl<'a> Exchange<'a> {
    /// The question, and a stream that the one before left.
    pub fn new(nodes: &'a Nodes, asked: Asked, left: Option<Opened<Pipe>>) -> Self {
        let outbox = Outbox { pieces: VecDeque::new(), ahead: 0, in_all: &nodes.ahead };
        let answer = Answer::to(&asked.method, None);
        Self { nodes, asked, stream: left, sent: Instant::now(), answer, outbox }
    }

    /// Carries it to its end; leaves the stream for the next one. `false` where nothing can follow.
    pub async fn carry(
        mut self,
        local: &mut Local,
        requests: &mut Requests,
        left: &mut Option<Opened<Pipe>>,
    ) -> Result<bool, Error> {
        self.begin().await?;
        loop {
            while let Some(body) = requests.body(&mut local.inbox) {
                self.send(body).await;
            }
            if self.answer.is_over() && !requests.in_body() && self.outbox.pieces.is_empty() {
                break;
            }
            match self.turn(local, requests).await? {
                Turn::Read(0) => {
                    local.is_done = true;
                    if requests.in_body() {
                        return Ok(false);
                    }
                }
                Turn::Read(_) => {}
                Turn::Written(count) => {
                    local.answering = true;
                    self.outbox.written(count);
                }
                Turn::Came(Ok(Some(piece))) => {
                    self.asked.question.answered();
                    for piece in self.answer.take(piece) {
                        self.outbox.push(piece)?;
                    }
                }
                Turn::Came(ended) => self.ended(ended.err()).await?,
                Turn::Late => self.begin().await?,
            }
        }
        let lasts = !self.answer.closes();
        *left = self.stream.take().filter(|_| lasts);
        Ok(lasts)
    }

    /// Sends the question to where it goes now.
    async fn begin(&mut self) -> Result<(), Error> {
        let stream = self.nodes.shared(&mut self.asked.question, self.stream.take()).await?;
        sent(self.nodes, &mut self.asked.question, &stream.link.name);
        self.answer = Answer::to(&self.asked.method, note(self.nodes, &self.asked.question));
        (self.stream, self.sent) = (Some(stream), Instant::now());
        self.send(self.asked.bytes.clone()).await;
        Ok(())
    }

    async fn send(&mut self, bytes: Bytes) {
        let Some(opened) = &self.stream else { return };
        tokio::select! {
            // What is not taken is told by the other half.
            _ = opened.stream.feed.send(bytes) => {}
            () = opened.link.dead().cancelled() => {}
        }
    }

    /// The stream ended, or was lost: the answer is over, or asked for again, or will not come.
    async fn ended(&mut self, error: Option<HostError>) -> Result<(), Error> {
        let question = &self.asked.question;
        if question.is_answered() {
            for piece in self.answer.end() {
                self.outbox.push(piece)?;
            }
            return Ok(());
        }
        match self.nodes.after(question, Trouble::Ended) {
            Next::Again => {
                self.stream = None;
                self.begin().await
            }
            Next::Stay | Next::Failed => Err(Error::Lost {
                node: question.at().to_owned(),
                why: error.map_or_else(|| "it closed the stream".to_owned(), |e| e.to_string()),
            }),
        }
    }

    async fn turn(&mut self, local: &mut Local, requests: &Requests) -> Result<Turn, Error> {
        let Local { reader, writer, inbox, is_done, .. } = local;
        // What is sent ahead waits, and not all of it here.
        let reads = !*is_done && (requests.in_body() || inbox.len() < LITTLE);
        let first = self.outbox.pieces.front();
        let write = async {
            match first {
                Some(piece) => writer.write(piece).await,
                None => std::future::pending().await,
            }
        };
        let question = &self.asked.question;
        let waits = !self.answer.is_over();
        let (came, late) = match &mut self.stream {
            Some(Opened { stream, link }) => {
                let came = async {
                    tokio::select! {
                        piece = stream.drain.next() => {
                            if piece.is_ok() {
                                link.heard();
                            }
                            piece
                        }
                        () = link.dead().cancelled() => {
                            Err(HostError::Lost { address: link.name.clone(), reason: link.reason() })
                        }
                    }
                };
                (came, self.nodes.late(question, self.sent, link))
            }
            None => return Ok(Turn::Came(Ok(None))),
        };
        inbox.reserve(LITTLE);
        tokio::select! {
            read = reader.read_buf(inbox), if reads => Ok(Turn::Read(read?)),
            written = write => Ok(Turn::Written(written?)),
            came = came, if waits => Ok(Turn::Came(came)),
            () = late, if waits => Ok(Turn::Late),
        }
    }
}

impl Outbox<'_> {
    fn push(&mut self, piece: Bytes) -> Result<(), Error> {
        self.ahead += piece.len();
        let in_all = self.in_all.fetch_add(piece.len(), Ordering::Relaxed) + piece.len();
        self.pieces.push_back(piece);
        if self.ahead > AHEAD || in_all > AHEAD_IN_ALL { Err(Error::Behind) } else { Ok(()) }
    }

    fn written(&mut self, count: usize) {
        self.ahead -= count;
        self.in_all.fetch_sub(count, Ordering::Relaxed);
        if let Some(first) = self.pieces.front_mut() {
            first.advance(count);
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        self.in_all.fetch_sub(self.ahead, Ordering::Relaxed);
    }
}
