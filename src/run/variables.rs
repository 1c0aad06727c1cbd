//! The variables of a run's container: read from the Secrets and ConfigMaps of its namespace in
//! the pass that makes the container, and kept by nobody.
//!
//! [`resolve`] is pure. A value leaves it only as a part of [`Variables`], which shows none.

use std::{collections::BTreeMap, fmt};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, ResourceExt};

use crate::api::{E2ERun, E2ERunSpec, MANAGER, Shard};

/// Variables of a container. They show how many they are, and not more.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// `NAME=value` each, as an engine takes them.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Sets a variable, in place of what had its name.
    fn set(&mut self, name: String, value: String) {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value));
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variables({})", self.0.len())
    }
}

/// Why there are no variables, in words that name object and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Something is not there. It may come.
    Missing(String),
    /// Something is there that is of no use.
    Wrong(String),
}

/// A kind of object that variables come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// An object that a spec names, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// There is none of that name.
    Gone,
    /// It is a Secret of the operator's own, with keys of hosts. No run is given these.
    Own,
    /// The API server does not show it, in its words.
    Refused(String),
    /// What it holds.
    Holds(BTreeMap<String, Vec<u8>>),
}

/// The objects that a spec names.
pub type Sources = BTreeMap<(Kind, String), Source>;

/// Reads the objects that a run's variables come from, and puts these together.
///
/// # Errors
/// Where the API server does not answer.
pub async fn read(client: &Client, run: &E2ERun, shard: Shard) -> Result<Result<Variables, Lack>, kube::Error> {
    let namespace = run.namespace().unwrap_or_default();
    let reads = named(&run.spec).into_iter().map(async |(kind, name)| {
        let source = match kind {
            Kind::Secret => {
                let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
                source(api.get_opt(&name).await, |s| (!is_own(&s)).then(|| bytes(s.data, |value| value.0)))
            }
            // Its binaryData is no text, as in Kubernetes.
            Kind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
                source(api.get_opt(&name).await, |c| Some(bytes(c.data, String::into_bytes)))
            }
        };
        Ok::<_, kube::Error>(((kind, name), source?))
    });
    let sources = try_join_all(reads).await?.into_iter().collect();
    Ok(resolve(&run.spec, &sources, shard))
}

/// What was read; `holds` gives nothing for what is the operator's own.
fn source<K>(
    read: Result<Option<K>, kube::Error>,
    holds: impl FnOnce(K) -> Option<BTreeMap<String, Vec<u8>>>,
) -> Result<Source, kube::Error> {
    match read {
        Ok(None) => Ok(Source::Gone),
        Ok(Some(object)) => Ok(holds(object).map_or(Source::Own, Source::Holds)),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Source::Refused(status.message)),
        Err(error) => Err(error),
    }
}

fn bytes<V>(data: Option<BTreeMap<String, V>>, of: impl Fn(V) -> Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    data.unwrap_or_default().into_iter().map(|(key, value)| (key, of(value))).collect()
}

/// Whether the operator made a Secret for itself.
pub fn is_own(secret: &Secret) -> bool {
    secret.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == MANAGER)
}

/// The objects that a spec names.
fn named(spec: &E2ERunSpec) -> Vec<(Kind, String)> {
    let keys = spec.env.iter().filter_map(|v| v.value_from.as_ref()).flat_map(|from| {
        let secret = from.secret_key_ref.iter().map(|s| (Kind::Secret, s.name.clone()));
        secret.chain(from.config_map_key_ref.iter().map(|c| (Kind::ConfigMap, c.name.clone())))
    });
    let wholes = spec.env_from.iter().flat_map(|from| {
        let secret = from.secret_ref.iter().map(|s| (Kind::Secret, s.name.clone()));
        secret.chain(from.config_map_ref.iter().map(|c| (Kind::ConfigMap, c.name.clone())))
    });
    let mut all: Vec<_> = keys.chain(wholes).collect();
    all.sort();
    all.dedup();
    all
}

/// The variables of a run's container, as Kubernetes orders them: of `envFrom` the later ones count, then `env`,
/// and last the operator's own.
///
/// # Errors
/// What is missing first.
pub fn resolve(spec: &E2ERunSpec, sources: &Sources, shard: Shard) -> Result<Variables, Lack> {
    let mut variables = Variables::default();
    for (number, from) in spec.env_from.iter().enumerate() {
        let what = format!("spec.envFrom[{number}]");
        let (kind, of) = match (&from.secret_ref, &from.config_map_ref) {
            (Some(secret), _) => (Kind::Secret, secret),
            (None, Some(config)) => (Kind::ConfigMap, config),
            (None, None) => continue,
        };
        let optional = of.optional.unwrap_or_default();
        let Some(held) = held(sources, kind, &of.name, optional, &what)? else { continue };
        for (key, value) in held {
            let name = format!("{}{key}", from.prefix.as_deref().unwrap_or_default());
            let value = text(value).map_err(|why| unusable(kind, &of.name, key, why, &what))?;
            variables.set(name, value);
        }
    }
    for variable in &spec.env {
        let Some(from) = &variable.value_from else {
            variables.set(variable.name.clone(), shard.expanded(variable.value.as_deref().unwrap_or_default()));
            continue;
        };
        let what = format!("variable {} of spec.env", variable.name);
        let (kind, of) = match (&from.secret_key_ref, &from.config_map_key_ref) {
            (Some(secret), _) => (Kind::Secret, secret),
            (None, Some(config)) => (Kind::ConfigMap, config),
            (None, None) => continue,
        };
        let optional = of.optional.unwrap_or_default();
        let Some(held) = held(sources, kind, &of.name, optional, &what)? else { continue };
        match held.get(&of.key) {
            Some(value) => {
                let value = text(value).map_err(|why| unusable(kind, &of.name, &of.key, why, &what))?;
                variables.set(variable.name.clone(), value);
            }
            None if optional => {}
            None => {
                return Err(Lack::Missing(format!(
                    "{kind} {} has no key {}, which {what} takes: add it, or write optional: true",
                    of.name, of.key
                )));
            }
        }
    }
    variables.set("TESTKIT_RESULTS".to_owned(), spec.results.path.clone());
    variables.set("TESTKIT_IMAGE".to_owned(), spec.image.clone());
    shard.variables().into_iter().for_each(|(name, value)| variables.set(name.to_owned(), value));
    Ok(variables)
}

/// What an object holds; `None` where it is not there and need not be.
fn held<'a>(
    sources: &'a Sources,
    kind: Kind,
    name: &str,
    optional: bool,
    what: &str,
) -> Result<Option<&'a BTreeMap<String, Vec<u8>>>, Lack> {
    match sources.get(&(kind, name.to_owned())) {
        Some(Source::Holds(held)) => Ok(Some(held)),
        Some(Source::Own) => Err(Lack::Wrong(format!(
            "{kind} {name}, which {what} takes, is the operator's own, and no run is given it: take another one"
        ))),
        Some(Source::Refused(words)) => {
            Err(Lack::Missing(format!("{kind} {name}, which {what} takes, cannot be read: {words}")))
        }
        Some(Source::Gone) | None if optional => Ok(None),
        Some(Source::Gone) | None => Err(Lack::Missing(format!(
            "there is no {kind} {name} in this namespace, which {what} takes: create it, or write optional: true"
        ))),
    }
}

/// A value as a variable may have it.
fn text(value: &[u8]) -> Result<String, &'static str> {
    match std::str::from_utf8(value) {
        Ok(text) if text.contains('\0') => Err("has a byte of zero"),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err("is no text (UTF-8)"),
    }
}

fn unusable(kind: Kind, name: &str, key: &str, why: &str, what: &str) -> Lack {
    Lack::Wrong(format!(
        "key {key} of {kind} {name}, which {what} takes, {why}, and a variable can hold nothing else: keep it encoded"
    ))
}

#[cfg(test)]
#[path = "variables_tests.rs"]
mod tests;
