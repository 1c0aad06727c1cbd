//! `run`: makes a run, follows it to its end, and exits with what it found.

mod annotate;
mod cancel;
mod following;

use std::path::PathBuf;

use serde_json::{Map, Value, json};

pub(in crate::cli) use self::following::{How, could_not_run, make_and_follow};
use crate::{
    api::Duration,
    cli::{
        Context,
        failure::{Failure, exit},
        kubernetes::{
            Kubernetes,
            making::{self, DryRun},
        },
    },
};

/// Run tests on a cluster: print their log as it comes, and exit with what they found
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit run nightly --image dockerswarm/e2e:latest
  kubectl testkit run nightly --image e2e --filter Services --junit results.xml
  kubectl testkit run -f run.yaml -- --test-threads 1
  kubectl testkit run nightly --image e2e --shards 4
  kubectl testkit run nightly --image e2e --annotate github --junit results.xml      in a job of GitHub Actions
  kubectl testkit run nightly --image e2e -o jsonpath='{.status.failures[*].name}'

Ctrl-C cancels the run; a second one within two seconds leaves it running.
It takes the permission to get, list and watch runs and to get ConfigMaps. The log is printed as it
comes where you may read the cluster's Secret, and at the end where not.
Exit codes: 0 every case passed, was skipped, or failed in quarantine; 1 a case failed; 2 wrong usage,
or a name or a spec that is refused; 3 the run could not be made or has no verdict; 4 you are not allowed to.")]
pub struct Args {
    /// The cluster to run on [default: that of the file]
    #[arg(add = crate::cli::shell::complete::clusters(), required_unless_present = "filename")]
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
    /// Run the cases in so many parts at once, with one verdict; the image is to take TESTKIT_SHARD_INDEX and
    /// TESTKIT_SHARD_TOTAL
    #[arg(long, value_name = "NUMBER")]
    shards: Option<u32>,
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

async fn perform(context: &Context, args: &Args) -> Result<u8, Failure> {
    let mut object = object(args)?;
    let kubernetes = context.kubernetes().await?;
    if args.how.making.dry_run != Some(DryRun::Client)
        && let Some(cluster) = object.pointer("/spec/clusterRef/name").and_then(Value::as_str)
    {
        is_there(context, &kubernetes, cluster).await?;
    }
    make_and_follow(context, &kubernetes, &mut object, &args.how).await
}

/// Looks whether the cluster of a run is there: one that is misspelt or gone would be waited for until somebody makes it.
pub(in crate::cli) async fn is_there(context: &Context, kubernetes: &Kubernetes, cluster: &str) -> Result<(), Failure> {
    match kubernetes.cluster(cluster).await {
        // Whoever may make runs need not see clusters.
        Err(failure) if failure.code() == exit::NOT_ALLOWED => context.printer.detail(failure),
        found => drop(found?),
    }
    Ok(())
}

fn object(args: &Args) -> Result<Value, Failure> {
    let mut object = match &args.filename {
        Some(path) => making::read(path, "E2ERun")?,
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
    if let Some(shards) = args.shards {
        object["spec"]["shards"] = json!(shards);
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
        let divided = super::object(&Line::parse_from(["run", "foo", "--image", "e2e", "--shards", "4"]).args).unwrap();
        assert_eq!(divided["spec"]["shards"], json!(4));
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
}
