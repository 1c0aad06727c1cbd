//! The terminal a person sits at: raw while a shell on a host has it, and as it was after that.

use std::io::{self, IsTerminal, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

pub use crate::platform::terminal::{Raw, Resizes};
use crate::{
    host::Terminal,
    platform::terminal::{LOOKS_LIKE_AN_END, size},
};

/// How much of standard input is taken at a time.
const PIECE: usize = 32 * 1024;

/// Standard input, piece by piece. A read of a terminal cannot be called off, so it has a thread of
/// its own, which nothing waits for and which ends with the program. `raw`: while [`Raw`] has it.
#[must_use]
pub fn input(raw: bool) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(2);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match io::stdin().lock().read(&mut buffer) {
                Ok(0) => match LOOKS_LIKE_AN_END.filter(|_| raw) {
                    Some(key) => Ok(Bytes::from_static(key)),
                    None => return,
                },
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
    let (columns, rows) = size().unwrap_or((80, 24));
    Terminal { kind, columns, rows }
}
