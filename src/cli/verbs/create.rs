//! `create`: a cluster, from options or from a file.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::api::{Duration, SwarmCluster, is_true, type_};
use crate::cli::{
    Context,
    failure::Failure,
    kubernetes::{
        CLUSTERS, Kubernetes, Waiting, follow,
        making::{self, Making},
    },
    output,
};

/// Make a cluster
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit create --managers 3 --workers 2 --region us-east-1 --ttl 4h --wait
  kubectl testkit create nightly -f cluster.yaml
  kubectl testkit create nightly --region eu-west-1 --dry-run=client > cluster.yaml

Without a NAME (here or in the file) the cluster gets one that can be said aloud.
Options given here win over the file.")]
pub struct Args {
    /// Its name [default: a generated one]
    name: Option<String>,
    /// A SwarmCluster in a file, or - for standard input
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    filename: Option<PathBuf>,
    /// How many managers: 1, 3, 5 or 7 [default: 1]
    #[arg(long, value_name = "N")]
    managers: Option<u32>,
    /// How many workers [default: 0]
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// The engine to install where the image brings none: stable, test, or a version such as 28.5
    #[arg(long, value_name = "VERSION")]
    engine: Option<String>,
    /// Delete the cluster after this long, such as 4h or 1h30m [default: never]
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Duration>,
    /// The EC2 region
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    region: Option<String>,
    /// Instance types in order of preference, such as t3.medium,t3a.medium
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    instance_type: Vec<String>,
    /// The id of the image to boot, such as ami-0123456789abcdef0 [default: a current Ubuntu]
    #[arg(long, value_name = "ID")]
    ami: Option<String>,
    /// Who may reach the hosts over SSH, such as 203.0.113.0/24 [default: the operator's own default]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    access_cidrs: Vec<String>,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    waiting: Waiting,
}

/// Makes it.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let mut object = object(args)?;
    let kubernetes = context.kubernetes().await?;
    let printer = &context.printer;
    let made = making::make(printer, &kubernetes, "swarmclusters", &mut object, &args.making).await?;
    let Some(name) = made else { return Ok(()) };
    let created = format!("swarmcluster.testkit.dev/{name} created");
    match &args.making.output {
        // Standard output is for the object.
        Some(_) => printer.note(&created),
        None => printer.line(&created)?,
    }
    if args.waiting.wait {
        let late = |limit| {
            Failure::new(format!("cluster {name:?} is not ready after {limit}"))
                .help(format!("see what it waits for: kubectl testkit describe {name}"))
                .help(format!("it goes on by itself; remove it with kubectl testkit rm {name}"))
        };
        args.waiting.within(ready(context, &kubernetes, &name), late).await?;
    } else {
        printer.note(format_args!("It becomes ready by itself; kubectl testkit describe {name} tells how far it is."));
    }
    match &args.making.output {
        Some(format) => format.print(printer, &output::value(&kubernetes.cluster(&name).await?)?, false),
        None => Ok(()),
    }
}

/// Follows a cluster until it is ready, or until nothing will change by itself.
pub(in crate::cli) async fn ready(context: &Context, kubernetes: &Kubernetes, name: &str) -> Result<(), Failure> {
    let mut task = context.printer.task(name);
    task.say("waiting for the operator");
    let ended = follow::until(kubernetes, kubernetes.clusters(), CLUSTERS, name, |cluster: Option<SwarmCluster>| {
        let Some(cluster) = cluster else { return Some(Err(Failure::new(format!("cluster {name:?} was deleted")))) };
        let status = cluster.status.unwrap_or_default();
        // What an earlier generation was does not speak for this one.
        if status.observed_generation != cluster.metadata.generation {
            return None;
        }
        let ready = status.conditions.iter().find(|c| c.type_ == type_::READY)?;
        if ready.status == "True" {
            return Some(Ok(status.endpoint));
        }
        if is_true(&status.conditions, type_::STALLED) {
            return Some(Err(Failure::new(format!("cluster {name:?} cannot become ready: {}", ready.message)).help(
                format!("change it with kubectl edit swarmcluster/{name}, or remove it with kubectl testkit rm {name}"),
            )));
        }
        let counts = [("managers", &status.managers), ("workers", &status.workers)]
            .into_iter()
            .filter_map(|(what, count)| count.as_ref().map(|count| format!("{what} {count}")))
            .collect::<Vec<_>>()
            .join(", ");
        task.say(&if counts.is_empty() { ready.message.clone() } else { format!("{counts}: {}", ready.message) });
        None
    })
    .await?;
    let endpoint = ended?;
    let took = task.elapsed();
    task.done(&format!(
        "ready after {took}{}",
        endpoint.map(|e| format!(", the leader is at {e}")).unwrap_or_default()
    ));
    Ok(())
}

/// The object the options and the file ask for.
fn object(args: &Args) -> Result<Value, Failure> {
    let mut object = match &args.filename {
        Some(path) => making::read(path, "SwarmCluster")?,
        None => json!({"apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster", "metadata": {}, "spec": {}}),
    };
    let named = object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    let name = args.name.clone().or(named).unwrap_or_else(generated);
    for part in ["metadata", "spec"] {
        if !object[part].is_object() {
            object[part] = Value::Object(Map::new());
        }
    }
    object["metadata"]["name"] = json!(name);
    let spec = &mut object["spec"];
    let options = [
        ("managers", args.managers.map(|n| json!(n))),
        ("workers", args.workers.map(|n| json!(n))),
        ("ttl", args.ttl.map(|t| json!(t))),
    ];
    for (field, value) in options.into_iter().filter_map(|(f, v)| Some((f, v?))) {
        spec[field] = value;
    }
    if let Some(version) = &args.engine {
        spec["engine"]["version"] = json!(version);
    }
    let has_provider = spec["provider"].as_object().is_some_and(|p| !p.is_empty());
    match &args.region {
        // A region of the environment is a default, not a wish against the file.
        Some(region) if !has_provider => spec["provider"]["ec2"]["region"] = json!(region),
        None if !has_provider => {
            return Err(Failure::new("where shall the machines come from? No region is named")
                .help("kubectl testkit create --region us-east-1 …")
                .help("export AWS_REGION=us-east-1")
                .help("name a provider in a file: kubectl testkit create -f cluster.yaml"));
        }
        _ => {}
    }
    if !args.instance_type.is_empty() {
        spec["provider"]["ec2"]["instanceTypes"] = json!(args.instance_type);
    }
    if !args.access_cidrs.is_empty() {
        spec["accessCIDRs"] = json!(args.access_cidrs);
    }
    if let Some(ami) = &args.ami {
        spec["provider"]["ec2"]["ami"] = json!({"id": ami});
    }
    Ok(object)
}

/// A name that can be said aloud; `AlreadyExists` is left to the API server to find.
fn generated() -> String {
    const HOW: [&str; 16] = [
        "amber", "brisk", "calm", "dapper", "eager", "fair", "gentle", "hardy", "keen", "lucky", "merry", "nimble",
        "plucky", "quiet", "sunny", "witty",
    ];
    const WHAT: [&str; 16] = [
        "beaver", "cod", "dolphin", "eel", "gull", "heron", "kelp", "lobster", "manatee", "narwhal", "orca", "puffin",
        "ray", "seal", "tern", "walrus",
    ];
    // The standard library seeds its hash maps from the system's randomness; no more is needed for a name.
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    let pick = |words: &[&'static str], shift: u32| words[usize::try_from((random >> shift) % 16).unwrap_or(0)];
    format!("{}-{}-{:03}", pick(&HOW, 0), pick(&WHAT, 4), (random >> 8) % 1000)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    type Line = crate::cli::Line<Args>;

    fn asked(line: &[&str]) -> Value {
        object(&Line::parse_from([&["create"], line].concat()).args).unwrap()
    }

    #[test]
    fn options_become_a_spec() {
        let object = asked(&["foo", "--managers", "3", "--ttl", "90m", "--region", "us-east-1", "--engine", "28.5"]);
        assert_eq!(
            object["spec"],
            json!({"managers": 3, "ttl": "1h30m", "engine": {"version": "28.5"}, "provider": {"ec2": {"region": "us-east-1"}}})
        );
        assert_eq!(object["metadata"]["name"], "foo");
        let said = asked(&["foo", "--region", "us-east-1", "--access-cidrs", "203.0.113.0/24,2001:db8::/32"]);
        assert_eq!(said["spec"]["accessCIDRs"], json!(["203.0.113.0/24", "2001:db8::/32"]));
    }

    #[test]
    fn a_generated_name_is_one_the_api_accepts() {
        let names: std::collections::HashSet<String> = (0..50).map(|_| generated()).collect();
        assert!(names.len() > 40, "{names:?}");
        for name in names {
            assert!(
                name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }
}
