//! Results that are lines of text. A format is known by a line that nothing else writes; from
//! there on each line is read, and what has no end of its own (a verdict, a plan, a summary that
//! agrees with its cases) is a problem: text that only looks like results passes no run.

mod gojson;
mod gotest;
mod libtest;
mod room;
mod tap;

use super::{
    case::{Case, Element, MESSAGE, Part, Record, Sink, verdict},
    text::{self, Ends},
};
pub use gotest::ends_all;

/// The most of a line that is read.
const LINE: usize = 256 * 1024;
/// How many cases may be under way at once, or wait for what is said of them later.
const OPEN: usize = 10_000;
/// What is said where there is no room for more of them.
const TOO_MANY: &str = "more tests are under way at once than there is room for";

/// A reader of one format.
pub(super) trait Format: Send {
    /// The next line, without its end.
    fn line(&mut self, line: &str, sink: &mut dyn Sink);
    /// There are no more lines.
    fn end(&mut self, sink: &mut dyn Sink);
}

/// The format that a line begins: its name and a reader of it, which has not read the line.
fn begun(line: &str) -> Option<(&'static str, Box<dyn Format>)> {
    if gojson::begins(line) {
        return Some(("go test -json", Box::new(gojson::GoJson::default())));
    }
    if gotest::begins(line) {
        return Some(("go test -v", Box::new(gotest::GoTest::default())));
    }
    if tap::begins(line) {
        return Some(("TAP", Box::new(tap::Tap::default())));
    }
    libtest::begins(line).then(|| ("libtest", Box::new(libtest::Libtest::default()) as Box<dyn Format>))
}

/// Whether a line begins a format.
pub(super) fn begins(line: &str) -> bool {
    begun(line).is_some()
}

/// Divides text into lines, finds out their format and has them read.
#[derive(Default)]
pub(super) struct Lines {
    line: String,
    over: bool,
    format: Option<(&'static str, Box<dyn Format>)>,
    /// Lines that were looked at before a format was found.
    before: usize,
}

impl Lines {
    /// The next piece of the text.
    pub(super) fn push(&mut self, piece: &str, sink: &mut dyn Sink) {
        let mut rest = piece;
        while let Some(at) = rest.find('\n') {
            self.append(&rest[..at]);
            self.complete(sink);
            rest = &rest[at + 1..];
        }
        self.append(rest);
    }

    fn append(&mut self, part: &str) {
        let room = LINE.saturating_sub(self.line.len());
        self.over |= part.len() > room;
        text::push_bounded(&mut self.line, part, LINE);
    }

    fn complete(&mut self, sink: &mut dyn Sink) {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if self.format.is_none() {
            self.before += 1;
            self.format = begun(line);
        }
        if let Some((_, format)) = &mut self.format {
            if std::mem::take(&mut self.over) {
                sink.problem(format!("a line is longer than {} KiB and was not read to its end", LINE >> 10));
            }
            format.line(line, sink);
        }
        self.over = false;
    }

    /// Whether a format was found.
    pub(super) const fn found(&self) -> bool {
        self.format.is_some()
    }

    /// How many lines were read in which no format was found.
    pub(super) const fn looked_at(&self) -> usize {
        self.before
    }

    /// The end of the text: the format's name, where one was found.
    pub(super) fn end(mut self, sink: &mut dyn Sink) -> Option<&'static str> {
        if !self.line.is_empty() {
            self.complete(sink);
        }
        let (name, mut format) = self.format?;
        format.end(sink);
        Some(name)
    }
}

/// What is written where words were left out, at most, in bytes.
const MARK: usize = 64;

/// A case with what it wrote; of one that failed that is what it said.
fn record(suite: &str, name: &str, ended: End, said: Ends, seconds: Option<f64>) -> Record {
    let mut said = said.finish();
    let part = match ended {
        End::Passed => None,
        End::Failed => Some(Part {
            text: text::bounded(&said, MESSAGE + MARK).trim_end().to_owned(),
            ..Part::new(Element::Failure, "")
        }),
        End::Skipped => Some(Part::new(Element::Skipped, text::name(&said, 200))),
    };
    if part.is_some() {
        said.clear();
    }
    let parts: Vec<Part> = part.into_iter().collect();
    let mut case = Case::new(&suite.into(), "".into(), name, verdict(&parts));
    case.time = seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
    let mut record = Record::new(case, parts);
    record.out = said;
    record
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    Skipped,
}

#[cfg(test)]
mod tests;
