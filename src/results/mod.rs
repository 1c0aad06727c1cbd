//! What test tools write, read into one [`Outcome`].
//!
//! Pure functions of bytes, for files nobody vouches for: cut off, empty, enormous, of another
//! kind. One rule is above all formats: **whatever looks like a failure, or like a case, and was
//! not accounted for is a problem, and a problem is not a pass.** Nothing is held that a file
//! could make large. Nothing here knows of containers or of Kubernetes.

mod again;
mod case;
mod collect;
mod decode;
mod durations;
mod excused;
mod junit;
mod lines;
mod outputs;
mod reading;
mod retold;
mod text;
mod together;
mod write;
mod xml;

use std::{collections::BTreeMap, fmt, io::Read};

use flate2::read::GzDecoder;

pub use self::{
    again::again,
    case::{Case, Verdict},
    durations::Durations,
    excused::excused,
    lines::ends_all,
    outputs::{Output, each, outputs},
    reading::{LogReading, Reading},
    together::{Part, Together, together},
};

/// What a run's results say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The cases, as they were read. Of very many, those that failed and as many others as there is room for.
    pub cases: Vec<Case>,
    /// The cases that are not listed.
    pub left_out: Tally,
    /// What was not accounted for, one sentence each. An outcome with problems says less than there was.
    pub problems: Vec<String>,
    /// The formats that were found, by name, each once.
    pub formats: Vec<&'static str>,
    /// Everything as one JUnit document; `None` where there was no suite and no case.
    pub junit: Option<Document>,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed at the first try.
    pub passed: usize,
    /// Failed, and passed when they were tried again.
    pub flaky: usize,
    /// Failed.
    pub failed: usize,
    /// Not run.
    pub skipped: usize,
}

/// A JUnit document that is well-formed, compressed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Document {
    packed: Vec<u8>,
    /// Not everything that was written is in it.
    shortened: bool,
}

impl Tally {
    const fn of(&mut self, verdict: &Verdict) -> &mut usize {
        match verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Flaky(_) => &mut self.flaky,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::Skipped => &mut self.skipped,
        }
    }

    fn take(&mut self, verdict: &Verdict) {
        let of = self.of(verdict);
        *of = of.saturating_sub(1);
    }

    fn add(&mut self, verdict: &Verdict) {
        *self.of(verdict) += 1;
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.passed + self.flaky + self.failed + self.skipped
    }
}

impl Document {
    /// It, as gzip has it.
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// It, as gzip has it, without a copy.
    #[must_use]
    pub fn into_packed(self) -> Vec<u8> {
        self.packed
    }

    /// Whether it was too big to have everything that was written.
    #[must_use]
    pub const fn is_shortened(&self) -> bool {
        self.shortened
    }

    /// It, unpacked.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Written here, into memory: what cannot be unpacked is empty.
        let unpacked = GzDecoder::new(self.packed.as_slice()).read_to_string(&mut text);
        if unpacked.is_ok() { text } else { String::new() }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.packed.len())
    }
}

impl Outcome {
    /// Reads result files by name. Those that are not test results are passed over.
    #[must_use]
    pub fn of_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut reading = Reading::new();
        for (name, bytes) in files {
            // Bytes in memory have no way to fail, and a problem is kept by the reading.
            drop(reading.file(name, bytes.as_slice()));
        }
        reading.finish()
    }

    /// Reads a document that was kept: what was not accounted for is in it.
    #[must_use]
    pub fn of_kept(junit: &[u8]) -> Self {
        let mut reading = Reading::of_kept();
        // As above.
        drop(reading.file("junit.xml", junit));
        reading.finish()
    }

    /// What the files say, or what the log does where the files hold no results.
    #[must_use]
    pub fn or_log(self, log: Option<Self>) -> Self {
        match log {
            Some(log) if self.total() == 0 && self.junit.is_none() => {
                let problems = self.problems.into_iter().chain(log.problems).collect();
                Self { problems, ..log }
            }
            _ => self,
        }
    }

    /// How many cases passed at the first try.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.tally().passed
    }

    /// How many cases failed and passed when they were tried again.
    #[must_use]
    pub fn flaky(&self) -> usize {
        self.tally().flaky
    }

    /// How many cases failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.tally().failed
    }

    /// How many cases were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.tally().skipped
    }

    /// How many cases there are, listed or not.
    #[must_use]
    pub fn total(&self) -> usize {
        self.tally().total()
    }

    /// How many cases ended how, listed or not.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = self.left_out;
        for case in &self.cases {
            tally.add(&case.verdict);
        }
        tally
    }

    /// The cases that failed and what they said, as far as they are listed.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cases.iter().filter_map(|case| match &case.verdict {
            Verdict::Failed(message) => Some((&*case.name, &**message)),
            Verdict::Passed | Verdict::Flaky(_) | Verdict::Skipped => None,
        })
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod recorded;
