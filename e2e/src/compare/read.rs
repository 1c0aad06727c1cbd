//! Cases and their waits from a JUnit file. What is not one is an error, and never a run without cases.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

use crate::harness::{junit::WAIT, waits::Wait};

/// How a case ended, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Passed,
    Skipped,
    Failed,
}

/// One run of a case.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Round {
    pub(super) verdict: Verdict,
    pub(super) seconds: f64,
    pub(super) waits: BTreeMap<String, Wait>,
}

/// The cases of a file, in its order.
pub(super) fn file(path: &Path) -> Result<Vec<(String, Round)>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let cases = cases(&text).with_context(|| format!("{} is no JUnit file", path.display()))?;
    ensure!(!cases.is_empty(), "{} has no cases", path.display());
    Ok(cases)
}

pub(super) fn cases(text: &str) -> Result<Vec<(String, Round)>> {
    let mut reader = Reader::from_str(text);
    let mut open = Vec::<String>::new();
    let mut cases = Vec::new();
    let mut case: Option<(String, Round)> = None;
    loop {
        let event = reader.read_event()?;
        let (tag, ends) = match &event {
            Event::Start(tag) => (tag, false),
            Event::Empty(tag) => (tag, true),
            Event::End(_) => {
                if open.pop().as_deref() == Some("testcase") {
                    cases.extend(case.take());
                }
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        let name = tag.local_name().as_ref().to_owned();
        ensure!(!open.is_empty() || name.starts_with("testsuite"), "its root is {name}");
        match (&mut case, &*name) {
            (None, "testcase") => case = Some(begin(tag)?),
            // Those of a run that was tried again say that it failed before; the end is another's.
            (Some((_, round)), "failure" | "error") => round.verdict = Verdict::Failed,
            (Some((_, round)), "skipped") => round.verdict = round.verdict.max(Verdict::Skipped),
            (Some((_, round)), "property") => {
                let wait = attribute(tag, "name")?;
                if let Some(wait) = wait.strip_prefix(WAIT) {
                    round.waits.insert(wait.to_owned(), attribute(tag, "value")?.parse()?);
                }
            }
            _ => {}
        }
        match ends {
            false => open.push(name),
            true if name == "testcase" => cases.extend(case.take()),
            true => {}
        }
    }
    if let Some(open) = open.last() {
        bail!("it ends within a {open}");
    }
    Ok(cases)
}

fn begin(tag: &BytesStart<'_>) -> Result<(String, Round)> {
    let (name, time) = (attribute(tag, "name")?, attribute(tag, "time")?);
    let seconds = match &*time {
        // Some tools give no times.
        "" => 0.0,
        time => time.replace(',', "").parse().with_context(|| format!("the time of {name} is {time:?}"))?,
    };
    Ok((name, Round { verdict: Verdict::Passed, seconds, waits: BTreeMap::new() }))
}

/// The value of an attribute, or nothing.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<String> {
    let Some(attribute) = tag.try_get_attribute(name)? else { return Ok(String::new()) };
    Ok(attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned())
}
