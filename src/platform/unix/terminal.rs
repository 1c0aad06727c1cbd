//! The terminal at standard input and output.

use std::io;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The key that standard input has an end for while the terminal is raw: there is none.
pub const LOOKS_LIKE_AN_END: Option<&[u8]> = None;

/// The terminal without its own handling of keys; dropped, it is as it was.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Takes the terminal at standard input.
    ///
    /// # Errors
    /// What the system says.
    pub fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // When even this fails, nothing else would help.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Columns and rows, where it tells.
#[must_use]
pub fn size() -> Option<(u32, u32)> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Whether what is written to it may have escape sequences: every one takes them that says it is a terminal.
#[must_use]
pub fn takes_escapes() -> bool {
    true
}

/// Tells when its size changes.
pub struct Resizes(Signal);

impl Resizes {
    /// Begins to look.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Self> {
        signal(SignalKind::window_change()).map(Self)
    }

    /// Waits for the next change.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
