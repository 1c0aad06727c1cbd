//! What ends a program.

use std::io;

use tokio::signal::unix::{self, SignalKind, signal};

use crate::platform::Signal;

/// Receives what would end the program, which goes on from then on.
pub struct Signals {
    interrupts: unix::Signal,
    ends: unix::Signal,
    hangups: unix::Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupts: signal(SignalKind::interrupt())?,
            ends: signal(SignalKind::terminate())?,
            hangups: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupts.recv() => Signal::Interrupt,
            _ = self.ends.recv() => Signal::Terminate,
            _ = self.hangups.recv() => Signal::Hangup,
        }
    }
}
