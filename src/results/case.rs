//! One test, and all that is kept of it for a moment.

use std::{sync::Arc, time::Duration};

use super::text;
use crate::api::CaseNames;

/// The most bytes of a name, of a suite, class or case.
pub(super) const NAME: usize = 1024;
/// The most bytes of one failure's words that are held.
pub(super) const MESSAGE: usize = 16 * 1024;
/// The most bytes of what a case wrote that are held, of each of its two streams.
pub(super) const OUTPUT: usize = 64 * 1024;

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name, with that of its class where that says more than the suite's.
    pub name: String,
    /// The suite it is listed in, as the tool names it; empty where it is in none.
    pub suite: Arc<str>,
    /// Its class, package or file, as the tool names it; empty where it has none.
    pub class: Arc<str>,
    /// Where in `name` its own name begins.
    own: usize,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took, where that is told.
    pub time: Option<Duration>,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it should.
    Passed,
    /// It did so after it had failed; what it said then.
    Flaky(String),
    /// It did not, and said why.
    Failed(String),
    /// It was not run.
    Skipped,
}

impl Case {
    /// A case by the names the tool gives. What is in them that no name has is taken out.
    pub(super) fn new(suite: &Arc<str>, class: Arc<str>, own: &str, verdict: Verdict) -> Self {
        let own = text::name(own, NAME);
        let (name, at) = if own.is_empty() {
            let name = if class.is_empty() { "(unnamed)".to_owned() } else { class.to_string() };
            let end = name.len();
            (name, end)
        } else if class.is_empty() || *class == **suite || own.starts_with(&*class) {
            (own, 0)
        } else {
            (format!("{class}.{own}"), class.len() + 1)
        };
        Self { name, suite: suite.clone(), class, own: at, verdict, time: None }
    }

    /// Its name without that of its class: what its tool knows it by. Empty where it has none.
    #[must_use]
    pub fn own_name(&self) -> &str {
        self.name.get(self.own..).unwrap_or_default()
    }

    /// Whether it has a name of its own of which no part is missing.
    #[must_use]
    pub fn is_named_wholly(&self) -> bool {
        // What was cut ends where a character does, which has four bytes at most.
        let whole = |name: &str| name.len() + 3 < NAME;
        !self.own_name().is_empty() && whole(self.own_name()) && whole(&self.class) && whole(&self.suite)
    }

    /// All of its names; none where a part of them is missing: another case may have the same then.
    #[must_use]
    pub fn names(&self) -> Option<CaseNames<'_>> {
        self.is_named_wholly().then(|| CaseNames {
            suite: &self.suite,
            class: &self.class,
            own: self.own_name(),
            listed: &self.name,
        })
    }

    /// How many bytes it holds.
    pub(super) fn size(&self) -> usize {
        let words = match &self.verdict {
            Verdict::Failed(words) | Verdict::Flaky(words) => words.len(),
            Verdict::Passed | Verdict::Skipped => 0,
        };
        size_of::<Self>() + self.name.len() + self.class.len() + words
    }
}

/// One thing that a case's element tells of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The element.
    pub(super) element: Element,
    /// Its message.
    pub(super) message: String,
    /// Its type: an exception's, for instance.
    pub(super) kind: String,
    /// Its text.
    pub(super) text: String,
}

/// The elements of a case that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Failure,
    Error,
    Skipped,
    FlakyFailure,
    FlakyError,
    RerunFailure,
    RerunError,
}

impl Element {
    /// As JUnit and Surefire write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::FlakyFailure => "flakyFailure",
            Self::FlakyError => "flakyError",
            Self::RerunFailure => "rerunFailure",
            Self::RerunError => "rerunError",
        }
    }
}

impl Part {
    /// A part that has words of its own.
    pub(super) fn new(element: Element, message: impl AsRef<str>) -> Self {
        Self { element, message: text::clean(message.as_ref()).into_owned(), kind: String::new(), text: String::new() }
    }

    /// The message, and the text where it says more.
    pub(super) fn words(&self) -> String {
        let message = if self.message.trim().is_empty() { &self.kind } else { &self.message };
        let (message, said) = (message.trim(), self.text.trim());
        let mut all = String::new();
        match (message, said) {
            ("", "") => all.push_str("failed without a message"),
            (_, "") => all.push_str(message),
            ("", _) => all.push_str(said),
            _ if said.starts_with(message) => all.push_str(said),
            _ => {
                text::push_bounded(&mut all, message, MESSAGE);
                text::push_bounded(&mut all, "\n", MESSAGE);
                text::push_bounded(&mut all, said, MESSAGE);
            }
        }
        all
    }
}

/// A case with everything its element holds, each part bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The case.
    pub(super) case: Case,
    /// The attributes that were not read, as they are: a line, a file.
    pub(super) attributes: Vec<(String, String)>,
    pub(super) properties: Vec<(String, String)>,
    pub(super) parts: Vec<Part>,
    pub(super) out: String,
    pub(super) err: String,
    /// No part of its names is missing: two cases of one name are the same case.
    pub(super) whole_name: bool,
}

impl Record {
    /// A case of which nothing else is known.
    pub(super) fn new(case: Case, parts: Vec<Part>) -> Self {
        let whole_name = case.is_named_wholly();
        Self {
            case,
            attributes: Vec::new(),
            properties: Vec::new(),
            parts,
            out: String::new(),
            err: String::new(),
            whole_name,
        }
    }
}

/// What the parts of a case tell: a failure before anything else.
pub(super) fn verdict(parts: &[Part]) -> Verdict {
    let words = |wanted: &[Element]| {
        let mut all: Option<String> = None;
        for part in parts.iter().filter(|part| wanted.contains(&part.element)) {
            match &mut all {
                None => all = Some(part.words()),
                Some(before) => text::push_bounded(before, &format!("\n{}", part.words()), MESSAGE),
            }
        }
        all
    };
    use Element::{Error, Failure, FlakyError, FlakyFailure, RerunError, RerunFailure, Skipped};
    // A try that failed again is told beside the first one; alone it is a failure all the same.
    let failed = words(&[Failure, Error]).or_else(|| words(&[RerunFailure, RerunError]));
    if let Some(failed) = failed {
        return Verdict::Failed(failed);
    }
    if let Some(flaky) = words(&[FlakyFailure, FlakyError]) {
        return Verdict::Flaky(flaky);
    }
    if parts.iter().any(|part| part.element == Skipped) { Verdict::Skipped } else { Verdict::Passed }
}

/// A time in seconds, as tools write it: with commas for thousands, with a unit, or none.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let plain = text.trim().trim_end_matches(['s', ' ']).replace(',', "");
    plain.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// Takes what a reader reads.
pub(super) trait Sink {
    /// A suite begins. One that is only a wrapper has no place of its own in a document.
    fn suite(&mut self, name: &str, attributes: &[(String, String)], wrapper: bool);
    /// A property of the innermost suite.
    fn property(&mut self, name: &str, value: &str);
    /// What the innermost suite wrote.
    fn output(&mut self, err: bool, said: &str);
    /// The innermost suite ends.
    fn end_suite(&mut self);
    /// A case of the innermost suite.
    fn case(&mut self, record: Record);
    /// Something that was not accounted for.
    fn problem(&mut self, problem: String);
    /// A problem that was told of the results that this document was made of.
    fn carried(&mut self, problem: String);
}
