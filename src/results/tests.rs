use std::collections::BTreeMap;

use super::*;

mod bounds;
mod doubts;
mod generated;

fn read(files: &[(&str, &str)]) -> Outcome {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    Outcome::of_files(&files)
}

fn one(xml: &str) -> Outcome {
    read(&[("r.xml", xml)])
}

fn bytes(bytes: &[u8]) -> Outcome {
    Outcome::of_files(&BTreeMap::from([("r.xml".to_owned(), bytes.to_vec())]))
}

fn counts(outcome: &Outcome) -> (usize, usize, usize) {
    (outcome.passed(), outcome.failed(), outcome.skipped())
}

/// What a verdict takes for a pass at the most: something ran, nothing failed, nothing is in doubt.
fn may_pass(outcome: &Outcome) -> bool {
    outcome.problems.is_empty() && outcome.failed() == 0 && outcome.passed() + outcome.flaky() > 0
}

/// The document of an outcome is well-formed and says the same.
fn is_kept(outcome: &Outcome) {
    let Some(junit) = &outcome.junit else { return assert_eq!(outcome.total(), 0) };
    let text = junit.text();
    let mut reader = quick_xml::Reader::from_str(&text);
    reader.config_mut().check_end_names = true;
    loop {
        match reader.read_event().expect("well-formed") {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) => {
                for attribute in tag.attributes() {
                    attribute.expect("well-formed attribute");
                }
            }
            _ => {}
        }
    }
    let illegal = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!text.contains(illegal), "{text:?}");
    let again = Outcome::of_kept(text.as_bytes());
    assert_eq!(again.cases, outcome.cases, "{text}");
    assert_eq!(again.problems, outcome.problems, "{text}");
}

#[test]
fn reads_what_tools_write() {
    let cases = [
        (
            "a lone suite",
            r#"<testsuite name="s"><testcase name="a"/><testcase name="b"><skipped/></testcase></testsuite>"#,
            (1, 0, 1),
        ),
        (
            "suites",
            r#"<?xml version="1.0"?><testsuites><testsuite><testcase name="a"/></testsuite><testsuite><testcase name="b"/></testsuite></testsuites>"#,
            (2, 0, 0),
        ),
        (
            "nested suites",
            r#"<testsuites><testsuite><testsuite><testcase name="a"><failure/></testcase></testsuite><testcase name="b"/></testsuite></testsuites>"#,
            (1, 1, 0),
        ),
        (
            "error instead of failure",
            r#"<testsuite errors="1"><testcase name="a"><error type="Panic"/></testcase></testsuite>"#,
            (0, 1, 0),
        ),
        (
            "googletest's disabled",
            r#"<testsuites><testsuite><testcase name="a" status="notrun"/></testsuite></testsuites>"#,
            (0, 0, 1),
        ),
        (
            "failed wins over skipped",
            r#"<testsuite><testcase name="a"><skipped/><failure/></testcase></testsuite>"#,
            (0, 1, 0),
        ),
        (
            "pytest's failure and error of one case",
            r#"<testsuite failures="1" errors="1"><testcase name="a"><failure/><error/></testcase></testsuite>"#,
            (0, 1, 0),
        ),
        ("a namespace", r#"<j:testsuite xmlns:j="urn:j"><j:testcase name="a"/></j:testsuite>"#, (1, 0, 0)),
        ("capitals", r#"<TESTSUITE><TestCase Name="a"><FAILURE/></TestCase></TESTSUITE>"#, (0, 1, 0)),
        (
            "markup in the output",
            r#"<testsuite><testcase name="a"><system-out><![CDATA[<failure>]]></system-out></testcase></testsuite>"#,
            (1, 0, 0),
        ),
        ("node's cases without a suite", r#"<testsuites><testcase name="a"/></testsuites>"#, (1, 0, 0)),
        ("a status as an attribute", r#"<testsuite><testcase name="a" status="failed"/></testsuite>"#, (0, 1, 0)),
        ("a result as an attribute", r#"<testsuite><testcase name="a" result="error"/></testsuite>"#, (0, 1, 0)),
        ("success as an attribute", r#"<testsuite><testcase name="a" success="False"/></testsuite>"#, (0, 1, 0)),
        (
            "the second of two attributes",
            r#"<testsuite><testcase status="passed" status="failed"/></testsuite>"#,
            (0, 1, 0),
        ),
        ("a status as an element", r#"<testsuite><testcase><status>FAILED</status></testcase></testsuite>"#, (0, 1, 0)),
        ("an element like a failure", r#"<testsuite><testcase><assertionFailure/></testcase></testsuite>"#, (0, 1, 0)),
        ("failed, as an element", r#"<testsuite><testcase><failed/></testcase></testsuite>"#, (0, 1, 0)),
        (
            "not failed, as an element",
            r#"<testsuite><testcase><failed>false</failed></testcase></testsuite>"#,
            (1, 0, 0),
        ),
        (
            "tried again in vain",
            r#"<testsuite><testcase><rerunFailure message="m"/></testcase></testsuite>"#,
            (0, 1, 0),
        ),
        ("failures of a case as a number", r#"<testsuite><testcase failures="2"/></testsuite>"#, (0, 1, 0)),
        (
            "several documents",
            r#"<?xml version="1.0"?><testsuite><testcase/></testsuite><?xml version="1.0"?><testsuites><testsuite><testcase><error/></testcase></testsuite></testsuites>"#,
            (1, 1, 0),
        ),
        ("an empty suite", r#"<testsuites/>"#, (0, 0, 0)),
    ];
    for (what, xml, expected) in cases {
        let outcome = one(xml);
        assert_eq!(counts(&outcome), expected, "{what}");
        assert_eq!(outcome.problems, Vec::<String>::new(), "{what}");
        assert!(outcome.junit.is_some() && outcome.formats == ["JUnit"], "{what}");
        is_kept(&outcome);
    }
}

#[test]
fn files_are_found_by_their_name_or_by_what_they_hold() {
    let suite = r#"<testsuite><testcase name="a"/></testsuite>"#;
    for name in ["r.xml", "R.XML", "deep/er/JUnit.Xml", "results", "report.junit"] {
        assert_eq!(read(&[(name, suite)]).passed(), 1, "{name}");
    }
}

#[test]
fn a_case_has_the_names_and_the_time_that_its_tool_gives() {
    let outcome = one(
        r#"<testsuites><testsuite name="pkg"><testcase classname="pkg" name="A" time="1,234.5"/><testcase classname="pkg.Mod" name="b" time="0.25s"/><testcase classname="C" time="x"/><testcase/></testsuite></testsuites>"#,
    );
    let all: Vec<_> = outcome
        .cases
        .iter()
        .map(|c| (&*c.name, &*c.suite, &*c.class, c.own_name(), c.time.map(|t| t.as_secs_f64())))
        .collect();
    assert_eq!(
        all,
        [
            ("A", "pkg", "pkg", "A", Some(1234.5)),
            ("pkg.Mod.b", "pkg", "pkg.Mod", "b", Some(0.25)),
            ("C", "pkg", "C", "", None),
            ("(unnamed)", "pkg", "", "", None),
        ]
    );
}

#[test]
fn says_what_failed_and_why() {
    let outcome = one(
        r#"<testsuite name="e2e"><testcase classname="e2e" name="Scale"><failure message="3 &lt; 4">at &#x41;
&amp; <![CDATA[<b>]]></failure></testcase><testcase classname="pkg.Mod" name="t"><error message="same">same, and more</error></testcase></testsuite>"#,
    );
    let failures: Vec<_> = outcome.failures().collect();
    assert_eq!(failures, [("Scale", "3 < 4\nat A\n& <b>"), ("pkg.Mod.t", "same, and more")]);
}

#[test]
fn a_case_that_failed_and_then_passed_is_flaky_and_nothing_else_is() {
    let f = r#"<testcase name="a"><failure message="m"/></testcase>"#;
    let p = r#"<testcase name="a"/>"#;
    let other = r#"<testcase classname="x" name="a"/>"#;
    let surefire = r#"<testcase name="a"><flakyFailure message="first"><stackTrace>t</stackTrace><system-out>o</system-out></flakyFailure></testcase>"#;
    let again = r#"<testcase name="a"><failure message="m"/><rerunFailure message="n"/></testcase>"#;
    let fixed = r#"<testcase name="a"><failure message="m"/><flakyFailure message="n"/></testcase>"#;
    let unnamed = "<testcase><failure/></testcase><testcase/>";
    // Passed, flaky, failed.
    for (what, cases, expected) in [
        ("failed, passed", vec![f, p], (0, 1, 0)),
        ("failed twice, passed", vec![f, f, p], (0, 1, 0)),
        ("passed, failed", vec![p, f], (1, 0, 1)),
        ("failed, passed, passed: no tries", vec![f, p, p], (2, 0, 1)),
        ("failed, passed, failed", vec![f, p, f], (1, 0, 2)),
        ("another class", vec![f, other], (1, 0, 1)),
        ("in one element", vec![surefire], (0, 1, 0)),
        ("tried again in vain", vec![again], (0, 0, 1)),
        ("nextest's flaky that counts as failed", vec![fixed], (0, 0, 1)),
        ("no name", vec![unnamed], (1, 0, 1)),
    ] {
        let outcome = one(&format!("<testsuite name='s'>{}</testsuite>", cases.concat()));
        assert_eq!((outcome.passed(), outcome.flaky(), outcome.failed()), expected, "{what}");
        is_kept(&outcome);
    }
    let apart =
        read(&[("1.xml", &format!("<testsuite>{f}</testsuite>")), ("2.xml", &format!("<testsuite>{p}</testsuite>"))]);
    assert_eq!((apart.passed(), apart.failed()), (1, 1), "of another file is not known to be the same");
}

#[test]
fn properties_of_a_case_change_nothing_and_are_kept() {
    let property = r#"<properties><property name="wait:3 tasks of web run" value="3.500 of 60, 3 times, 5.000 in all"/><property name="failure">text</property></properties>"#;
    let junit = |properties: &str| {
        format!(
            r#"<testsuites><testsuite name="e2e" failures="1"><properties><property name="engine" value="28.5"/></properties>
<testcase classname="e2e" name="a" time="1.000">{properties}<system-out>said</system-out></testcase>
<testcase classname="e2e" name="b">{properties}<failure message="m">text</failure></testcase>
<testcase classname="e2e" name="c">{properties}<skipped message="needs 3 nodes"/></testcase></testsuite></testsuites>"#
        )
    };
    let (with, without) = (one(&junit(property)), one(&junit("")));
    assert_eq!((&with.cases, &with.problems), (&without.cases, &without.problems));
    let text = with.junit.unwrap().text();
    for kept in ["3.500 of 60", "value=\"28.5\"", "<system-out>said</system-out>", "needs 3 nodes"] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    let written = outputs(text.as_bytes(), |case| case.name == "a");
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].1.out, "said");
}

#[test]
fn files_are_read_together_and_kept_together() {
    let outcome = read(&[
        (
            "b/two.xml",
            r#"<?xml version="1.0"?><testsuites><testsuite name="two"><testcase name="c"/></testsuite></testsuites>"#,
        ),
        ("a.xml", r#"<testsuite name="one"><testcase name="a"/></testsuite>"#),
    ]);
    assert_eq!(outcome.cases.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["a", "c"]);
    is_kept(&outcome);
}

#[test]
fn other_encodings_count_right() {
    let xml = r#"<testsuite><testcase name="ä"/></testsuite>"#;
    let latin = |xml: &str| xml.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<u8>>();
    assert_eq!(bytes(&latin(xml)).passed(), 1);
    let declared = bytes(&latin(&format!("<?xml version='1.0' encoding='ISO-8859-1'?>{xml}")));
    assert_eq!((declared.cases[0].name.as_str(), declared.problems.len()), ("ä", 0));
}
