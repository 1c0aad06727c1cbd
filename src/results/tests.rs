use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn read(files: &[(&str, &str)]) -> Outcome {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    Outcome::of_files(&files)
}

fn counts(outcome: &Outcome) -> (usize, usize, usize) {
    (outcome.passed(), outcome.failed(), outcome.skipped())
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
        (
            "a flaky case that passed in the end",
            r#"<testsuite><testcase name="a"><flakyFailure message="x"/></testcase></testsuite>"#,
            (1, 0, 0),
        ),
        ("a namespace", r#"<j:testsuite xmlns:j="urn:j"><j:testcase name="a"/></j:testsuite>"#, (1, 0, 0)),
        (
            "markup in the output",
            r#"<testsuite><testcase name="a"><system-out><![CDATA[<failure>]]></system-out></testcase></testsuite>"#,
            (1, 0, 0),
        ),
        ("an empty suite", r#"<testsuites/>"#, (0, 0, 0)),
    ];
    for (what, xml, expected) in cases {
        let outcome = read(&[("r.xml", xml)]);
        assert_eq!(counts(&outcome), expected, "{what}");
        assert_eq!(outcome.problems, Vec::<String>::new(), "{what}");
        assert!(outcome.junit.is_some(), "{what}");
    }
}

#[test]
fn says_what_failed_and_why() {
    let outcome = read(&[(
        "r.xml",
        r#"<testsuite name="e2e"><testcase classname="e2e" name="Scale"><failure message="3 &lt; 4">at &#x41;
&amp; <![CDATA[<b>]]></failure></testcase><testcase classname="pkg.Mod" name="t"><error message="same">same, and more</error></testcase></testsuite>"#,
    )]);
    let failures: Vec<_> = outcome.failures().collect();
    assert_eq!(failures, [("Scale", "3 < 4\nat A\n& <b>"), ("pkg.Mod.t", "same, and more")]);
}

#[test]
fn properties_of_a_case_change_nothing() {
    let property = r#"<properties><property name="wait:3 tasks of web run" value="3.500 of 60, 3 times, 5.000 in all"/><property name="failure">text</property></properties>"#;
    let junit = |properties: &str| {
        format!(
            r#"<testsuites><testsuite name="e2e" failures="1"><properties><property name="engine" value="28.5"/></properties>
<testcase classname="e2e" name="a" time="1.000">{properties}<system-out>said</system-out></testcase>
<testcase classname="e2e" name="b">{properties}<failure message="m">text</failure></testcase>
<testcase classname="e2e" name="c">{properties}<skipped message="needs 3 nodes"/></testcase></testsuite></testsuites>"#
        )
    };
    let (with, without) = (junit(property), junit(""));
    let read_whole = read(&[("r.xml", &with)]);
    let plain = read(&[("r.xml", &without)]);
    assert_eq!((read_whole.cases, read_whole.problems), (plain.cases, plain.problems));
    assert_eq!(outputs(with.as_bytes()), outputs(without.as_bytes()));
    assert!(read_whole.junit.unwrap().contains("3.500 of 60"), "who asks for the JUnit gets the waits");
}

#[test]
fn files_are_read_together_and_kept_together() {
    let outcome = read(&[
        (
            "b/two.xml",
            r#"<?xml version="1.0"?><testsuites><testsuite name="two"><testcase name="c"/></testsuite></testsuites>"#,
        ),
        ("a.xml", r#"<testsuite name="one"><testcase name="a"/></testsuite>"#),
        ("coverage.xml", r#"<coverage><testcase name="no"/></coverage>"#),
        ("log.txt", "<testsuite"),
    ]);
    assert_eq!(outcome.cases.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["a", "c"]);
    let again = read(&[("joined.xml", outcome.junit.as_deref().unwrap())]);
    assert_eq!((again.cases, again.problems), (outcome.cases, outcome.problems));
}

#[test]
fn what_cannot_be_read_is_said() {
    let cases = [
        ("empty", ""),
        ("text", "FAIL: everything"),
        ("cut off in the root", "<testsuite"),
        ("cut off between cases", r#"<testsuite><testcase name="a"/>"#),
        ("another end", r#"<testsuite><testcase name="a"></testsuite>"#),
        ("a failure without a case", r#"<testsuite name="s" errors="1"><testcase name="a"/></testsuite>"#),
        ("two roots", r#"<testsuite><testcase name="a"/></testsuite><testsuite"#),
    ];
    for (what, xml) in cases {
        let outcome = read(&[("r.xml", xml)]);
        assert_eq!(outcome.problems.len(), 1, "{what}: {outcome:?}");
        assert!(outcome.problems[0].starts_with("r.xml: "), "{what}: {:?}", outcome.problems);
    }
}

#[test]
fn a_case_that_failed_before_the_file_breaks_off_has_failed() {
    let outcome =
        read(&[("r.xml", r#"<testsuite><testcase name="a"/><testcase name="b"><failure message="lost">at li"#)]);
    assert_eq!(outcome.failures().collect::<Vec<_>>(), [("b", "lost\nat li")]);
    assert_eq!(outcome.passed(), 1);
}

#[test]
fn other_encodings_count_right() {
    let xml = r#"<testsuite><testcase name="ä"/></testsuite>"#;
    let mut wide = vec![0xff, 0xfe];
    wide.extend(xml.encode_utf16().flat_map(u16::to_le_bytes));
    let mut marked = vec![0xef, 0xbb, 0xbf];
    marked.extend(xml.bytes());
    let latin = xml.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    for bytes in [wide, marked] {
        let outcome = Outcome::of_files(&BTreeMap::from([("r.xml".to_owned(), bytes)]));
        assert_eq!((outcome.cases[0].name.as_str(), outcome.problems.len()), ("ä", 0));
    }
    assert_eq!(Outcome::of_files(&BTreeMap::from([("r.xml".to_owned(), latin)])).passed(), 1);
}

#[test]
fn entities_are_not_a_bomb() {
    let xml = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><testsuite><testcase name="&b;"><failure>&b;</failure></testcase></testsuite>"#;
    let outcome = read(&[("r.xml", xml)]);
    assert_eq!(outcome.failures().collect::<Vec<_>>(), [("&b;", "\u{fffd}")]);
}

#[test]
fn a_huge_message_is_cut() {
    let xml =
        format!(r#"<testsuite><testcase name="a"><failure>{}</failure></testcase></testsuite>"#, "ü".repeat(1 << 20));
    let outcome = read(&[("r.xml", &xml)]);
    let (_, message) = outcome.failures().next().unwrap();
    assert!(message.len() <= 16 * 1024 && message.starts_with('ü'), "{}", message.len());
}

fn a_case() -> impl Strategy<Value = Case> {
    let verdict = prop_oneof![
        Just(Verdict::Passed),
        Just(Verdict::Skipped),
        "[!-~ü\n][ -~ü\n]{0,40}[!-~ü]".prop_map(Verdict::Failed)
    ];
    ("[A-Za-z<&\"'/ü][ -~]{0,20}[a-z]", verdict).prop_map(|(name, verdict)| Case { name, verdict })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(cases in prop::collection::vec(a_case(), 0..20)) {
        let outcome = Outcome { cases, ..Outcome::default() };
        let again = read(&[("r.xml", &outcome.digest(usize::MAX))]);
        let trimmed = |cases: &[Case]| cases.iter().map(|c| (c.name.clone(), match &c.verdict {
            Verdict::Failed(message) => Verdict::Failed(message.trim().to_owned()),
            other => other.clone(),
        })).collect::<Vec<_>>();
        prop_assert_eq!(trimmed(&again.cases), trimmed(&outcome.cases));
        prop_assert_eq!(again.problems, Vec::<String>::new());
    }

    #[test]
    fn cut_off_anywhere_it_is_a_problem_and_never_more_than_there_was(
        cases in prop::collection::vec(a_case(), 1..8), at in 0.0..1.0f64,
    ) {
        let outcome = Outcome { cases, ..Outcome::default() };
        let whole = outcome.digest(usize::MAX);
        let mut cut = (whole.len() as f64 * at) as usize;
        while !whole.is_char_boundary(cut) { cut -= 1; }
        let part = read(&[("r.xml", &whole[..cut])]);
        prop_assert!(!part.problems.is_empty());
        prop_assert!(part.passed() <= outcome.passed() && part.failed() <= outcome.failed());
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let outcome = Outcome::of_files(&BTreeMap::from([("r.xml".to_owned(), bytes)]));
        prop_assert!(outcome.cases.is_empty() || outcome.junit.is_some() || !outcome.problems.is_empty());
    }

    #[test]
    fn any_markup_is_an_answer(parts in prop::collection::vec(prop::sample::select(vec![
        "<testsuites>", "</testsuites>", "<testsuite name='s' failures='1'>", "<testsuite>", "</testsuite>",
        "<testcase name='a'>", "<testcase/>", "</testcase>", "<failure message='m'>", "</failure>", "<error/>",
        "<skipped/>", "text", "&amp;", "&", "<!-- -->", "<![CDATA[", "]]>", "<", ">",
    ]), 0..24)) {
        let text = parts.concat();
        let outcome = read(&[("r.xml", &text)]);
        prop_assert!(outcome.cases.is_empty() || outcome.junit.is_some() || !outcome.problems.is_empty());
        if let Some(joined) = &outcome.junit {
            prop_assert_eq!(read(&[("joined.xml", joined)]).cases, outcome.cases);
        }
    }
}
