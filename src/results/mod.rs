//! What test tools write, read into one [`Outcome`].
//!
//! Pure functions of bytes, for files nobody vouches for: cut off, empty, enormous, of another
//! kind. What cannot be read is a problem of the outcome and never a pass. Nothing here knows
//! of containers or of Kubernetes.

mod junit;

use std::collections::BTreeMap;

/// What a run's result files say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Every case, in the order of the files' names and within them.
    pub cases: Vec<Case>,
    /// What could not be read, one sentence a file. An outcome with problems says less than there was.
    pub problems: Vec<String>,
    /// The JUnit documents, joined into one; `None` where none can be read to its end.
    pub junit: Option<String>,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name, with that of its class where that says more than the suite's.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
}

/// What a case wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// To standard output.
    pub out: String,
    /// To standard error.
    pub err: String,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it should.
    Passed,
    /// It did not, and said why.
    Failed(String),
    /// It was not run.
    Skipped,
}

/// Every case of a JUnit document with what it wrote, as far as the document can be read.
#[must_use]
pub fn outputs(junit: &[u8]) -> Vec<(Case, Output)> {
    let report = junit::read_with_outputs(junit);
    report.cases.into_iter().zip(report.outputs).collect()
}

/// The most bytes of result files that are read: what a container writes is not ours to trust.
pub const LIMIT: usize = 32 * 1024 * 1024;

impl Outcome {
    /// Reads result files by name. Those that are not test results are passed over.
    #[must_use]
    pub fn of_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut outcome = Self::default();
        let mut documents = Vec::new();
        let mut budget = LIMIT;
        for (name, bytes) in files.iter().filter(|(name, _)| name.to_ascii_lowercase().ends_with(".xml")) {
            let Some(left) = budget.checked_sub(bytes.len()) else {
                outcome.problems.push(format!("{name} was not read: results are over {} MiB", LIMIT / 1024 / 1024));
                continue;
            };
            budget = left;
            let report = junit::read(bytes);
            outcome.cases.extend(report.cases);
            outcome.problems.extend(report.problems.into_iter().map(|p| format!("{name}: {p}")));
            documents.extend(report.document);
        }
        outcome.junit = junit::join(documents);
        outcome
    }

    /// How many cases passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count(|v| *v == Verdict::Passed)
    }

    /// How many cases failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count(|v| matches!(v, Verdict::Failed(_)))
    }

    /// How many cases were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.count(|v| *v == Verdict::Skipped)
    }

    /// The cases that failed and what they said.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cases.iter().filter_map(|case| match &case.verdict {
            Verdict::Failed(message) => Some((&*case.name, &**message)),
            Verdict::Passed | Verdict::Skipped => None,
        })
    }

    /// Writes the cases alone as one JUnit document, with at most `most` characters a message:
    /// for results too big to be kept as they were written.
    #[must_use]
    pub fn digest(&self, most: usize) -> String {
        junit::write(self, most)
    }

    fn count(&self, wanted: fn(&Verdict) -> bool) -> usize {
        self.cases.iter().filter(|case| wanted(&case.verdict)).count()
    }
}

#[cfg(test)]
mod tests;
