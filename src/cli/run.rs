//! `run`: makes a run, follows it to its end, and exits with what it found.

use std::path::{Path, PathBuf};

use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::{
    Context, cancel,
    created::{self, DryRun},
    failure::{Failure, exit},
    kubernetes::Kubernetes,
    logs::{self, Log},
    printer::{Structured, Style},
    results,
};
use crate::api::{Duration, E2ERun, E2ERunStatus, is_true, type_};

/// Run tests on a cluster: print their log as it comes, and exit with what they found
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit run nightly --image dockerswarm/e2e:latest
  kubectl testkit run nightly --image e2e --filter Services --junit results.xml
  kubectl testkit run -f run.yaml -- --test-threads 1

Ctrl-C cancels the run; a second one within two seconds leaves it running.
It takes the permission to get, list and watch runs and to get ConfigMaps. The log is printed as it
comes where you may read the cluster's Secret, and at the end where not.
Exit codes: 0 every case passed or was skipped; 1 a case failed; 2 wrong usage, or a name or a spec
that is refused; 3 the run could not be made or has no verdict; 4 you are not allowed to.")]
pub struct Args {
    /// The cluster to run on [default: that of the file]
    #[arg(add = super::complete::clusters(), required_unless_present = "filename")]
    cluster: Option<String>,
    /// An E2ERun in a file, or - for standard input
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    filename: Option<PathBuf>,
    /// The image with the tests
    #[arg(long, required_unless_present = "filename")]
    image: Option<String>,
    /// Only the cases whose names contain this; given to the image as an argument
    #[arg(long)]
    filter: Option<String>,
    /// Stop the run and count it as failed after this long [default: 30m]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// A variable of the container's environment; NAME alone has the value it has here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The run's name [default: that of the file, else one that begins with the cluster's]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    how: How,
    /// Arguments of the container, in place of the image's own
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs.
pub async fn run(context: &Context, args: &Args) -> Result<u8, Failure> {
    perform(context, args).await.map_err(could_not_run)
}

/// Exit code 1 is kept for cases that failed; what is not allowed, signals and closed pipes keep theirs.
pub(super) fn could_not_run(failure: Failure) -> Failure {
    match failure.code() {
        exit::FAILED if failure.is_usage() => failure.exit(exit::USAGE),
        exit::FAILED => failure.exit(exit::COULD_NOT_RUN),
        _ => failure,
    }
}

async fn perform(context: &Context, args: &Args) -> Result<u8, Failure> {
    let mut object = object(args)?;
    let kubernetes = context.kubernetes().await?;
    // A misspelt cluster would be waited for until somebody makes it.
    if args.how.dry_run != Some(DryRun::Client)
        && let Some(cluster) = object.pointer("/spec/clusterRef/name").and_then(Value::as_str)
    {
        match kubernetes.cluster(cluster).await {
            // Whoever may make runs need not see clusters.
            Err(failure) if failure.code() == exit::NOT_ALLOWED => context.printer.detail(failure),
            found => drop(found?),
        }
    }
    make_and_follow(context, &kubernetes, &mut object, &args.how).await
}

/// How to go about a run, new or made again.
#[derive(clap::Args, Debug)]
pub(super) struct How {
    /// Write the results as JUnit XML to this file
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    junit: Option<PathBuf>,
    /// Make the run and do not wait for it
    #[arg(long, conflicts_with = "junit")]
    detach: bool,
    /// Print the run as it is at the end, in place of its log
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
    /// Print the run and do not make it
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: Option<DryRun>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// As JSON
    Json,
    /// As YAML
    Yaml,
}

impl From<Output> for Structured {
    fn from(output: Output) -> Self {
        match output {
            Output::Json => Self::Json,
            Output::Yaml => Self::Yaml,
        }
    }
}

/// Makes the run and follows it to its end; gives the exit code that says what it found.
pub(super) async fn make_and_follow(
    context: &Context,
    kubernetes: &Kubernetes,
    object: &mut Value,
    how: &How,
) -> Result<u8, Failure> {
    let Some(name) = created::make(context, kubernetes, "e2eruns", object, how.dry_run).await? else {
        return Ok(0);
    };
    if how.detach {
        match how.output {
            Some(output) => context.printer.object(output.into(), &kubernetes.run(&name).await?)?,
            None => context.printer.line(format_args!("e2erun.testkit.dev/{name} created"))?,
        }
        return Ok(0);
    }
    context.printer.note(format_args!("e2erun.testkit.dev/{name} created"));
    let ended = async {
        match how.output {
            None => logs::to_the_end(context, kubernetes, &name, Log::WherePossible).await,
            Some(_) => logs::ended(context, kubernetes, &name).await,
        }
    };
    let run = cancel::on_signals(context, kubernetes, &name, ended).await?;
    if let Some(output) = how.output {
        let mut run = run.clone();
        run.managed_fields_mut().clear();
        context.printer.object(output.into(), &run)?;
    }
    let verdict = verdict(context, &name, &run.status.clone().unwrap_or_default());
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
    let junit = results::junit(kubernetes, run).await?;
    std::fs::write(path, junit)
        .map_err(|e| Failure::new(format!("the results cannot be written to {}: {e}", path.display())))
}

fn verdict(context: &Context, name: &str, status: &E2ERunStatus) -> Result<u8, Failure> {
    let printer = &context.printer;
    let counts = format!(
        "{} passed, {} failed, {} skipped{}",
        status.passed.unwrap_or(0),
        status.failed.unwrap_or(0),
        status.skipped.unwrap_or(0),
        status.duration.as_ref().map(|d| format!(", {d}")).unwrap_or_default()
    );
    if is_true(&status.conditions, type_::COMPLETE) {
        printer.note(format_args!("{} {name}: {counts}", printer.paint_err(Style::Good, "passed")));
        return Ok(0);
    }
    if status.failed.unwrap_or(0) == 0 {
        let why = status.message.as_deref().unwrap_or("it does not say why");
        return Err(Failure::new(format!("run {name:?} has no verdict on its cases: {why}"))
            .help(format!("kubectl testkit describe run/{name}")));
    }
    for failure in &status.failures {
        printer.note(format_args!("{} {}", printer.paint_err(Style::Bad, "failed"), failure.name));
        for line in failure.message.lines() {
            printer.note(format_args!("    {line}"));
        }
    }
    printer.note(format_args!("{} {name}: {counts}", printer.paint_err(Style::Bad, "failed")));
    Ok(exit::FAILED)
}

fn object(args: &Args) -> Result<Value, Failure> {
    let mut object = match &args.filename {
        Some(path) => created::read(path, "E2ERun")?,
        None => json!({"apiVersion": "testkit.dev/v1alpha1", "kind": "E2ERun", "metadata": {}, "spec": {}}),
    };
    for part in ["metadata", "spec"] {
        if !object[part].is_object() {
            object[part] = Value::Object(Map::new());
        }
    }
    if let Some(cluster) = &args.cluster {
        object["spec"]["clusterRef"] = json!({"name": cluster});
    }
    if let Some(image) = &args.image {
        object["spec"]["image"] = json!(image);
    }
    if let Some(timeout) = args.timeout {
        object["spec"]["timeout"] = json!(timeout);
    }
    if !args.env.is_empty() {
        let mut variables = object["spec"]["env"].as_array().cloned().unwrap_or_default();
        for word in &args.env {
            let (name, value) = variable(word, |name| std::env::var(name).ok())?;
            variables.retain(|v| v["name"] != name);
            variables.push(json!({"name": name, "value": value}));
        }
        object["spec"]["env"] = json!(variables);
    }
    if !args.args.is_empty() || args.filter.is_some() {
        let words: Vec<&String> = args.args.iter().chain(&args.filter).collect();
        object["spec"]["args"] = json!(words);
    }
    if let Some(name) = &args.name {
        object["metadata"]["name"] = json!(name);
    }
    let unnamed = object["metadata"].get("name").is_none() && object["metadata"].get("generateName").is_none();
    if unnamed {
        let cluster = object.pointer("/spec/clusterRef/name").and_then(Value::as_str).unwrap_or("run");
        object["metadata"]["generateName"] = json!(format!("{cluster}-"));
    }
    Ok(object)
}

/// `NAME=VALUE`, or `NAME` with the value it has here. The value is nobody's to see in an error.
fn variable(word: &str, here: impl Fn(&str) -> Option<String>) -> Result<(String, String), Failure> {
    match word.split_once('=') {
        Some(("", _)) => Err(Failure::new("--env wants a name before the =").exit(exit::USAGE)),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => match here(word) {
            Some(value) => Ok((word.to_owned(), value)),
            None => Err(Failure::new(format!("--env {word}: there is no variable of that name here"))
                .help(format!("write its value: --env {word}=VALUE"))
                .exit(exit::USAGE)),
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    type Line = crate::cli::Line<Args>;

    #[test]
    fn options_become_a_run_with_a_generated_name() {
        let line = ["run", "foo", "--image", "e2e", "--filter", "Services", "--", "--exact"];
        let object = object(&Line::parse_from(line).args).unwrap();
        assert_eq!(object["metadata"], json!({"generateName": "foo-"}));
        assert_eq!(
            object["spec"],
            json!({"clusterRef": {"name": "foo"}, "image": "e2e", "args": ["--exact", "Services"]})
        );
        assert!(Line::try_parse_from(["run", "foo"]).is_err());
    }

    #[test]
    fn variables_have_values_from_the_line_or_from_here() {
        let here = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        assert_eq!(variable("A=b=c", here).unwrap(), ("A".to_owned(), "b=c".to_owned()));
        assert_eq!(variable("A=", here).unwrap(), ("A".to_owned(), String::new()));
        assert_eq!(variable("HOME", here).unwrap(), ("HOME".to_owned(), "/root".to_owned()));
        for wrong in ["NOPE", "=secret"] {
            let failure = variable(wrong, here).unwrap_err();
            assert!(failure.code() == exit::USAGE && !failure.to_string().contains("secret"), "{failure}");
        }
        let line = ["run", "foo", "--image", "e2e", "-e", "A=1", "--env", "A=2"];
        let object = object(&Line::parse_from(line).args).unwrap();
        assert_eq!(object["spec"]["env"], json!([{"name": "A", "value": "2"}]));
    }

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
