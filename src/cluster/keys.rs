//! The two Secrets of a cluster.
//!
//! `NAME-journal` is what the operator must not forget: the keys, and the [`Journal`]. It is the
//! cluster's by UID, written against its version, and held by a finalizer while the cluster lives.
//! `NAME-ssh` is what people read. It is made from the journal, again whenever it is gone or was edited.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};

use super::{journal::Journal, member::MemberId, words};
use crate::{
    api::{FINALIZER, MANAGER, SwarmCluster, journal_secret, secret_key},
    cloud::Owner,
    host::{ClientKey, HostId, HostSeed},
};

/// What the journal's Secret holds.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The key the operator and people log in with.
    pub client: ClientKey,
    /// What host keys are derived from.
    pub seed: HostSeed,
    /// Host keys that were seen in place: OpenSSH public key by host names.
    pub known: BTreeMap<String, String>,
    /// What must not happen twice, or be forgotten.
    pub journal: Journal,
    /// The version of the Secret this was read from.
    version: Option<String>,
}

/// Why a Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The API server refuses.
    #[error("Secret {name}: {}", words::of(source))]
    Api {
        /// The Secret.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// A person changed the Secret.
    #[error("Secret {name} has no usable {key:?}: delete the SwarmCluster to begin again")]
    Broken {
        /// The Secret.
        name: String,
        /// The key of the Secret's data.
        key: &'static str,
    },
    /// It belongs to something else.
    #[error("Secret {name} is not this cluster's: delete it, or give the SwarmCluster another name")]
    Foreign {
        /// The Secret.
        name: String,
    },
    /// It belongs to an earlier cluster of the same name, and is being removed.
    #[error("Secret {name} of an earlier SwarmCluster of this name is being removed")]
    Earlier {
        /// The Secret.
        name: String,
    },
}

/// Whose a Secret is.
#[derive(PartialEq, Eq)]
enum Whose {
    Ours,
    Earlier,
    Foreign,
}

impl Keys {
    /// The host's identity for the connection room.
    #[must_use]
    pub fn host_id(uid: &str, member: MemberId) -> HostId {
        HostId { cluster: uid.to_owned(), slot: member.slot.to_string(), incarnation: member.incarnation }
    }

    /// Whether the host's own key is written down.
    #[must_use]
    pub fn pins(&self, id: &HostId) -> bool {
        let own = self.seed.host_key(id).public_line();
        self.known.values().any(|known| key_part(known) == key_part(&own))
    }

    /// Reads the journal; `None` where there is none and never was. One that is gone is written
    /// again from what this process remembers of it or, without that, from what people read.
    pub async fn read(
        client: &Client,
        cluster: &SwarmCluster,
        before: Option<Self>,
    ) -> Result<Option<Self>, KeysError> {
        let name = cluster.journal_secret_name();
        let found = get(client, cluster, &name).await?;
        match found.as_ref().map(|secret| (whose(secret, cluster), secret)) {
            Some((Whose::Ours, secret)) => return Self::parse(secret).map(Some),
            Some((Whose::Earlier, secret)) => {
                free(client, cluster, secret).await?;
                return Err(KeysError::Earlier { name });
            }
            Some((Whose::Foreign, _)) => return Err(KeysError::Foreign { name }),
            None => {}
        }
        let kept = match before {
            Some(keys) => Some(keys),
            None => Self::of_projection(client, cluster).await?,
        };
        match kept {
            Some(keys) => keys.put(client, cluster).await.map(Some),
            None => Ok(None),
        }
    }

    /// Makes the journal with new keys, or reads the one somebody else just made.
    pub async fn create(client: &Client, cluster: &SwarmCluster) -> Result<Self, KeysError> {
        let keys = Self {
            client: ClientKey::generate(),
            seed: HostSeed::generate(),
            known: BTreeMap::new(),
            journal: Journal::default(),
            version: None,
        };
        keys.put(client, cluster).await
    }

    /// Writes what changes in the course of a cluster's life, where nobody else has since.
    pub async fn write(&mut self, client: &Client, cluster: &SwarmCluster) -> Result<(), KeysError> {
        let name = cluster.journal_secret_name();
        let mut data = self.shown();
        data.insert(secret_key::JOURNAL.to_owned(), self.written());
        let patch = serde_json::json!({ "metadata": { "resourceVersion": self.version }, "data": data });
        let done = api(client, cluster).patch(&name, &params(), &Patch::Merge(patch)).await;
        self.version = done.map_err(|source| KeysError::Api { name, source })?.resource_version();
        Ok(())
    }

    /// Makes sure of what people read.
    pub async fn project(&self, client: &Client, cluster: &SwarmCluster) -> Result<(), KeysError> {
        let name = cluster.ssh_secret_name();
        let mut data = self.shown();
        let comment = format!("testkit {}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
        data.insert(secret_key::PUBLIC_KEY.to_owned(), bytes(&self.client.public_line(&comment)));
        let failed = |source| KeysError::Api { name: name.clone(), source };
        let Some(found) = get(client, cluster, &name).await? else {
            let secret = Secret { data: Some(data), ..secret(cluster, &name, None) };
            return match api(client, cluster).create(&post(), &secret).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                done => done.map(drop).map_err(failed),
            };
        };
        let whose = whose(&found, cluster);
        if whose == Whose::Foreign {
            return Err(KeysError::Foreign { name });
        }
        let has = found.data.unwrap_or_default();
        if whose == Whose::Ours && data.iter().all(|(k, v)| has.get(k) == Some(v)) {
            return Ok(());
        }
        let owner: Vec<_> = cluster.controller_owner_ref(&()).into_iter().collect();
        let mut patch = serde_json::json!({ "metadata": { "ownerReferences": owner }, "data": data });
        // Versions before had the journal in it.
        patch["data"][secret_key::INTENT] = serde_json::Value::Null;
        api(client, cluster).patch(&name, &params(), &Patch::Merge(patch)).await.map(drop).map_err(failed)
    }

    /// Lets the journal of a cluster go that has nothing left.
    pub async fn release(client: &Client, cluster: &SwarmCluster) -> Result<(), KeysError> {
        match get(client, cluster, &cluster.journal_secret_name()).await? {
            Some(secret) if whose(&secret, cluster) != Whose::Foreign => free(client, cluster, &secret).await,
            _ => Ok(()),
        }
    }

    /// Notes the own keys of hosts that presented them, and forgets those of hosts that are gone.
    /// Of a slot there may be two: one that fills it, and one that is about to or was.
    pub fn pin(&mut self, cluster: &str, uid: &str, hosts: &[(MemberId, String)], live: &[MemberId]) {
        let own = |member: &MemberId| self.seed.host_key(&Self::host_id(uid, *member)).public_line();
        let live: BTreeSet<String> =
            live.iter().map(own).filter_map(|line| key_part(&line).map(str::to_owned)).collect();
        let lines: Vec<_> = hosts.iter().map(|(member, address)| (member, address, own(member))).collect();
        self.known.retain(|_, known| key_part(known).is_some_and(|key| live.contains(key)));
        for (member, address, line) in lines {
            self.known.retain(|_, known| key_part(known) != key_part(&line));
            self.known.insert(format!("{cluster}-{},{address}", member.slot), line);
        }
    }

    /// What both Secrets hold.
    fn shown(&self) -> BTreeMap<String, ByteString> {
        let known: String = self.known.iter().map(|(names, key)| format!("{names} {key}\n")).collect();
        [
            (secret_key::PRIVATE_KEY, bytes(self.client.to_openssh().as_str())),
            (secret_key::HOST_SEED, ByteString(self.seed.as_bytes().to_vec())),
            (secret_key::KNOWN_HOSTS, bytes(&known)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn written(&self) -> ByteString {
        bytes(&serde_json::to_string(&self.journal).unwrap_or_default())
    }

    /// Makes the journal's Secret of these keys, or reads the one somebody else just made.
    async fn put(mut self, client: &Client, cluster: &SwarmCluster) -> Result<Self, KeysError> {
        let name = cluster.journal_secret_name();
        let mut data = self.shown();
        data.insert(secret_key::JOURNAL.to_owned(), self.written());
        let secret = Secret { data: Some(data), ..secret(cluster, &name, Some(FINALIZER)) };
        match api(client, cluster).create(&post(), &secret).await {
            Ok(made) => {
                self.version = made.resource_version();
                Ok(self)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = get(client, cluster, &name).await?.filter(|s| whose(s, cluster) == Whose::Ours);
                found.map_or(Err(KeysError::Foreign { name }), |secret| Self::parse(&secret))
            }
            Err(source) => Err(KeysError::Api { name, source }),
        }
    }

    /// What people read, as far as it is this cluster's: versions before had the journal in it.
    async fn of_projection(client: &Client, cluster: &SwarmCluster) -> Result<Option<Self>, KeysError> {
        let found = get(client, cluster, &cluster.ssh_secret_name()).await?;
        found.filter(|s| whose(s, cluster) == Whose::Ours).map(|s| Self::parse(&s)).transpose()
    }

    fn parse(secret: &Secret) -> Result<Self, KeysError> {
        let name = secret.name_any();
        let broken = |key| KeysError::Broken { name: name.clone(), key };
        let data = |key: &'static str| {
            secret.data.as_ref().and_then(|d| d.get(key)).map(|b| b.0.as_slice()).ok_or_else(|| broken(key))
        };
        let text = |key| data(key).and_then(|d| std::str::from_utf8(d).map_err(|_| broken(key)));
        let client =
            ClientKey::from_openssh(text(secret_key::PRIVATE_KEY)?).map_err(|_| broken(secret_key::PRIVATE_KEY))?;
        let seed = HostSeed::from_bytes(data(secret_key::HOST_SEED)?).map_err(|_| broken(secret_key::HOST_SEED))?;
        let lines = text(secret_key::KNOWN_HOSTS).unwrap_or_default().lines();
        let known = lines.filter_map(|l| l.split_once(' ')).map(|(n, k)| (n.to_owned(), k.to_owned())).collect();
        // A journal that cannot be read must not be taken for none: another instance would be launched.
        let has = |key| secret.data.as_ref().is_some_and(|d| d.contains_key(key));
        let key = [secret_key::JOURNAL, secret_key::INTENT].into_iter().find(|key| has(*key));
        let journal = match key {
            Some(key) => serde_json::from_str(text(key)?).map_err(|_| broken(key))?,
            None => Journal { restored: true, ..Journal::default() },
        };
        Ok(Self { client, seed, known, journal, version: secret.resource_version() })
    }
}

/// Whose a Secret is, by the UID of its owner. A name is used again only when its SwarmCluster is gone.
fn whose(secret: &Secret, cluster: &SwarmCluster) -> Whose {
    let kind = SwarmCluster::kind(&());
    let owners = secret.owner_references().iter().filter(|o| o.kind == kind && o.name == cluster.name_any());
    let uids: Vec<&String> = owners.map(|o| &o.uid).collect();
    match (uids.iter().any(|uid| Some(*uid) == cluster.metadata.uid.as_ref()), uids.is_empty()) {
        (true, _) => Whose::Ours,
        (false, false) => Whose::Earlier,
        (false, true) => Whose::Foreign,
    }
}

/// Lets the journal of a cluster go whose object is gone.
///
/// # Errors
/// The API server refuses.
pub async fn free_journal(client: &Client, owner: &Owner) -> Result<(), kube::Error> {
    let Some((namespace, name)) = owner.name.split_once('/') else { return Ok(()) };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let Some(secret) = secrets.get_opt(&journal_secret(name)).await? else { return Ok(()) };
    if !secret.owner_references().iter().any(|o| o.uid == owner.uid) {
        return Ok(());
    }
    strip(&secrets, &secret).await
}

/// Takes our finalizer off a Secret: its owner is gone or about to be, and takes it along.
async fn free(client: &Client, cluster: &SwarmCluster, secret: &Secret) -> Result<(), KeysError> {
    let stripped = strip(&api(client, cluster), secret).await;
    stripped.map_err(|source| KeysError::Api { name: secret.name_any(), source })
}

async fn strip(secrets: &Api<Secret>, secret: &Secret) -> Result<(), kube::Error> {
    let left: Vec<_> = secret.finalizers().iter().filter(|f| *f != FINALIZER).collect();
    let patch = serde_json::json!({
        "metadata": { "finalizers": left, "resourceVersion": secret.resource_version() }
    });
    match secrets.patch(&secret.name_any(), &params(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        done => done.map(drop),
    }
}

fn secret(cluster: &SwarmCluster, name: &str, finalizer: Option<&str>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: cluster.controller_owner_ref(&()).map(|o| vec![o]),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())].into()),
            finalizers: finalizer.map(|f| vec![f.to_owned()]),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    }
}

async fn get(client: &Client, cluster: &SwarmCluster, name: &str) -> Result<Option<Secret>, KeysError> {
    let found = api(client, cluster).get_opt(name).await;
    found.map_err(|source| KeysError::Api { name: name.to_owned(), source })
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn api(client: &Client, cluster: &SwarmCluster) -> Api<Secret> {
    Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default())
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

/// The base64 part of a public key line: what makes two lines the same key.
fn key_part(line: &str) -> Option<&str> {
    line.split_whitespace().nth(1)
}
