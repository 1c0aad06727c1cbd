//! Where a reader of a JUnit document is, and what it makes of each piece.

mod end;
mod open;

use std::sync::Arc;

use super::super::{
    case::{NAME, Part, Sink},
    text::{self, Ends, Head},
};
use super::{
    suite::{Declared, Seen},
    words::{self, Loose, Sort},
};

/// How deep elements may be nested.
const DEPTH: usize = 500;
/// How many cases, failures and outputs may be open around a suite or a case: all that is known of one is held until it ends,
/// and there is no tool that nests them.
const HELD: usize = 4;
/// How far up an end tag looks for the element that it ends.
const MISNESTED: usize = 16;

/// The name of the property that carries a problem from one document into the next.
pub(in crate::results) const PROBLEM: &str = "testkit.problem";

/// The state.
pub(super) struct Walk<'s> {
    kept: bool,
    sink: &'s mut dyn Sink,
    stack: Vec<Frame>,
    /// How many cases, failures and outputs are open.
    held: usize,
    /// An element of JUnit's was seen.
    junit: bool,
    /// An element that is not, at the root.
    foreign: bool,
    /// Text outside any root.
    around: Loose,
    given_up: bool,
    broken: bool,
    /// The class of the last case: most have the one before's.
    class: Arc<str>,
    nameless: Arc<str>,
}

/// An element that is open.
struct Frame {
    /// As it is written.
    tag: String,
    kind: Kind,
}

enum Kind {
    Suite(Box<Suite>),
    Case(Box<Open>),
    /// `failure` and its like; `orphan` where it is in no case and no suite.
    Part {
        part: Part,
        text: Head,
        place: Place,
    },
    /// `system-out` and `system-err`, with where it goes.
    Stream {
        err: bool,
        said: Ends,
    },
    /// Tells in its text how the case ended, or that something failed.
    Telling {
        name: String,
        said: Head,
        marked: bool,
    },
    /// Properties: their words are anything.
    Properties,
    Other(Loose),
}

impl Kind {
    /// Whether much may be known of it until it ends.
    const fn is_held(&self) -> bool {
        matches!(self, Self::Case(_) | Self::Part { .. } | Self::Stream { .. })
    }
}

/// What a part of a case's end is a part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Case,
    Suite,
    Nowhere,
}

struct Suite {
    name: Arc<str>,
    declared: Declared,
    seen: Seen,
    /// Cases of its own that ran.
    direct: u64,
    text: Loose,
}

struct Open {
    class: Arc<str>,
    name: String,
    whole_name: bool,
    time: Option<std::time::Duration>,
    attributes: Vec<(String, String)>,
    properties: Vec<(String, String)>,
    parts: Vec<Part>,
    /// How many of the parts were attributes.
    told: usize,
    out: String,
    err: String,
    text: Loose,
}

impl<'s> Walk<'s> {
    pub(super) fn new(kept: bool, sink: &'s mut dyn Sink) -> Self {
        Self {
            kept,
            sink,
            stack: Vec::new(),
            held: 0,
            junit: false,
            foreign: false,
            around: Loose::default(),
            given_up: false,
            broken: false,
            class: Arc::from(""),
            nameless: Arc::from(""),
        }
    }

    /// Nothing after this is worth reading.
    pub(super) const fn given_up(&self) -> bool {
        self.given_up
    }

    pub(super) fn doubt(&mut self, doubt: String) {
        self.sink.problem(doubt);
    }

    /// What is not well-formed is no problem where nothing is read: around a document, and in one of another kind.
    pub(super) fn malformed(&mut self, why: &str) {
        if self.junit || !self.foreign {
            self.broken(why);
        }
    }

    fn broken(&mut self, why: &str) {
        if !std::mem::replace(&mut self.broken, true) {
            self.sink.problem(format!("it is not well-formed XML: {why}"));
        }
    }

    /// An angle bracket that begins nothing.
    pub(super) fn stray(&mut self) {
        if !self.stack.is_empty() {
            self.malformed("a < stands alone");
        }
    }

    pub(super) fn open(&mut self, tag: &str) {
        let length = tag.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(tag.len());
        let raw = &tag[..length];
        let name = words::local(&text::name(raw, NAME));
        let sort = words::sort(&name);
        if self.stack.is_empty() && self.around.any && !matches!(sort, Sort::Suites | Sort::Suite | Sort::Case) {
            // A log that says <none> is no document.
            self.loose(tag);
            return;
        }
        // One that was kept has one element more around the same suites.
        if self.stack.len() >= DEPTH + usize::from(self.kept) {
            self.sink.problem(format!("elements are nested deeper than {DEPTH}: what comes after is not read"));
            self.given_up = true;
            return;
        }
        if self.held > HELD && matches!(sort, Sort::Suites | Sort::Suite | Sort::Case) {
            self.sink.problem("cases are nested in cases or in what they say: what comes after is not read".to_owned());
            self.given_up = true;
            return;
        }
        let attributes = self.attributes(tag, length);
        let kind = self.element(sort, &name, &attributes);
        self.held += usize::from(kind.is_held());
        self.stack.push(Frame { tag: text::bounded(raw, NAME).to_owned(), kind });
    }

    fn out_of_place(&mut self, what: &str, place: &str) {
        let what = text::name(what, 200);
        self.sink.problem(format!("<{what}> looks like a failure or a case and is in {place}"));
    }

    pub(super) fn text(&mut self, text: &str, references: bool) {
        let mut unknown = None;
        let said = if references { text::unescape(text, &mut unknown) } else { text.into() };
        let Some(frame) = self.stack.last_mut() else { return self.loose(&said) };
        let (loose, suspect) = match &mut frame.kind {
            Kind::Part { text, .. } => return text.push(&said),
            Kind::Stream { said: ends, .. } => return ends.push(&said),
            Kind::Telling { said: head, .. } => return head.push(&said),
            Kind::Properties => return self.inner_text(&said),
            Kind::Suite(suite) => (&mut suite.text, true),
            Kind::Case(open) => (&mut open.text, true),
            Kind::Other(loose) => (loose, self.junit),
        };
        let found = loose.push(&said).filter(|_| suspect);
        if let Some(line) = found {
            self.sink.problem(format!("text outside of a failure looks like one: {:?}", text::name(&line, 200)));
        }
        // Markup may hide behind a name that only the document's own type knows.
        if let Some(reference) = unknown.filter(|_| suspect) {
            self.broken(&format!("{reference} stands for nothing"));
        }
    }

    /// Text of an element within a failure or an output belongs to that.
    fn inner_text(&mut self, said: &str) {
        for frame in self.stack.iter_mut().rev() {
            match &mut frame.kind {
                Kind::Properties => {}
                Kind::Part { text, .. } => return text.push(said),
                Kind::Stream { said: ends, .. } => return ends.push(said),
                _ => return,
            }
        }
    }

    /// Text outside of any root.
    fn loose(&mut self, said: &str) {
        if let Some(line) = self.around.push(said) {
            self.loose_end(&line);
        }
    }

    /// An end tag, or the end of an empty element.
    pub(super) fn close(&mut self, name: Option<&str>) {
        let Some(name) = name else {
            self.pop(true);
            return;
        };
        let name = text::bounded(name, NAME);
        let at = self.stack.iter().rev().take(MISNESTED).position(|frame| frame.tag == name);
        match at {
            Some(0) => self.pop(true),
            None if self.stack.is_empty() && self.around.any => self.loose(name),
            None => self.malformed("an end tag ends nothing"),
            Some(above) => {
                self.malformed("an element is ended within another");
                for _ in 0..above {
                    self.pop(false);
                }
                self.pop(true);
            }
        }
    }

    /// The end of the document. Whether it is JUnit.
    pub(super) fn finish(mut self, cut: Option<&str>) -> bool {
        if let Some(line) = self.around.end() {
            self.loose_end(&line);
        }
        let open = self.stack.len();
        let cut = cut.or((open > 0 && !self.given_up).then_some("it ends too early"));
        while !self.stack.is_empty() {
            self.pop(false);
        }
        if self.junit || !self.foreign {
            if let Some(cut) = cut {
                self.broken(cut);
            } else if !self.junit {
                self.broken("there is no element in it");
            }
        }
        self.junit
    }

    fn loose_end(&mut self, line: &str) {
        self.sink.problem(format!("text around the document looks like a failure: {:?}", text::name(line, 200)));
    }
}

/// Robot Framework's own document says FAIL of each keyword, also of those that were meant to fail: only its
/// statistics speak of its tests.
fn harmless(stack: &[Frame], name: &str, key: &str) -> bool {
    stack.first().is_some_and(|root| root.tag == "robot") && !(name == "stat" && key == "fail")
}
