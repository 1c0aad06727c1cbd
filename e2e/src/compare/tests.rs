use std::{slice, time::Duration};

use super::*;

/// A suite of cases: name, time, what is in it.
fn junit(cases: &[(&str, f64, &str)]) -> String {
    let cases = cases.iter().map(|(name, time, inner)| {
        format!(r#"<testcase classname="e2e" name="{name}" time="{time}">{inner}</testcase>"#)
    });
    format!("<testsuites><testsuite>{}</testsuite></testsuites>", cases.collect::<String>())
}

fn wait(name: &str, value: &str) -> String {
    format!(r#"<properties><property name="wait:{name}" value="{value}"/></properties>"#)
}

fn side(rounds: &[String]) -> Side {
    let mut side = Side { rounds: rounds.len(), ..Side::default() };
    for (name, round) in rounds.iter().flat_map(|text| read::cases(text).unwrap()) {
        side.cases.entry(name).or_default().push(round);
    }
    side
}

fn compared(before: &[String], now: &[String]) -> Found {
    compare(&side(before), &side(now), 3.0, 0.5)
}

fn slow(found: &Found) -> Vec<(&str, Option<&str>)> {
    found.slower.iter().map(|it| (&*it.case, it.wait.as_deref())).collect()
}

#[test]
fn a_wait_that_takes_three_times_as_long_is_slower() {
    let before = junit(&[("Scale", 5.0, &wait("3 run", "1.0 of 60")), ("List", 1.0, "")]);
    let now = junit(&[("Scale", 7.0, &wait("3 run", "3.5 of 60")), ("List", 2.0, "")]);
    let found = compared(slice::from_ref(&before), &[now]);
    assert_eq!(slow(&found), [("Scale", Some("3 run"))]);
    assert!(found.all_slower && !found.is_good() && !found.slower_only().is_good());
    assert!(compared(slice::from_ref(&before), slice::from_ref(&before)).is_good());
}

#[test]
fn what_takes_less_than_the_least_longer_is_not() {
    let before = junit(&[("Scale", 0.01, &wait("3 run", "0.01 of 60"))]);
    let now = junit(&[("Scale", 0.4, &wait("3 run", "0.4 of 60"))]);
    assert!(compared(&[before], &[now]).is_good());
}

#[test]
fn many_small_waits_that_are_slower_are_not_silently_good() {
    let waits = |seconds: f64| {
        let all = (0..10).map(|nth| (format!("Case{nth}"), wait("it runs", &format!("{seconds} of 60"))));
        let all: Vec<_> = all.collect();
        junit(&all.iter().map(|(name, waits)| (&**name, 1.0, &**waits)).collect::<Vec<_>>())
    };
    let found = compared(&[waits(0.02)], &[waits(0.4)]);
    assert!(found.slower.is_empty() && found.all_slower && !found.is_good());
}

#[test]
fn of_several_rounds_the_median_counts() {
    let round = |seconds: f64| junit(&[("Scale", 1.0, &wait("3 run", &format!("{seconds} of 60")))]);
    let before = [round(1.0), round(1.2), round(9.0)];
    assert!(compared(&before, &[round(1.1), round(30.0), round(1.3)]).is_good());
    assert_eq!(slow(&compared(&before, &[round(4.0), round(5.0)])), [("Scale", Some("3 run"))]);
}

#[test]
fn cases_that_are_worse_or_missing_are_told_and_those_that_are_better_or_new_are_good() {
    let (failed, skipped) = (r#"<failure message="m"/>"#, r#"<skipped/>"#);
    let before = junit(&[("A", 1.0, ""), ("B", 1.0, ""), ("C", 1.0, failed), ("Gone", 1.0, "")]);
    let now = junit(&[("A", 1.0, failed), ("B", 0.0, skipped), ("C", 1.0, ""), ("New", 1.0, "")]);
    let found = compared(&[before.clone(), before.clone()], &[before.clone(), now]);
    let names = |all: &[(String, Seen, Seen)]| all.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found.worse), ["A", "B"]);
    assert_eq!(found.worse[0].2, Seen { worst: Verdict::Failed, times: 1, of: 2 });
    assert_eq!((found.new, found.missing.len()), (vec!["New".to_owned()], 0));
    let found = compared(&[junit(&[("C", 1.0, failed)])], &[junit(&[("C", 1.0, ""), ("New", 1.0, "")])]);
    assert!(found.is_good() && names(&found.better) == ["C"]);
    let found = compared(&[before], &[junit(&[("A", 1.0, "")])]);
    assert_eq!(found.missing, ["B", "C", "Gone"]);
    assert!(!found.is_good() && found.slower_only().is_good());
}

#[test]
fn what_is_no_junit_is_an_error() {
    let whole = junit(&[("A", 1.0, &wait("it runs", "1.0 of 60"))]);
    for text in ["", "words", "<html/>", &whole[..whole.len() - 20], &whole.replace("1.0 of 60", "soon")] {
        let end = read::cases(text);
        assert!(end.is_err() || end.unwrap().is_empty(), "{text}");
    }
    let missing = side_of("/no/such/file.xml").unwrap_err();
    assert!(format!("{missing:#}").contains("/no/such/file.xml"));
}

fn side_of(path: &str) -> Result<Side> {
    super::side(&Files(vec![path.into()]))
}

#[test]
fn a_person_and_a_program_are_told_the_same() {
    let before = junit(&[("Scale", 5.0, &wait("3 run", "1.0 of 60")), ("List", 1.0, "")]);
    let now = junit(&[("Scale", 7.0, &wait("3 run", "20.0 of 60"))]);
    let found = compared(&[before], &[now]);
    let (before, now) = (Files(vec!["a".into()]), Files(vec!["b".into()]));
    let (min, output) = (Duration::from_millis(500), Output::Text);
    let args = CompareArgs { before, now, factor: 3.0, min, slower_only: false, output };
    let text = tell::text(&found, &args);
    for words in ["20.0 times", "Scale: 3 run", "missing now: List", "something is slower or worse"] {
        assert!(text.contains(words), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&tell::json(&found, &args)).unwrap();
    assert_eq!(json["slower"][0]["wait"], "3 run");
    assert_eq!(
        (&json["slower"][0]["factor"], &json["missing"][0], &json["good"]),
        (&20.0.into(), &"List".into(), &false.into())
    );
}
