//! `go test -v`, and a test binary of Go's run with `-test.v`.

use super::{
    End, Format, OPEN, TOO_MANY, record,
    room::{Room, Tests},
};
use crate::results::{
    case::{MESSAGE, Sink},
    text::{self, Ends},
};

/// The reader.
#[derive(Default)]
pub(super) struct GoTest {
    running: Tests,
    room: Room,
    /// The test that writes.
    current: String,
    /// A test that has ended: older versions of Go write what it said after that.
    ended: Option<(String, End, Option<f64>, Ends)>,
    /// A test failed in this package, or anywhere.
    failed: bool,
    any_failed: bool,
    /// The package's verdict is still to come.
    open: bool,
    /// A verdict said that something failed.
    told: bool,
}

/// Whether a line can only be of such output.
pub(super) fn begins(line: &str) -> bool {
    line.strip_prefix("=== RUN   ").is_some_and(|name| !name.is_empty() && !name.contains(' '))
}

/// The end of a test that a line tells, wherever in it: what was written before it may have no end of its own.
fn result(line: &str) -> Option<(&str, End, &str, Option<f64>)> {
    for (mark, end) in [("--- PASS: ", End::Passed), ("--- FAIL: ", End::Failed), ("--- SKIP: ", End::Skipped)] {
        let Some(at) = line.rfind(mark) else { continue };
        let (name, time) = line[at + mark.len()..].split_once(" (")?;
        let time = time.strip_suffix(')').or_else(|| time.strip_suffix(" seconds)"))?;
        let seconds = time.trim_end_matches("s").trim().parse().ok();
        return Some((&line[..at], end, name, seconds));
    }
    None
}

impl Format for GoTest {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) {
        let line = line.trim_start_matches('\u{16}');
        if let Some(name) = line.strip_prefix("=== RUN   ") {
            return self.run(name, sink);
        }
        for mark in ["=== PAUSE ", "=== CONT  ", "=== NAME  "] {
            if let Some(name) = line.strip_prefix(mark) {
                name.clone_into(&mut self.current);
                return;
            }
        }
        if let Some((before, end, name, seconds)) = result(line) {
            if let Some(mut said) = self.room.end(&mut self.running, name) {
                self.flush(sink);
                if !before.trim().is_empty() {
                    said.push(before);
                }
                self.failed |= end == End::Failed;
                self.ended = Some((name.to_owned(), end, seconds, said));
                return;
            }
            if end == End::Failed {
                sink.problem(format!("{:?} failed and was never begun", text::name(name, 200)));
            }
        }
        if self.running.is_empty() && self.verdict(line, sink) {
            return;
        }
        if let Some(rest) = line.strip_prefix("FAIL\t") {
            self.package_failed(rest, sink);
            return;
        }
        self.said(line);
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        self.flush(sink);
        if self.open || !self.running.is_empty() {
            self.unfinished(sink);
            sink.problem("the output of go test ends before its verdict (PASS or FAIL)".to_owned());
        } else if self.told && !self.any_failed {
            sink.problem("go test says FAIL and shows no test that failed".to_owned());
        }
    }
}

impl GoTest {
    fn run(&mut self, name: &str, sink: &mut dyn Sink) {
        self.flush(sink);
        self.open = true;
        name.clone_into(&mut self.current);
        if self.running.len() >= OPEN || !self.room.begin(&mut self.running, name) {
            sink.problem(TOO_MANY.to_owned());
        }
    }

    /// The verdict on a package. Whether it was one.
    fn verdict(&mut self, line: &str, sink: &mut dyn Sink) -> bool {
        match line {
            "PASS" => self.open = false,
            "FAIL" => {
                self.open = false;
                self.told = true;
            }
            _ if line.starts_with("ok  \t") => {
                self.open = false;
                self.failed = false;
            }
            _ => return false,
        }
        self.flush(sink);
        true
    }

    /// A package failed: for a test in it, for one that never ended, or for itself.
    fn package_failed(&mut self, rest: &str, sink: &mut dyn Sink) {
        self.flush(sink);
        self.unfinished(sink);
        (self.open, self.told) = (false, true);
        if !std::mem::take(&mut self.failed) {
            self.any_failed = true;
            let name = rest.split(['\t', ' ']).next().unwrap_or_default();
            let mut said = Ends::new(MESSAGE);
            said.push(rest);
            sink.case(Self::plain(record("", &format!("{name} (the package itself)"), End::Failed, said, None)));
        }
    }

    fn unfinished(&mut self, sink: &mut dyn Sink) {
        for (name, mut said) in self.room.drain(&mut self.running) {
            said.push("\nit did not end");
            (self.failed, self.any_failed) = (true, true);
            sink.case(Self::plain(record("", &name, End::Failed, said, None)));
        }
    }

    fn said(&mut self, line: &str) {
        match &mut self.ended {
            // Indented, as what a test logged is; or what ends the program after that, which some versions say there.
            Some((.., said)) if line.starts_with([' ', '\t']) || ends_all(line) => {
                said.push(line);
                said.push("\n");
            }
            _ => {
                if let Some(said) = self.running.get_mut(&self.current) {
                    self.room.say(said, line);
                    self.room.say(said, "\n");
                }
            }
        }
    }

    fn flush(&mut self, sink: &mut dyn Sink) {
        if let Some((name, end, seconds, said)) = self.ended.take() {
            self.any_failed |= end == End::Failed;
            sink.case(Self::plain(record("", &name, end, said, seconds)));
        }
    }

    /// Of which package a test is nobody says before its end: two of one name are not the same test.
    fn plain(mut record: crate::results::case::Record) -> crate::results::case::Record {
        record.whole_name = false;
        record
    }
}

/// Whether this line begins what a program of tests in Go says when it ends in the midst of them.
#[must_use]
pub fn ends_all(line: &str) -> bool {
    line.starts_with("panic: ") || line.starts_with("fatal error: ")
}
