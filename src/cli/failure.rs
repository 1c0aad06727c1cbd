//! What a verb fails with: a sentence for the person, what to do about it, an exit code.
//!
//! Here lives the type alone. Which sentence belongs to which cause is decided where the
//! cause is known: `kubernetes` for the API server, `reach` for the hosts.

use std::fmt;

/// Exit codes that mean the same for every verb.
pub mod exit {
    use crate::platform::Signal;

    /// The verb failed.
    pub const FAILED: u8 = 1;
    /// What was asked for cannot be: a word that is no option, and for `run` also a name or a spec that is refused.
    pub const USAGE: u8 = 2;
    /// `run`: the run could not be made, or ended without a verdict on the cases.
    pub const COULD_NOT_RUN: u8 = 3;
    /// The API server does not let this account do it.
    pub const NOT_ALLOWED: u8 = 4;
    /// `ssh` and `exec`: it failed before or beside the command, as with OpenSSH.
    pub const NO_COMMAND: u8 = 255;
    /// Ctrl-C.
    pub const INTERRUPTED: u8 = 130;
    /// SIGTERM or SIGHUP.
    pub const TERMINATED: u8 = 143;
    /// Who read our output went away, as `| head` does; nothing is said about it.
    pub const PIPE_CLOSED: u8 = 141;

    /// Of a program that a signal has ended.
    #[must_use]
    pub fn of_signal(signal: Signal) -> u8 {
        match signal {
            Signal::Interrupt => INTERRUPTED,
            Signal::Terminate | Signal::Hangup => TERMINATED,
        }
    }

    /// A process's exit code for a command's on a host.
    #[must_use]
    pub fn of_status(status: Option<u32>) -> u8 {
        status.and_then(|s| u8::try_from(s).ok()).unwrap_or(NO_COMMAND)
    }
}

/// Why a verb failed.
#[derive(Clone, Debug)]
pub struct Failure {
    what: String,
    help: Vec<String>,
    exit: u8,
    usage: bool,
}

impl Failure {
    /// A failure that a person reads as `error: {what}`.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: Vec::new(), exit: exit::FAILED, usage: false }
    }

    /// An exit code without words: everything was said already, or there is nobody to read it.
    #[must_use]
    pub fn silent(exit: u8) -> Self {
        Self { what: String::new(), help: Vec::new(), exit, usage: false }
    }

    /// What a verb fails with that does the same to several objects: one failure is the verb's; of more each is said,
    /// and their count is the verb's, with the exit code that all of them have.
    pub fn of_several(mut failures: Vec<Self>, of: usize, done: &str, say: impl FnMut(&Self)) -> Result<(), Self> {
        if failures.len() < 2 {
            return failures.pop().map_or(Ok(()), Err);
        }
        failures.iter().for_each(say);
        let same = failures.iter().all(|failure| failure.exit == failures[0].exit);
        let code = if same { failures[0].exit } else { exit::FAILED };
        Err(Self::new(format!("{} of {of} are not {done}", failures.len())).exit(code))
    }

    /// What to do about it; may be given more than once.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Another exit code than 1.
    #[must_use]
    pub fn exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    /// It is what was asked for that is wrong, and not the world.
    #[must_use]
    pub fn usage(mut self) -> Self {
        self.usage = true;
        self
    }

    /// Whether it is what was asked for that is wrong.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        self.usage
    }

    /// The sentence, empty where everything was said already.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it, a line each.
    #[must_use]
    pub fn remedies(&self) -> &[String] {
        &self.help
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

/// The words of an error and of all it came from, without what is said twice.
#[must_use]
pub fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Failure, exit::of_status};

    #[test]
    fn several_failures_have_the_code_of_all() {
        for (codes, code, said) in [
            (&[4][..], Some(4), 0),
            (&[], None, 0),
            (&[4, 4], Some(4), 2),
            (&[4, 1], Some(1), 2),
            (&[2, 2, 4], Some(1), 3),
        ] {
            let failures = codes.iter().map(|code| Failure::new("x").exit(*code)).collect();
            let mut told = 0;
            let ended = Failure::of_several(failures, 5, "removed", |_| told += 1);
            assert_eq!((ended.err().map(|failure| failure.code()), told), (code, said), "{codes:?}");
        }
    }

    #[test]
    fn a_code_that_is_none_is_255() {
        assert_eq!([of_status(Some(0)), of_status(Some(3)), of_status(Some(300)), of_status(None)], [0, 3, 255, 255]);
    }
}
