//! Keeps what was read of a container in the run's ConfigMap, so that it outlives the container; or
//! says why not, and what to do.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
};

use super::archive::{JUNIT, Left, contents};
use crate::{
    api::{E2ERun, MANAGER, label},
    results::{Outcome, Together},
};

/// Why results are not kept.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something else has the name.
    #[error(
        "ConfigMap {0} is there already and does not belong to the run: delete or rename it, so that the results can be kept under this name"
    )]
    NameTaken(String),
    /// The API server refused, for want of room or of a permission, or by a rule of somebody's.
    #[error("the API server refuses ConfigMap {name}: {}{}", plain(.error), remedy(.error))]
    Api {
        /// Its name.
        name: String,
        /// What the API server said.
        error: kube::Error,
    },
    /// They could not be packed.
    #[error("packing the results failed: {0}")]
    Pack(#[from] std::io::Error),
}

/// What the API server said, without what is around it.
fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// What to do about it.
fn remedy(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.message.contains("exceeded quota") => {
            ". Raise the ResourceQuota of the namespace, or delete ConfigMaps of older runs"
        }
        kube::Error::Api(status) if status.message.contains("being terminated") => "",
        kube::Error::Api(status) if status.message.contains("admission") || status.message.contains("denied") => {
            ". Let whoever refuses it take ConfigMaps that testkit-operator makes in the namespace"
        }
        kube::Error::Api(status) if status.code == 403 => {
            ". Let testkit-operator get, create and delete ConfigMaps in the namespace (deploy/base/rbac-operator.yaml)"
        }
        kube::Error::Api(status) if (400..500).contains(&status.code) => "",
        _ => ". The API server does not answer as it should",
    }
}

/// The JUnit that is kept in a ConfigMap of the run's, compressed; nothing where it is not there, or is not the run's.
///
/// # Errors
/// Where the API server does not answer.
pub async fn junit(client: &kube::Client, run: &E2ERun, name: &str) -> Result<Vec<u8>, kube::Error> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let ours = |map: &ConfigMap| map.owner_references().iter().any(|o| Some(&o.uid) == run.uid().as_ref());
    let found = maps.get_opt(name).await?.filter(ours).and_then(|map| map.binary_data?.remove(JUNIT));
    Ok(found.map(|bytes| bytes.0).unwrap_or_default())
}

/// Stores what the shards of a run left together in the run's own ConfigMap, with words in place of a log.
///
/// # Errors
/// As [`store`] has them.
pub async fn keep(
    client: &kube::Client,
    run: &E2ERun,
    together: Together,
    log: &str,
    summary: &serde_json::Value,
) -> Result<String, Refused> {
    let outcome = Outcome { junit: together.junit, ..Outcome::default() };
    store(client, run, run.results_name(), Left::told(outcome, log), summary).await
}

/// Stores what a container left in a ConfigMap of the run's, of this name. A second call replaces what the first one wrote.
///
/// # Errors
/// Where the API server refuses, or the name is taken by something else.
pub async fn store(
    client: &kube::Client,
    run: &E2ERun,
    name: String,
    left: Left,
    summary: &serde_json::Value,
) -> Result<String, Refused> {
    let binary = tokio::task::spawn_blocking(move || contents(left)).await.map_err(std::io::Error::other)??;
    let wanted = config_map(run, &name, summary, binary);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let refused = |error| Refused::Api { name: name.clone(), error };
    // What is in the way was kept for a run of the same name that is gone, or by an earlier try.
    for _ in 0..3 {
        match maps.create(&PostParams::default(), &wanted).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(refused(error)),
            Ok(_) => return Ok(name),
        }
        let Some(there) = maps.get_opt(&name).await.map_err(refused)? else { continue };
        let ours = there.owner_references().iter().any(|o| o.kind == E2ERun::kind(&()) && o.name == run.name_any());
        if !ours {
            return Err(Refused::NameTaken(name));
        }
        let this = Preconditions { uid: there.uid(), resource_version: there.resource_version() };
        let deleted = maps.delete(&name, &DeleteParams::default().preconditions(this)).await;
        if let Err(error) = deleted {
            tracing::debug!(%error, name, "the ConfigMap in the way changed");
        }
    }
    Err(Refused::NameTaken(name))
}

/// The object.
fn config_map(
    run: &E2ERun,
    name: &str,
    summary: &serde_json::Value,
    binary: BTreeMap<String, ByteString>,
) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([
                ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned()),
                (label::RUN_UID.to_owned(), run.uid().unwrap_or_default()),
            ])),
            owner_references: run
                .controller_owner_ref(&())
                .map(|owner| vec![OwnerReference { block_owner_deletion: None, ..owner }]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("summary.json".to_owned(), format!("{summary:#}\n"))])),
        binary_data: Some(binary),
        immutable: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_its_own_words_with_what_to_do() {
        let api = |code, message: &str| {
            let status = kube::core::Status { code, message: message.to_owned(), ..kube::core::Status::default() };
            Refused::Api { name: "nightly-results".to_owned(), error: kube::Error::Api(Box::new(status)) }.to_string()
        };
        let cases = [
            (
                api(403, "configmaps \"x\" is forbidden: exceeded quota: q"),
                "exceeded quota: q",
                "Raise the ResourceQuota",
            ),
            (
                api(403, "admission webhook \"w\" denied the request: no"),
                "denied the request: no",
                "Let whoever refuses",
            ),
            (api(403, "User \"u\" cannot create resource \"configmaps\""), "cannot create", "rbac-operator.yaml"),
            (api(422, "ConfigMap \"x\" is invalid: too long"), "too long", "nightly-results"),
            (Refused::NameTaken("nightly-results".to_owned()).to_string(), "is there already", "delete or rename it"),
        ];
        for (said, words, remedy) in cases {
            assert!(said.contains(words) && said.contains(remedy), "{said}");
        }
    }
}
