//! What an element comes to at its end.

use super::{
    super::{
        super::{
            case::{self, Case, Element, NAME, OUTPUT, Part, Record, Verdict},
            text,
        },
        words::{self, Sort, Told},
    },
    Kind, Open, Place, Suite, Walk, harmless,
};

/// How many parts of a case are kept.
const PARTS: usize = 32;

impl Walk<'_> {
    /// Ends the innermost element. One that was not ended itself counts only where it has failed.
    pub(super) fn pop(&mut self, whole: bool) {
        let Some(frame) = self.stack.pop() else { return };
        self.held -= usize::from(frame.kind.is_held());
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
