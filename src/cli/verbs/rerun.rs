//! `rerun`: a run like one there was, of all its cases or of those that failed.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::cli::{
    Context,
    failure::{Failure, exit},
    kubernetes::{kept, making::DryRun},
    verbs::{
        results,
        run::{self, How},
    },
};
use crate::{
    api::{DURATIONS, Duration, E2ERun, label},
    results::{Outcome, Verdict},
};

/// Make a run again: all of it, or the cases that failed; exits as run does
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit rerun nightly-x7k2p                     the same once more
  kubectl testkit rerun nightly-x7k2p --failed            only the cases that failed
  kubectl testkit rerun nightly-x7k2p --cluster other     on another cluster

The new run has the spec of the old one. With --failed it names the failed cases (spec.cases), and the
operator gives them to the image beside its arguments, or those that the image has: as
spec.retries.filter says, or the image's label testkit.dev/case-filter; where neither does, as the e2e
suite and Rust's test programs take them. For an image with other habits write its arguments after --,
with {} where the names shall be.
The failed cases are read from the kept results: the old cluster and container need not be there.

Ctrl-C cancels the run; a second one within two seconds leaves it running.
Exit codes: 0 every case passed, was skipped, or failed in quarantine, or with --failed there is none to
run again; 1 a case failed; 2 wrong usage; 3 the run could not be made or has no verdict; 4 you are not allowed to.")]
pub struct Args {
    /// The run to make again
    #[arg(add = crate::cli::shell::complete::runs())]
    run: String,
    /// Only the cases that failed
    #[arg(long)]
    failed: bool,
    /// Run on this cluster [default: that of the old run]
    #[arg(long, value_name = "NAME", add = crate::cli::shell::complete::clusters())]
    cluster: Option<String>,
    /// Stop the run and count it as failed after this long [default: as the old run]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// The new run's name [default: one that begins with the old run's]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    how: How,
    /// Arguments of the container, in place of the old run's; {} stands for the failed cases
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs.
pub async fn run(context: &Context, args: &Args) -> Result<u8, Failure> {
    perform(context, args).await.map_err(run::could_not_run)
}

async fn perform(context: &Context, args: &Args) -> Result<u8, Failure> {
    let kubernetes = context.kubernetes().await?;
    let old = kubernetes.run(&args.run).await?;
    let failed = match args.failed {
        false => None,
        true => {
            let junit = results::junit(&kubernetes, &old).await?;
            match failed(&old, &junit)? {
                names if names.is_empty() => {
                    context
                        .printer
                        .note(format_args!("No case of {} failed: there is nothing to run again.", args.run));
                    return Ok(0);
                }
                names => Some(names),
            }
        }
    };
    let mut object = object(args, &old, failed.as_deref())?;
    let named = args.cluster.as_ref().or(old.spec.cluster_ref.as_ref().map(|r| &r.name));
    if args.how.making.dry_run != Some(DryRun::Client)
        && let Some(cluster) = named
    {
        run::is_there(context, &kubernetes, cluster).await.map_err(|failure| match &args.cluster {
            None => failure.help(format!("run on another cluster: kubectl testkit rerun {} --cluster NAME", args.run)),
            Some(_) => failure,
        })?;
    }
    if let Some(names) = &failed {
        context.printer.note(format_args!("Again: {}", names.join(", ")));
    }
    run::make_and_follow(context, &kubernetes, &mut object, &args.how).await
}

/// The cases that failed, each once; an error where the results do not tell.
fn failed(old: &E2ERun, junit: &[u8]) -> Result<Vec<String>, Failure> {
    let outcome = Outcome::of_kept(junit);
    let mut names: Vec<String> = Vec::new();
    for case in outcome.cases.iter().filter(|case| matches!(case.verdict, Verdict::Failed(_))) {
        // As the tool knows it.
        let name = if case.own_name().is_empty() { &case.name } else { case.own_name() };
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    let status = old.status.clone().unwrap_or_default();
    let passed = crate::api::is_true(&status.conditions, crate::api::type_::COMPLETE);
    if names.is_empty() && !passed {
        let name = old.name_any();
        return Err(Failure::new(format!(
            "run {name:?} did not pass, and no failed case of it is known: {}",
            kept::message(old)
        ))
        .help(format!("run all of it again: kubectl testkit rerun {name}"))
        .exit(exit::COULD_NOT_RUN));
    }
    Ok(names)
}

fn object(args: &Args, old: &E2ERun, failed: Option<&[String]>) -> Result<Value, Failure> {
    let unreadable = |e| Failure::new(format!("the spec of run {:?} cannot be copied: {e}", args.run));
    let mut spec = serde_json::to_value(&old.spec).map_err(unreadable)?;
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("cancel");
        // Somebody wants it run, and not to join one of its key.
        fields.remove("dedupeKey");
        if failed.is_some() {
            // Which cases to run is said by name.
            fields.retain(|field, _| !["shards", "shard", "cases"].contains(&field.as_str()));
            if let Some(Value::Array(env)) = fields.get_mut("env") {
                env.retain(|variable| variable["name"] != DURATIONS);
            }
        }
    }
    if let Some(cluster) = &args.cluster {
        spec["clusterRef"] = json!({"name": cluster});
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|field, _| !["clusterTemplate", "clusterPolicy", "holdFor"].contains(&field.as_str()));
        }
    }
    if let Some(timeout) = args.timeout {
        spec["timeout"] = json!(timeout);
    }
    match (failed, args.args.as_slice()) {
        (None, []) => {}
        (None, words) => spec["args"] = json!(words),
        // The operator knows the image, and so what arguments it has, and how it is given names.
        (Some(names), []) => spec["cases"] = json!(names),
        (Some(names), words) => {
            let filled: Vec<&String> =
                words.iter().flat_map(|word| if word == "{}" { names.iter().collect() } else { vec![word] }).collect();
            spec["args"] = json!(filled);
        }
    }
    let name = old.name_any();
    let first = old.labels().get(label::RERUN_OF).unwrap_or(&name);
    let mut labels = old.labels().clone();
    // It belongs to no other run.
    labels.remove(label::SHARD_OF);
    labels.insert(label::RERUN_OF.to_owned(), first.clone());
    let metadata = match &args.name {
        Some(name) => json!({"name": name, "labels": labels}),
        None => json!({"generateName": format!("{first}-"), "labels": labels}),
    };
    Ok(json!({"apiVersion": "testkit.dev/v1alpha1", "kind": "E2ERun", "metadata": metadata, "spec": spec}))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    type Line = crate::cli::Line<Args>;

    fn old() -> E2ERun {
        serde_json::from_value(json!({
            "apiVersion": "testkit.dev/v1alpha1", "kind": "E2ERun",
            "metadata": {"name": "nightly-x7k2p", "namespace": "a", "uid": "1", "labels": {"team": "net", "testkit.dev/rerun-of": "nightly"}},
            "spec": {"clusterRef": {"name": "foo"}, "image": "e2e", "dedupeKey": "main-1", "env": [{"name": "A", "value": "b"}],
                     "args": ["Services", "--disruptive", "--skip", "Lb", "--exact", "--format=json"]},
        }))
        .unwrap()
    }

    fn asked(line: &[&str], failed: Option<&[&str]>) -> Value {
        let failed: Option<Vec<String>> = failed.map(|names| names.iter().map(ToString::to_string).collect());
        let args = Line::parse_from([&["rerun", "nightly-x7k2p"], line].concat()).args;
        object(&args, &old(), failed.as_deref()).unwrap()
    }

    #[test]
    fn a_run_is_made_again_with_all_of_its_spec_and_nothing_of_its_end() {
        let again = asked(&["--cluster", "bar", "--timeout", "5m"], None);
        assert_eq!(
            again["metadata"],
            json!({"generateName": "nightly-", "labels": {"team": "net", "testkit.dev/rerun-of": "nightly"}})
        );
        assert_eq!(again["spec"]["env"], json!([{"name": "A", "value": "b"}]));
        assert_eq!(again["spec"]["args"], json!(old().spec.args));
        assert_eq!((&again["spec"]["clusterRef"]["name"], &again["spec"]["timeout"]), (&json!("bar"), &json!("5m")));
        assert!(again.get("status").is_none() && again["spec"].get("dedupeKey").is_none());
    }

    #[test]
    fn failed_cases_are_named_and_the_arguments_stay_whoever_has_them() {
        let again = asked(&["--failed"], Some(&["ServicesScale", "ServicesList"]));
        assert_eq!(again["spec"]["cases"], json!(["ServicesScale", "ServicesList"]));
        assert_eq!(again["spec"]["args"], json!(old().spec.args));
        let again = asked(&["--failed", "--", "-k", "{}", "-v"], Some(&["a", "b"]));
        assert_eq!(again["spec"]["args"], json!(["-k", "a", "b", "-v"]));
        assert!(again["spec"].get("cases").is_none(), "they are among the arguments");
        let mut old = old();
        (old.spec.args, old.spec.cases) = (Vec::new(), vec!["A".to_owned(), "B".to_owned()]);
        let args = |line: &[&str]| Line::parse_from([&["rerun", "nightly-x7k2p"], line].concat()).args;
        let again = object(&args(&["--failed"]), &old, Some(&["B".to_owned()])).unwrap();
        assert!(again["spec"].get("args").is_none_or(|args| args == &json!([])), "the image has its own: {again}");
        assert_eq!(again["spec"]["cases"], json!(["B"]));
        assert_eq!(object(&args(&[]), &old, None).unwrap()["spec"]["cases"], json!(["A", "B"]));
    }

    #[test]
    fn a_divided_run_is_made_again_as_it_was_and_its_failed_cases_as_one() {
        for field in [json!({"shards": 4}), json!({"shard": {"index": 2, "total": 4}})] {
            let mut old = old();
            old.labels_mut().insert(label::SHARD_OF.to_owned(), "nightly".to_owned());
            let mut spec = serde_json::to_value(&old.spec).unwrap();
            spec.as_object_mut().unwrap().extend(field.as_object().unwrap().clone());
            old.spec = serde_json::from_value(spec).unwrap();
            old.spec.env.push(old.durations());
            let args = Line::parse_from(["rerun", "nightly-x7k2p"]).args;
            let again = super::object(&args, &old, None).unwrap();
            let (name, value) = field.as_object().unwrap().iter().next().unwrap();
            assert_eq!(&again["spec"][name], value);
            assert!(again["metadata"]["labels"].get(label::SHARD_OF).is_none(), "{again}");
            let failed = super::object(&args, &old, Some(&["A".to_owned()])).unwrap();
            assert!(failed["spec"].get("shards").is_none() && failed["spec"].get("shard").is_none(), "{failed}");
            assert_eq!(failed["spec"]["env"], json!([{"name": "A", "value": "b"}]), "that is of those who divide");
        }
    }

    #[test]
    fn a_run_without_a_verdict_has_no_failed_cases_to_run() {
        let mut run = old();
        let junit = |failure| {
            format!("<testsuite><testcase name=\"A\">{failure}</testcase><testcase name=\"B\"/></testsuite>")
                .into_bytes()
        };
        assert_eq!(failed(&run, &junit("<failure/>")).unwrap(), ["A"]);
        assert_eq!(failed(&run, &junit("")).unwrap_err().code(), exit::COULD_NOT_RUN);
        run.status = serde_json::from_value(json!({"conditions": [{
            "type": "Complete", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})).unwrap();
        assert!(failed(&run, &junit("")).unwrap().is_empty());
    }
}
