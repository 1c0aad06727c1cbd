//! Making an object from a file or from options, checked by the API server.

use std::path::Path;

use kube::core::{Request, params::PostParams};
use serde_json::Value;

use crate::cli::{
    failure::Failure,
    kubernetes::Kubernetes,
    output::{self, Format},
    terminal::Printer,
};

/// Whether to make it, and what to do in place of that.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// Print the object; ask nobody
    Client,
    /// Have the API server check it; make nothing
    Server,
}

/// How an object is made.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Making {
    /// Print it and do not make it
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: Option<DryRun>,
    /// Print it as it is at the end: name, json, yaml, jsonpath=…, custom-columns=…
    #[arg(short, long, value_name = "FORMAT", add = output::forms())]
    pub output: Option<Format>,
}

/// The one object in a YAML or JSON file; `-` is standard input.
pub fn read(path: &Path, kind: &str) -> Result<Value, Failure> {
    let shown = path.display();
    let text =
        if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) }
            .map_err(|e| Failure::new(format!("{shown} cannot be read: {e}")))?;
    let unreadable = |e: serde_yaml_ng::Error| Failure::new(format!("{shown} is not YAML: {e}"));
    let mut found = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let object = <Value as serde::Deserialize>::deserialize(document).map_err(unreadable)?;
        if object["kind"] == kind {
            found.push(object);
        }
    }
    let count = found.len();
    match (found.pop(), count) {
        (Some(object), 1) => Ok(object),
        (None, _) => Err(Failure::new(format!("there is no {kind} in {shown}"))),
        (Some(_), count) => {
            Err(Failure::new(format!("there are {count} objects of kind {kind} in {shown}: one is wanted"))
                .help(format!("kubectl apply -f {shown}")))
        }
    }
}

/// Makes the object in the namespace; gives its name, or `None` after a dry run, which prints it.
pub async fn make(
    printer: &Printer,
    kubernetes: &Kubernetes,
    plural: &str,
    object: &mut Value,
    making: &Making,
) -> Result<Option<String>, Failure> {
    let dry_run = making.dry_run;
    let shown = making.output.as_ref().unwrap_or(&Format::Yaml);
    if dry_run == Some(DryRun::Client) {
        shown.print(printer, object, false)?;
        return Ok(None);
    }
    let resource = format!("{plural}.{}", crate::api::GROUP);
    let name = object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    let attempt = kubernetes.attempt("create", &resource, name.as_deref());
    let unmade = |e: &dyn std::fmt::Display| Failure::new(format!("no request to create {resource} can be made: {e}"));
    let url = format!("/apis/{}/v1alpha1/namespaces/{}/{plural}", crate::api::GROUP, kubernetes.namespace);
    let params = PostParams { dry_run: dry_run.is_some(), field_manager: Some("kubectl-testkit".to_owned()) };
    let body = serde_json::to_vec(object).map_err(|e| unmade(&e))?;
    let mut request = Request::new(url).create(&params, body).map_err(|e| unmade(&e))?;
    // A misspelt field is a mistake and not a wish for the default.
    let strict = format!("{}&fieldValidation=Strict", request.uri());
    *request.uri_mut() = strict.parse().map_err(|e: hyper::http::uri::InvalidUri| unmade(&e))?;
    let mut made: Value = kubernetes.client.request(request).await.map_err(|e| match (&e, &name) {
        (kube::Error::Api(status), Some(name)) if status.code == 409 => {
            Failure::new(format!("{resource} {name:?} is there already in namespace {:?}", kubernetes.namespace))
                .help("choose another name, or none for a generated one")
        }
        _ => kubernetes.explain(&e, &attempt),
    })?;
    if dry_run.is_some() {
        made["metadata"].as_object_mut().map(|metadata| metadata.remove("managedFields"));
        shown.print(printer, &made, false)?;
        return Ok(None);
    }
    Ok(made.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned))
}
