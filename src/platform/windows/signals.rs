//! What ends a program: what Windows tells the programs of a console.

use std::io;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

use crate::platform::Signal;

/// Receives what would end the program, which goes on from then on.
pub struct Signals {
    interrupts: CtrlC,
    breaks: CtrlBreak,
    closes: CtrlClose,
    shutdowns: CtrlShutdown,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupts: ctrl_c()?, breaks: ctrl_break()?, closes: ctrl_close()?, shutdowns: ctrl_shutdown()? })
    }

    /// The next one. After [`Signal::Hangup`] Windows ends the program within seconds, whatever it does.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupts.recv() => Signal::Interrupt,
            _ = self.breaks.recv() => Signal::Terminate,
            _ = self.shutdowns.recv() => Signal::Terminate,
            _ = self.closes.recv() => Signal::Hangup,
        }
    }
}
