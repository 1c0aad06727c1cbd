//! JUnit XML from records. Pure but for `write`, which puts the file in place in one step.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use super::record::{Outcome, Record};

/// What the name of a property begins with that tells of a case's wait; then comes that of the wait.
pub(crate) const WAIT: &str = "wait:";

/// A whole run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) id: &'a str,
    pub(crate) started: Timestamp,
    pub(crate) took: Duration,
    pub(crate) properties: &'a [(&'static str, String)],
    pub(crate) records: &'a [Record],
}

/// Finds out before the cases run whether their results can be written.
pub(crate) fn writable(path: &Path) -> io::Result<()> {
    let part = part(path);
    std::fs::File::create(&part)?;
    std::fs::remove_file(part)
}

fn part(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Writes the results so that whoever looks sees all of them or none.
pub(crate) fn write(path: &Path, run: &Run<'_>) -> io::Result<()> {
    let part = part(path);
    let mut file = std::fs::File::create(&part)?;
    file.write_all(&xml(run)?)?;
    file.sync_all()?;
    std::fs::rename(part, path)
}

fn xml(run: &Run<'_>) -> io::Result<Vec<u8>> {
    let count = |wanted: fn(&Outcome) -> bool| run.records.iter().filter(|r| wanted(&r.outcome)).count().to_string();
    let tests = run.records.len().to_string();
    let failures = count(|outcome| matches!(outcome, Outcome::Failed { .. }));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped { .. }));
    let time = seconds(run.took);
    let started = run.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let totals =
        [("tests", &*tests), ("failures", &*failures), ("errors", "0"), ("skipped", &*skipped), ("time", &*time)];

    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.create_element("testsuites").with_attributes(totals).write_inner_content(|writer| {
        writer
            .create_element("testsuite")
            .with_attributes([("name", "e2e"), ("id", run.id), ("timestamp", &*started)])
            .with_attributes(totals)
            .write_inner_content(|writer| {
                properties(writer, run.properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())))?;
                run.records.iter().try_for_each(|record| case(writer, record))
            })?;
        Ok(())
    })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

fn properties(writer: &mut Writer<Vec<u8>>, properties: impl Iterator<Item = (String, String)>) -> io::Result<()> {
    writer.create_element("properties").write_inner_content(|writer| {
        for (name, value) in properties {
            let (name, value) = (printable(&name), printable(&value));
            let property = [("name", &*name), ("value", &*value)];
            writer.create_element("property").with_attributes(property).write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn case(writer: &mut Writer<Vec<u8>>, record: &Record) -> io::Result<()> {
    let time = seconds(record.took);
    let element = writer.create_element("testcase").with_attributes([
        ("classname", "e2e"),
        ("name", &*record.name),
        ("time", &*time),
    ]);
    if record.outcome == Outcome::Passed && record.output.is_empty() && record.waits.is_empty() {
        element.write_empty()?;
        return Ok(());
    }
    element.write_inner_content(|writer| {
        if !record.waits.is_empty() {
            let waits = record.waits.iter().map(|(name, wait)| (format!("{WAIT}{name}"), wait.to_string()));
            properties(writer, waits)?;
        }
        match &record.outcome {
            Outcome::Passed => {}
            Outcome::Failed { message, details } => {
                let (message, details) = (printable(message), printable(details));
                // Some readers show only the text, some only the attribute.
                writer
                    .create_element("failure")
                    .with_attribute(("message", &*message))
                    .write_text_content(BytesText::new(&format!("{message}\n\n{details}")))?;
            }
            Outcome::Skipped { reason } => {
                let reason = printable(reason);
                writer.create_element("skipped").with_attribute(("message", &*reason)).write_empty()?;
            }
        }
        if !record.output.is_empty() {
            writer.create_element("system-out").write_text_content(BytesText::new(&printable(&record.output)))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// Engines and containers say what they like; XML has no way to write most control characters.
fn printable(text: &str) -> String {
    text.replace(
        |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{fffe}' | '\u{ffff}'),
        "\u{fffd}",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::harness::waits::Wait;

    const SECOND: Duration = Duration::from_secs(1);

    fn record(name: &str, outcome: Outcome, output: &str) -> Record {
        let wait = Wait { count: 2, total: SECOND * 4, longest: SECOND * 3, limit: SECOND * 60 };
        let waits = match outcome {
            Outcome::Skipped { .. } => BTreeMap::new(),
            _ => [("it is <\"up\">".to_owned(), wait)].into(),
        };
        Record { name: name.into(), took: Duration::from_millis(1500), outcome, output: output.into(), waits }
    }

    fn sample() -> String {
        let records = [
            record("Good", Outcome::Passed, ""),
            record(
                "Bad",
                Outcome::Failed { message: "a < b & \"c\"\nd".into(), details: "task: \u{1b}[31m]]>".into() },
                "said",
            ),
            record("Absent", Outcome::Skipped { reason: "needs 3 nodes".into() }, ""),
        ];
        let run = Run {
            id: "run-1",
            started: Timestamp::from_second(0).unwrap(),
            took: Duration::from_secs(3),
            properties: &[("engine", "28.5.2".into())],
            records: &records,
        };
        String::from_utf8(xml(&run).unwrap()).unwrap()
    }

    #[test]
    fn counts_are_those_of_the_cases() {
        assert!(sample().contains(r#"tests="3" failures="1" errors="0" skipped="1" time="3.000""#), "{}", sample());
    }

    #[test]
    fn a_reader_gets_back_what_was_said_but_for_control_characters() {
        let text = sample();
        let mut reader = quick_xml::Reader::from_str(&text);
        let (mut message, mut body) = (String::new(), String::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Start(e) if e.name().as_ref() == "failure" => {
                    let raw = e.try_get_attribute("message").unwrap().unwrap();
                    message = quick_xml::escape::unescape(&raw.value).unwrap().into_owned();
                    body = reader.read_text(e.name()).unwrap().to_string();
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(message, "a < b & \"c\"\nd");
        assert_eq!(quick_xml::escape::unescape(&body).unwrap(), "a < b & \"c\"\nd\n\ntask: \u{fffd}[31m]]>");
    }

    #[test]
    fn a_case_tells_how_long_its_waits_took() {
        let text = sample();
        let value = r#"value="3.000 of 60, 2 times, 4.000 in all"/>"#;
        assert_eq!(text.matches(value).count(), 2, "{text}");
        assert_eq!(text.matches(r#"<property name="wait:it is &lt;&quot;up&quot;&gt;""#).count(), 2, "{text}");
    }

    #[test]
    fn a_skipped_case_says_why() {
        assert!(sample().contains(r#"<skipped message="needs 3 nodes"/>"#));
    }

    #[test]
    fn the_file_appears_whole_and_alone() {
        let folder = std::env::temp_dir().join(format!("e2e-junit-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let run = Run { id: "r", started: Timestamp::now(), took: Duration::ZERO, properties: &[], records: &[] };
        write(&folder.join("junit.xml"), &run).unwrap();
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["junit.xml"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
