//! A document for others to read: failures that do not count are told as skipped in it.

use super::{
    case::{Case, Element, Part, Record, Verdict},
    collect::Collector,
    junit,
    retold::Retold,
};

/// What a suite counts that its cases may not show any more.
const COUNTS: [&str; 5] = ["failures", "errors", "failed", "skipped", "disabled"];

/// The document with each case that failed and that `excuse` has words for as skipped: these words, and under them what
/// it said. Nothing where there is no such case.
#[must_use]
pub fn excused(junit: &[u8], excuse: impl Fn(&Case) -> Option<String>) -> Option<Vec<u8>> {
    let mut to = Collector::new(Some(usize::MAX));
    to.begin("");
    let mut any = false;
    let change = |record: &mut Record| {
        let Verdict::Failed(said) = &record.case.verdict else { return };
        let (said, Some(words)) = (said.clone(), excuse(&record.case)) else { return };
        any = true;
        record.parts = vec![Part { text: said, ..Part::new(Element::Skipped, words) }];
        record.case.verdict = Verdict::Skipped;
    };
    // Bytes in memory have no way to fail.
    drop(junit::read(junit, true, &mut Retold { to: &mut to, counts: &COUNTS, change }));
    let document = to.finish().junit.filter(|_| any)?;
    Some(document.text().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Outcome, Tally};

    const XML: &str = r#"<testsuites><testsuite name="s" tests="4" failures="2" errors="1" skipped="0">
        <testcase classname="c" name="good"/>
        <testcase classname="c" name="a"><failure message="3 is not 4">at line 7</failure><rerunFailure message="again"/><system-out>hello</system-out></testcase>
        <testcase classname="c" name="b"><failure message="b too"/></testcase>
        <testcase classname="c" name="e"><error message="boom"/></testcase>
        </testsuite></testsuites>"#;

    #[test]
    fn what_is_excused_is_skipped_with_what_it_said_and_all_else_is_as_it_was() {
        let excuse =
            |case: &Case| ["c.a", "c.e", "c.good"].contains(&&*case.name).then(|| "quarantined (owner me)".to_owned());
        let told = excused(XML.as_bytes(), excuse).unwrap();
        let text = String::from_utf8(told.clone()).unwrap();
        assert!(text.contains(r#"<skipped message="quarantined (owner me)">3 is not 4"#), "{text}");
        assert!(text.contains("at line 7") && text.contains("hello") && text.contains("boom"), "{text}");
        assert!(!text.contains("rerunFailure") && text.matches("<failure").count() == 1, "{text}");
        let outcome = Outcome::of_kept(&told);
        let Tally { passed, flaky, failed, skipped } = outcome.tally();
        assert_eq!((passed, flaky, failed, skipped), (1, 0, 1, 2), "{text}");
        assert!(outcome.problems.is_empty(), "{outcome:?}");
    }

    #[test]
    fn where_nothing_is_excused_there_is_no_other_document() {
        assert_eq!(excused(XML.as_bytes(), |_| None), None);
        assert_eq!(excused(XML.as_bytes(), |case| (case.name == "c.good").then(String::new)), None);
        assert_eq!(excused(b"no results", |_| Some(String::new())), None);
    }

    #[test]
    fn problems_stay_what_they_are() {
        let cut = XML.replace("</testsuite></testsuites>", "");
        let told = excused(cut.as_bytes(), |_| Some("quarantined".to_owned())).unwrap();
        let outcome = Outcome::of_kept(&told);
        assert!((outcome.failed(), outcome.skipped()) == (0, 3) && !outcome.problems.is_empty(), "{outcome:?}");
    }
}
