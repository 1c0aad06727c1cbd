//! A run that is made and followed to its end, new or made again.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{annotate::Annotate, cancel};
use crate::{
    api::{E2ERun, E2ERunStatus, is_true, type_},
    cli::{
        Context,
        failure::{Failure, exit},
        kubernetes::{
            Kubernetes,
            making::{self, Making},
        },
        output,
        terminal::Style,
        verbs::{
            logs::{self, Log},
            results,
        },
    },
};

/// Exit code 1 is kept for cases that failed; what is not allowed, signals and closed pipes keep theirs.
pub(in crate::cli) fn could_not_run(failure: Failure) -> Failure {
    match failure.code() {
        exit::FAILED if failure.is_usage() => failure.exit(exit::USAGE),
        exit::FAILED => failure.exit(exit::COULD_NOT_RUN),
        _ => failure,
    }
}

/// How to go about a run, new or made again.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct How {
    /// Write the results as JUnit XML to this file
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    junit: Option<PathBuf>,
    /// Make the run and do not wait for it
    #[arg(long, conflicts_with = "junit")]
    detach: bool,
    /// Also say what failed as a CI system shows it
    #[arg(long, value_enum, value_name = "SYSTEM", conflicts_with_all = ["output", "detach"])]
    annotate: Option<Annotate>,
    #[command(flatten)]
    pub making: Making,
}

/// Makes the run and follows it to its end; gives the exit code that says what it found.
pub(in crate::cli) async fn make_and_follow(
    context: &Context,
    kubernetes: &Kubernetes,
    object: &mut Value,
    how: &How,
) -> Result<u8, Failure> {
    let printer = &context.printer;
    let made = making::make(printer, kubernetes, "e2eruns", object, &how.making).await?;
    let Some(name) = made else { return Ok(0) };
    let format = how.making.output.as_ref();
    if how.detach {
        match format {
            Some(format) => format.print(printer, &output::value(&kubernetes.run(&name).await?)?, false)?,
            None => printer.line(format_args!("e2erun.testkit.dev/{name} created"))?,
        }
        return Ok(0);
    }
    printer.note(format_args!("e2erun.testkit.dev/{name} created"));
    let token = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let fence = how.annotate.map(|system| system.fence(&token)).unwrap_or_default();
    let ended = async {
        match format {
            None => logs::to_the_end(context, kubernetes, &name, Log::WherePossible).await,
            Some(_) => logs::ended(context, kubernetes, &name).await,
        }
    };
    printer.bytes(fence.begin.as_bytes())?;
    let ended = cancel::on_signals(context, kubernetes, &name, ended).await;
    printer.bytes(fence.end.as_bytes())?;
    let run = ended?;
    if let Some(format) = format {
        format.print(printer, &output::value(&run)?, false)?;
    }
    let status = run.status.clone().unwrap_or_default();
    let verdict = verdict(context, &name, &status, how.annotate);
    if let Some(system) = how.annotate {
        let text = match &verdict {
            Err(failure) => system.no_verdict(&name, failure.what()),
            Ok(_) => system.failures(&name, &status.failures, jiff::Timestamp::now()),
        };
        printer.bytes(text.as_bytes())?;
    }
    let written = match &how.junit {
        Some(path) => write_junit(kubernetes, &run, path).await,
        None => Ok(()),
    };
    // What the cases say comes first; a file that is missing is no reason to doubt it.
    match (verdict, written) {
        (Ok(0), Err(failure)) => Err(failure),
        (verdict, written) => {
            if let Err(failure) = written {
                context.printer.failure(&failure);
            }
            verdict
        }
    }
}

async fn write_junit(kubernetes: &Kubernetes, run: &E2ERun, path: &Path) -> Result<(), Failure> {
    let junit = results::for_others(kubernetes, run, results::junit(kubernetes, run).await?).await?;
    std::fs::write(path, junit)
        .map_err(|e| Failure::new(format!("the results cannot be written to {}: {e}", path.display())))
}

fn verdict(context: &Context, name: &str, status: &E2ERunStatus, annotate: Option<Annotate>) -> Result<u8, Failure> {
    let printer = &context.printer;
    let counts = format!(
        "{} passed, {} failed, {} skipped{}{}",
        status.passed.unwrap_or(0),
        status.failed.unwrap_or(0),
        status.skipped.unwrap_or(0),
        status.quarantined.filter(|n| *n > 0).map(|n| format!(", {n} failed in quarantine")).unwrap_or_default(),
        status.duration.as_ref().map(|d| format!(", {d}")).unwrap_or_default()
    );
    if is_true(&status.conditions, type_::COMPLETE) {
        if status.quarantined.is_some_and(|n| n > 0) {
            printer.warn(status.message.as_deref().unwrap_or_default());
        }
        printer.note(format_args!("{} {name}: {counts}", printer.paint_err(Style::Good, "passed")));
        return Ok(0);
    }
    if status.failed.unwrap_or(0) == 0 {
        let why = status.message.as_deref().unwrap_or("it does not say why");
        return Err(Failure::new(format!("run {name:?} has no verdict on its cases: {why}"))
            .help(format!("kubectl testkit describe run/{name}")));
    }
    // Where lines can be commands, those that tests wrote are shown as annotations alone: in them they are none.
    let shown = status.failures.iter().filter(|_| annotate != Some(Annotate::Github));
    for failure in shown {
        printer.note(format_args!("{} {}", printer.paint_err(Style::Bad, "failed"), failure.name));
        for line in failure.message.lines() {
            printer.note(format_args!("    {line}"));
        }
    }
    printer.note(format_args!("{} {name}: {counts}", printer.paint_err(Style::Bad, "failed")));
    Ok(exit::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_usage_infrastructure_and_permission_apart() {
        for (failure, code) in [
            (Failure::new("x"), 3),
            (Failure::new("x").usage(), 2),
            (Failure::new("x").exit(exit::NOT_ALLOWED), 4),
            (Failure::silent(exit::INTERRUPTED), 130),
        ] {
            assert_eq!(could_not_run(failure).code(), code);
        }
    }
}
