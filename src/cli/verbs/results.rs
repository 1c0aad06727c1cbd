//! `results`: the cases of a run, from what was kept of it.

use kube::ResourceExt;

use crate::cli::{
    Context,
    failure::Failure,
    kubernetes::{Kubernetes, kept},
    terminal::{Cell, Printer, Structured, Style, Table},
};
use crate::{
    api::{AttemptOutcome, E2ERun, Quarantined, text},
    results::{Case, Outcome, Verdict, excused},
};

/// Print the cases of a run, also long after the container and the cluster are gone
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit results nightly-1                     a table, failed cases last
  kubectl testkit results nightly-1 --attempt 1         before the cases that failed were run again
  kubectl testkit results nightly-1 -o junit > r.xml    as the tests wrote them, and failures in quarantine as skipped")]
pub struct Args {
    /// The run
    #[arg(add = crate::cli::shell::complete::runs())]
    run: String,
    /// Those of this attempt alone, counted from 1, of a run that was retried
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    output: Format,
    /// With -o junit: as it is kept, with failures in quarantine as failures
    #[arg(long)]
    raw: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Format {
    /// A line a case, and what the failed ones said
    Table,
    /// The JUnit XML
    Junit,
    /// Counts and cases
    Json,
}

/// Prints them.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let run = kubernetes.run(&args.run).await?;
    let junit = match args.attempt {
        None => junit(&kubernetes, &run).await?,
        Some(number) => {
            kept::of_attempt(&kubernetes, &run, number, own_keys(&run, number)).await?.ok_or_else(|| {
                Failure::new(format!(
                    "attempt {number} of run {:?} left no results of its own, or they had no room",
                    args.run
                ))
            })?
        }
    };
    let printer = &context.printer;
    if matches!(args.output, Format::Junit) {
        let junit = if args.raw { junit } else { for_others(&kubernetes, &run, junit).await? };
        return printer.bytes(&junit);
    }
    let quarantine = kept::quarantine(&kubernetes, &run).await?;
    let outcome = Outcome::of_kept(&junit);
    for problem in &outcome.problems {
        printer.warn(problem);
    }
    match args.output {
        Format::Json => printer.object(Structured::Json, &as_json(&run, &outcome, &quarantine)),
        _ => printer.bytes(table(printer, &outcome, &quarantine).as_bytes()),
    }
}

/// Where an attempt's own results are: after one that told of the tests, the others are those of all together.
fn own_keys(run: &E2ERun, number: u32) -> &'static [&'static str] {
    let attempts = run.status.as_ref().map_or(&[][..], |status| &status.attempts);
    let told = attempts.iter().any(|a| a.number < number && a.outcome == AttemptOutcome::Test);
    if told { &[kept::OWN_JUNIT] } else { &[kept::JUNIT] }
}

/// The run's JUnit as it was kept.
pub(in crate::cli) async fn junit(kubernetes: &Kubernetes, run: &E2ERun) -> Result<Vec<u8>, Failure> {
    let name = run.name_any();
    if let Some(junit) = kept::file(kubernetes, run, kept::JUNIT).await? {
        return Ok(junit);
    }
    let status = run.status.clone().unwrap_or_default();
    let why = kept::message(run);
    Err(if status.has_ended() {
        Failure::new(format!("run {name:?} left no results: {why}")).help(format!("kubectl testkit logs {name}"))
    } else {
        Failure::new(format!("run {name:?} has no results yet: {why}"))
            .help(format!("kubectl wait --for=jsonpath='{{.status.results}}' e2erun/{name} --timeout=30m"))
    })
}

/// The JUnit as others are to read it: as the run's verdict has it, so that failures in quarantine are no failures.
pub(in crate::cli) async fn for_others(
    kubernetes: &Kubernetes,
    run: &E2ERun,
    junit: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    let quarantine = kept::quarantine(kubernetes, run).await?;
    let words = |case: &Case| by(&quarantine, case).map(|item| format!("quarantined ({})", whose(item)));
    Ok(excused(&junit, words).unwrap_or(junit))
}

/// What of a quarantine a failure does not count by.
fn by<'a>(quarantine: &'a [Quarantined], case: &Case) -> Option<&'a Quarantined> {
    matches!(case.verdict, Verdict::Failed(_)).then(|| Quarantined::of(quarantine, case.names()?)).flatten()
}

fn whose(item: &Quarantined) -> String {
    let reason = item.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", text::line(reason, 256)));
    format!("owner {}, until {}{reason}", item.owner, item.until)
}

/// A line a case, then what the failed ones said.
fn table(printer: &Printer, outcome: &Outcome, quarantine: &[Quarantined]) -> String {
    let rank = |case: &Case| match &case.verdict {
        Verdict::Skipped => 0,
        Verdict::Passed => 1,
        Verdict::Flaky(_) => 2,
        Verdict::Failed(_) if by(quarantine, case).is_some() => 3,
        Verdict::Failed(_) => 4,
    };
    let mut cases: Vec<_> = outcome.cases.iter().collect();
    cases.sort_by_key(|case| rank(case));
    let mut table = Table::new(&["RESULT", "CASE"]);
    for case in &cases {
        let (style, word) = match case.verdict {
            Verdict::Passed => (Style::Good, "passed"),
            Verdict::Flaky(_) => (Style::Good, "flaky"),
            Verdict::Failed(_) if by(quarantine, case).is_some() => (Style::Attention, "quarantined"),
            Verdict::Failed(_) => (Style::Bad, "failed"),
            Verdict::Skipped => (Style::Dim, "skipped"),
        };
        table.row(vec![Cell::styled(style, word), case.name.clone().into()]);
    }
    let mut text = table.render(printer);
    if outcome.left_out.total() > 0 {
        text.push_str(&format!("and {} more, which are not listed\n", outcome.left_out.total()));
    }
    for case in cases {
        let Verdict::Failed(message) = &case.verdict else { continue };
        let beside = by(quarantine, case).map_or_else(String::new, |item| format!(" (quarantined, {})", whose(item)));
        text.push_str(&format!("\n{}{beside}\n", printer.paint(Style::Strong, &case.name)));
        for line in message.lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

fn as_json(run: &E2ERun, outcome: &Outcome, quarantine: &[Quarantined]) -> serde_json::Value {
    let excused = outcome.cases.iter().filter(|case| by(quarantine, case).is_some()).count();
    let cases: Vec<_> = outcome
        .cases
        .iter()
        .map(|case| match &case.verdict {
            Verdict::Passed => serde_json::json!({"name": case.name, "result": "passed"}),
            Verdict::Skipped => serde_json::json!({"name": case.name, "result": "skipped"}),
            Verdict::Flaky(message) => serde_json::json!({"name": case.name, "result": "flaky", "message": message}),
            Verdict::Failed(message) => match by(quarantine, case) {
                Some(item) => serde_json::json!({
                    "name": case.name, "result": "quarantined", "message": message, "owner": item.owner, "until": item.until,
                }),
                None => serde_json::json!({"name": case.name, "result": "failed", "message": message}),
            },
        })
        .collect();
    serde_json::json!({
        "run": run.name_any(),
        "namespace": run.namespace(),
        "passed": outcome.passed(),
        "failed": outcome.failed() - excused,
        "quarantined": excused,
        "flaky": outcome.flaky(),
        "skipped": outcome.skipped(),
        "attempts": run.status.as_ref().map_or(&[][..], |status| &status.attempts),
        "cases": cases,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUNIT: &[u8] = br#"<testsuite name="s"><testcase name="good"/><testcase classname="c" name="known"><failure message="again"/></testcase>
        <testcase name="new"><failure message="oh no"/></testcase></testsuite>"#;

    fn quarantine() -> Vec<Quarantined> {
        let item = |name: &str| Quarantined {
            name: name.into(),
            owner: "net-team".into(),
            until: "2026-12-24".into(),
            ..Quarantined::default()
        };
        vec![item("c.known"), item("good")]
    }

    #[test]
    fn what_failed_in_quarantine_is_told_apart() {
        let outcome = Outcome::of_kept(JUNIT);
        let text = table(&Printer::plain(), &outcome, &quarantine());
        assert_eq!(
            text,
            "RESULT        CASE\npassed        good\nquarantined   c.known\nfailed        new\n\n\
             c.known (quarantined, owner net-team, until 2026-12-24)\n  again\n\nnew\n  oh no\n"
        );
        assert!(!table(&Printer::plain(), &outcome, &[]).contains("quarantined"));
    }

    #[test]
    fn counts_are_those_of_the_verdict() {
        let run: E2ERun =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "a"}, "spec": {"image": "e2e"}})).unwrap();
        let json = as_json(&run, &Outcome::of_kept(JUNIT), &quarantine());
        assert_eq!((&json["passed"], &json["failed"], &json["quarantined"]), (&1.into(), &1.into(), &1.into()));
        assert_eq!(json["cases"][1]["result"], "quarantined");
        assert_eq!((&json["cases"][1]["owner"], &json["cases"][2]["result"]), (&"net-team".into(), &"failed".into()));
    }
}
