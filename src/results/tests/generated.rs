//! Documents that a generator makes: nothing makes a reader fall, and nothing makes a failed one pass.

use proptest::prelude::*;

use super::*;

/// A case as a tool writes it: its name, and how it ended.
fn a_case() -> impl Strategy<Value = (String, Option<String>)> {
    let said = prop_oneof![Just(None), "[!-~ü\n\u{1b}\u{7}][ -~ü\n]{0,40}[!-~ü]".prop_map(Some)];
    ("[A-Za-z<&\"'/ü\u{1b}][ -~]{0,20}[a-z]", said)
}

fn document(cases: &[(String, Option<String>)], plain: bool) -> String {
    let escape = |text: &str| quick_xml::escape::escape(text).into_owned();
    let failed = cases.iter().filter(|(_, said)| said.is_some()).count();
    let mut xml = if plain {
        "<testsuite name='s'>".to_owned()
    } else {
        format!("<?xml version='1.0'?>\n<testsuites>\n<testsuite name='s' tests='{}' failures='{failed}'>", cases.len())
    };
    for (nth, (name, said)) in cases.iter().enumerate() {
        let name = escape(name);
        match said {
            None => xml.push_str(&format!("<testcase name='{nth} {name}' time='0.1'/>\n")),
            Some(said) => xml.push_str(&format!(
                "<testcase name='{nth} {name}'><failure message='{}'>{}</failure></testcase>\n",
                escape(said),
                escape(said)
            )),
        }
    }
    xml + if plain { "</testsuite>" } else { "</testsuite></testsuites>" }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_written_is_read_back(cases in prop::collection::vec(a_case(), 1..20)) {
        let outcome = one(&document(&cases, false));
        prop_assert_eq!(&outcome.problems, &Vec::<String>::new());
        let failed = cases.iter().filter(|(_, said)| said.is_some()).count();
        prop_assert_eq!(counts(&outcome), (cases.len() - failed, failed, 0));
        is_kept(&outcome);
    }

    #[test]
    fn cut_off_anywhere_it_is_a_problem_and_never_more_than_there_was(
        cases in prop::collection::vec(a_case(), 1..5), plain in any::<bool>(),
    ) {
        let whole = document(&cases, plain);
        let outcome = one(&whole);
        for cut in 0..whole.len() {
            let part = bytes(&whole.as_bytes()[..cut]);
            prop_assert!(!part.problems.is_empty(), "{}", cut);
            prop_assert!(part.passed() <= outcome.passed() && part.failed() <= outcome.failed());
            is_kept(&part);
        }
    }

    #[test]
    fn without_any_piece_of_it_a_failed_document_is_no_pass(
        cases in prop::collection::vec(a_case(), 1..5), from in 0.0..1.0f64, length in 1..12usize,
    ) {
        let whole = document(&cases, false);
        let from = (whole.len() as f64 * from) as usize;
        let mut mutated = whole.clone().into_bytes();
        mutated.drain(from..(from + length).min(whole.len()));
        let failed = cases.iter().filter(|(_, said)| said.is_some()).count();
        let outcome = bytes(&mutated);
        if failed > 0 {
            prop_assert!(!may_pass(&outcome), "{}", String::from_utf8_lossy(&mutated));
        }
        is_kept(&outcome);
    }

    #[test]
    fn any_bytes_are_an_answer(some in prop::collection::vec(any::<u8>(), 0..400)) {
        let outcome = bytes(&some);
        prop_assert!(!may_pass(&outcome));
        is_kept(&outcome);
    }

    #[test]
    fn any_markup_is_an_answer(parts in prop::collection::vec(prop::sample::select(vec![
        "<testsuites>", "</testsuites>", "<testsuite name='s' failures='1'>", "<testsuite>", "</testsuite>",
        "<testcase name='a'>", "<testcase/>", "</testcase>", "<failure message='m'>", "</failure>", "<error/>",
        "<skipped/>", "text", "&amp;", "&", "<!-- -->", "<![CDATA[", "]]>", "<", ">", "<system-out>", "</system-out>",
        "<flakyFailure/>", "<properties><property name='a' value='b'/></properties>", "<testcase name='a' status='failed'/>",
        "<x>", "</x>", "<result>failed</result>", "FAILED\n",
    ]), 0..24)) {
        let text = parts.concat();
        let outcome = one(&text);
        // Whatever speaks of a failure, outside of what a case wrote, of comments and of tries that were done again.
        let quiet = ["<system-out>", "<![CDATA[", "<flakyFailure/>"].iter().all(|mark| !text.contains(mark));
        let speaks = ["<failure", "<error/>", "'failed'", ">failed<", "FAILED", "failures='1'"].iter().any(|mark| text.contains(mark));
        let retried = outcome.flaky() > 0;
        prop_assert!(!(quiet && speaks && !retried && may_pass(&outcome)), "{}", text);
        is_kept(&outcome);
    }
}
