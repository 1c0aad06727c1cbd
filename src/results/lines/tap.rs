//! The Test Anything Protocol, versions 12 to 14.

use super::{End, Format, record};
use crate::results::{
    case::{MESSAGE, Sink},
    text::{self, Ends},
};

/// The reader.
#[derive(Default)]
pub(super) struct Tap {
    /// The levels of subtests, the outermost first.
    levels: Vec<Level>,
    /// The last test, with what is said of it.
    last: Option<(String, End, Ends)>,
    /// In a YAML block.
    block: bool,
    failures: u64,
    counted: u64,
    stopped: bool,
}

/// A stream of tests: the outermost one, or that of a test's subtests.
#[derive(Default)]
struct Level {
    indent: usize,
    planned: Option<u64>,
    seen: u64,
}

/// Whether a line can only be of such output: the version, a plan, or a test with its number.
pub(super) fn begins(line: &str) -> bool {
    line.starts_with("TAP version 1") || plan(line).is_some() || point(line).is_some_and(|(_, numbered, _)| numbered)
}

/// How many tests are planned.
fn plan(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("1..")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let after = rest[end..].trim_start();
    (after.is_empty() || after.starts_with('#')).then(|| rest[..end].parse().ok())?
}

/// A test: whether it is well, whether it has a number, and the rest.
fn point(line: &str) -> Option<(bool, bool, &str)> {
    let (ok, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let numbered = digits > 0 && (digits == rest.len() || rest[digits..].starts_with(' '));
    Some((ok, numbered, if numbered { rest[digits..].trim_start() } else { rest }))
}

/// The description, and what the directive after it says.
fn described(rest: &str) -> (String, Option<(bool, &str)>) {
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let mark = rest.match_indices('#').rev().find(|(at, _)| !rest[..*at].ends_with('\\'));
    if let Some((at, _)) = mark {
        let directive = rest[at + 1..].trim();
        let word = directive.get(..4).unwrap_or_default().to_lowercase();
        if word == "skip" || word == "todo" {
            let why = directive[4..].trim_start_matches(|c: char| c.is_alphabetic()).trim();
            return (rest[..at].trim().replace("\\#", "#"), Some((word == "skip", why)));
        }
    }
    (rest.trim().replace("\\#", "#"), None)
}

impl Format for Tap {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) {
        let plain = line.trim_start_matches(' ');
        let indent = line.len() - plain.len();
        if self.block {
            self.block = plain != "...";
            return self.said(line);
        }
        if plain == "---" && indent > 0 && self.last.is_some() {
            self.block = true;
            return;
        }
        if let Some(planned) = plan(plain) {
            self.level(indent, sink);
            let before = self.levels.last_mut().and_then(|level| level.planned.replace(planned));
            if before.is_some() {
                sink.problem("there are two plans".to_owned());
            }
            return;
        }
        if let Some((ok, _, rest)) = point(plain) {
            self.level(indent, sink);
            return self.point(ok, rest, sink);
        }
        if let Some(why) = plain.strip_prefix("Bail out!") {
            self.flush(sink);
            self.stopped = true;
            sink.problem(format!("the tests were given up: {}", text::name(why, 200)));
            return;
        }
        if let Some(count) = plain.strip_prefix("# fail").and_then(|rest| rest.trim().parse::<u64>().ok()) {
            self.counted = self.counted.max(count);
        }
        self.said(line);
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        self.flush(sink);
        if self.block {
            sink.problem("it ends within what a test says".to_owned());
        }
        while let Some(level) = self.levels.pop() {
            level.end(sink);
        }
        if self.counted > 0 && self.failures == 0 {
            sink.problem(format!("it counts {} failures and shows none", self.counted));
        }
    }
}

impl Level {
    fn end(&self, sink: &mut dyn Sink) {
        match self.planned {
            Some(planned) if planned == self.seen => {}
            Some(planned) => sink.problem(format!("{planned} tests are planned and {} are there", self.seen)),
            None => sink.problem(format!("{} tests are there and none were planned: it ends too early", self.seen)),
        }
    }
}

impl Tap {
    /// Goes to the level of a line: those deeper have ended.
    fn level(&mut self, indent: usize, sink: &mut dyn Sink) {
        self.flush(sink);
        while self.levels.last().is_some_and(|level| level.indent > indent) {
            if let Some(level) = self.levels.pop() {
                level.end(sink);
            }
        }
        if self.levels.last().is_none_or(|level| level.indent < indent) && self.levels.len() < 100 {
            self.levels.push(Level { indent, ..Level::default() });
        }
    }

    fn point(&mut self, ok: bool, rest: &str, sink: &mut dyn Sink) {
        let number = self.levels.last_mut().map_or(0, |level| {
            level.seen += 1;
            level.seen
        });
        let (name, directive) = described(rest);
        let name = if name.is_empty() { format!("test {number}") } else { name };
        let end = match directive {
            Some((true, _)) => End::Skipped,
            Some((false, _)) if !ok => End::Skipped,
            _ if ok => End::Passed,
            _ => End::Failed,
        };
        self.failures += u64::from(end == End::Failed);
        let mut said = Ends::new(MESSAGE);
        if let Some((_, why)) = directive {
            said.push(why);
        }
        if self.stopped {
            sink.problem("a test comes after the tests were given up".to_owned());
        }
        self.last = Some((name, end, said));
    }

    fn said(&mut self, line: &str) {
        if let Some((_, End::Passed | End::Failed, said)) = &mut self.last {
            said.push(line.strip_prefix("# ").unwrap_or(line));
            said.push("\n");
        }
    }

    fn flush(&mut self, sink: &mut dyn Sink) {
        if let Some((name, end, said)) = self.last.take() {
            let mut record = record("", &name, end, said, None);
            // Descriptions need not be different.
            record.whole_name = false;
            sink.case(record);
        }
    }
}
