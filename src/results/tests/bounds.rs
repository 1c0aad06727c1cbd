//! What is large, or makes much of little.

use super::*;

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
