//! What Rust's test programs write, and those of libtest-mimic: lines for people.

use std::collections::HashMap;

use super::{End, Format, OPEN, TOO_MANY, record, room::Room};
use crate::results::{
    case::{MESSAGE, Sink},
    text::{self, Ends},
};

/// The reader.
#[derive(Default)]
pub(super) struct Libtest {
    /// The program that is under way.
    program: Option<Program>,
    /// A test whose verdict comes after what it writes.
    waiting: Option<String>,
    /// The test whose words these are.
    speaks: Option<usize>,
    programs: usize,
}

#[derive(Default)]
struct Program {
    tests: u64,
    passed: u64,
    skipped: u64,
    /// With what they said.
    failed: Vec<(String, Ends)>,
    /// Which of them is the first of a name.
    names: HashMap<String, usize>,
    room: Room,
}

/// Whether a line begins such output.
pub(super) fn begins(line: &str) -> bool {
    running(line).is_some()
}

fn running(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("running ")?;
    rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))?.parse().ok()
}

/// The number before a word of the summary.
fn counted(line: &str, word: &str) -> Option<u64> {
    let at = line.find(word)?;
    line[..at].rsplit([' ', '.']).find(|part| !part.is_empty())?.parse().ok()
}

impl Format for Libtest {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) {
        if let Some(tests) = running(line) {
            self.unfinished(sink);
            self.program = Some(Program { tests, ..Program::default() });
            return;
        }
        if line.starts_with("test result: ") {
            return self.summary(line, sink);
        }
        let Some(program) = &mut self.program else { return };
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            let name = name.strip_suffix(" stdout").or_else(|| name.strip_suffix(" stderr")).unwrap_or(name);
            self.speaks = program.names.get(name).copied();
            return;
        }
        if let Some(nth) = self.speaks {
            if line == "failures:" {
                self.speaks = None;
            } else if let Some((_, said)) = program.failed.get_mut(nth) {
                program.room.say(said, line);
                program.room.say(said, "\n");
            }
            return;
        }
        let told = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "));
        let (name, word) = match told {
            Some((name, word)) => (name.to_owned(), word),
            // What the test wrote stands between its name and its verdict.
            None => match self.waiting.take() {
                Some(name) => (name, line),
                None => return,
            },
        };
        let end = match word.split([' ', ',', '<', ':']).next() {
            Some("ok") => End::Passed,
            Some("FAILED") => End::Failed,
            Some("ignored") => End::Skipped,
            // A benchmark has a time in place of a verdict.
            Some("bench") => End::Passed,
            _ => {
                self.waiting = Some(name);
                return;
            }
        };
        let name = name.strip_suffix(" - should panic").unwrap_or(&name);
        match end {
            // Its name is there twice.
            End::Failed if program.failed.len() < OPEN && program.room.take(name) && program.room.take(name) => {
                program.names.entry(name.to_owned()).or_insert(program.failed.len());
                program.failed.push((name.to_owned(), Ends::new(MESSAGE)));
            }
            End::Failed => sink.problem(TOO_MANY.to_owned()),
            End::Passed | End::Skipped => {
                let count = if end == End::Passed { &mut program.passed } else { &mut program.skipped };
                *count += 1;
                let mut said = Ends::new(MESSAGE);
                said.push(word.split_once(", ").map_or("", |(_, why)| why));
                sink.case(plain(record("", name, end, said, None)));
            }
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        self.unfinished(sink);
    }
}

impl Libtest {
    fn summary(&mut self, line: &str, sink: &mut dyn Sink) {
        (self.waiting, self.speaks) = (None, None);
        let Some(program) = self.program.take() else {
            return sink.problem("a summary of tests stands where none ran".to_owned());
        };
        self.programs += 1;
        let failed = program.failed.len() as u64;
        let shown = (program.passed, failed, program.skipped);
        let says = ["passed", "failed", "ignored"].map(|word| counted(line, &format!(" {word}")));
        let measured = counted(line, " measured").unwrap_or(0);
        let agrees = says[1] == Some(failed)
            && says[2] == Some(program.skipped)
            && says[0].and_then(|n| n.checked_add(measured)) == Some(program.passed);
        for (name, said) in program.failed {
            sink.case(plain(record("", &name, End::Failed, said, None)));
        }
        let ok = line.starts_with("test result: ok");
        if !agrees || ok != (failed == 0) || program.tests != shown.0 + shown.1 + shown.2 {
            sink.problem(format!(
                "of {} tests {} passed, {} failed and {} were ignored, and the summary says {:?}",
                program.tests,
                shown.0,
                shown.1,
                shown.2,
                text::name(line, 200)
            ));
        }
    }

    fn unfinished(&mut self, sink: &mut dyn Sink) {
        (self.waiting, self.speaks) = (None, None);
        let Some(program) = self.program.take() else { return };
        for (name, said) in program.failed {
            sink.case(plain(record("", &name, End::Failed, said, None)));
        }
        sink.problem("the output of a test program ends before its summary".to_owned());
    }
}

/// Of which program a test is nobody says: two of one name are not the same test.
fn plain(mut record: crate::results::case::Record) -> crate::results::case::Record {
    record.whole_name = false;
    record
}
