//! JUnit XML as it is written: always well-formed, whatever the cases came from, because every
//! name and text passes one place. Compressed while it is written, to at most so many bytes.

use flate2::{Compression, write::GzEncoder};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};

use super::{
    Document, Outcome,
    case::{Case, Element, Part, Record, Verdict},
    junit::PROBLEM,
    text,
};

/// How much a document may be when it is unpacked: readers hold it in memory.
const UNPACKED: u64 = 64 << 20;

/// One document out of everything that is read.
pub(super) struct Merged {
    file: File,
    most: usize,
    /// The suites that are open.
    open: Vec<Place>,
    /// The name of a suite that was opened for cases that are in none.
    loose: Option<String>,
    properties: bool,
    any: bool,
    over: bool,
}

/// What became of a suite that is open.
enum Place {
    Written,
    /// A wrapper around suites: not written, and a suite only for cases of its own.
    Wrapper(String),
}

/// A document that is written.
struct File {
    writer: Writer<GzEncoder<Vec<u8>>>,
    unpacked: u64,
}

impl File {
    fn new() -> Self {
        let writer = Writer::new(GzEncoder::new(Vec::new(), Compression::default()));
        let mut file = Self { writer, unpacked: 0 };
        file.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        file.start("testsuites", &[]);
        file
    }

    /// Writing into memory has no way to fail, and half a document would still be told from a whole one.
    fn event(&mut self, event: Event<'_>) {
        self.unpacked += match &event {
            Event::Text(text) => text.len() as u64,
            Event::Start(tag) | Event::Empty(tag) => tag.len() as u64 + 3,
            _ => 16,
        };
        drop(self.writer.write_event(event));
    }

    fn tag<'a>(name: &'a str, attributes: &[(&str, &str)]) -> BytesStart<'a> {
        let mut tag = BytesStart::new(name);
        let mut known: Vec<&str> = Vec::new();
        for (key, value) in attributes {
            if is_name(key) && !known.contains(key) {
                known.push(key);
                // Else a reader takes these for spaces.
                tag.push_attribute((*key, &*text::clean(value)));
            }
        }
        tag
    }

    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.event(Event::Start(Self::tag(name, attributes)));
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.event(Event::Empty(Self::tag(name, attributes)));
    }

    fn end(&mut self, name: &str) {
        self.event(Event::End(BytesEnd::new(name)));
        self.event(Event::Text(BytesText::new("\n")));
    }

    fn element(&mut self, name: &str, attributes: &[(&str, &str)], said: &str) {
        if said.is_empty() {
            return self.empty(name, attributes);
        }
        self.start(name, attributes);
        self.event(Event::Text(BytesText::new(&text::clean(said))));
        self.event(Event::End(BytesEnd::new(name)));
    }

    fn property(&mut self, name: &str, value: &str) {
        self.empty("property", &[("name", name), ("value", value)]);
    }

    fn case(&mut self, record: &Record) {
        let case = &record.case;
        let mut attributes: Vec<(&str, &str)> = Vec::new();
        if !case.class.is_empty() {
            attributes.push(("classname", &case.class));
        }
        if !case.own_name().is_empty() {
            attributes.push(("name", case.own_name()));
        }
        attributes.extend(record.attributes.iter().map(|(key, value)| (&**key, &**value)));
        let time = case.time.map(|time| time.as_secs_f64().to_string());
        attributes.extend(time.as_deref().map(|time| ("time", time)));
        if record.properties.is_empty() && record.parts.is_empty() && record.out.is_empty() && record.err.is_empty() {
            self.empty("testcase", &attributes);
            return;
        }
        self.start("testcase", &attributes);
        if !record.properties.is_empty() {
            self.start("properties", &[]);
            record.properties.iter().for_each(|(name, value)| self.property(name, value));
            self.end("properties");
        }
        for part in &record.parts {
            let own = [("message", &*part.message), ("type", &*part.kind)];
            let own: Vec<_> = own.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            self.element(part.element.name(), &own, &part.text);
        }
        for (name, said) in [("system-out", &record.out), ("system-err", &record.err)] {
            if !said.is_empty() {
                self.element(name, &[], said);
            }
        }
        self.end("testcase");
    }

    /// What was not accounted for, so that it is known to who reads the document.
    fn problems(&mut self, problems: &[String]) {
        if problems.is_empty() {
            return;
        }
        self.start("testsuite", &[("name", "testkit: problems of these results"), ("tests", "0")]);
        self.start("properties", &[]);
        problems.iter().for_each(|problem| self.property(PROBLEM, problem));
        self.end("properties");
        self.end("testsuite");
    }

    fn size(&self) -> usize {
        self.writer.get_ref().get_ref().len()
    }

    fn finish(mut self) -> Vec<u8> {
        self.end("testsuites");
        self.writer.into_inner().finish().unwrap_or_default()
    }
}

impl Merged {
    /// An empty one that shall be of at most `most` compressed bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { file: File::new(), most, open: Vec::new(), loose: None, properties: false, any: false, over: false }
    }

    /// A suite begins.
    pub(super) fn suite(&mut self, name: &str, attributes: &[(String, String)], wrapper: bool) {
        self.any = true;
        self.settle(true);
        if wrapper {
            self.open.push(Place::Wrapper(name.to_owned()));
            return;
        }
        self.open.push(Place::Written);
        if self.has_room() {
            let named = (!name.is_empty()).then_some(("name", name));
            let all: Vec<_> = named.into_iter().chain(attributes.iter().map(|(k, v)| (&**k, &**v))).collect();
            self.file.start("testsuite", &all);
        }
    }

    /// A property of the suite.
    pub(super) fn property(&mut self, name: &str, value: &str) {
        if !matches!(self.open.last(), Some(Place::Written)) || !self.has_room() {
            return;
        }
        if !std::mem::replace(&mut self.properties, true) {
            self.file.start("properties", &[]);
        }
        self.file.property(name, value);
    }

    /// What the suite wrote.
    pub(super) fn output(&mut self, err: bool, said: &str) {
        self.settle(false);
        if matches!(self.open.last(), Some(Place::Written)) && !said.is_empty() && self.has_room() {
            self.file.element(if err { "system-err" } else { "system-out" }, &[], said);
        }
    }

    /// A case.
    pub(super) fn case(&mut self, record: &Record) {
        self.any = true;
        self.settle(false);
        if !self.has_room() {
            return;
        }
        let name = match self.open.last() {
            Some(Place::Written) => None,
            Some(Place::Wrapper(name)) => Some(name.clone()),
            None => Some(record.case.suite.to_string()),
        };
        if let Some(name) = name.filter(|name| self.loose.as_ref() != Some(name)) {
            self.settle(true);
            let named = (!name.is_empty()).then_some(("name", &*name));
            self.file.start("testsuite", &named.into_iter().collect::<Vec<_>>());
            self.loose = Some(name);
        }
        self.file.case(record);
    }

    /// The suite ends.
    pub(super) fn end_suite(&mut self) {
        self.settle(true);
        if matches!(self.open.pop(), Some(Place::Written)) && self.has_room() {
            self.file.end("testsuite");
        }
    }

    /// Ends what was opened only for what came before.
    fn settle(&mut self, loose: bool) {
        if std::mem::take(&mut self.properties) && self.has_room() {
            self.file.end("properties");
        }
        if loose && self.loose.take().is_some() && self.has_room() {
            self.file.end("testsuite");
        }
    }

    fn has_room(&mut self) -> bool {
        if !self.over && (self.file.size() > self.most || self.file.unpacked > UNPACKED) {
            self.over = true;
            // Nothing of it will be used.
            self.file = File::new();
        }
        !self.over
    }

    /// The document; none where there was neither suite nor case. One that became too big has the cases alone.
    pub(super) fn finish(mut self, outcome: &Outcome) -> Option<Document> {
        if !self.any {
            return None;
        }
        while !self.open.is_empty() {
            self.end_suite();
        }
        self.settle(true);
        if self.has_room() {
            self.file.problems(&outcome.problems);
            let packed = self.file.finish();
            if packed.len() <= self.most {
                return Some(Document { packed, shortened: false });
            }
        }
        Some(Document { packed: digest(outcome, self.most), shortened: true })
    }
}

/// The cases alone, in at most so many compressed bytes: the words of failures are cut first, then those that
/// passed are left out.
fn digest(outcome: &Outcome, most: usize) -> Vec<u8> {
    let mut packed = Vec::new();
    let failed = outcome.cases.iter().filter(|case| matches!(case.verdict, Verdict::Failed(_))).count();
    for (words, failures, others) in [
        (2000, usize::MAX, usize::MAX),
        (200, usize::MAX, usize::MAX),
        (200, usize::MAX, 1000),
        (0, usize::MAX, 0),
        (0, failed / 4, 0),
        (0, 50, 0),
        (0, 0, 0),
    ] {
        packed = shortened(outcome, words, failures, others);
        if packed.len() <= most {
            break;
        }
    }
    packed
}

fn shortened(outcome: &Outcome, words: usize, failures: usize, others: usize) -> Vec<u8> {
    let (mut failures, mut others) = (failures, others);
    let cases: Vec<&Case> = outcome
        .cases
        .iter()
        .filter(|case| {
            let left = if matches!(case.verdict, Verdict::Failed(_)) { &mut failures } else { &mut others };
            let room = *left > 0;
            *left = left.saturating_sub(1);
            room
        })
        .collect();
    let mut file = File::new();
    let left_out = outcome.total().saturating_sub(cases.len());
    let name =
        format!("shortened: the results were too big to keep as they were written, {left_out} cases are left out");
    file.start("testsuite", &[("name", &*name), ("tests", &*cases.len().to_string())]);
    for case in cases {
        let part = match &case.verdict {
            Verdict::Passed => None,
            Verdict::Skipped => Some(Part::new(Element::Skipped, "")),
            Verdict::Flaky(said) => Some(said_in(Element::FlakyFailure, said, words)),
            Verdict::Failed(said) => Some(said_in(Element::Failure, said, words)),
        };
        file.case(&Record::new(case.clone(), part.into_iter().collect()));
    }
    file.end("testsuite");
    file.problems(&outcome.problems);
    file.finish()
}

fn said_in(element: Element, said: &str, most: usize) -> Part {
    Part { text: said.chars().take(most).collect(), ..Part::new(element, "") }
}

/// Whether it can be the name of an attribute.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !name.starts_with("xmlns")
}
