use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    plan::plan,
    report::{Gathered, status},
    verdict::{Ended, Verdict, verdict},
    *,
};
use crate::{
    api::{BalancedBy, CaseFailure, DURATIONS, MadeRun, Phase, Shard, is_true, reason},
    programme::children::{self, Child},
    results::{Tally, Together},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The run `r` in four shards, with these fields besides.
fn divided(change: &Value) -> E2ERun {
    let mut spec = json!({"clusterRef": {"name": "foo"}, "image": "suite:1", "shards": 4, "pendingTimeout": "1h"});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {"name": "r", "namespace": "ci", "uid": "u-r", "generation": 1, "labels": {"team": "net"}}, "spec": spec,
    }))
    .unwrap()
}

/// A shard: `r` it runs, `p` it waits, `c` it is cancelled and runs, `+` passed, `-` failed.
fn child(number: usize, stands: char) -> Child {
    let (phase, passed) = match stands {
        '+' => (Phase::Complete, Some(true)),
        '-' => (Phase::Failed, Some(false)),
        'p' => (Phase::Pending, None),
        _ => (Phase::Running, None),
    };
    Child {
        name: format!("r-{number}of4"),
        uid: format!("u{number}"),
        created: at(0),
        scheduled: None,
        phase,
        ended: passed.map(|passed| children::Ended { passed, at: at(100) }),
        cancelled: stands == 'c',
        deleting: false,
        joined: false,
        outcome: children::Outcome { message: "waits behind x".to_owned(), passed: Some(3), ..Default::default() },
    }
}

/// The shards in order, a letter each; a space for one that is not there.
fn children(stands: &str) -> Vec<Child> {
    stands.chars().zip(1..).filter(|(s, _)| *s != ' ').map(|(s, number)| child(number, s)).collect()
}

/// What is made and cancelled, by number, and how each stands: `.` not made, `p`, `r`, `+`, `-`, `x` not made any more.
fn short(plan: &Plan) -> (String, String, String) {
    let number = |name: &str| name.chars().nth(2).unwrap();
    let stands = |one: &MadeRun| match (one.phase, one.uid.is_some()) {
        (Phase::Pending, false) => '.',
        (Phase::Pending, true) => 'p',
        (Phase::Running, _) => 'r',
        (Phase::Complete, _) => '+',
        (Phase::Failed, true) => '-',
        (Phase::Failed, false) => 'x',
    };
    (
        plan.make.iter().map(|n| number(&plan.stand[*n].run)).collect(),
        plan.cancel.iter().map(|(name, _)| number(name)).collect(),
        plan.stand.iter().map(stands).collect(),
    )
}

#[test]
fn all_shards_are_made_at_once_and_each_once() {
    let seen = |stands: &str| Seen { children: children(stands), ..Seen::default() };
    let before = |stands: &str| plan("r", &divided(&json!({})).spec, &seen(stands), at(10)).stand;
    let cancel = json!({"cancel": true});
    for (what, change, seen, wanted) in [
        ("none is there", json!({}), seen(""), ("1234", "", "....")),
        ("the operator ended after it made two", json!({}), seen("rp"), ("34", "", "rp..")),
        ("all are there", json!({}), seen("rp+-"), ("", "", "rp+-")),
        ("a watch lags", json!({}), Seen { before: before("rrrr"), ..seen("rr r") }, ("", "", "rrrr")),
        (
            "one was deleted",
            json!({}),
            Seen { before: before("rrrr"), gone: BTreeSet::from(["r-3of4".to_owned()]), ..seen("rr r") },
            ("", "", "rr-r"),
        ),
        ("one that ended was", json!({}), Seen { before: before("+-rr"), ..seen("  rr") }, ("", "", "+-rr")),
        ("it is cancelled", cancel.clone(), seen("+rc"), ("", "2", "+rrx")),
        ("before anything is made", cancel, seen(""), ("", "", "xxxx")),
        ("there is time to make the others", json!({}), Seen { since: Some(at(0)), ..seen("rr") }, ("34", "", "rr..")),
        ("there is none any more", json!({}), Seen { since: Some(at(-3600)), ..seen("rr") }, ("", "12", "rrxx")),
        ("nor is there need for any", json!({}), Seen { since: Some(at(-3600)), ..seen("rrrr") }, ("", "", "rrrr")),
        ("the clock was set back", json!({}), Seen { since: Some(at(9999)), ..seen("") }, ("1234", "", "....")),
    ] {
        let plan = plan("r", &divided(&change).spec, &seen, at(10));
        let (make, cancel, stand) = wanted;
        assert_eq!(short(&plan), (make.to_owned(), cancel.to_owned(), stand.to_owned()), "{what}");
    }
    let late = Seen { since: Some(at(-3600)), ..seen("rr") };
    let stand = plan("r", &divided(&json!({})).spec, &late, at(10)).stand;
    assert_eq!(stand[3].reason.as_deref(), Some(reason::PENDING_TIMEOUT));
    assert!(stand[3].message.as_ref().unwrap().contains("spec.pendingTimeout (1h)"), "{stand:?}");
}

#[test]
fn a_shard_is_as_its_run_and_knows_which_it_is() {
    let run =
        divided(&json!({"args": ["-n", "$(TESTKIT_SHARD_INDEX)"], "timeout": "5m", "retries": {"failedCases": 1}}));
    let plan = plan("r", &run.spec, &Seen::default(), at(0));
    let shard = shard_of(&run, &plan, 1).unwrap();
    assert_eq!((shard.name_any().as_str(), shard.divided_from()), ("r-2of4", Some("u-r")));
    assert_eq!(shard.labels()[label::SHARD_OF], "r");
    assert!(!shard.labels().contains_key("team"), "what others choose runs by is of the whole of it");
    assert!(!shard.is_divided() && run.is_divided() && run.divided_from().is_none());
    let mut wanted = run.spec.clone();
    (wanted.shards, wanted.shard) = (None, Some(Shard { index: 2, total: 4 }));
    assert_eq!(shard.spec, wanted);
}

/// By what the shards divide their cases is written down before the first one is made, and no shard is told otherwise.
#[test]
fn all_shards_are_told_the_same_of_how_long_cases_took() {
    let by = |cases| BalancedBy { cases, runs: vec!["q".to_owned()] };
    let said = |run: &E2ERun, said: &Said<'_>| {
        let stand = plan("r", &run.spec, &Seen::default(), at(0)).stand;
        status(run, stand, said, at(0))
    };
    let goes = Said::Goes { waits: None, children: &[] };
    for cases in [0, 41] {
        let mut run = divided(&json!({"env": [{"name": "A", "value": "1"}]}));
        let first = |run: &E2ERun, stands: &str| {
            let seen = Seen { children: children(stands), ..Seen::default() };
            is_first(run, &plan("r", &run.spec, &seen, at(0)))
        };
        assert!(first(&run, "") && !first(&run, "r") && !first(&run, "rrrr"), "what an earlier operator made has none");
        assert_eq!(said(&run, &goes).balanced_by, None);
        run.status = Some(said(&run, &Said::Divides { by: by(cases) }));
        assert_eq!(run.status.as_ref().map(|status| status.phase), Some(Some(Phase::Pending)));
        assert!(!first(&run, ""));
        assert_eq!(said(&run, &goes).balanced_by, Some(by(cases)), "it stays");
        let plan = plan("r", &run.spec, &Seen::default(), at(0));
        let shards: Vec<_> = plan.make.iter().map(|number| shard_of(&run, &plan, *number).unwrap()).collect();
        assert_eq!(shards.len(), 4);
        for shard in &shards {
            assert_eq!(shard.spec.env, shards[0].spec.env);
            let told = shard.spec.env.iter().any(|variable| variable.name == DURATIONS);
            assert_eq!((told, shard.spec.env[0].name.as_str()), (cases > 0, "A"));
        }
        run.spec.cancel = true;
        run.status = None;
        assert!(!first(&run, ""), "nothing is made any more");
    }
}

fn tally(passed: usize, flaky: usize, failed: usize, skipped: usize) -> Tally {
    Tally { passed, flaky, failed, skipped }
}

/// A shard that ended for this reason with so many cases: passed, flaky, failed, skipped.
fn ended(why: &str, counts: (usize, usize, usize, usize)) -> Ended {
    let (passed, flaky, failed, skipped) = counts;
    let failures = (0..failed).map(|n| CaseFailure { name: format!("bad-{n}"), message: "m".to_owned() }).collect();
    Ended {
        passed: why == reason::PASSED,
        reason: why.to_owned(),
        message: format!("said {why}"),
        exit_code: Some(i64::from(![reason::PASSED, reason::NO_CASES].contains(&why))),
        counts: Some(tally(passed, flaky, failed, skipped)),
        failures,
        ..Ended::default()
    }
}

fn judged(change: &Value, shards: &[Ended], together: &Together) -> Verdict {
    let mut shards = shards.to_vec();
    for (shard, number) in shards.iter_mut().zip(1..) {
        (shard.number, shard.run) = (number, format!("r-{number}of{}", 2));
    }
    verdict(&divided(change).spec, &shards, together)
}

#[test]
fn a_run_has_passed_where_each_shard_has_or_had_nothing_to_run() {
    let good = || ended(reason::PASSED, (3, 1, 0, 2));
    let none = || ended(reason::NO_CASES, (0, 0, 0, 0));
    let skipped = || ended(reason::NO_CASES, (0, 0, 0, 2));
    let bad = || ended(reason::CASES_FAILED, (2, 0, 1, 0));
    let lost = || ended(reason::INFRASTRUCTURE, (0, 0, 0, 0));
    let no_results = || Ended { counts: None, ..ended(reason::NO_RESULTS, (0, 0, 0, 0)) };
    let cancelled = || ended(reason::CANCELLED, (1, 0, 0, 0));
    let of = |image: &str, shard: Ended| Ended { image: Some(image.to_owned()), ..shard };
    let code = |code, shard: Ended| Ended { exit_code: Some(code), ..shard };
    let pytest = json!({"retries": {"filter": {"tool": "Pytest"}}});
    let (plain, empty, cancel) = (json!({}), json!({"results": {"allowEmpty": true}}), json!({"cancel": true}));
    type Row<'a> = (&'a str, &'a Value, Vec<Ended>, &'a str, &'a str);
    let table: [Row<'_>; 25] = [
        (
            "all pass",
            &plain,
            vec![good(), good()],
            reason::PASSED,
            "6 cases passed, 2 at a second try only, 4 skipped, in 2 shards",
        ),
        ("one had none", &plain, vec![good(), none()], reason::PASSED, "in 2 shards, of which 1 had none to run"),
        ("one skipped all", &plain, vec![good(), skipped()], reason::PASSED, "4 skipped"),
        ("none had any", &plain, vec![none(), none()], reason::NO_CASES, "in any of 2 shards (0 skipped)"),
        ("all were skipped", &plain, vec![none(), skipped()], reason::NO_CASES, "(2 skipped)"),
        ("that is allowed", &empty, vec![ended(reason::PASSED, (0, 0, 0, 0))], reason::PASSED, "0 cases passed"),
        (
            "none, and it ended badly",
            &plain,
            vec![good(), code(5, none())],
            reason::NO_CASES,
            "shard 2 of 2 (r-2of2): said NoCasesRun",
        ),
        ("as pytest ends then", &pytest, vec![good(), code(5, none())], reason::PASSED, "1 had none to run"),
        ("otherwise than pytest does", &pytest, vec![good(), code(2, none())], reason::NO_CASES, "shard 2 of 2"),
        (
            "nobody knows how it ended",
            &plain,
            vec![good(), Ended { exit_code: None, ..none() }],
            reason::NO_CASES,
            "shard 2",
        ),
        ("one fails", &plain, vec![good(), bad()], reason::CASES_FAILED, "1 of 9 cases failed: bad-0"),
        ("both fail", &plain, vec![bad(), bad()], reason::CASES_FAILED, "2 of 6 cases failed: bad-0, …"),
        (
            "one is lost",
            &plain,
            vec![good(), lost()],
            reason::INFRASTRUCTURE,
            "shard 2 of 2 (r-2of2): said InfrastructureFailed",
        ),
        ("one left nothing", &plain, vec![no_results(), good()], reason::NO_RESULTS, "shard 1 of 2"),
        (
            "one fails, one is lost",
            &plain,
            vec![bad(), lost()],
            reason::CASES_FAILED,
            "; and shard 2 (InfrastructureFailed)",
        ),
        (
            "two are red",
            &plain,
            vec![lost(), no_results()],
            reason::INFRASTRUCTURE,
            "; so did not pass shard 2 (NoResults)",
        ),
        ("one had none, one is lost", &plain, vec![none(), lost()], reason::INFRASTRUCTURE, "shard 2 of 2"),
        (
            "cancelled",
            &cancel,
            vec![good(), cancelled()],
            reason::CANCELLED,
            "spec.cancel; 4 cases had passed and 0 failed",
        ),
        ("cancelled too late", &cancel, vec![good(), good()], reason::PASSED, "6 cases"),
        ("a shard was deleted", &plain, vec![good(), cancelled()], reason::CANCELLED, "shard 2 of 2"),
        (
            "which says less",
            &plain,
            vec![cancelled(), lost()],
            reason::INFRASTRUCTURE,
            "so did not pass shard 1 (Cancelled)",
        ),
        (
            "the tag moved between them",
            &plain,
            vec![of("suite@sha256:1", good()), of("suite@sha256:2", good())],
            reason::NO_RESULTS,
            "write it with its digest",
        ),
        (
            "one image",
            &plain,
            vec![of("suite@sha256:1", good()), of("suite@sha256:1", good())],
            reason::PASSED,
            "6 cases",
        ),
        ("by ids", &plain, vec![of("sha256:1", good()), of("sha256:2", good())], reason::PASSED, "6 cases"),
        (
            "its results are gone",
            &plain,
            vec![good(), Ended { lost: true, ..good() }],
            reason::NO_RESULTS,
            "those of shard 2 (r-2of2) are not there",
        ),
    ];
    for (what, spec, shards, why, words) in table {
        let got = judged(spec, &shards, &Together::default());
        assert_eq!((got.reason.as_str(), got.passed), (why, why == reason::PASSED), "{what}: {got:?}");
        assert!(got.message.contains(words), "{what}: {}", got.message);
    }
}

#[test]
fn cases_are_counted_once_and_a_problem_is_no_pass() {
    let good = ended(reason::PASSED, (4, 0, 0, 1));
    let overlap = Some("3 cases were run by several shards: a (shards 1, 2)".to_owned());
    let twice = Together { counted_again: tally(3, 0, 0, 1), overlap, ..Together::default() };
    let got = judged(&json!({}), &[good.clone(), good.clone()], &twice);
    assert_eq!((got.counts, got.passed, got.reason.as_str()), (Some(tally(5, 0, 0, 1)), false, reason::SHARDS_OVERLAP));
    assert!(got.message.contains("3 cases were") && got.message.contains("TESTKIT_SHARD_INDEX"), "{}", got.message);
    let bad = ended(reason::CASES_FAILED, (3, 0, 1, 0));
    let got = judged(&json!({}), &[good.clone(), bad.clone()], &twice);
    assert_eq!(got.reason, reason::CASES_FAILED);
    assert!(got.message.contains("; 3 cases were run by several shards"), "{}", got.message);
    let broken = Together { problems: vec!["shard 2: it breaks off".to_owned()], ..Together::default() };
    let got = judged(&json!({}), &[good.clone(), good.clone()], &broken);
    assert_eq!(got.reason, reason::NO_RESULTS);
    assert!(got.message.contains("shard 2: it breaks off"), "{}", got.message);
    // What they count less than what is told twice: never less than none.
    let more = Together { counted_again: tally(99, 0, 0, 0), ..Together::default() };
    assert_eq!(judged(&json!({}), &[good], &more).counts.unwrap().passed, 0);
    let uncounted = Ended { counts: None, ..ended(reason::IMAGE_UNAVAILABLE, (0, 0, 0, 0)) };
    assert_eq!(judged(&json!({}), &[uncounted], &Together::default()).counts, None);
    let many: Vec<_> = (0..30).map(|_| bad.clone()).collect();
    assert_eq!(judged(&json!({}), &many, &Together::default()).failures.len(), 1, "a name is told once");
}

#[test]
fn each_state_is_said_as_kstatus_reads_it() {
    let run = divided(&json!({}));
    let stand =
        |stands: &str| plan("r", &run.spec, &Seen { children: children(stands), ..Seen::default() }, at(0)).stand;
    let said = |stands: &str, said: &Said<'_>| status(&run, stand(stands), said, at(500));
    let waiting = children("pppp");
    for (stands, waits, phase, why, words) in [
        ("", None, Phase::Pending, reason::RUNNING, "4 wait"),
        ("pppp", None, Phase::Pending, reason::RUNNING, "4 wait: r-1of4 waits behind x"),
        ("rp+-", None, Phase::Running, reason::RUNNING, "of 4 shards 1 passed, 1 did not, 1 run, 1 wait"),
        ("rr", Some("runs cannot be made: quota"), Phase::Running, reason::RUN_NOT_MADE, "quota"),
    ] {
        let goes = Said::Goes { waits: waits.map(str::to_owned), children: &waiting };
        let got = said(stands, &goes);
        assert_eq!(got.phase, Some(phase), "{stands}");
        assert!(got.message.as_ref().unwrap().contains(words), "{stands}: {got:?}");
        assert!(got.conditions.iter().all(|c| c.reason == why) && is_true(&got.conditions, type_::RECONCILING));
        assert_eq!((got.shards.len(), got.cluster.as_deref(), got.finished_at), (4, Some("foo"), None));
        assert_eq!(goes.again(), None);
    }
    let unkept = Said::Unkept { words: "no room".to_owned(), again: std::time::Duration::from_secs(15) };
    let got = said("++++", &unkept);
    assert_eq!((got.phase, unkept.again().is_some()), (Some(Phase::Running), true));
    assert!(
        is_true(&got.conditions, type_::RECONCILING) && got.conditions.iter().all(|c| c.reason == reason::NOT_KEPT)
    );

    let of = |started: i64, finished: i64, image: &str| {
        serde_json::from_value(
            json!({"startedAt": at(started).to_string(), "finishedAt": at(finished).to_string(), "imageID": image}),
        )
        .unwrap()
    };
    for (why, passed, images, image) in
        [(reason::PASSED, true, ["i", "i"], Some("i")), (reason::CASES_FAILED, false, ["i", "j"], None)]
    {
        let verdict = Verdict {
            passed,
            reason: why.to_owned(),
            message: "m".to_owned(),
            counts: Some(tally(4, 1, 0, 2)),
            failures: vec![],
        };
        let mut end = Gathered::of(&[of(100, 160, images[0]), of(90, 190, images[1])], verdict, at(400));
        end.results = Some("r-results".to_owned());
        let got = said("++++", &Said::Ended(Box::new(end)));
        let (holds, other) = if passed { (type_::COMPLETE, type_::FAILED) } else { (type_::FAILED, type_::COMPLETE) };
        assert!(is_true(&got.conditions, holds) && !is_true(&got.conditions, other));
        assert_eq!(
            (is_true(&got.conditions, type_::READY), is_true(&got.conditions, type_::STALLED)),
            (passed, !passed)
        );
        assert_eq!((got.passed, got.flaky, got.failed, got.skipped), (Some(4), Some(1), Some(0), Some(2)));
        assert_eq!((got.duration.as_deref(), got.image_id.as_deref()), (Some("1m40s"), image));
        assert_eq!(got.results.as_deref(), Some("r-results"));
    }
}

#[test]
fn the_status_of_many_shards_is_small_enough() {
    let one: MadeRun = serde_json::from_value(json!({
        "run": "n".repeat(63), "uid": "u".repeat(36), "phase": "Failed", "reason": reason::PENDING_TIMEOUT, "message": "x".repeat(200),
        "passed": 1000, "failed": 1000, "flaky": 1000, "skipped": 1000,
    }))
    .unwrap();
    let got = status(&divided(&json!({})), vec![one; 32], &Said::Goes { waits: None, children: &[] }, at(0));
    let size = serde_json::to_string(&got).unwrap().len();
    assert!(size < 20_000, "{size} bytes");
}
