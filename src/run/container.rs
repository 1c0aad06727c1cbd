//! The container of an attempt: what it is made of.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::{
    attempt::{self, Attempt},
    filter,
    variables::Variables,
};
use crate::{
    api::{E2ERun, E2ERunSpec, Quantity, Shard, label},
    swarm::{ContainerSpec, Image},
};

/// Which part of the cases a container is to run. Of those that are named to it all: which part they are in is known,
/// and a tool that divided them again would leave some out.
#[must_use]
pub fn shard(spec: &E2ERunSpec, attempts: &[Attempt]) -> Shard {
    let named = attempt::only(attempts).is_some() || !spec.cases.is_empty();
    spec.shard.filter(|_| !named).unwrap_or(Shard::WHOLE)
}

/// The arguments of a container after these attempts: it is to run the cases that failed in them, else those that the
/// spec names, or all.
///
/// # Errors
/// In words, where the image cannot be told these cases.
pub fn arguments(spec: &E2ERunSpec, attempts: &[Attempt], image: &Image) -> Result<Vec<String>, String> {
    let shard = shard(spec, attempts);
    let args: Vec<String> = spec.args.iter().map(|arg| shard.expanded(arg)).collect();
    let label = image.labels.get(label::CASE_FILTER).map(String::as_str);
    let (filter, names) = match attempt::only(attempts) {
        Some(failed) => (filter::of(spec, label), failed),
        None if spec.cases.is_empty() => return Ok(args),
        None => (filter::of_named(spec, label), spec.cases.as_slice()),
    };
    // Arguments take the place of those that the image has.
    filter::arguments(&filter?, if args.is_empty() { &image.args } else { &args }, names)
}

/// The container of an attempt of a run. Its name is no other attempt's, so that none is made twice on a host.
#[must_use]
pub fn spec(run: &E2ERun, variables: &Variables, args: Vec<String>, attempt: usize, image: &str) -> ContainerSpec {
    let (namespace, name, uid) = (run.namespace().unwrap_or_default(), run.name_any(), run.uid().unwrap_or_default());
    let short: String = uid.chars().take(8).collect();
    let mut labels = BTreeMap::from([
        (label::RUN_UID.to_owned(), uid),
        (label::RUN.to_owned(), format!("{namespace}/{name}")),
        (label::IMAGE.to_owned(), image.to_owned()),
    ]);
    let mut called = format!("testkit-{namespace}-{name}-{short}");
    if attempt > 1 {
        called.push_str(&format!("-{attempt}"));
        labels.insert(label::ATTEMPT.to_owned(), attempt.to_string());
    }
    ContainerSpec {
        name: called,
        image: run.spec.image.clone(),
        args,
        env: variables.lines(),
        labels,
        host_network: true,
        binds: vec!["/var/run/docker.sock:/var/run/docker.sock".to_owned()],
        volumes: vec![run.spec.results.path.clone()],
        nano_cpus: run.spec.cpu().and_then(Quantity::nanos).and_then(|n| n.try_into().ok()),
        memory: run.spec.memory().and_then(Quantity::whole).and_then(|n| n.try_into().ok()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is written of an attempt in which this case failed.
    fn failed(name: &str) -> Attempt {
        serde_json::from_value(json!({
            "outcome": "Test", "reason": "CasesFailed", "message": "", "failed": [name],
        }))
        .unwrap()
    }

    fn run(args: &[&str]) -> E2ERun {
        serde_json::from_value(json!({
            "metadata": {"name": "nightly", "namespace": "ci", "uid": "11111111-2222"},
            "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1", "args": args},
        }))
        .unwrap()
    }

    #[test]
    fn the_first_container_is_as_it_was_and_a_later_one_has_a_name_of_its_own() {
        let spec = |attempt| spec(&run(&[]), &Variables::default(), vec![], attempt, "i");
        assert_eq!((&*spec(1).name, spec(1).labels.get(label::ATTEMPT)), ("testkit-ci-nightly-11111111", None));
        assert_eq!((&*spec(2).name, &*spec(2).labels[label::ATTEMPT]), ("testkit-ci-nightly-11111111-2", "2"));
    }

    #[test]
    fn cases_alone_are_named_after_the_arguments_of_the_run_or_of_the_image() {
        let labels = BTreeMap::from([(label::CASE_FILTER.to_owned(), "Pytest".to_owned())]);
        let image = Image { labels, args: vec!["tests".to_owned()], ..Image::default() };
        let again = [failed("a")];
        let of = |args: &[&str], attempts: &[Attempt]| arguments(&run(args).spec, attempts, &image).unwrap();
        assert_eq!(of(&[], &[]), Vec::<String>::new());
        assert_eq!(of(&["-v"], &[]), ["-v"]);
        assert_eq!(of(&[], &again), ["tests", "-k", "a"]);
        assert_eq!(of(&["-v"], &again), ["-v", "-k", "a"]);
        assert!(arguments(&run(&[]).spec, &again, &Image::default()).is_err());
    }

    #[test]
    fn what_the_spec_names_is_run_alone_with_what_else_the_image_is_given() {
        let image = |label: Option<&str>, args: &[&str]| Image {
            labels: label.map(|label| (label::CASE_FILTER.to_owned(), label.to_owned())).into_iter().collect(),
            args: args.iter().map(ToString::to_string).collect(),
            ..Image::default()
        };
        let mut run = run(&[]);
        run.spec.cases = vec!["a".to_owned(), "b".to_owned()];
        let of = |spec: &E2ERunSpec, image: &Image, attempts: &[Attempt]| arguments(spec, attempts, image);
        let pytest = image(Some("Pytest"), &["tests", "-v"]);
        assert_eq!(of(&run.spec, &pytest, &[]).unwrap(), ["tests", "-v", "-k", "a or b"]);
        assert_eq!(of(&run.spec, &pytest, &[failed("b")]).unwrap(), ["tests", "-v", "-k", "b"]);
        let silent = image(None, &["Services", "--disruptive"]);
        assert_eq!(
            of(&run.spec, &silent, &[]).unwrap(),
            ["--disruptive", "--exact", "a", "b"],
            "as the e2e suite takes them"
        );
        assert!(of(&run.spec, &image(Some("PyTest"), &[]), &[]).is_err(), "what it says is not passed over");
        run.spec.retries.filter = Some(serde_json::from_value(json!({"tool": "Jest"})).unwrap());
        assert_eq!(of(&run.spec, &pytest, &[]).unwrap(), ["tests", "-v", "-t", "(^| )(a|b)$"]);
        run.spec.shard = Some(Shard { index: 2, total: 4 });
        assert_eq!(shard(&run.spec, &[]), Shard::WHOLE);
    }

    #[test]
    fn a_shard_is_told_which_it_is_and_those_that_are_named_are_not_divided_again() {
        let labels = BTreeMap::from([(label::CASE_FILTER.to_owned(), "Pytest".to_owned())]);
        let image = Image { labels, args: vec!["$(TESTKIT_SHARD_INDEX)".to_owned()], ..Image::default() };
        let names = [failed("a")];
        let mut run = run(&["--splits=$(TESTKIT_SHARD_TOTAL)", "--group=$(TESTKIT_SHARD_INDEX)"]);
        assert_eq!(arguments(&run.spec, &[], &image).unwrap(), ["--splits=1", "--group=1"]);
        run.spec.shard = Some(Shard { index: 2, total: 4 });
        assert_eq!(arguments(&run.spec, &[], &image).unwrap(), ["--splits=4", "--group=2"]);
        assert_eq!(arguments(&run.spec, &names, &image).unwrap(), ["--splits=1", "--group=1", "-k", "a"]);
        assert_eq!(shard(&run.spec, &names), Shard::WHOLE);
        run.spec.args.clear();
        let own = arguments(&run.spec, &names, &image).unwrap();
        assert_eq!(own, ["$(TESTKIT_SHARD_INDEX)", "-k", "a"], "what the image has is not looked at");
    }
}
