//! Other programs.

use std::{io, process::ExitStatus};

use rustix::process::{Pid, kill_process, kill_process_group};
use tokio::process::{Child, Command};

use crate::platform::Signal;

/// A program and all that it begins: dropped, they end, unless it was seen to have ended by itself.
pub struct Group(Option<Pid>);

impl Group {
    /// Starts a program in a group of its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(command: &mut Command) -> io::Result<(Child, Self)> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        Ok((child, group))
    }

    /// It has ended by itself.
    pub fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // It may have ended in this moment.
            let _ = kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Passes a signal on to a program that was started here.
pub fn pass_on(signal: Signal, to: u32) {
    let signal = match signal {
        Signal::Interrupt => rustix::process::Signal::INT,
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Hangup => rustix::process::Signal::HUP,
    };
    if let Some(process) = to.try_into().ok().and_then(Pid::from_raw) {
        // It may have ended by now.
        let _ = kill_process(process, signal);
    }
}

/// How a program ended, as a shell has it.
#[must_use]
pub fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
