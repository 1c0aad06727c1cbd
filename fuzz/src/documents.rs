//! Results as tools write them, with what is to be found in them: what makes an oracle of a generator.

use std::fmt::Write as _;

use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::results::Outcome;

/// What a verdict takes for a pass at the most: something ran, nothing failed, nothing is in doubt.
#[must_use]
pub fn may_pass(outcome: &Outcome) -> bool {
    outcome.problems.is_empty() && outcome.failed() == 0 && outcome.passed() + outcome.flaky() > 0
}

/// The format and the writer's habits.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    JUnit(Habits),
    GoTest,
    GoJson,
    Tap,
    Libtest,
}

/// How a writer of JUnit writes.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    pub wrapped: bool,
    pub nested: bool,
    pub counts: bool,
    pub prefix: bool,
    pub capitals: bool,
    pub comments: bool,
    pub failure: Failure,
    pub encoding: Encoding,
}

/// How it tells of a failure.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Element,
    Error,
    Empty,
    Cdata,
    Status,
    Word,
    Success,
    Rerun,
    OfTheSuite,
}

/// In what bytes.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf8Marked,
    Utf16Le,
    Utf16Be,
    Utf16LeUnmarked,
    Latin1,
}

/// A case.
#[derive(Arbitrary, Clone, Debug)]
pub struct Case {
    pub name: String,
    pub class: Option<String>,
    pub skipped: bool,
    /// What it wrote.
    pub wrote: Option<String>,
    /// What it says where it failed.
    pub said: String,
}

/// A suite of which one case fails.
#[derive(Arbitrary, Clone, Debug)]
pub struct Suite {
    pub format: Format,
    pub name: String,
    pub before: Vec<Case>,
    pub failing: Case,
    pub after: Vec<Case>,
}

impl Suite {
    /// The document. It says that a case failed.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        let cases: Vec<(&Case, bool)> = self
            .before
            .iter()
            .take(6)
            .map(|case| (case, false))
            .chain([(&self.failing, true)])
            .chain(self.after.iter().take(6).map(|case| (case, false)))
            .collect();
        match self.format {
            Format::JUnit(habits) => encoded(&self.junit(&cases, habits), habits.encoding),
            Format::GoTest => gotest(&cases).into_bytes(),
            Format::GoJson => gojson(&cases).into_bytes(),
            Format::Tap => tap(&cases).into_bytes(),
            Format::Libtest => libtest(&cases).into_bytes(),
        }
    }

    /// A name for the file.
    #[must_use]
    pub const fn file(&self) -> &'static str {
        match self.format {
            Format::JUnit(_) => "junit.xml",
            _ => "results.txt",
        }
    }

    fn junit(&self, cases: &[(&Case, bool)], habits: Habits) -> String {
        let name = |plain: &str| {
            let plain = if habits.capitals { plain.to_uppercase() } else { plain.to_owned() };
            if habits.prefix { format!("j:{plain}") } else { plain }
        };
        let (suites, suite, case, failure) = (name("testsuites"), name("testsuite"), name("testcase"), name("failure"));
        let (error, skipped, out, rerun) = (name("error"), name("skipped"), name("system-out"), name("rerunFailure"));
        let mut xml = String::from("<?xml version=\"1.0\"?>\n");
        let space = if habits.prefix { " xmlns:j='urn:j'" } else { "" };
        if habits.wrapped {
            let _ = write!(xml, "<{suites}{space}>\n");
        }
        let counts = if habits.counts { format!(" tests='{}' failures='1'", cases.len()) } else { String::new() };
        let _ = write!(xml, "<{suite}{space} name='{}'{counts}>\n", quoted(&self.name));
        if habits.nested {
            let _ = write!(xml, "<{suite} name='within'>");
        }
        for (which, fails) in cases {
            if habits.comments {
                xml.push_str("<!-- a comment -->\n");
            }
            let attributes = match (fails, habits.failure) {
                (true, Failure::Status) => " status='failed'",
                (true, Failure::Success) => " success='false'",
                _ => "",
            };
            let class = which.class.as_ref().map(|class| format!(" classname='{}'", quoted(class))).unwrap_or_default();
            let _ = write!(xml, "<{case} name='{}'{class}{attributes}>", quoted(&which.name));
            let said = quoted(&which.said);
            match (fails, habits.failure) {
                (true, Failure::Element) => {
                    let _ = write!(xml, "<{failure} message='{said}'>{said}</{failure}>");
                }
                (true, Failure::Error) => {
                    let _ = write!(xml, "<{error} type='{said}'/>");
                }
                (true, Failure::Empty) => {
                    let _ = write!(xml, "<{failure}/>");
                }
                (true, Failure::Cdata) => {
                    let whole = which.said.replace("]]>", "]]]]><![CDATA[>");
                    let _ = write!(xml, "<{failure}><![CDATA[{}]]></{failure}>", legal(&whole));
                }
                (true, Failure::Word) => xml.push_str("<status>failed</status>"),
                (true, Failure::Rerun) => {
                    let _ = write!(xml, "<{rerun} message='{said}'/>");
                }
                (true, Failure::Status | Failure::Success | Failure::OfTheSuite) => {}
                (false, _) if which.skipped => {
                    let _ = write!(xml, "<{skipped}/>");
                }
                (false, _) => {}
            }
            if let Some(wrote) = &which.wrote {
                let _ = write!(xml, "<{out}>{}</{out}>", quoted(wrote));
            }
            let _ = write!(xml, "</{case}>\n");
        }
        if habits.failure == Failure::OfTheSuite {
            let _ = write!(xml, "<{error} message='set-up'/>");
        }
        if habits.nested {
            let _ = write!(xml, "</{suite}>");
        }
        let _ = write!(xml, "</{suite}>");
        if habits.wrapped {
            let _ = write!(xml, "</{suites}>");
        }
        xml
    }
}

/// As a writer that knows what XML is writes any text.
fn quoted(text: &str) -> String {
    let mut all = String::new();
    for c in legal(text).chars() {
        match c {
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '&' => all.push_str("&amp;"),
            '\'' => all.push_str("&apos;"),
            '"' => all.push_str("&#34;"),
            '\n' => all.push_str("&#10;"),
            c => all.push(c),
        }
    }
    all
}

/// Without what XML has no way to write.
fn legal(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')).take(200).collect()
}

fn encoded(text: &str, encoding: Encoding) -> Vec<u8> {
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    match encoding {
        Encoding::Utf8 => text.as_bytes().to_vec(),
        Encoding::Utf8Marked => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        Encoding::Utf16Le => [vec![0xff, 0xfe], wide(u16::to_le_bytes)].concat(),
        Encoding::Utf16Be => [vec![0xfe, 0xff], wide(u16::to_be_bytes)].concat(),
        Encoding::Utf16LeUnmarked => wide(u16::to_le_bytes),
        Encoding::Latin1 => {
            let text = text.replacen("?>", " encoding=\"ISO-8859-1\"?>", 1);
            text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
        }
    }
}

/// A name as programs' own tests have it, each another one.
fn plain(nth: usize, name: &str) -> String {
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    format!("Test{nth}{letters}")
}

/// A line of what a test wrote, that speaks for nobody else.
fn wrote(case: &Case, mark: &str) -> String {
    let text = case.wrote.as_deref().unwrap_or_default();
    let line: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).take(100).collect();
    if line.is_empty() { line } else { format!("{mark}{line}\n") }
}

fn gotest(cases: &[(&Case, bool)]) -> String {
    let mut text = String::new();
    for (nth, (case, fails)) in cases.iter().enumerate() {
        let name = plain(nth, &case.name);
        let end = if *fails {
            "FAIL"
        } else if case.skipped {
            "SKIP"
        } else {
            "PASS"
        };
        let _ = write!(text, "=== RUN   {name}\n{}--- {end}: {name} (0.01s)\n", wrote(case, "    a_test.go:1: said "));
    }
    text + "FAIL\nFAIL\texample.com/e2e\t0.1s\nFAIL\n"
}

fn gojson(cases: &[(&Case, bool)]) -> String {
    let mut text = String::new();
    let mut event = |action: &str, test: Option<&str>, output: Option<&str>| {
        let mut event = serde_json::json!({"Action": action, "Package": "example.com/e2e"});
        for (key, value) in [("Test", test), ("Output", output)] {
            if let Some(value) = value {
                event[key] = value.into();
            }
        }
        let _ = write!(text, "{event}\n");
    };
    event("start", None, None);
    for (nth, (case, fails)) in cases.iter().enumerate() {
        let name = plain(nth, &case.name);
        event("run", Some(&name), None);
        if let Some(wrote) = &case.wrote {
            event("output", Some(&name), Some(wrote));
        }
        event(
            if *fails {
                "fail"
            } else if case.skipped {
                "skip"
            } else {
                "pass"
            },
            Some(&name),
            None,
        );
    }
    event("output", None, Some("FAIL\n"));
    event("fail", None, None);
    text
}

fn tap(cases: &[(&Case, bool)]) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", cases.len());
    for (nth, (case, fails)) in cases.iter().enumerate() {
        let (ok, skip) = (if *fails { "not ok" } else { "ok" }, if case.skipped && !fails { " # SKIP" } else { "" });
        let _ = write!(text, "{ok} {} - {}{skip}\n{}", nth + 1, plain(nth, &case.name), wrote(case, "# said "));
    }
    text
}

fn libtest(cases: &[(&Case, bool)]) -> String {
    let mut text = format!("running {} tests\n", cases.len());
    let mut counts = [0, 0, 0];
    for (nth, (case, fails)) in cases.iter().enumerate() {
        let (end, of) = if *fails {
            ("FAILED", 1)
        } else if case.skipped {
            ("ignored", 2)
        } else {
            ("ok", 0)
        };
        counts[of] += 1;
        let _ = write!(text, "test {} ... {end}\n", plain(nth, &case.name));
    }
    text.push_str("\nfailures:\n\n");
    for (nth, (case, _)) in cases.iter().enumerate().filter(|(_, (_, fails))| *fails) {
        let _ = write!(text, "---- {} stdout ----\n{}\n", plain(nth, &case.name), wrote(case, "said "));
    }
    let [passed, failed, ignored] = counts;
    let _ = write!(
        text,
        "\nfailures:\n\ntest result: FAILED. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out\n"
    );
    text
}
