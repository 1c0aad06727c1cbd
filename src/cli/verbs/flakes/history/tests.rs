use std::collections::BTreeMap;

use super::*;

fn past(name: &str, image: &str, ended: i64) -> Past {
    Past {
        namespace: "ci".into(),
        name: name.into(),
        uid: format!("u-{name}"),
        suite: "e2e".into(),
        image: Some(image.to_owned()).filter(|image| !image.is_empty()),
        ended: Timestamp::from_second(ended).unwrap(),
        results: None,
        counted: 0,
        quarantine: vec![],
    }
}

/// A suite whose runs have these images, a letter each (`?` for one that is not known).
fn suite(images: &str) -> Suite {
    let of = |(at, image): (usize, char)| {
        past(&format!("r{at}"), image.to_string().trim_matches('?'), i64::try_from(at).unwrap() * 60)
    };
    Suite::of(images.chars().enumerate().map(of).collect(), 0)
}

/// One case in each of these runs, by its mark.
fn told(images: &str, marks: &str) -> Suite {
    let mut suite = suite(images);
    for (run, mark) in marks.chars().enumerate() {
        suite.add(run, &outcome(&[("a", mark)]));
    }
    suite.finish();
    suite
}

fn outcome(cases: &[(&str, char)]) -> Outcome {
    let case = |(name, mark): &(&str, char)| match mark {
        '-' => String::new(),
        mark => {
            let inner = match mark {
                'F' => "<failure/>",
                '~' => "<flakyFailure/>",
                's' => "<skipped/>",
                _ => "",
            };
            format!(r#"<testcase classname="c" name="{name}" time="2.5">{inner}</testcase>"#)
        }
    };
    let xml = format!(r#"<testsuite name="s">{}</testsuite>"#, cases.iter().map(case).collect::<String>());
    Outcome::of_files(&BTreeMap::from([("a.xml".to_owned(), xml.into_bytes())]))
}

#[test]
fn what_is_flaky_is_told_from_what_is_broken_and_from_what_was() {
    use State::{Broken, Fixed, Flaky};
    // The images of the runs, what became of the case in each, and what it is.
    let table = [
        ("AAAA", "....", None),
        ("AAAA", ".s-.", None),
        ("AAAA", "ssss", None),
        ("AAAA", ".F..", Some(Flaky)),
        ("AAAA", "F...", Some(Flaky)),
        ("AAAA", "..F.", Some(Flaky)),
        ("AAAA", "...F", Some(Flaky)),
        ("ABCD", "..~.", Some(Flaky)),
        ("ABCD", "...~", Some(Flaky)),
        ("ABBC", ".F..", Some(Flaky)),
        ("AAAA", ".FF.", Some(Flaky)),
        ("AAAA", "F.FF", Some(Flaky)),
        ("AAAA", ".F~F", Some(Flaky)),
        ("AAAA", "F-s.", Some(Flaky)),
        // Each run since one of them fails.
        ("ABCD", "...F", Some(Broken(3))),
        ("AABB", "..FF", Some(Broken(2))),
        ("AAAA", "..FF", Some(Broken(2))),
        ("AAAA", "FFFF", Some(Broken(0))),
        ("AAAA", "-F-s", Some(Broken(1))),
        ("AAAA", ".FsF", Some(Broken(1))),
        ("AAAAAA", "F.F.FF", Some(Flaky)),
        ("AAAAAA", "F..FFF", Some(Broken(3))),
        ("ABBBBB", "~..FFF", Some(Broken(3))),
        ("????", "...F", Some(Broken(3))),
        // It failed with images that are gone.
        ("ABCD", ".F..", Some(Fixed(2))),
        ("AABB", "FF..", Some(Fixed(2))),
        ("AABB", "FFs.", Some(Fixed(3))),
        // Nobody knows that these are the same image.
        ("????", ".F..", Some(Fixed(2))),
    ];
    for (images, marks, wanted) in table {
        let suite = told(images, marks);
        let got = suite.stories().next().map(|story| story.state);
        assert_eq!(got, wanted, "{images} {marks}");
    }
}

#[test]
fn a_story_has_counts_marks_and_the_run_in_which_it_failed_last() {
    let suite = told("AAAAA", "~.F-s");
    let story = suite.stories().next().unwrap();
    let counts = Mark::ALL.map(|(mark, ..)| story.count(mark));
    assert_eq!(counts, [1, 1, 1, 1], "passed, failed, flaky, skipped");
    assert_eq!((story.marks(20), story.marks(3)), ("~.F-s".to_owned(), "F-s".to_owned()));
    assert_eq!((story.last_failed, story.run(2).unwrap().name.as_str()), (2, "r2"));
    assert_eq!((story.median_seconds(), story.case.name.as_str()), (Some(2.5), "c.a"));
}

#[test]
fn runs_are_read_in_any_order_and_those_without_results_have_no_mark() {
    let mut suite = suite("AAAA");
    for (run, mark) in [(3, '.'), (0, 'F'), (2, '.')] {
        suite.add(run, &outcome(&[("a", mark)]));
    }
    suite.finish();
    assert_eq!((suite.stories().next().unwrap().marks(20).as_str(), suite.read()), ("F..", 3));
}

#[test]
fn of_several_cases_of_one_name_the_worst_counts() {
    for (cases, wanted) in
        [([("a", '.'), ("a", 's')], None), ([("a", 's'), ("a", '~')], Some("~")), ([("a", 'F'), ("a", 's')], Some("F"))]
    {
        let mut suite = suite("A");
        suite.add(0, &outcome(&cases));
        suite.finish();
        assert_eq!(suite.stories().next().map(|story| story.marks(9)).as_deref(), wanted, "{cases:?}");
    }
}

#[test]
fn the_worst_is_first() {
    let mut suite = suite("ABCCC");
    let columns = [("fixed", "FF..."), ("rare", "....F"), ("often", "..F.F"), ("flaky", "...~."), ("down", "..FFF")];
    for run in 0..5 {
        let cases: Vec<_> = columns.iter().map(|(name, marks)| (*name, marks.chars().nth(run).unwrap())).collect();
        suite.add(run, &outcome(&cases));
    }
    suite.finish();
    let mut stories: Vec<_> = suite.stories().collect();
    worst_first(&mut stories);
    let names: Vec<_> = stories.iter().map(|story| story.case.name.as_str()).collect();
    assert_eq!(names, ["c.down", "c.often", "c.rare", "c.flaky", "c.fixed"]);
}

#[test]
fn the_quarantine_of_the_last_run_is_told() {
    let item = |until: &str| Quarantined { name: "c.a".into(), until: until.into(), ..Quarantined::default() };
    let mut suite = suite("AA");
    suite.runs[0].quarantine = vec![item("2026-01-01")];
    suite.runs[1].quarantine = vec![item("2026-02-01"), item("2026-03-01")];
    suite.add(0, &outcome(&[("a", 'F'), ("b", 'F')]));
    suite.finish();
    let mut all: Vec<_> =
        suite.stories().map(|s| (s.case.name.clone(), s.quarantine().map(|q| q.until.clone()))).collect();
    all.sort();
    assert_eq!(all, [("c.a".to_owned(), Some("2026-03-01".to_owned())), ("c.b".to_owned(), None)]);
}
