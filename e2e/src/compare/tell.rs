//! What was found, for a person and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Found, Seen, Slower, factor, read::Verdict};
use crate::cli::CompareArgs;

#[expect(clippy::print_stdout, reason = "this is what it is for")]
pub(super) fn say(text: &str) {
    println!("{}", text.trim_end());
}

pub(super) fn text(found: &Found, args: &CompareArgs) -> String {
    let mut text = String::new();
    // Writing into memory does not fail.
    let _ = write(&mut text, found, args);
    text
}

fn write(text: &mut String, found: &Found, args: &CompareArgs) -> std::fmt::Result {
    let side = |at: usize| format!("{} in {}", counted(found.cases[at], "case"), counted(found.rounds[at], "round"));
    writeln!(text, "before: {}; now: {}", side(0), side(1))?;
    if !found.slower.is_empty() {
        writeln!(text, "slower {} times or more, by {:?} or more:", args.factor, args.min)?;
    }
    for slower in &found.slower {
        let Slower { case, wait, before, now } = slower;
        let what = wait.as_deref().unwrap_or("the whole case");
        writeln!(text, "{:8.1} times  {before:8.2} s -> {now:8.2} s  {case}: {what}", slower.factor())?;
    }
    for (title, changed) in [("worse", &found.worse), ("better", &found.better)] {
        for (case, before, now) in changed {
            writeln!(text, "{title}: {case} {}, now {}", verdict(*before), verdict(*now))?;
        }
    }
    for (title, cases) in [("missing now", &found.missing), ("new", &found.new)] {
        if !cases.is_empty() {
            writeln!(text, "{title}: {}", cases.join(", "))?;
        }
    }
    let [before, now] = found.all_waits;
    let times = factor(before, now);
    let waits = counted(found.waits_compared, "wait");
    writeln!(text, "{waits} of both together: {before:.1} s, now {now:.1} s ({times:.1} times)")?;
    let [only_before, only_now] = found.waits_of_one;
    if only_before + only_now > 0 {
        writeln!(text, "not compared: {} of before only, {only_now} of now only", counted(only_before, "wait"))?;
    }
    if found.waits_compared == 0 {
        writeln!(text, "no waits were compared: one of the sides tells of none")?;
    }
    let end = if found.is_good() { "nothing is slower by that or worse" } else { "something is slower or worse" };
    writeln!(text, "{end}")
}

pub(super) fn json(found: &Found, args: &CompareArgs) -> String {
    let changed = |all: &[(String, Seen, Seen)]| -> Vec<Value> {
        let one = |(case, before, now): &(String, Seen, Seen)| json!({ "case": case, "before": verdict(*before), "now": verdict(*now) });
        all.iter().map(one).collect()
    };
    let slower = |it: &Slower| {
        let Slower { case, wait, before, now } = it;
        json!({ "case": case, "wait": wait, "before": rounded(*before), "now": rounded(*now), "factor": rounded(it.factor()) })
    };
    let [before, now] = found.all_waits;
    let all = json!({
        "factor": args.factor,
        "min": args.min.as_secs_f64(),
        "rounds": { "before": found.rounds[0], "now": found.rounds[1] },
        "cases": { "before": found.cases[0], "now": found.cases[1] },
        "slower": found.slower.iter().map(slower).collect::<Vec<_>>(),
        "worse": changed(&found.worse),
        "better": changed(&found.better),
        "missing": found.missing,
        "new": found.new,
        "waits": {
            "compared": found.waits_compared,
            "before": rounded(before),
            "now": rounded(now),
            "factor": rounded(factor(before, now)),
            "slower": found.all_slower,
            "onlyBefore": found.waits_of_one[0],
            "onlyNow": found.waits_of_one[1],
        },
        "good": found.is_good(),
    });
    format!("{all:#}")
}

fn verdict(seen: Seen) -> String {
    let word = match seen.worst {
        Verdict::Passed => "passed",
        Verdict::Skipped => "skipped",
        Verdict::Failed => "failed",
    };
    match seen {
        Seen { times, of, .. } if times < of => format!("{word} in {times} of {of} rounds"),
        _ => word.to_owned(),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// To the millisecond: the files know no more.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
