//! JUnit XML, as the many tools that write it do: one suite or several, nested or not, with
//! failures as an attribute, as text or both. No file system and no judgement on a run.

use std::{borrow::Cow, ops::Range};

use quick_xml::{
    Reader, Writer, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, BytesText, Event},
};

use super::{Case, Outcome, Output, Verdict};

/// The most bytes of one failure's words that are held.
const MESSAGE: usize = 16 * 1024;

/// What one file says.
#[derive(Default)]
pub(super) struct Report {
    pub(super) cases: Vec<Case>,
    /// What each of the cases wrote, where that was asked for.
    pub(super) outputs: Vec<Output>,
    pub(super) problems: Vec<String>,
    /// Its suites, where it was read to its end.
    pub(super) document: Option<Document>,
}

/// A well-formed document.
pub(super) struct Document {
    text: String,
    /// The suites within it, without a `testsuites` around them.
    suites: Range<usize>,
}

/// Reads a file. One whose root says that it is not JUnit gives an empty report.
pub(super) fn read(bytes: &[u8]) -> Report {
    walk(bytes, Walk::default())
}

/// The same, with what the cases wrote.
pub(super) fn read_with_outputs(bytes: &[u8]) -> Report {
    walk(bytes, Walk { with_outputs: true, ..Walk::default() })
}

fn walk(bytes: &[u8], mut walk: Walk) -> Report {
    let text = decode(bytes);
    let mut reader = Reader::from_str(&text);
    loop {
        let before = position(&reader);
        let event = reader.read_event();
        let after = position(&reader);
        match event {
            Ok(Event::Start(tag)) => walk.open(&tag, before, after),
            Ok(Event::Empty(tag)) => {
                walk.open(&tag, before, after);
                walk.close(after, after);
            }
            Ok(Event::End(_)) => walk.close(before, after),
            Ok(Event::Text(text)) => walk.text(&text.xml10_content()),
            Ok(Event::CData(text)) => walk.text(&text.xml10_content()),
            Ok(Event::GeneralRef(entity)) => match entity.resolve_char_ref() {
                Ok(Some(c)) => walk.text(c.encode_utf8(&mut [0; 4])),
                _ => walk.text(resolve_predefined_entity(&entity).unwrap_or("\u{fffd}")),
            },
            Ok(Event::Eof) if walk.stack.is_empty() && walk.suites.is_some() => break,
            Ok(Event::Eof) => return walk.broken("it ends too early"),
            Ok(Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_)) => {}
            Err(error) => return walk.broken(&format!("it is not well-formed XML ({error}, byte {before})")),
        }
        if walk.foreign {
            return Report::default();
        }
    }
    let Walk { mut report, suites, .. } = walk;
    report.document = suites.map(|suites| Document { text, suites });
    report
}

/// Where a reader of a document is.
#[derive(Default)]
struct Walk {
    report: Report,
    with_outputs: bool,
    stack: Vec<Element>,
    /// Where the suites are, once the root is closed.
    suites: Option<Range<usize>>,
    /// The root is not one of JUnit's.
    foreign: bool,
}

/// An element that is open.
enum Element {
    /// `testsuites` (a wrapper) or `testsuite`: the failures it declares, those seen before it,
    /// and where what is worth keeping of it begins.
    Suite {
        name: String,
        wrapper: bool,
        declared: u64,
        failed: usize,
        starts: usize,
    },
    Case {
        class: String,
        name: String,
        skipped: bool,
        failed: Option<String>,
        output: Output,
    },
    /// `system-out` or `system-err` of a case.
    Stream {
        err: bool,
    },
    /// `failure` or `error`.
    Failure {
        message: String,
        text: String,
    },
    Other,
}

impl Walk {
    fn open(&mut self, tag: &BytesStart<'_>, before: usize, after: usize) {
        let name = tag.local_name();
        let element = match (self.stack.last(), name.as_ref()) {
            (None, "testsuites" | "testsuite") if self.suites.is_none() => self.suite(tag, before, after),
            (None, _) => {
                self.foreign = self.report.cases.is_empty();
                Element::Other
            }
            (Some(Element::Suite { .. }), "testsuite") => self.suite(tag, before, after),
            (Some(Element::Suite { .. }), "testcase") => {
                let status = attribute(tag, "status").unwrap_or_default();
                Element::Case {
                    class: attribute(tag, "classname").unwrap_or_default(),
                    name: attribute(tag, "name").unwrap_or_default(),
                    skipped: matches!(&*status, "notrun" | "skipped" | "disabled" | "ignored"),
                    failed: None,
                    output: Output::default(),
                }
            }
            (Some(Element::Case { .. }), name @ ("system-out" | "system-err")) if self.with_outputs => {
                Element::Stream { err: name == "system-err" }
            }
            (Some(Element::Case { .. }), "failure" | "error") => {
                let message = attribute(tag, "message").or_else(|| attribute(tag, "type")).unwrap_or_default();
                Element::Failure { message, text: String::new() }
            }
            (Some(Element::Case { .. }), "skipped" | "disabled") => {
                if let Some(Element::Case { skipped, .. }) = self.stack.last_mut() {
                    *skipped = true;
                }
                Element::Other
            }
            _ => Element::Other,
        };
        self.stack.push(element);
    }

    fn suite(&self, tag: &BytesStart<'_>, before: usize, after: usize) -> Element {
        let number = |name| attribute(tag, name).and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
        let wrapper = tag.local_name().as_ref() == "testsuites";
        Element::Suite {
            name: attribute(tag, "name").unwrap_or_default(),
            wrapper,
            declared: number("failures").saturating_add(number("errors")),
            failed: self.failed(),
            starts: if wrapper { after } else { before },
        }
    }

    fn close(&mut self, before: usize, after: usize) {
        match self.stack.pop() {
            Some(Element::Suite { name, wrapper, declared, failed, starts }) => {
                // Some tools count a failure of a suite's own set-up and give it no case.
                if declared > 0 && self.failed() == failed {
                    self.report.problems.push(format!("suite {name:?} counts {declared} failures and shows none"));
                }
                if self.stack.is_empty() {
                    self.suites = Some(starts..if wrapper { before.max(starts) } else { after });
                }
            }
            Some(Element::Case { class, name, skipped, failed, output }) => {
                let verdict = match failed {
                    Some(message) => Verdict::Failed(message),
                    None if skipped => Verdict::Skipped,
                    None => Verdict::Passed,
                };
                let name = self.full_name(&class, name);
                self.report.cases.push(Case { name, verdict });
                if self.with_outputs {
                    self.report.outputs.push(output);
                }
            }
            Some(Element::Failure { message, text }) => {
                if let Some(Element::Case { failed, .. }) = self.stack.last_mut() {
                    let said = words(&message, &text);
                    match failed {
                        Some(before) => push_bounded(before, &format!("\n{said}")),
                        None => *failed = Some(said),
                    }
                }
            }
            Some(Element::Stream { .. } | Element::Other) | None => {}
        }
    }

    fn text(&mut self, content: &str) {
        match self.stack.as_mut_slice() {
            [.., Element::Failure { text, .. }] => push_bounded(text, content),
            [.., Element::Case { output, .. }, Element::Stream { err }] => {
                if *err { &mut output.err } else { &mut output.out }.push_str(content);
            }
            _ => {}
        }
    }

    /// What was read of a document that breaks off. A case that is still open counts only if it has failed.
    fn broken(mut self, why: &str) -> Report {
        while let Some(open) = self.stack.last() {
            match open {
                Element::Failure { .. } | Element::Case { failed: Some(_), .. } => self.close(0, 0),
                _ => drop(self.stack.pop()),
            }
        }
        let seen = self.report.cases.len();
        self.report.problems.push(format!("{why}, after {seen} cases"));
        self.report
    }

    fn failed(&self) -> usize {
        self.report.cases.iter().filter(|c| matches!(c.verdict, Verdict::Failed(_))).count()
    }

    fn full_name(&self, class: &str, name: String) -> String {
        let suite = self.stack.iter().rev().find_map(|e| match e {
            Element::Suite { name, .. } => Some(name.as_str()),
            _ => None,
        });
        if name.is_empty() {
            return if class.is_empty() { "(unnamed)".to_owned() } else { class.to_owned() };
        }
        if class.is_empty() || Some(class) == suite || name.starts_with(class) {
            name
        } else {
            format!("{class}.{name}")
        }
    }
}

/// The document that holds the suites of all of them.
pub(super) fn join(documents: Vec<Document>) -> Option<String> {
    if documents.is_empty() {
        return None;
    }
    let mut all = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for document in documents {
        all.push_str(document.text.get(document.suites).unwrap_or_default().trim());
        all.push('\n');
    }
    all.push_str("</testsuites>\n");
    Some(all)
}

/// The cases of an outcome as one suite.
pub(super) fn write(outcome: &Outcome, most: usize) -> String {
    let counts = [
        ("tests", outcome.cases.len().to_string()),
        ("failures", outcome.failed().to_string()),
        ("skipped", outcome.skipped().to_string()),
    ];
    let mut writer = Writer::new(Vec::new());
    let written = writer
        .create_element("testsuite")
        .with_attribute(("name", "shortened: the results were too big to keep as they were written"))
        .with_attributes(counts.iter().map(|(name, value)| (*name, value.as_str())))
        .write_inner_content(|writer| {
            for case in &outcome.cases {
                let name = legal(&case.name);
                let element = writer.create_element("testcase").with_attribute(("name", &*name));
                match &case.verdict {
                    Verdict::Passed => element.write_empty()?,
                    Verdict::Skipped => element.write_inner_content(|w| {
                        w.create_element("skipped").write_empty()?;
                        Ok(())
                    })?,
                    Verdict::Failed(message) => element.write_inner_content(|w| {
                        let message: String = message.chars().take(most).collect();
                        w.create_element("failure").write_text_content(BytesText::new(&legal(&message)))?;
                        Ok(())
                    })?,
                };
            }
            Ok(())
        });
    // Writing into memory has no way to fail; half a document would still be told from a whole one.
    drop(written);
    String::from_utf8_lossy(&writer.into_inner()).into_owned()
}

/// Text of any of the encodings tools write. XML allows for others; their names come out mangled, their counts right.
fn decode(bytes: &[u8]) -> String {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

/// An attribute, read leniently: an entity nobody knows stays as it is written.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.attributes().with_checks(false).flatten().find(|a| a.key.local_name().as_ref() == name)?;
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap_or(Cow::Borrowed(&attribute.value));
    Some(bounded(&value, MESSAGE).to_owned())
}

/// The message, and the text where it says more.
fn words(message: &str, text: &str) -> String {
    let (message, text) = (message.trim(), text.trim());
    let mut all = String::new();
    match (message, text) {
        ("", "") => all.push_str("failed without a message"),
        (_, "") => all.push_str(message),
        ("", _) => all.push_str(text),
        _ if text.starts_with(message) => all.push_str(text),
        _ => {
            all.push_str(message);
            push_bounded(&mut all, "\n");
            push_bounded(&mut all, text);
        }
    }
    all
}

fn push_bounded(to: &mut String, more: &str) {
    to.push_str(bounded(more, MESSAGE.saturating_sub(to.len())));
}

/// At most `most` bytes of a text, whole characters.
fn bounded(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// XML has no way to write most control characters.
fn legal(text: &str) -> String {
    text.replace(
        |c: char| c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{fffe}' | '\u{ffff}'),
        "\u{fffd}",
    )
}
