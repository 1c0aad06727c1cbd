//! What is broken, cut off, of another kind, or says of a failure in a way of its own.

use std::path::Path;

use super::*;

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
fn a_case_that_failed_before_the_file_breaks_off_has_failed() {
    let outcome = one(r#"<testsuite><testcase name="a"/><testcase name="b"><failure message="lost">at li"#);
    assert_eq!(outcome.failures().collect::<Vec<_>>(), [("b", "lost\nat li")]);
    assert_eq!(outcome.passed(), 1);
    is_kept(&outcome);
}
