//! The one place that writes to the terminal.
//!
//! Here lives what quiet, verbose, colour, progress and structured output mean; a verb says
//! what happened and never asks whether somebody looks. Results go to standard output,
//! everything else to standard error.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

use indicatif::MultiProgress;
use serde::Serialize;

use super::{
    Style,
    escape::{self, Escaper},
};
use crate::{
    cli::failure::{Failure, exit},
    platform::terminal::takes_escapes,
};

/// Writes for one run of the program.
#[derive(Debug)]
pub struct Printer {
    verbosity: Verbosity,
    colour_out: bool,
    colour_err: bool,
    /// There where standard output is a terminal: what others wrote must do nothing there.
    out: Option<Mutex<Escaper>>,
    err: Option<Mutex<Escaper>>,
    /// There when standard error is a terminal: lines go through it so that they do not cut bars in two.
    bars: Option<MultiProgress>,
}

/// How much to say on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors alone.
    Quiet,
    /// What happens.
    Normal,
    /// Also how.
    Verbose,
}

impl Printer {
    /// A printer for this process's standard output and error.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        let colour = |terminal: bool| {
            // https://no-color.org: present and not empty, whatever its value.
            let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            terminal && !refused && std::env::var_os("TERM").is_none_or(|t| t != "dumb") && takes_escapes()
        };
        let terminal = io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|t| t == "dumb");
        Self {
            verbosity,
            colour_out: colour(io::stdout().is_terminal()),
            colour_err: colour(terminal),
            out: io::stdout().is_terminal().then(Mutex::default),
            err: terminal.then(Mutex::default),
            // Details would tear bars apart.
            bars: (terminal && !dumb && verbosity == Verbosity::Normal).then(MultiProgress::new),
        }
    }

    /// A printer as for a pipe, whatever the test runs in.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { verbosity: Verbosity::Normal, colour_out: false, colour_err: false, out: None, err: None, bars: None }
    }

    /// A line of the result.
    pub fn line(&self, text: impl Display) -> Result<(), Failure> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// A piece of the result: as it is, but for a terminal, which shows it and does not obey it.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.raw(&harmless(self.out.as_ref(), bytes))
    }

    /// A piece of what a shell on a host shows to the person who sits in it, as it is.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let write = || {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        };
        self.around(write).map_err(|e| output_failed(&e))
    }

    /// A piece of what a command on a host complains about.
    pub fn complaint(&self, bytes: &[u8]) {
        let bytes = harmless(self.err.as_ref(), bytes);
        // Nobody is left to be told that standard error is gone.
        let _ = self.around(|| io::stderr().lock().write_all(&bytes));
    }

    /// The result as JSON or YAML.
    pub fn object(&self, format: Structured, object: &impl Serialize) -> Result<(), Failure> {
        let text = match format {
            Structured::Json => serde_json::to_string_pretty(object)
                .map(|text| text + "\n")
                .map_err(|e| Failure::new(format!("the result cannot be written as JSON: {e}")))?,
            Structured::Yaml => serde_yaml_ng::to_string(object)
                .map_err(|e| Failure::new(format!("the result cannot be written as YAML: {e}")))?,
        };
        self.bytes(text.as_bytes())
    }

    /// Something worth knowing that is not the result.
    pub fn note(&self, text: impl Display) {
        if self.verbosity > Verbosity::Quiet {
            self.say(&text.to_string());
        }
    }

    /// A question to the person at the terminal, whose answer is typed behind it.
    pub fn ask(&self, question: impl Display) {
        self.complaint(question.to_string().as_bytes());
    }

    /// How something is done, for `--verbose`.
    pub fn detail(&self, text: impl Display) {
        if self.verbosity == Verbosity::Verbose {
            self.say(&Style::Dim.paint(&text.to_string(), self.colour_err));
        }
    }

    /// Something is not as it should be, and the verb goes on.
    pub fn warn(&self, text: impl Display) {
        if self.verbosity > Verbosity::Quiet {
            self.say(&format!("{} {text}", Style::Attention.paint("warning:", self.colour_err)));
        }
    }

    /// Why the verb failed.
    pub fn failure(&self, failure: &Failure) {
        if failure.what().is_empty() {
            return;
        }
        self.say(&format!("{} {}", Style::Bad.paint("error:", self.colour_err), failure.what()));
        for remedy in failure.remedies() {
            self.say(&format!("  {} {remedy}", Style::Strong.paint("try:", self.colour_err)));
        }
    }

    /// Text for standard output.
    #[must_use]
    pub fn paint(&self, style: Style, text: &str) -> String {
        style.paint(text, self.colour_out)
    }

    /// Text for standard error.
    #[must_use]
    pub fn paint_err(&self, style: Style, text: &str) -> String {
        style.paint(text, self.colour_err)
    }

    /// Where bars are shown, if anywhere.
    pub(super) fn bars(&self) -> Option<&MultiProgress> {
        self.bars.as_ref()
    }

    fn say(&self, text: &str) {
        // Nobody is left to be told that standard error is gone.
        let text = escape::text(text);
        let _ = self.around(|| writeln!(io::stderr().lock(), "{text}"));
    }

    /// Runs `write` while no bar is on the screen.
    fn around<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// What a terminal may have of it; all of it where there is no terminal.
fn harmless<'a>(escaper: Option<&Mutex<Escaper>>, bytes: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
    match escaper {
        Some(escaper) => escaper.lock().unwrap_or_else(PoisonError::into_inner).escape(bytes).into(),
        None => bytes.into(),
    }
}

/// The forms of output that are for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structured {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

fn output_failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::silent(exit::PIPE_CLOSED)
    } else {
        Failure::new(format!("standard output cannot be written: {error}"))
    }
}
