//! What errors of the API server mean. Every error of a call passes [`Kubernetes::explain`], the one place that turns
//! a status code into what is wrong and what to do.

use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use super::{CLUSTERS, Kubernetes, PAGE, RUNS};
use crate::{
    api::GROUP,
    cli::{
        failure::{Failure, exit, words},
        suggest,
    },
};

/// What was tried: the words for it when it fails.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// Kubernetes' verb, as RBAC spells it.
    pub verb: &'a str,
    /// The resource in the plural, with its group if it has one.
    pub resource: &'a str,
    /// The namespace, if not all of them.
    pub namespace: Option<&'a str>,
    /// The object, if one.
    pub name: Option<&'a str>,
}

impl Kubernetes {
    /// What an error of a call means, and what to do about it.
    #[must_use]
    pub fn explain(&self, error: &kube::Error, attempt: &Attempt<'_>) -> Failure {
        let Attempt { verb, resource, .. } = *attempt;
        let what = match attempt.name {
            Some(name) => format!("{verb} {resource} {name:?}"),
            None => format!("{verb} {resource}"),
        };
        let place = attempt.namespace.map_or_else(|| "all namespaces".to_owned(), |n| format!("namespace {n:?}"));
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Failure::new(format!(
                    "{} does not accept the credentials of {}: {}",
                    self.server,
                    self.context_words(),
                    status.message
                ))
                .help("log in again, then: kubectl auth whoami")
                .exit(exit::NOT_ALLOWED),
                403 => self.forbidden(attempt, &place, &status.message),
                404 if no_such_resource(status) && resource.ends_with(GROUP) => {
                    Failure::new(format!("{} does not know {resource}: testkit is not installed there", self.server))
                        .help("an administrator installs it with: kubectl apply -k deploy/base")
                        .help(format!("another cluster is chosen with --context (this is {})", self.context_words()))
                }
                404 => Failure::new(format!("there is nothing to {what} in {place}: {}", status.message)),
                409 => Failure::new(format!("{what} in {place}: {}", status.message)),
                400 | 422 => Failure::new(format!("the API server refuses to {what}: {}", status.message)).usage(),
                code => {
                    Failure::new(format!("the API server failed to {what} in {place} ({code}): {}", status.message))
                }
            },
            kube::Error::SerdeError(e) => Failure::new(format!(
                "the answer to {what} in {place} is not what this version of kubectl testkit reads: {e}"
            ))
            .help("install the plugin and the custom resources of the same release"),
            other => Failure::new(format!(
                "{} ({}) cannot be reached to {what}: {}",
                self.server,
                self.context_words(),
                words(other)
            ))
            .help(match &self.context {
                Some(context) => format!("kubectl --context {context} cluster-info"),
                None => "kubectl cluster-info".to_owned(),
            }),
        }
    }

    fn forbidden(&self, attempt: &Attempt<'_>, place: &str, message: &str) -> Failure {
        let Attempt { verb, resource, namespace, .. } = *attempt;
        let scope = namespace.map_or_else(|| "--all-namespaces".to_owned(), |n| format!("-n {n}"));
        let mut failure = Failure::new(format!("you may not {verb} {resource} in {place}: {message}"))
            .help(format!("ask for the permission to {verb} {resource} in {place}"))
            .help(format!("check with: kubectl auth can-i {verb} {resource} {scope}"))
            .exit(exit::NOT_ALLOWED);
        if namespace.is_none() {
            failure = failure.help("or name one namespace with -n, in place of all of them");
        }
        failure
    }

    /// There is no such object: with the names there are, as far as the user may list them.
    pub async fn not_found<K>(&self, api: &Api<K>, kind: &str, name: &str) -> Failure
    where
        K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let known = match api.list_metadata(&ListParams::default().limit(PAGE)).await {
            Ok(list) => Some(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>()),
            // An object is not found either where its kind is unknown; only a list tells.
            Err(e) if matches!(&e, kube::Error::Api(status) if no_such_resource(status)) => {
                let resource = if kind == "cluster" { CLUSTERS } else { RUNS };
                return self.explain(&e, &self.attempt("get", resource, Some(name)));
            }
            Err(_) => None,
        };
        let failure = Failure::new(format!("there is no {kind} {name:?} in namespace {:?}", self.namespace)).usage();
        suggest::among(failure, name, kind, known.as_deref())
            .help("kubectl testkit ls --all-namespaces shows those of all namespaces")
    }
}

/// Whether a 404 speaks of the resource and not of an object: the API server then has no details to give.
fn no_such_resource(status: &kube::core::Status) -> bool {
    status.code == 404 && status.details.as_ref().is_none_or(|d| d.name.is_empty())
}
