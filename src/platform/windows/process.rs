//! Other programs.

use std::{io, process::ExitStatus};

use tokio::process::{Child, Command};

use crate::platform::Signal;

/// A program: dropped, it ends with what it is waited for. What it has begun goes on where it does not end it: to hold
/// that together takes a job object, for which there is no call that is safe.
pub struct Group;

impl Group {
    /// Starts a program.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(command: &mut Command) -> io::Result<(Child, Self)> {
        Ok((command.kill_on_drop(true).spawn()?, Self))
    }

    /// It has ended by itself.
    pub fn ended(&mut self) {}
}

/// Nothing needs to be passed on: Windows tells all programs of a console by itself.
pub fn pass_on(_: Signal, _: u32) {}

/// How a program ended.
#[must_use]
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(1)
}
