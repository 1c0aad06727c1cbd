//! The cluster's Secret: keys to log in, host keys to expect, and the [`Journal`].

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};

use super::{journal::Journal, member::MemberId};
use crate::{
    api::{MANAGER, SwarmCluster, secret_key},
    host::{ClientKey, HostId, HostSeed},
};

/// What the Secret holds.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The key the operator and people log in with.
    pub client: ClientKey,
    /// What host keys are derived from.
    pub seed: HostSeed,
    /// Host keys that were seen in place: OpenSSH public key by host names.
    pub known: BTreeMap<String, String>,
    /// What is about to be done.
    pub journal: Journal,
}

/// Why the Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The API server refuses.
    #[error("Secret {name}: {source}")]
    Api {
        /// The Secret.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// A person changed the Secret, or it is another one.
    #[error("Secret {name} has no usable {key:?}: delete the SwarmCluster, and the Secret with it, to begin again")]
    Broken {
        /// The Secret.
        name: String,
        /// The key of the Secret's data.
        key: &'static str,
    },
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

    /// Reads the Secret; `None` where there is none.
    pub async fn read(client: &Client, cluster: &SwarmCluster) -> Result<Option<Self>, KeysError> {
        let name = cluster.ssh_secret_name();
        let secret = api(client, cluster).get_opt(&name).await.map_err(|source| KeysError::Api { name, source })?;
        secret.map(|s| Self::parse(&s)).transpose()
    }

    /// Makes the Secret with new keys, or reads the one somebody else just made.
    pub async fn create(client: &Client, cluster: &SwarmCluster) -> Result<Self, KeysError> {
        let name = cluster.ssh_secret_name();
        let keys = Self {
            client: ClientKey::generate(),
            seed: HostSeed::generate(),
            known: BTreeMap::new(),
            journal: Journal::default(),
        };
        let comment = format!("testkit {}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
        let mut data = keys.state();
        data.insert(secret_key::PRIVATE_KEY.to_owned(), bytes(keys.client.to_openssh().as_str()));
        data.insert(secret_key::PUBLIC_KEY.to_owned(), bytes(&keys.client.public_line(&comment)));
        data.insert(secret_key::HOST_SEED.to_owned(), ByteString(keys.seed.as_bytes().to_vec()));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                owner_references: cluster.controller_owner_ref(&()).map(|o| vec![o]),
                labels: Some([("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..Secret::default()
        };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api(client, cluster).create(&params, &secret).await {
            Ok(_) => Ok(keys),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Self::read(client, cluster).await?.ok_or(KeysError::Broken { name, key: secret_key::PRIVATE_KEY })
            }
            Err(source) => Err(KeysError::Api { name, source }),
        }
    }

    /// Writes what changes in the course of a cluster's life: the journal and the known hosts.
    pub async fn write(&self, client: &Client, cluster: &SwarmCluster) -> Result<(), KeysError> {
        let name = cluster.ssh_secret_name();
        let patch = Patch::Merge(serde_json::json!({ "data": self.state() }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let done = api(client, cluster).patch(&name, &params, &patch).await;
        done.map(drop).map_err(|source| KeysError::Api { name, source })
    }

    /// Notes the own keys of hosts that presented them, and forgets those of hosts that are gone.
    pub fn pin(&mut self, cluster: &str, uid: &str, hosts: &[(MemberId, String)], live: &[MemberId]) {
        let slots: BTreeSet<String> = live.iter().map(|f| format!("{cluster}-{}", f.slot)).collect();
        self.known.retain(|names, _| names.split(',').next().is_some_and(|n| slots.contains(n)));
        for (member, address) in hosts {
            let name = format!("{cluster}-{}", member.slot);
            self.known.retain(|names, _| names.split(',').next() != Some(name.as_str()));
            let line = self.seed.host_key(&Self::host_id(uid, *member)).public_line();
            self.known.insert(format!("{name},{address}"), line);
        }
    }

    fn state(&self) -> BTreeMap<String, ByteString> {
        let known: String = self.known.iter().map(|(names, key)| format!("{names} {key}\n")).collect();
        let journal = serde_json::to_string(&self.journal).unwrap_or_default();
        [(secret_key::KNOWN_HOSTS, known), (secret_key::INTENT, journal)].map(|(k, v)| (k.to_owned(), bytes(&v))).into()
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
        // An journal that cannot be read must not be taken for none: another instance would be launched.
        let journal = serde_json::from_str(text(secret_key::INTENT)?).map_err(|_| broken(secret_key::INTENT))?;
        Ok(Self { client, seed, known, journal })
    }
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
