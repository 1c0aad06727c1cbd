use proptest::prelude::*;

use super::*;

fn host(slot: &str) -> HostId {
    HostId { cluster: "u".into(), slot: slot.into(), incarnation: 0 }
}

/// `f`: cases failed that may be run again; `n`: cases failed that may not; `p`: passed; `l`: lost; `c`: wrong.
fn attempt(of: char) -> Attempt {
    let (outcome, why) = match of {
        'f' | 'n' => (AttemptOutcome::Test, reason::CASES_FAILED),
        'p' => (AttemptOutcome::Test, reason::PASSED),
        'l' => (AttemptOutcome::Infrastructure, reason::INFRASTRUCTURE),
        _ => (AttemptOutcome::Configuration, reason::INVALID_SPEC),
    };
    let counts = (outcome == AttemptOutcome::Test).then_some(Counts {
        passed: 3,
        failed: 1,
        skipped: 0,
        flaky: 0,
        quarantined: 0,
    });
    Attempt {
        outcome,
        reason: why.to_owned(),
        message: format!("it is {of}"),
        host: Some(host("m0")),
        container: Some("c1".to_owned()),
        image: None,
        ran: Some((Timestamp::from_second(1000).unwrap(), 5_000)),
        counts,
        failed: if of == 'f' { vec!["a".to_owned()] } else { vec![] },
        results: (outcome == AttemptOutcome::Test).then(|| "nightly-results".to_owned()),
    }
}

/// Attempts in the order in which they ended, as they are written down.
fn attempts(of: &str) -> Vec<Attempt> {
    of.chars().fold(Vec::new(), |all, of| with(&all, attempt(of)))
}

fn policy(failed_cases: u32, infrastructure: u32) -> Retries {
    Retries { failed_cases, infrastructure, filter: None }
}

const ALL: Chances = Chances { time: true, wanted: true, elsewhere: true };

#[test]
fn what_follows_on_the_attempts() {
    use Next::{Elsewhere, FailedCases, Verdict};
    // How often failed cases and lost machines are tried again, what has ended so far, and what follows.
    let table = [
        (0, 0, "", Verdict),
        (0, 0, "f", Verdict),
        (0, 0, "l", Verdict),
        (0, 1, "f", Verdict),
        (2, 0, "l", Verdict),
        (2, 1, "p", Verdict),
        (2, 1, "n", Verdict),
        (5, 5, "c", Verdict),
        (1, 1, "f", FailedCases),
        (1, 1, "ff", Verdict),
        (2, 1, "ff", FailedCases),
        (2, 1, "fff", Verdict),
        (1, 1, "l", Elsewhere),
        (1, 1, "ll", Verdict),
        (1, 2, "ll", Elsewhere),
        // Each has a count of its own.
        (1, 1, "lf", FailedCases),
        (1, 1, "fl", Elsewhere),
        (1, 1, "flf", Verdict),
        (2, 1, "flf", FailedCases),
        (2, 1, "flfl", Verdict),
        (1, 1, "flp", Verdict),
        (1, 1, "fc", Verdict),
    ];
    for (cases, machines, so_far, wanted) in table {
        let all = attempts(so_far);
        assert_eq!(next(&policy(cases, machines), &all, ALL), wanted, "{cases} {machines} {so_far}");
        for chances in [Chances { time: false, ..ALL }, Chances { wanted: false, ..ALL }] {
            assert_eq!(next(&policy(cases, machines), &all, chances), Verdict, "{so_far} {chances:?}");
        }
        let here = next(&policy(cases, machines), &all, Chances { elsewhere: false, ..ALL });
        assert_eq!(here, if wanted == Elsewhere { Verdict } else { wanted }, "{so_far}: nowhere else");
    }
}

#[test]
fn by_default_no_case_is_run_twice_and_a_machine_is_lost_once() {
    assert_eq!(next(&Retries::default(), &attempts("f"), ALL), Next::Verdict);
    assert_eq!(next(&Retries::default(), &attempts("l"), ALL), Next::Elsewhere);
    assert_eq!(next(&Retries::default(), &attempts("ll"), ALL), Next::Verdict);
}

#[test]
fn a_retry_runs_what_has_failed_so_far() {
    let names = |of: &str| only(&attempts(of)).map(<[String]>::to_vec);
    let a = Some(vec!["a".to_owned()]);
    for (so_far, wanted) in [("", None), ("l", None), ("f", a.clone()), ("fl", a.clone()), ("flf", a.clone())] {
        assert_eq!(names(so_far), wanted, "{so_far}");
    }
    // They are written down once, however many attempts there are.
    assert_eq!(attempts("flfl").iter().filter(|a| !a.failed.is_empty()).count(), 1);
}

fn end(why: &'static str, own: Option<&'static str>) -> End {
    End {
        complete: why == reason::PASSED,
        own: own.map(|own| (own, format!("own {own}"))),
        counts: own.map(|_| Counts { passed: 4, failed: 0, skipped: 0, flaky: 0, quarantined: 0 }),
        ran: Some((Timestamp::from_second(1100).unwrap(), Duration::from_secs(10))),
        results: Some("nightly-results-2".into()),
        ..End::without_container(why, "the end".into())
    }
}

#[test]
fn the_end_of_a_run_is_that_of_its_last_attempt_with_what_the_others_said() {
    use reason::{CANCELLED, CASES_FAILED, CONTAINER_FAILED, INFRASTRUCTURE, NO_RESULTS, PASSED, PENDING_TIMEOUT};
    // What ended before, the last end and what that attempt says by itself; the reason, whether its own results are those of the run, and words.
    let table = [
        ("f", PASSED, Some(PASSED), PASSED, true, "the end (attempt 2)"),
        ("f", CASES_FAILED, Some(CASES_FAILED), CASES_FAILED, true, "the end (attempt 2)"),
        ("f", CASES_FAILED, Some(PASSED), CASES_FAILED, true, "does not show"),
        ("f", CASES_FAILED, Some(NO_RESULTS), CASES_FAILED, true, "own NoResults"),
        ("f", CASES_FAILED, Some(CONTAINER_FAILED), CASES_FAILED, true, "own ContainerFailed"),
        ("f", INFRASTRUCTURE, None, CASES_FAILED, false, "it is f; then attempt 2: the end"),
        ("fl", PENDING_TIMEOUT, None, CASES_FAILED, false, "it is f; then attempt 3: the end"),
        ("f", CANCELLED, None, CANCELLED, false, "it is f; then attempt 2: the end"),
        ("l", INFRASTRUCTURE, None, INFRASTRUCTURE, true, "the end (attempt 2)"),
        ("l", PENDING_TIMEOUT, None, INFRASTRUCTURE, true, "it is l; attempt 2 did not begin: the end"),
        ("l", PASSED, None, PASSED, true, "the end (attempt 2)"),
    ];
    for (before, why, own, wanted, of_last, words) in table {
        let got = {
            let end = end(why, own);
            conclude(&attempts(before), Attempt::of(&end, Some(host("m1"))), end)
        };
        assert_eq!((got.reason, got.complete), (wanted, wanted == PASSED), "{before} {why} {own:?}");
        assert!(got.message.contains(words), "{before} {why} {own:?}: {}", got.message);
        let results = if of_last { "nightly-results-2" } else { "nightly-results" };
        assert_eq!(got.results.as_deref(), Some(results), "{before} {why} {own:?}");
        assert_eq!(got.attempts.len(), before.len() + 1);
        let from_first_to_last = (Timestamp::from_second(1000).unwrap(), Duration::from_secs(110));
        assert_eq!(got.ran, Some(from_first_to_last), "{before} {why}");
        if !of_last {
            assert_eq!(got.counts.map(|c| c.failed), Some(1));
            assert_eq!(got.failures.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["a"]);
        }
    }
}

#[test]
fn a_run_of_one_attempt_ends_as_it_did() {
    let plain = end(reason::CASES_FAILED, None);
    assert_eq!(conclude(&[], Attempt::of(&plain, Some(host("m0"))), plain.clone()), plain);
    let refused = End { again: Some(Err("nothing tells how".into())), ..plain };
    let why = conclude(&[], Attempt::of(&refused, None), refused);
    assert!(why.message.ends_with("They are not run again: nothing tells how"), "{}", why.message);
}

#[test]
fn what_is_written_of_an_attempt_is_read_and_bounded() {
    let long =
        End { again: Some(Ok(vec!["a".into()])), ..End::without_container(reason::CASES_FAILED, "x".repeat(5000)) };
    let one = Attempt::of(&long, Some(host("m0")));
    assert!(one.message.chars().count() <= WORDS && one.failed == ["a"]);
    let all = with(&attempts("lf"), one);
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Attempt>>(&text).unwrap(), all);
    // Eleven attempts at most, and names of 8 KiB: far from the 256 KiB of an object's annotations.
    assert!(text.len() / all.len() < 1024, "{text}");
}

proptest! {
    #[test]
    fn attempts_are_few_and_nothing_but_a_pass_is_a_pass(
        failed_cases in 0..6u32, infrastructure in 0..6u32, kinds in prop::collection::vec(prop::sample::select(vec!['f', 'n', 'p', 'l', 'c']), 30),
    ) {
        let policy = policy(failed_cases, infrastructure);
        let mut so_far = Vec::new();
        for of in kinds {
            so_far = with(&so_far, attempt(of));
            if next(&policy, &so_far, ALL) == Next::Verdict { break; }
            prop_assert!(of == 'f' || of == 'l');
        }
        prop_assert!(so_far.len() <= 1 + failed_cases as usize + infrastructure as usize);
        let (last, before) = so_far.split_last().unwrap();
        let why = match last.outcome {
            AttemptOutcome::Infrastructure => reason::INFRASTRUCTURE,
            AttemptOutcome::Configuration => reason::INVALID_SPEC,
            AttemptOutcome::Test if last.reason == reason::PASSED => reason::PASSED,
            AttemptOutcome::Test => reason::CASES_FAILED,
        };
        let end = end(why, None);
        let concluded = conclude(before, Attempt::of(&end, None), end);
        prop_assert_eq!(concluded.complete, concluded.reason == reason::PASSED);
        if why != reason::PASSED { prop_assert!(!concluded.complete); }
    }
}

#[test]
fn what_was_excused_before_excuses_no_exit_code_of_a_later_attempt() {
    use crate::run::verdict::all_of_it;
    let both = |own| all_of_it(end(reason::PASSED, Some(own)));
    assert!(both(reason::PASSED).complete);
    let end = both(reason::CONTAINER_FAILED);
    assert_eq!((end.complete, end.reason), (false, reason::CONTAINER_FAILED));
    assert!(end.message.contains("ContainerFailed"), "{}", end.message);
}
