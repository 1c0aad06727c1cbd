use std::{collections::BTreeMap, path::Path};

use super::*;

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
fn what_was_read_wrongly_once_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results/hostile");
    // Passed, flaky, failed, skipped; problems; what is said of it.
    let table = [
        ("01-two-roots.xml", (1, 0, 1, 0), 0, "b.broken|broken: boom\nat line 1"),
        ("03-empty-root-then-failures.xml", (0, 0, 1, 0), 0, "broken: boom\nat line 1"),
        ("04-testsuites-in-testsuites.xml", (1, 0, 1, 0), 0, "broken: boom\nat line 1"),
        ("05-error-at-suite-level.xml", (1, 0, 1, 0), 1, "b (the suite itself): setUpClass failed\nno database"),
        ("07-status-attribute-only.xml", (1, 0, 2, 0), 0, "red2: result=\"failure\""),
        ("08-tests-attribute-says-more.xml", (1, 0, 0, 0), 1, "counts 50 cases and shows 1"),
        ("09-all-skipped.xml", (0, 0, 0, 3), 0, ""),
        ("10-flaky-twice.xml", (0, 1, 0, 0), 0, ""),
        ("12-utf16le-no-bom.xml", (0, 0, 1, 0), 0, "broken: boom\nat line 1"),
        ("14-raw-escape.xml", (0, 0, 1, 0), 0, "colour: red \u{fffd} end"),
        ("15-escaped-escape.xml", (0, 0, 1, 0), 0, "c: red\n\u{fffd} \u{fffd}"),
        ("17-doctype-entity.xml", (0, 0, 1, 0), 0, "x: &who;"),
        ("21-log-lines-around.xml", (0, 0, 1, 0), 0, "broken: boom\nat line 1"),
    ];
    for (name, expected, problems, said) in table {
        let outcome = bytes(&std::fs::read(folder.join(name)).expect(name));
        let Tally { passed, flaky, failed, skipped } = outcome.tally();
        assert_eq!((passed, flaky, failed, skipped), expected, "{name}: {outcome:?}");
        assert_eq!(outcome.problems.len(), problems, "{name}: {outcome:?}");
        let all: Vec<String> =
            outcome.failures().map(|(name, why)| format!("{name}: {why}")).chain(outcome.problems.clone()).collect();
        assert!(
            said.split('|').any(|said| all.iter().any(|words| words.contains(said))) || said.is_empty(),
            "{name}: {all:?}"
        );
        is_kept(&outcome);
    }
}

#[test]
fn what_is_not_accounted_for_is_a_problem() {
    let cases = [
        ("empty", "", "there is no element in it"),
        ("text", "FAIL: everything", "text around the document looks like a failure: \"FAIL: everything\""),
        ("cut off in the root", "<testsuite", "it ends within a tag"),
        ("cut off between cases", r#"<testsuite><testcase name="a"/>"#, "it ends too early"),
        ("another end", r#"<testsuite><testcase name="a"></testsuite>"#, "an element is ended within another"),
        ("an end of nothing", r#"<testsuite></testcase><testcase/></testsuite>"#, "an end tag ends nothing"),
        (
            "a count without a case",
            r#"<testsuite name="s" errors="1"><testcase name="a"/></testsuite>"#,
            "suite \"s\" counts 1 failure and shows none",
        ),
        (
            "fewer cases",
            r#"<testsuite name="s" tests="40"><testcase/></testsuite>"#,
            "suite \"s\" counts 40 cases and shows 1",
        ),
        (
            "more cases",
            r#"<testsuite name="s" tests="1"><testcase/><testcase/></testsuite>"#,
            "suite \"s\" counts 1 case and shows 2",
        ),
        (
            "a count of the wrapper",
            r#"<testsuites failures="1"><testsuite><testcase/></testsuite></testsuites>"#,
            "the suite counts 1 failure and shows none",
        ),
        (
            "a word of a suite",
            r#"<testsuite name="s" result="failed"><testcase/></testsuite>"#,
            "suite \"s\" says result=\"failed\" and shows no failure",
        ),
        (
            "a second root that is cut",
            r#"<testsuite><testcase name="a"/></testsuite><testsuite"#,
            "it ends within a tag",
        ),
        (
            "a word nobody knows",
            r#"<testsuite><testcase name="a" status="purple"/></testsuite>"#,
            "what case \"a\" says of its end is not known: status=\"purple\"",
        ),
        (
            "a word nobody knows, as an element",
            r#"<testsuite><testcase name="a"><result>purple</result></testcase></testsuite>"#,
            "is not known: <result>purple",
        ),
        (
            "a case in another element",
            r#"<testsuite><group><testcase/></group></testsuite>"#,
            "a case is within <group>",
        ),
        ("a suite in another root", r#"<all><testsuite><testcase/></testsuite></all>"#, "a suite is within <all>"),
        (
            "a case in a case",
            r#"<testsuite><testcase><testcase/></testcase></testsuite>"#,
            "a case is within <testcase>",
        ),
        ("a case without a suite", r#"<testcase name="a"/>"#, "a case is within no suite"),
        (
            "a failure in another element",
            r#"<testsuite><testcase><steps><failure message="m"/></steps></testcase></testsuite>"#,
            "<failure> m> looks like a failure",
        ),
        (
            "a failure in the properties",
            r#"<testsuite><testcase><properties><failure/></properties></testcase></testsuite>"#,
            "looks like a failure",
        ),
        (
            "a failure in the output",
            r#"<testsuite><testcase><system-out><failure/></system-out></testcase></testsuite>"#,
            "looks like a failure",
        ),
        (
            "a step that failed",
            r#"<testsuite><testcase/><step status="failed"/></testsuite>"#,
            "<step status=\"failed\"> looks like a failure",
        ),
        (
            "a number of failures as an element",
            r#"<testsuite><testcase/><failures>2</failures></testsuite>"#,
            "<failures>2> looks like a failure",
        ),
        (
            "another word for a case",
            r#"<testsuite><testcase/><test name="b"/></testsuite>"#,
            "<test> looks like a failure or a case",
        ),
        (
            "loose text",
            "<testsuite><testcase/>\nAssertionError: no\n</testsuite>",
            "looks like one: \"AssertionError: no\"",
        ),
        (
            "loose text of a case",
            "<testsuite><testcase name='a'>it failed</testcase></testsuite>",
            "text in case \"a\" looks like a failure: \"it failed\"",
        ),
        ("text after the document", "<testsuite><testcase/></testsuite>\nnpm ERR! code 1", "npm ERR! code 1"),
        (
            "an entity for markup",
            "<!DOCTYPE x [<!ENTITY f '<failure/>'>]><testsuite><testcase>&f;</testcase></testsuite>",
            "&f; stands for nothing",
        ),
        ("a tag without an end", "<testsuite><testcase name='a'/><testcase <failure/></testsuite>", "a tag has no end"),
        (
            "attributes without quotes",
            "<testsuite><testcase name=a/></testsuite>",
            "attributes of a tag cannot be read",
        ),
        (
            "a quote that swallows",
            "<testsuite><testcase name='a><failure/></testcase><testcase name='b'/></testsuite>",
            "it ends within a tag",
        ),
        (
            "an unknown encoding",
            "<?xml version='1.0' encoding='klingon'?><testsuite><testcase/></testsuite>",
            "klingon",
        ),
        (
            "another format's failure",
            r#"<assemblies><assembly failed="1"><test result="Fail"/></assembly></assemblies>"#,
            "looks like a failure",
        ),
        ("another format's error", r#"<run><error>no</error></run>"#, "looks like a failure"),
        ("too deep", &"<testsuite>".repeat(600), "nested deeper than 500"),
        (
            "cases in cases in cases",
            &format!("<testsuite>{}<failure/></testsuite>", "<testcase name='a'>".repeat(20)),
            "cases are nested in cases or in what they say",
        ),
        ("a comment without an end", "<testsuite><testcase/><!-- <testcase/></testsuite>", "it ends within a comment"),
    ];
    for (what, xml, said) in cases {
        let outcome = one(xml);
        assert!(outcome.problems.iter().any(|p| p.starts_with("r.xml: ") && p.contains(said)), "{what}: {outcome:?}");
        assert!(!may_pass(&outcome), "{what}");
        is_kept(&outcome);
    }
}

#[test]
fn what_is_no_test_result_is_passed_over() {
    let good = ("good.xml", r#"<testsuite><testcase name="a"/></testsuite>"#);
    for other in [
        (
            "coverage.xml",
            r#"<?xml version="1.0"?><!DOCTYPE coverage SYSTEM "http://x"><coverage line-rate="0.9"><packages/></coverage>"#,
        ),
        ("checkstyle.xml", r#"<checkstyle><file name="a"><error line="1" severity="warning"/></file></checkstyle>"#),
        (
            "output.xml",
            r#"<robot><suite><test><kw><status status="FAIL">meant</status></kw><status status="PASS"/></test></suite><statistics><total><stat pass="1" fail="0">All</stat></total></statistics><errors></errors></robot>"#,
        ),
        (
            "failsafe-summary.xml",
            r#"<failsafe-summary result="null"><completed>3</completed><errors>0</errors><failures>0</failures><skipped>0</skipped><failureMessage xmlns:xsi="x" xsi:nil="true"/></failsafe-summary>"#,
        ),
        (
            "nunit.xml",
            r#"<test-run result="Passed" failed="0"><test-suite result="Passed"><test-case name="a" result="Passed"/></test-suite></test-run>"#,
        ),
        ("log.txt", "a line"),
        ("image.png", "\u{0}\u{1}"),
    ] {
        let outcome = read(&[good, other]);
        assert_eq!((counts(&outcome), &outcome.problems), ((1, 0, 0), &Vec::new()), "{other:?}");
        assert_eq!(counts(&read(&[other])), (0, 0, 0));
    }
    let failed = r#"<robot><suite/><statistics><total><stat pass="1" fail="2">All</stat></total></statistics></robot>"#;
    assert_eq!(read(&[good, ("output.xml", failed)]).problems.len(), 1);
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
fn a_case_that_failed_before_the_file_breaks_off_has_failed() {
    let outcome = one(r#"<testsuite><testcase name="a"/><testcase name="b"><failure message="lost">at li"#);
    assert_eq!(outcome.failures().collect::<Vec<_>>(), [("b", "lost\nat li")]);
    assert_eq!(outcome.passed(), 1);
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

#[test]
fn entities_are_not_a_bomb() {
    let xml = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><testsuite><testcase name="&b;"><failure>&b;</failure></testcase></testsuite>"#;
    assert_eq!(one(xml).failures().collect::<Vec<_>>(), [("&b;", "&b;")]);
}

#[test]
fn a_huge_message_and_a_huge_output_are_cut() {
    let text = "ü".repeat(1 << 20);
    let xml = format!(
        r#"<testsuite><testcase name="a"><failure>{text}</failure><system-out>{text}</system-out></testcase></testsuite>"#
    );
    let outcome = one(&xml);
    let (_, message) = outcome.failures().next().unwrap();
    assert!(message.len() <= 16 * 1024 && message.starts_with('ü'), "{}", message.len());
    let document = outcome.junit.unwrap().text();
    assert!(document.len() < 100 * 1024, "{}", document.len());
    assert!(document.contains("bytes are left out here"), "the gap is said");
}

#[test]
fn of_very_many_cases_all_are_counted_and_the_failed_ones_are_listed() {
    let mut xml = "<testsuite name='s'>".to_owned();
    for n in 0..60_000 {
        let failed = if n % 1000 == 999 { "<failure message='m'/>" } else { "" };
        xml.push_str(&format!("<testcase classname='a class of some length' name='case {n}'>{failed}</testcase>"));
    }
    let outcome = one(&(xml + "</testsuite>"));
    assert_eq!((outcome.passed(), outcome.failed(), outcome.total()), (59_940, 60, 60_000));
    assert_eq!(outcome.failures().count(), 60);
    assert!(outcome.cases.len() < 25_000 && outcome.problems.is_empty());
    let many = format!("<testsuite>{}</testsuite>", "<testcase><failure>m</failure></testcase>".repeat(30_000));
    let outcome = one(&many);
    assert_eq!(outcome.failed(), 30_000);
    assert!(outcome.cases.len() <= 5_000, "{}", outcome.cases.len());
}

#[test]
fn a_document_that_is_too_big_has_the_cases_alone() {
    let mut seed = 7_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", seed.rotate_left(17) ^ seed)
    };
    let mut xml = "<testsuite name='s'>".to_owned();
    for n in 0..40 {
        let text: String = (0..3000).map(|_| noise()).collect();
        let failed = if n == 30 { "<failure message='m'/>" } else { "" };
        xml.push_str(&format!("<testcase name='{n}'>{failed}<system-out>{text}</system-out></testcase>"));
    }
    let outcome = one(&(xml + "</testsuite>"));
    let document = outcome.junit.clone().unwrap();
    assert!(document.packed().len() <= 600 * 1024);
    let again = one(&document.text());
    assert_eq!(again.cases.len(), 40);
    assert_eq!(again.failures().collect::<Vec<_>>(), [("30", "m")]);
    assert!(document.text().contains("shortened: "));
}
