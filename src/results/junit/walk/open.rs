//! What an element is where it stands, and what its attributes say.

use std::sync::Arc;

use quick_xml::events::BytesStart;

use super::{
    super::{
        super::{
            case::{self, Element, MESSAGE, NAME, OUTPUT, Part},
            text::{self, Ends, Head},
        },
        suite::{Declared, Seen},
        words::{self, Loose, Sort, Told},
    },
    Frame, Kind, Open, PROBLEM, Place, Suite, Walk, harmless,
};

/// How many attributes of an element, and properties of a case, are kept.
const ATTRIBUTES: usize = 32;
const PROPERTIES: usize = 256;

impl Walk<'_> {
    /// The attributes, their names in lower case.
    pub(super) fn attributes(&mut self, tag: &str, length: usize) -> Vec<(String, String)> {
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

    pub(super) fn element(&mut self, sort: Sort, name: &str, attributes: &[(String, String)]) -> Kind {
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
        let (name, time) = (first(&["name"]), case::seconds(first(&["time", "duration"])));
        let mut parts = Vec::new();
        for (key, value) in attributes {
            let said = format!("{key}={:?}", text::name(value, NAME));
            match words::told(key, value) {
                Some(Told::Failed) => parts.push(Part::new(Element::Failure, said)),
                Some(Told::Skipped) => parts.push(Part::new(Element::Skipped, said)),
                Some(Told::Unknown) => {
                    self.sink
                        .problem(format!("what case {:?} says of its end is not known: {said}", text::name(name, 100)));
                }
                Some(Told::Passed | Told::Nothing) | None => {}
            }
        }
        let whole_name = name.len() <= NAME;
        // More of it is in no name, and a case is held until it ends.
        let name = text::bounded(name, 4 * NAME).to_owned();
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

/// The attributes to be written again.
fn kept(attributes: &[(String, String)], read: &[&str]) -> Vec<(String, String)> {
    let others = attributes.iter().filter(|(key, _)| !read.contains(&key.as_str()));
    others.take(ATTRIBUTES).map(|(key, value)| (key.clone(), text::name(value, NAME))).collect()
}
