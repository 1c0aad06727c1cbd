//! One local connection: its requests, one after the other, each to where it belongs.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    STATUS_PATH,
    exchange::Exchange,
    homes::Question,
    nodes::{Nodes, Opened, Refused},
    pour::pour,
    request::{Head, Requests},
    routes::{BODY_LIMIT, Owner, Route, Size},
};
use crate::{
    host::Pipe,
    platform::local::{Connection, Reader, Writer},
};

/// What is read from the local side at a time: little, until there is much. A unix socket holds about 200 KiB.
pub const LITTLE: usize = 16 << 10;

/// Carries a local connection to its end.
pub async fn carry(local: Connection, nodes: &Nodes) {
    // The daemon must not go on for who is gone for good.
    let (reader, writer, gone) = local.split();
    let mut local = Local { reader, writer, inbox: BytesMut::new(), is_done: false, answering: false };
    let ended = tokio::select! {
        ended = talk(&mut local, nodes) => ended,
        () = gone.wait() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a conversation ended early");
        // An answer that has begun cannot become another one.
        if !local.answering {
            local.refuse(&error.to_string()).await;
        }
    }
}

/// Why a conversation ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{node} was asked, and the connection was lost before it answered ({why}): it may have been done there")]
    Lost {
        /// Who was asked.
        node: String,
        /// Why there is no answer.
        why: String,
    },
    #[error("the local side: {0}")]
    Local(#[from] io::Error),
    #[error("the reader of an answer is too far behind on a shared connection")]
    Behind,
}

/// The local side.
pub struct Local {
    pub reader: Reader,
    pub writer: Writer,
    /// What was read and not yet looked at.
    pub inbox: BytesMut,
    /// It says nothing more.
    pub is_done: bool,
    /// Something of the answer to the last request was written.
    pub answering: bool,
}

impl Local {
    /// Reads more; `false` at the end.
    pub async fn read(&mut self) -> io::Result<bool> {
        self.inbox.reserve(LITTLE);
        self.is_done = self.reader.read_buf(&mut self.inbox).await? == 0;
        Ok(!self.is_done)
    }

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

/// A request, and what is known of where it goes.
pub struct Asked {
    pub method: String,
    /// Its head, and what was read of its body to find that out.
    pub bytes: Bytes,
    pub question: Question,
}

async fn talk(local: &mut Local, nodes: &Nodes) -> Result<(), Error> {
    let mut requests = Requests::default();
    let mut left = None;
    loop {
        local.answering = false;
        let Some(head) = next(local, &mut requests).await? else { return Ok(()) };
        if head.path == STATUS_PATH {
            let status = serde_json::to_string(&nodes.status()).unwrap_or_default();
            return Ok(local.answer("200 OK", &status).await?);
        }
        if !ask(local, nodes, &mut requests, head, &mut left).await? {
            return Ok(local.writer.shutdown().await?);
        }
    }
}

/// The next request; none where there is no more. What is not HTTP is one that has no end.
async fn next(local: &mut Local, requests: &mut Requests) -> io::Result<Option<Head>> {
    loop {
        match requests.head(&mut local.inbox) {
            Ok(Some(head)) => return Ok(Some(head)),
            Ok(None) => {}
            Err(_) => {
                requests.everything();
                let (method, path, bytes) = (String::new(), String::new(), Bytes::new());
                return Ok(Some(Head { bytes, method, path, length: None, upgrade: true }));
            }
        }
        if local.is_done || !local.read().await? {
            return Ok(None);
        }
    }
}

/// Carries one request and its answer; `false` where nothing can follow them.
async fn ask(
    local: &mut Local,
    nodes: &Nodes,
    requests: &mut Requests,
    head: Head,
    left: &mut Option<Opened<Pipe>>,
) -> Result<bool, Error> {
    let route = Route::of(&head);
    let mut bytes = head.bytes.clone();
    if route.needs_body() {
        let mut whole = BytesMut::from(&bytes[..]);
        while requests.in_body() && u64::try_from(whole.len()).is_ok_and(|size| size <= 2 * BODY_LIMIT) {
            match requests.body(&mut local.inbox) {
                Some(body) => whole.extend_from_slice(&body),
                None if local.read().await? => {}
                None => return Ok(false),
            }
        }
        bytes = whole.freeze();
    }
    let owner = route.owner(&head, bytes.get(head.bytes.len()..).unwrap_or_default());
    let question = Question::new(owner, route.repeat);
    let _under_way = (owner == Owner::Engine).then(|| nodes.under_way());
    let asked = Asked { method: head.method, bytes, question };
    match route.size {
        Size::Small => Exchange::new(nodes, asked, left.take()).carry(local, requests, left).await,
        Size::Endless => {
            // It may take long, and what is kept for the next question grows old.
            *left = None;
            pour(local, nodes, requests, asked).await
        }
    }
}

/// Before it is sent: whoever is asked may have done it from here on.
pub fn sent(nodes: &Nodes, question: &mut Question, node: &str) {
    if question.is_an_engines() && question.changes_something() {
        nodes.made_at(node);
    }
    question.sent(node);
}

/// What an error that the daemon gives to this question says besides.
pub fn note(nodes: &Nodes, question: &Question) -> Option<String> {
    if question.is_an_engines() { nodes.note() } else { None }
}
