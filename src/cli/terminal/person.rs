//! The terminal a person sits at: raw while a shell on a host has it, and as it was after that.

use std::io::{self, IsTerminal, Read};

use bytes::Bytes;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use crate::host::Terminal;

/// How much of standard input is taken at a time.
const PIECE: usize = 32 * 1024;

/// The local terminal without its own handling of keys; dropped, it is as it was.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Takes the terminal at standard input.
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

/// Standard input, piece by piece. A read of a terminal cannot be called off, so it has a thread of
/// its own, which nothing waits for and which ends with the program.
#[must_use]
pub fn input() -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(2);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Whether a person sits at standard input.
#[must_use]
pub fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// The terminal at standard input, with a usual one's size where it does not tell.
#[must_use]
pub fn here() -> Terminal {
    let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
    let (columns, rows) = match tcgetwinsize(io::stdin()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    };
    Terminal { kind, columns, rows }
}
