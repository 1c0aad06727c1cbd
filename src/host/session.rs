//! A command or a shell on a host, with its input and output as they come.
//!
//! A reader that does not read stops the whole connection (see `connection`), so a session
//! belongs on a connection of its own.

use bytes::Bytes;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};

use super::{Host, HostError};

/// The terminal a person sits at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// What `TERM` says.
    pub kind: String,
    /// Its width in characters.
    pub columns: u32,
    /// Its height in lines.
    pub rows: u32,
}

/// What a session says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Output.
    Out(Bytes),
    /// Complaints; there are none of them with a terminal.
    Err(Bytes),
    /// It exited with this status; `None` where a signal ended it.
    Ended(Option<u32>),
}

/// The side of a session to listen to. The session ends with the connection, or when its command does.
pub struct Session {
    reader: ChannelReadHalf,
    host: Host,
    /// Its end may be told before its last output.
    status: Option<Option<u32>>,
    closed: bool,
}

/// The side of a session to speak to.
pub struct SessionInput(ChannelWriteHalf<Msg>);

impl Host {
    /// Starts a command, or a shell without one; with a terminal, or with separate output and complaints.
    ///
    /// # Errors
    /// When the connection is gone, or the host refuses.
    pub async fn session(
        &self,
        command: Option<&str>,
        terminal: Option<&Terminal>,
    ) -> Result<(Session, SessionInput), HostError> {
        let channel = self.open_session().await?;
        let start = async {
            if let Some(Terminal { kind, columns, rows }) = terminal {
                channel.request_pty(false, kind, *columns, *rows, 0, 0, &[]).await?;
            }
            match command {
                Some(command) => channel.exec(true, command).await,
                None => channel.request_shell(true).await,
            }
        };
        start.await.map_err(|e| self.failed("a session", e))?;
        let (reader, writer) = channel.split();
        Ok((Session { reader, host: self.clone(), status: None, closed: false }, SessionInput(writer)))
    }
}

impl Session {
    /// What it says next; after [`Said::Ended`] nothing.
    ///
    /// # Errors
    /// When the connection is gone before the command's end is known.
    pub async fn next(&mut self) -> Result<Option<Said>, HostError> {
        if self.closed {
            return Ok(None);
        }
        while let Some(message) = self.reader.wait().await {
            match message {
                ChannelMsg::Data { data } => return Ok(Some(Said::Out(data))),
                ChannelMsg::ExtendedData { data, .. } => return Ok(Some(Said::Err(data))),
                ChannelMsg::ExitStatus { exit_status } => self.status = Some(Some(exit_status)),
                ChannelMsg::ExitSignal { .. } => self.status = Some(None),
                ChannelMsg::Failure => return Err(self.host.failed("a session", russh::Error::RequestDenied)),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        self.closed = true;
        self.status.map(|status| Some(Said::Ended(status))).ok_or_else(|| self.host.lost())
    }
}

impl SessionInput {
    /// Input. What a command that reads nothing more is given is lost, as with any pipe.
    pub async fn write(&self, bytes: Bytes) {
        let _ = self.0.data_bytes(bytes).await;
    }

    /// There is no more input.
    pub async fn end(&self) {
        let _ = self.0.eof().await;
    }

    /// The terminal has another size now.
    pub async fn resize(&self, columns: u32, rows: u32) {
        let _ = self.0.window_change(columns, rows, 0, 0).await;
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({:?})", self.host)
    }
}

impl std::fmt::Debug for SessionInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionInput")
    }
}
