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
                403 => match Missing::of(&status.message) {
                    Some(missing) => missing.explain(attempt, &what, &place, &status.message),
                    // A quota, a policy, a namespace that ends: no role would change it.
                    None => Failure::new(format!("{what} in {place} is not allowed: {}", status.message))
                        .help("no permission is missing: change what it names, or ask whoever looks after it")
                        .exit(exit::NOT_ALLOWED),
                },
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

/// A permission that somebody lacks, as an authorizer says it:
/// `secrets "x" is forbidden: User "jane" cannot get resource "secrets" in API group "" in the namespace "a"`.
#[derive(Debug, PartialEq, Eq)]
struct Missing<'a> {
    user: &'a str,
    verb: &'a str,
    resource: &'a str,
}

impl<'a> Missing<'a> {
    /// What a message says of one; none where the API server has another reason.
    fn of(message: &'a str) -> Option<Self> {
        let (before, after) = message.split_once("\" cannot ")?;
        let (_, user) = before.split_once("User \"")?;
        let (verb, after) = after.split_once(" resource \"")?;
        let (resource, _) = after.split_once('"')?;
        Some(Self { user, verb, resource })
    }

    /// That it is missing, and how it is had.
    fn explain(&self, attempt: &Attempt<'_>, what: &str, place: &str, message: &str) -> Failure {
        // Some permissions to impersonate are for one way of doing so: impersonate:user-info.
        if self.verb.starts_with("impersonate") {
            let Self { verb, resource, .. } = *self;
            return Failure::new(format!("you may not {verb} {resource} to {what} in {place}: {message}"))
                .help(format!("leave out --as, or ask for the permission to {verb} {resource}"))
                .help(format!("check with: kubectl auth can-i {verb} {resource}"))
                .exit(exit::NOT_ALLOWED);
        }
        let Attempt { verb, resource, namespace, .. } = *attempt;
        let scope = namespace.map_or_else(|| "--all-namespaces".to_owned(), |n| format!("-n {n}"));
        let mut failure = Failure::new(format!("you may not {verb} {resource} in {place}: {message}"))
            .help(format!("ask for the permission to {verb} {resource} in {place}"))
            .help(format!("check with: kubectl auth can-i {verb} {resource} {scope}"))
            .exit(exit::NOT_ALLOWED);
        match (namespace, role(verb, resource)) {
            (Some(namespace), Some(role)) => {
                let subject = self.subject();
                failure = failure.help(format!(
                    "an administrator gives it with: kubectl create rolebinding NAME --clusterrole={role} {subject} -n {namespace}"
                ));
            }
            (None, _) => failure = failure.help("or name one namespace with -n, in place of all of them"),
            (Some(_), None) => {}
        }
        failure
    }

    /// Who it is, as `kubectl create rolebinding` takes it.
    fn subject(&self) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
        let account = self.user.strip_prefix("system:serviceaccount:").filter(|name| name.matches(':').count() == 1);
        match account {
            _ if self.user.is_empty() || !self.user.chars().all(is_plain) => "--user=USER".to_owned(),
            Some(account) => format!("--serviceaccount={account}"),
            None => format!("--user={}", self.user),
        }
    }
}

/// The least of the roles for people that has a permission: Kubernetes' own, with what deploy/base/rbac-users.yaml adds
/// to them, and those that are made there. docs/users.md has what each may do.
fn role(verb: &str, resource: &str) -> Option<&'static str> {
    let looks = matches!(verb, "get" | "list" | "watch");
    match resource {
        CLUSTERS | RUNS | "configmaps" | "events" if looks => Some("view"),
        RUNS if matches!(verb, "create" | "patch") => Some("testkit-ci"),
        CLUSTERS | RUNS => Some("edit"),
        "secrets" if verb == "get" => Some("testkit-user"),
        _ => None,
    }
}

/// Whether a 404 speaks of the resource and not of an object: the API server then has no details to give.
fn no_such_resource(status: &kube::core::Status) -> bool {
    status.code == 404 && status.details.as_ref().is_none_or(|d| d.name.is_empty())
}

#[cfg(test)]
mod tests {
    use kube::{Client, Config, core::Status};

    use super::*;

    fn kubernetes() -> Kubernetes {
        let config = Config::new("https://there:6443".parse().unwrap());
        Kubernetes {
            client: Client::try_from(config).unwrap(),
            namespace: "a".to_owned(),
            server: "https://there:6443".to_owned(),
            context: None,
            account: "context \"c\"".to_owned(),
        }
    }

    fn refused(kubernetes: &Kubernetes, attempt: &Attempt<'_>, message: &str) -> Failure {
        let status = Status { code: 403, message: message.to_owned(), ..Status::default() };
        kubernetes.explain(&kube::Error::Api(status.boxed()), attempt)
    }

    #[tokio::test]
    async fn a_missing_permission_is_named_with_the_role_that_has_it() {
        let kubernetes = kubernetes();
        let said = |user: &str, verb: &str, resource: &str| {
            format!(
                "x is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"a\""
            )
        };
        for (user, verb, resource, gives) in [
            ("jane", "get", "secrets", "--clusterrole=testkit-user --user=jane -n a"),
            (
                "system:serviceaccount:ci:runner",
                "create",
                RUNS,
                "--clusterrole=testkit-ci --serviceaccount=ci:runner -n a",
            ),
            ("https://id.example/#jane", "delete", CLUSTERS, "--clusterrole=edit --user=USER -n a"),
            ("jane", "list", "events", "--clusterrole=view --user=jane -n a"),
        ] {
            let failure = refused(&kubernetes, &kubernetes.attempt(verb, resource, None), &said(user, verb, resource));
            assert_eq!(failure.code(), exit::NOT_ALLOWED, "{failure}");
            assert!(
                failure.what().starts_with(&format!("you may not {verb} {resource} in namespace \"a\"")),
                "{failure}"
            );
            assert_eq!(failure.remedies()[1], format!("check with: kubectl auth can-i {verb} {resource} -n a"));
            assert!(failure.remedies()[2].ends_with(gives), "{failure}");
        }
        let everywhere = Attempt { verb: "list", resource: RUNS, namespace: None, name: None };
        let failure = refused(&kubernetes, &everywhere, &said("jane", "list", "e2eruns"));
        assert!(failure.remedies()[2].contains("one namespace with -n"), "{failure}");
        // Whoever may not act as somebody lacks that permission and no other.
        let failure =
            refused(&kubernetes, &kubernetes.attempt("list", RUNS, None), &said("jane", "impersonate", "users"));
        assert!(failure.what().starts_with("you may not impersonate users") && failure.code() == 4, "{failure}");
        assert!(!failure.to_string().contains("ask for the permission to list"), "{failure}");
    }

    #[tokio::test]
    async fn where_no_permission_is_missing_none_is_asked_for() {
        let kubernetes = kubernetes();
        for message in [
            "e2eruns.testkit.dev \"x\" is forbidden: exceeded quota: runs, requested: count/e2eruns.testkit.dev=1",
            "admission webhook \"w\" denied the request: not on a Friday",
            "unable to create new content in namespace a because it is being terminated",
        ] {
            let failure = refused(&kubernetes, &kubernetes.attempt("create", RUNS, Some("x")), message);
            assert_eq!(failure.code(), exit::NOT_ALLOWED, "{failure}");
            assert!(failure.what().contains(message) && !failure.to_string().contains("can-i"), "{failure}");
        }
    }

    /// Whether the role has it by deploy/base/rbac-users.yaml.
    fn has(role: &str, verb: &str, resource: &str) -> bool {
        use serde::Deserialize as _;
        let aggregated = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
        let roles = serde_yaml_ng::Deserializer::from_str(include_str!("../../../deploy/base/rbac-users.yaml"));
        roles
            .map(|object| serde_json::Value::deserialize(object).unwrap())
            .filter(|o| o["metadata"]["name"] == role || o["metadata"]["labels"][aggregated.as_str()] == "true")
            .flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default())
            .any(|rule| {
                let lists = |field: &str, word: &str| rule[field].as_array().unwrap().iter().any(|w| w == word);
                lists("verbs", verb) && lists("resources", resource.split('.').next().unwrap())
            })
    }

    #[test]
    fn a_role_that_is_named_has_the_permission() {
        for resource in [CLUSTERS, RUNS] {
            for verb in ["get", "list", "watch", "create", "patch", "delete"] {
                let role = role(verb, resource).unwrap();
                assert!(has(role, verb, resource), "{role}: {verb} {resource}");
            }
        }
        assert!(has(role("get", "secrets").unwrap(), "get", "secrets"));
        assert_eq!((role("list", "secrets"), role("get", "configmaps")), (None, Some("view")));
    }
}
