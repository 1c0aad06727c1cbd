//! `version`: which plugin this is, which operator serves, which custom resources are served, and whether they fit.

use std::collections::BTreeSet;

use hyper::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::Value;

use crate::{
    api::{GROUP, OPERATOR_VERSION, VERSION, version_in},
    cli::{
        Context,
        failure::{Failure, words},
        kubernetes::Kubernetes,
    },
};

/// Print the versions of plugin, operator and custom resources; exits with 1 where they do not fit
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit version
  kubectl testkit version --client                             asks no API server
  kubectl testkit version --operator-namespace team-a          of an operator that is elsewhere

What cannot be asked is not known, and is no error. While versions begin with 0, those fit that have
the same second number; later, those with the same first one.")]
pub struct Args {
    /// The plugin's alone
    #[arg(long)]
    client: bool,
    /// Where the operator is
    #[arg(long, value_name = "NAMESPACE", default_value = "testkit-system")]
    operator_namespace: String,
}

/// Prints them.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let printer = &context.printer;
    printer.line(format_args!("kubectl-testkit {VERSION}"))?;
    if args.client {
        return Ok(());
    }
    let kubernetes = match context.kubernetes().await {
        Ok(kubernetes) => kubernetes,
        Err(failure) => {
            printer.warn(format_args!("operator and custom resources are not known: {}", failure.what()));
            return Ok(());
        }
    };
    let operator = match operator(&kubernetes, &args.operator_namespace).await {
        Ok(version) => {
            printer.line(format_args!("operator {version}"))?;
            Some(version)
        }
        Err(why) => {
            printer.warn(format_args!("the operator's version is not known: {why}"));
            None
        }
    };
    let mut served = BTreeSet::new();
    match resources(&kubernetes).await {
        Ok(found) => {
            printer.line(format_args!("custom resources {}", found.iter().cloned().collect::<Vec<_>>().join(", ")))?;
            served = found;
        }
        Err(why) => printer.warn(format_args!("the version of the custom resources is not known: {why}")),
    }
    let judged = judge(VERSION, operator.as_deref(), &served);
    let Some((last, others)) = judged.split_last() else { return Ok(()) };
    for (what, help) in others {
        printer.failure(&Failure::new(what).help(help));
    }
    Err(Failure::new(&last.0).help(&last.1))
}

/// What the operator that worked last has written down, or why that is not known.
async fn operator(kubernetes: &Kubernetes, namespace: &str) -> Result<String, String> {
    let maps: Api<ConfigMap> = Api::namespaced(kubernetes.client.clone(), namespace);
    match maps.get_opt(OPERATOR_VERSION).await {
        Ok(Some(map)) => map
            .data
            .and_then(|mut data| data.remove("version"))
            .ok_or_else(|| format!("ConfigMap {OPERATOR_VERSION} of namespace {namespace} does not say it")),
        Ok(None) => Err(format!(
            "there is no ConfigMap {OPERATOR_VERSION} in namespace {namespace}; --operator-namespace names another one"
        )),
        Err(error) => Err(said(&error)),
    }
}

/// What the API server said, or why it said nothing.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => words(other),
    }
}

/// What the definitions say that the API server serves.
async fn resources(kubernetes: &Kubernetes) -> Result<BTreeSet<String>, String> {
    // Whoever is logged in may read this; the definitions themselves only who looks after them.
    let path = format!("/openapi/v3/apis/{GROUP}/v1alpha1");
    let request = Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
    match kubernetes.client.request::<Value>(request).await {
        Ok(document) => {
            let found = versions(&document);
            if found.is_empty() { Err("they do not say it: they are older than 0.1.0".to_owned()) } else { Ok(found) }
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Err("testkit is not installed there".to_owned()),
        Err(error) => Err(said(&error)),
    }
}

fn versions(document: &Value) -> BTreeSet<String> {
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    let ours = schemas.into_iter().flatten().filter(|(_, schema)| schema["x-kubernetes-group-version-kind"].is_array());
    let said = ours.filter_map(|(_, schema)| version_in(schema["description"].as_str()?));
    said.map(str::to_owned).collect()
}

/// What does not fit, each with what to do about it. What is not known fits.
fn judge(client: &str, operator: Option<&str>, served: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    if served.len() > 1 {
        let all = served.iter().cloned().collect::<Vec<_>>().join(" and ");
        wrong.push((
            format!("the custom resources are of {all}"),
            "apply all of the operator's: kubectl apply --server-side -f crds/".to_owned(),
        ));
    }
    if let Some(operator) = operator {
        for version in served.iter().filter(|version| !fit(version, operator)) {
            wrong.push((
                format!("the custom resources are of {version}, and the operator of {operator}"),
                format!("apply those of {operator}: kubectl apply --server-side -f crds/, or by its chart"),
            ));
        }
    }
    let others = operator.into_iter().chain(served.iter().map(String::as_str).filter(|_| operator.is_none()));
    for other in others.filter(|other| !fit(client, other)) {
        let whose = if operator.is_some() { "the operator" } else { "the API server's custom resources" };
        wrong.push((
            format!("{whose} is of {other}, and this plugin of {client}: they may not understand each other")
                .replace("resources is", "resources are"),
            format!("install the plugin of {other}"),
        ));
    }
    wrong
}

/// Whether two versions understand each other. What is none fits nothing but itself.
fn fit(one: &str, other: &str) -> bool {
    let generation = |version: &str| {
        let mut numbers = version.split('.').map(|part| part.parse::<u64>().ok());
        let (first, second) = (numbers.next()??, numbers.next()??);
        Some((first, if first == 0 { second } else { 0 }))
    };
    one == other || generation(one).is_some_and(|it| generation(other) == Some(it))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_fit_while_nothing_that_exists_was_changed() {
        for (one, other, fits) in [
            ("0.1.0", "0.1.7", true),
            ("0.1.0", "0.2.0", false),
            ("1.2.0", "1.9.3", true),
            ("1.0.0", "2.0.0", false),
            ("0.1.0", "1.1.0", false),
            ("x", "x", true),
            ("x", "0.1.0", false),
        ] {
            assert_eq!((fit(one, other), fit(other, one)), (fits, fits), "{one} {other}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_with_what_to_install() {
        for (operator, served, words) in [
            (None, &[][..], &[][..]),
            (Some("0.1.3"), &["0.1.0"], &[]),
            (Some("0.2.0"), &["0.2.0"], &["the operator is of 0.2.0, and this plugin of 0.1.0"]),
            (None, &["0.2.0"], &["custom resources are of 0.2.0, and this plugin of 0.1.0"]),
            (Some("0.1.0"), &["0.2.0"], &["the custom resources are of 0.2.0, and the operator of 0.1.0"]),
            (
                Some("0.2.0"),
                &["0.1.0", "0.2.0"],
                &["are of 0.1.0 and 0.2.0", "are of 0.1.0, and the operator of 0.2.0", "this plugin of 0.1.0"],
            ),
        ] {
            let served = served.iter().map(ToString::to_string).collect();
            let judged = judge("0.1.0", operator, &served);
            assert_eq!(judged.len(), words.len(), "{operator:?} {served:?}: {judged:?}");
            for ((what, _), words) in judged.iter().zip(words) {
                assert!(what.contains(words), "{what}");
            }
        }
    }

    #[test]
    fn the_definitions_say_their_version() {
        let mut schemas = serde_json::Map::new();
        for (file, crd) in crate::api::crds() {
            let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            let kind = json!({"description": schema.description, "x-kubernetes-group-version-kind": []});
            schemas.insert(file.to_owned(), kind);
        }
        // A list, and Kubernetes' own.
        schemas.insert("list".to_owned(), json!({"description": "no version", "x-kubernetes-group-version-kind": []}));
        schemas.insert("meta".to_owned(), json!({"description": "testkit 9.9.9"}));
        let document = json!({"components": {"schemas": schemas}});
        assert_eq!(versions(&document), [VERSION.to_owned()].into());
    }
}
