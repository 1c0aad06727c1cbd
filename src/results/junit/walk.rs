//! Where a reader of a JUnit document is, and what it makes of each piece.

use std::sync::Arc;

use quick_xml::events::BytesStart;

use super::super::{
    case::{self, Case, Element, MESSAGE, NAME, OUTPUT, Part, Record, Sink, Verdict},
    text::{self, Ends, Head},
};
use super::{
    suite::{Declared, Seen},
    words::{self, Loose, Sort, Told},
};

/// How deep elements may be nested.
const DEPTH: usize = 500;
/// How far up an end tag looks for the element that it ends.
const MISNESTED: usize = 16;
/// How many attributes of an element, properties and parts of a case are kept.
const ATTRIBUTES: usize = 32;
const PROPERTIES: usize = 256;
const PARTS: usize = 32;

/// The name of the property that carries a problem from one document into the next.
pub(in crate::results) const PROBLEM: &str = "testkit.problem";

/// The state.
pub(super) struct Walk<'s> {
    kept: bool,
    sink: &'s mut dyn Sink,
    stack: Vec<Frame>,
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
        let attributes = self.attributes(tag, length);
        let kind = self.element(sort, &name, &attributes);
        self.stack.push(Frame { tag: text::bounded(raw, NAME).to_owned(), kind });
    }

    /// The attributes, their names in lower case.
    fn attributes(&mut self, tag: &str, length: usize) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let (mut wrong, mut unknown, mut markup) = (false, None, false);
        for attribute in BytesStart::from_content(tag, length).attributes().with_checks(false) {
            match attribute {
                Ok(attribute) if attribute.key.as_ref().starts_with("xmlns") => {}
                Ok(attribute) => {
                    markup |= attribute.value.contains('<');
                    let value = text::unescape(&attribute.value, &mut unknown);
                    let key = words::local(&text::name(attribute.key.as_ref(), NAME));
                    all.push((key, value.into_owned()));
                }
                Err(_) => wrong = true,
            }
        }
        if wrong {
            self.malformed("the attributes of a tag cannot be read");
        }
        if markup {
            self.malformed("a < stands in an attribute");
        }
        all
    }

    fn element(&mut self, sort: Sort, name: &str, attributes: &[(String, String)]) -> Kind {
        self.foreign |= self.stack.is_empty() && !matches!(sort, Sort::Suites | Sort::Suite | Sort::Case);
        let inside = self.stack.last().map(|frame| &frame.kind);
        match (inside, sort) {
            (_, Sort::Suites | Sort::Suite) => self.suite(sort == Sort::Suites, attributes),
            (_, Sort::Case) => self.case(attributes),
            // Text that is kept or known to be anything; of an element in it only the text counts.
            (Some(Kind::Stream { .. } | Kind::Properties), Sort::Failure | Sort::Flaky | Sort::Rerun) => {
                self.out_of_place(name, "output or properties");
                Kind::Properties
            }
            (Some(Kind::Properties), Sort::Property) => {
                self.property(attributes);
                Kind::Properties
            }
            (Some(Kind::Part { .. } | Kind::Stream { .. } | Kind::Properties), _) => Kind::Properties,
            (Some(Kind::Case(_)), Sort::Failure | Sort::Flaky | Sort::Rerun | Sort::Skipped) => {
                part(name, sort, attributes, Place::Case)
            }
            (Some(Kind::Suite(_)), Sort::Failure | Sort::Flaky | Sort::Rerun) => {
                part(name, sort, attributes, Place::Suite)
            }
            (Some(_) | None, Sort::Failure | Sort::Flaky | Sort::Rerun) => part(name, sort, attributes, Place::Nowhere),
            (Some(Kind::Case(_) | Kind::Suite(_)), Sort::Out | Sort::Err) => {
                Kind::Stream { err: sort == Sort::Err, said: Ends::new(OUTPUT) }
            }
            (Some(Kind::Case(_) | Kind::Suite(_)), Sort::Properties) => Kind::Properties,
            (Some(Kind::Case(_) | Kind::Suite(_)), Sort::Property) => {
                self.property(attributes);
                Kind::Properties
            }
            (Some(Kind::Case(_) | Kind::Suite(_)), Sort::LikeCase) => {
                self.out_of_place(name, "a suite, where JUnit has <testcase>");
                Kind::Other(Loose::default())
            }
            (_, Sort::Status | Sort::LikeFailure) => {
                let said = attributes.iter().any(|(key, value)| key != "nil" && !words::nothing(value));
                self.telling_attributes(name, attributes);
                Kind::Telling { name: name.to_owned(), said: Head::new(NAME), marked: said }
            }
            _ => {
                self.telling_attributes(name, attributes);
                Kind::Other(Loose::default())
            }
        }
    }

    fn suite(&mut self, wrapper: bool, attributes: &[(String, String)]) -> Kind {
        self.junit = true;
        let nested = !self.stack.is_empty();
        if nested && !matches!(self.stack.last(), Some(Frame { kind: Kind::Suite(_), .. })) {
            let around = self.stack.last().map(|frame| frame.tag.clone()).unwrap_or_default();
            self.sink.problem(format!("a suite is within <{}>, which is no place of it", text::name(&around, 100)));
        }
        let mut declared = Declared::default();
        if matches!(self.stack.last(), Some(Frame { kind: Kind::Suite(outer), .. }) if &*outer.name == "pytest tests") {
            declared.counts_parts();
        }
        let mut name = String::new();
        for (key, value) in attributes {
            if key == "name" {
                name = text::name(value, NAME);
            } else {
                declared.attribute(key, value);
            }
        }
        let kept = kept(attributes, if declared.counts_cases() { &["name"] } else { &["name", "tests"] });
        self.sink.suite(&name, &kept, wrapper && !nested);
        Kind::Suite(Box::new(Suite {
            name: Arc::from(name),
            declared,
            seen: Seen::default(),
            direct: 0,
            text: Loose::default(),
        }))
    }

    fn case(&mut self, attributes: &[(String, String)]) -> Kind {
        self.junit = true;
        if !matches!(self.stack.last(), Some(Frame { kind: Kind::Suite(_), .. })) {
            let place =
                self.stack.last().map_or("no suite".to_owned(), |frame| format!("<{}>", text::name(&frame.tag, 100)));
            self.sink.problem(format!("a case is within {place}, which is no place of it"));
        }
        let first = |wanted: &[&str]| {
            attributes.iter().find(|(key, _)| wanted.contains(&key.as_str())).map_or("", |(_, value)| value.as_str())
        };
        let class = text::name(first(&["classname", "class"]), NAME);
        if *self.class != *class {
            self.class = Arc::from(class);
        }
        let (name, time) = (first(&["name"]).to_owned(), case::seconds(first(&["time", "duration"])));
        let mut parts = Vec::new();
        for (key, value) in attributes {
            let said = format!("{key}={:?}", text::name(value, NAME));
            match words::told(key, value) {
                Some(Told::Failed) => parts.push(Part::new(Element::Failure, said)),
                Some(Told::Skipped) => parts.push(Part::new(Element::Skipped, said)),
                Some(Told::Unknown) => {
                    self.sink.problem(format!(
                        "what case {:?} says of its end is not known: {said}",
                        text::name(&name, 100)
                    ));
                }
                Some(Told::Passed | Told::Nothing) | None => {}
            }
        }
        let whole_name = name.len() <= NAME;
        // What tells of the end is a part by now.
        let mut attributes = kept(attributes, &["name", "classname", "class"]);
        attributes.retain(|(key, value)| matches!(words::told(key, value), None | Some(Told::Passed | Told::Nothing)));
        Kind::Case(Box::new(Open {
            class: self.class.clone(),
            name,
            whole_name,
            time,
            attributes,
            properties: Vec::new(),
            told: parts.len(),
            parts,
            out: String::new(),
            err: String::new(),
            text: Loose::default(),
        }))
    }

    fn property(&mut self, attributes: &[(String, String)]) {
        let first = |wanted| attributes.iter().find(|(key, _)| key == wanted).map_or("", |(_, value)| value.as_str());
        let (name, value) = (text::name(first("name"), NAME), text::clean(first("value")));
        let value = text::bounded(&value, MESSAGE).to_owned();
        if name == PROBLEM {
            self.sink.carried(value);
            return;
        }
        for frame in self.stack.iter_mut().rev() {
            match &mut frame.kind {
                Kind::Case(open) if open.properties.len() < PROPERTIES => return open.properties.push((name, value)),
                Kind::Case(_) => return,
                Kind::Suite(_) => return self.sink.property(&name, &value),
                _ => {}
            }
        }
    }

    /// What the attributes of an element that is none of JUnit's tell of a failure.
    fn telling_attributes(&mut self, name: &str, attributes: &[(String, String)]) {
        for (key, value) in attributes {
            if words::told(key, value) == Some(Told::Failed) && !harmless(&self.stack, name, key) {
                let said = format!("{key}={:?}", text::name(value, 100));
                self.out_of_place(&format!("{name} {said}"), "a place where nothing of it is known");
                return;
            }
        }
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

    /// Ends the innermost element. One that was not ended itself counts only where it has failed.
    fn pop(&mut self, whole: bool) {
        let Some(frame) = self.stack.pop() else { return };
        match frame.kind {
            Kind::Suite(suite) => self.end_suite(*suite, whole),
            Kind::Case(open) => self.end_case(*open, whole),
            Kind::Part { mut part, mut text, place } => {
                part.text = text.take();
                self.end_part(part, place);
            }
            Kind::Stream { err, said } => self.end_stream(err, &said.finish()),
            Kind::Telling { name, mut said, marked } => {
                let said = said.take();
                self.end_telling(&name, &said, marked);
            }
            Kind::Other(mut loose) => {
                if let Some(line) = loose.end().filter(|_| self.junit) {
                    self.sink
                        .problem(format!("text outside of a failure looks like one: {:?}", text::name(&line, 200)));
                }
            }
            Kind::Properties => {}
        }
    }

    fn end_suite(&mut self, mut suite: Suite, whole: bool) {
        let line = suite.text.end();
        let said = if suite.name.is_empty() { "the suite".to_owned() } else { format!("suite {:?}", &*suite.name) };
        if let Some(line) = line {
            self.sink.problem(format!("text in {said} looks like a failure: {:?}", text::name(&line, 200)));
        }
        if whole && !self.kept {
            let doubts = suite.declared.doubts(&suite.seen, suite.direct);
            suite.seen.short = suite.declared.short(&suite.seen, &said);
            suite.seen.told |= !doubts.is_empty();
            for doubt in doubts {
                self.sink.problem(format!("{said} {doubt}"));
            }
        }
        self.sink.end_suite();
        match self.suite_around() {
            Some(outer) => outer.seen.add(suite.seen),
            None => suite.seen.short.into_iter().for_each(|(_, said)| self.sink.problem(said)),
        }
    }

    fn end_case(&mut self, mut open: Open, whole: bool) {
        let line = open.text.end();
        let suite = self.stack.iter().rev().find_map(|frame| match &frame.kind {
            Kind::Suite(suite) => Some(suite.name.clone()),
            _ => None,
        });
        // An element tells the same in more words.
        if open.parts[open.told..].iter().any(|part| matches!(part.element, Element::Failure | Element::Error)) {
            open.parts.drain(..open.told);
        }
        let verdict = case::verdict(&open.parts);
        if !whole && !matches!(verdict, Verdict::Failed(_)) {
            return;
        }
        let mut case = Case::new(suite.as_ref().unwrap_or(&self.nameless), open.class, &open.name, verdict);
        case.time = open.time;
        if let Some(line) = line {
            self.sink.problem(format!(
                "text in case {:?} looks like a failure: {:?}",
                text::name(&case.name, 100),
                text::name(&line, 200)
            ));
        }
        let failures = open.parts.iter().filter(|part| part.element != Element::Skipped).count() as u64;
        self.count(&case.verdict, failures);
        let mut record = Record::new(case, open.parts);
        record.whole_name &= open.whole_name;
        (record.attributes, record.properties) = (open.attributes, open.properties);
        (record.out, record.err) = (open.out, open.err);
        self.sink.case(record);
    }

    fn count(&mut self, verdict: &Verdict, failures: u64) {
        let Some(suite) = self.suite_around() else { return };
        suite.seen.cases += 1;
        suite.seen.failures += failures;
        match verdict {
            Verdict::Skipped => suite.seen.skipped += 1,
            Verdict::Failed(_) => suite.direct += 1,
            Verdict::Passed | Verdict::Flaky(_) => {
                suite.seen.passed += 1;
                suite.direct += 1;
            }
        }
    }

    fn suite_around(&mut self) -> Option<&mut Suite> {
        self.stack.iter_mut().rev().find_map(|frame| match &mut frame.kind {
            Kind::Suite(suite) => Some(&mut **suite),
            _ => None,
        })
    }

    fn end_part(&mut self, part: Part, place: Place) {
        match (place, self.stack.last_mut().map(|frame| &mut frame.kind)) {
            (Place::Case, Some(Kind::Case(open))) => push(&mut open.parts, part),
            (Place::Suite, Some(Kind::Suite(suite))) => {
                // A suite's own failure, of what is done before its cases, is one of it and of no case.
                suite.seen.failures += 1;
                let (name, verdict) = (suite.name.clone(), case::verdict(std::slice::from_ref(&part)));
                let case = Case::new(&name, self.nameless.clone(), &format!("{name} (the suite itself)"), verdict);
                self.sink.case(Record { whole_name: false, ..Record::new(case, vec![part]) });
            }
            _ => {
                let known = self.harmless_part(&part);
                if !known {
                    self.out_of_place(
                        &format!("{}> {}", part.element.name(), text::name(&part.words(), 100)),
                        "no case",
                    );
                }
            }
        }
    }

    /// An element of a kind of document in which it is no test's.
    fn harmless_part(&self, part: &Part) -> bool {
        !self.junit
            && part.element == Element::Error
            && self.stack.first().is_some_and(|root| matches!(words::local(&root.tag).as_str(), "checkstyle" | "pmd"))
    }

    fn end_stream(&mut self, err: bool, said: &str) {
        match self.stack.last_mut().map(|frame| &mut frame.kind) {
            Some(Kind::Case(open)) => {
                let to = if err { &mut open.err } else { &mut open.out };
                text::push_bounded(to, said, 2 * OUTPUT);
            }
            Some(Kind::Suite(_)) => self.sink.output(err, said),
            _ => {}
        }
    }

    fn end_telling(&mut self, name: &str, said: &str, marked: bool) {
        let told = match words::sort(name) {
            Sort::Status => words::told(name, said).unwrap_or(Told::Unknown),
            _ if words::nothing(said) && (!said.trim().is_empty() || name.ends_with('s')) && !marked => Told::Nothing,
            _ => Told::Failed,
        };
        let message = || format!("<{name}>{}", text::name(said, NAME));
        let harmless = harmless(&self.stack, name, "");
        match (self.stack.last_mut().map(|frame| &mut frame.kind), told) {
            (_, Told::Passed | Told::Nothing) => {}
            (Some(Kind::Case(open)), Told::Failed) => push(&mut open.parts, Part::new(Element::Failure, message())),
            (Some(Kind::Case(open)), Told::Skipped) => push(&mut open.parts, Part::new(Element::Skipped, message())),
            (Some(Kind::Case(open)), Told::Unknown) => {
                let case = text::name(&open.name, 100);
                self.sink.problem(format!("what case {case:?} says of its end is not known: {}", message()));
            }
            (_, Told::Failed) if harmless => {}
            // An empty one in a document of another kind has nothing to say.
            (_, Told::Failed) if !self.junit && said.trim().is_empty() && !marked => {}
            (_, Told::Failed) => self.out_of_place(&message()[1..], "no case"),
            (_, Told::Skipped | Told::Unknown) => {}
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

fn part(name: &str, sort: Sort, attributes: &[(String, String)], place: Place) -> Kind {
    let error = name.ends_with("error");
    let element = match (sort, error) {
        (Sort::Skipped, _) => Element::Skipped,
        (Sort::Flaky, false) => Element::FlakyFailure,
        (Sort::Flaky, true) => Element::FlakyError,
        (Sort::Rerun, false) => Element::RerunFailure,
        (Sort::Rerun, true) => Element::RerunError,
        (_, true) => Element::Error,
        (_, false) => Element::Failure,
    };
    let first = |wanted| attributes.iter().find(|(key, _)| key == wanted).map_or("", |(_, value)| value.as_str());
    // CTest skips what it cannot start, and counts it as failed.
    let element = if first("message") == "Unable to find executable" { Element::Error } else { element };
    let held = |value: &str| text::bounded(&text::clean(value), MESSAGE).to_owned();
    let part = Part { element, message: held(first("message")), kind: held(first("type")), text: String::new() };
    Kind::Part { part, text: Head::new(MESSAGE), place }
}

/// Keeps the first parts. A failure is kept in place of what is none.
fn push(parts: &mut Vec<Part>, part: Part) {
    if parts.len() < PARTS {
        parts.push(part);
    } else if matches!(part.element, Element::Failure | Element::Error)
        && !parts.iter().any(|p| matches!(p.element, Element::Failure | Element::Error))
        && let Some(last) = parts.last_mut()
    {
        *last = part;
    }
}

/// The attributes to be written again.
fn kept(attributes: &[(String, String)], read: &[&str]) -> Vec<(String, String)> {
    let others = attributes.iter().filter(|(key, _)| !read.contains(&key.as_str()));
    others.take(ATTRIBUTES).map(|(key, value)| (key.clone(), text::name(value, NAME))).collect()
}

/// Robot Framework's own document says FAIL of each keyword, also of those that were meant to fail: only its
/// statistics speak of its tests.
fn harmless(stack: &[Frame], name: &str, key: &str) -> bool {
    stack.first().is_some_and(|root| root.tag == "robot") && !(name == "stat" && key == "fail")
}
