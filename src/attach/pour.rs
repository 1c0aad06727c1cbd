//! A question with a connection of its own, to the end of its answer: bytes are passed on both ways as they come,
//! and a reader that stops holds back the daemon and nobody else.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use super::{
    answer::Answer,
    conversation::{Asked, Error, LITTLE, Local, note, sent},
    homes::{Next, Trouble},
    link::{Link, Own},
    nodes::{Nodes, Opened},
    request::Requests,
};
use crate::host::{Feed, HostError, Pipe};

/// What is read from the local side at a time where there is much.
const MUCH: usize = 128 << 10;
/// After so many bytes an upload is one, and not a person's typing.
const UPLOAD: usize = 256 << 10;

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

/// Carries a question to the end of its answer; `false` where nothing can follow.
pub async fn pour(local: &mut Local, nodes: &Nodes, requests: &mut Requests, mut asked: Asked) -> Result<bool, Error> {
    loop {
        let Opened { stream, link } = nodes.own(&mut asked.question).await?;
        sent(nodes, &mut asked.question, &link.name);
        let mut answer = Answer::to(&asked.method, note(nodes, &asked.question));
        let mut loan = Loan { own: Some(stream), link, writing: AtomicBool::new(false) };
        match carry(local, requests, &asked.bytes, &mut loan, &mut answer).await {
            Ok(()) => {
                requests.nothing_more();
                // What is left of a body that nobody wanted is not read.
                return Ok(!answer.closes() && !requests.in_body());
            }
            Err(Error::Lost { node, why }) => {
                if local.answering {
                    asked.question.answered();
                }
                if nodes.after(&asked.question, Trouble::Ended) != Next::Again {
                    return Err(Error::Lost { node, why });
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn carry(
    local: &mut Local,
    requests: &mut Requests,
    first: &Bytes,
    loan: &mut Loan,
    answer: &mut Answer,
) -> Result<(), Error> {
    let Loan { own: Some(Own { pipe: Pipe { drain, feed }, host }), writing, link } = loan else { return Ok(()) };
    let Local { reader, writer, inbox, is_done, answering } = local;
    let lost = |why: String| Error::Lost { node: link.name.clone(), why };
    let taken_over = Notify::new();
    let up = async {
        if !first.is_empty() {
            let _ = feed.send(first.clone()).await;
        }
        let (mut sent, mut room, mut upload) = (0, LITTLE, None);
        loop {
            if let Some(body) = requests.body(inbox) {
                sent += body.len();
                if sent >= UPLOAD && upload.is_none() {
                    host.gather(true);
                    upload = Some(link.uploads());
                }
                if !send(feed, body, link).await {
                    break;
                }
            }
            if !requests.in_body() {
                // The last piece must not wait for more. Clients of old take the connection over without a word
                // of that in their request: the answer tells.
                host.gather(false);
                taken_over.notified().await;
                requests.everything();
                continue;
            }
            inbox.reserve(room);
            let count = reader.read_buf(inbox).await?;
            if count == 0 {
                *is_done = true;
                // There is no more: also where the connection had become something else than HTTP.
                host.gather(false);
                feed.end().await;
                break;
            }
            room = if count >= room { MUCH } else { room };
        }
        // What was sent may still be on its way: until the answer comes, and that decides when it is over.
        std::future::pending::<()>().await;
        drop(upload);
        Ok(())
    };
    let down = async {
        loop {
            let piece = drain.next().await.map_err(|e: HostError| lost(e.to_string()))?;
            let pieces = match piece {
                Some(piece) => {
                    link.heard();
                    answer.take(piece)
                }
                None if !*answering && !answer.has_no_end() => return Err(lost("it closed the stream".to_owned())),
                None => answer.end(),
            };
            for piece in pieces {
                *answering = true;
                writing.store(true, Ordering::Relaxed);
                writer.write_all(&piece).await?;
                writing.store(false, Ordering::Relaxed);
            }
            if answer.is_over() {
                return Ok(());
            }
            if answer.has_no_end() {
                taken_over.notify_one();
            }
        }
    };
    tokio::select! {
        done = up => done,
        done = down => done,
        () = link.dead().cancelled() => Err(lost(link.reason())),
    }
}

/// Sends a piece. One that had to wait and was taken then is a sign of life: the other side takes what is sent.
async fn send(feed: &Feed, piece: Bytes, link: &Link) -> bool {
    let mut waited = false;
    let mut sending = pin!(feed.send(piece));
    let done = poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Pending => {
            waited = true;
            Poll::Pending
        }
        ready => ready,
    })
    .await;
    if waited && done.is_ok() {
        link.heard();
    }
    done.is_ok()
}
