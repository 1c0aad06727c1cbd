//! The two Secrets of a cluster.
//!
//! `NAME-journal` is what the operator must not forget: the keys, and the [`Journal`]. It is the
//! cluster's by UID, written against its version, and held by a finalizer while the cluster lives.
//! `NAME-ssh` is what people read. It is made from the journal, again whenever it is gone or was edited.

mod entry;

use std::collections::{BTreeMap, BTreeSet};

pub use entry::Entry;
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

/// Where the hosts are: the addresses of each, the one to connect to first.
pub type Places = BTreeMap<MemberId, Vec<String>>;

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

    /// Makes the journal with new keys, as far as they are not given, or reads the one somebody else just made.
    pub async fn create(client: &Client, cluster: &SwarmCluster, entry: Option<&Entry>) -> Result<Self, KeysError> {
        let keys = Self {
            client: entry.map_or_else(ClientKey::generate, |e| e.client.clone()),
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

    /// Makes sure of what people read: all of it is rendered, compared with what is there, and written where it differs.
    /// Without `places`, of which nothing is known yet, the addresses that are there stay.
    pub async fn project(
        &self,
        client: &Client,
        cluster: &SwarmCluster,
        places: Option<&Places>,
    ) -> Result<(), KeysError> {
        let name = cluster.ssh_secret_name();
        let mut data = self.rendered(cluster, places);
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
        if places.is_none() && has.contains_key(secret_key::KNOWN_HOSTS) {
            data.remove(secret_key::KNOWN_HOSTS);
        }
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
    pub fn pin(&mut self, cluster: &str, uid: &str, hosts: &[(MemberId, Vec<String>)], live: &[MemberId]) {
        let own = |member: &MemberId| self.seed.host_key(&Self::host_id(uid, *member)).public_line();
        let live: BTreeSet<String> =
            live.iter().map(own).filter_map(|line| key_part(&line).map(str::to_owned)).collect();
        let lines: Vec<_> = hosts.iter().map(|(member, at)| (names(cluster, *member, at), own(member))).collect();
        self.known.retain(|_, known| key_part(known).is_some_and(|key| live.contains(key)));
        for (names, line) in lines {
            self.known.retain(|_, known| key_part(known) != key_part(&line));
            self.known.insert(names, line);
        }
    }

    /// The host keys to expect, by the names of the places where the hosts are now.
    fn known_at(&self, cluster: &SwarmCluster, places: Option<&Places>) -> BTreeMap<String, String> {
        // Keys that were given go by the addresses they were given with, and follow from no seed.
        let Some(places) = places.filter(|_| self.journal.taken.is_empty()) else { return self.known.clone() };
        let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
        let ids = places.iter().map(|(member, at)| (Self::host_id(uid, *member), *member, at));
        let pinned = ids.filter(|(id, _, _)| self.pins(id));
        let line = |id: &HostId| self.seed.host_key(id).public_line();
        pinned.map(|(id, member, at)| (names(&cluster.name_any(), member, at), line(&id))).collect()
    }

    /// All that people read: a function of the journal and of where the hosts are, and of nothing that was written before.
    fn rendered(&self, cluster: &SwarmCluster, places: Option<&Places>) -> BTreeMap<String, ByteString> {
        let mut data = self.shown();
        data.insert(secret_key::KNOWN_HOSTS.to_owned(), lines(&self.known_at(cluster, places)));
        let comment = format!("testkit {}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
        data.insert(secret_key::PUBLIC_KEY.to_owned(), bytes(&self.client.public_line(&comment)));
        data
    }

    /// What both Secrets hold.
    fn shown(&self) -> BTreeMap<String, ByteString> {
        [
            (secret_key::PRIVATE_KEY, bytes(self.client.to_openssh().as_str())),
            (secret_key::HOST_SEED, ByteString(self.seed.as_bytes().to_vec())),
            (secret_key::KNOWN_HOSTS, lines(&self.known)),
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

/// The names of a host in `known_hosts`.
fn names(cluster: &str, member: MemberId, at: &[String]) -> String {
    std::iter::once(format!("{cluster}-{}", member.slot)).chain(at.iter().cloned()).collect::<Vec<_>>().join(",")
}

/// A `known_hosts` file.
fn lines(known: &BTreeMap<String, String>) -> ByteString {
    bytes(&known.iter().map(|(names, key)| format!("{names} {key}\n")).collect::<String>())
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

/// The base64 part of a public key line: what makes two lines the same key.
fn key_part(line: &str) -> Option<&str> {
    line.split_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> SwarmCluster {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster",
            "metadata": {"name": "foo", "namespace": "a", "uid": "u"},
            "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
        }))
        .unwrap()
    }

    fn member(slot: &str, incarnation: u32) -> MemberId {
        MemberId { slot: slot.parse().unwrap(), incarnation }
    }

    fn at(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|a| (*a).to_owned()).collect()
    }

    /// `m0` and `w0` have shown their keys, `m1` has not.
    fn keys() -> Keys {
        let mut keys = Keys {
            client: ClientKey::generate(),
            seed: HostSeed::generate(),
            known: BTreeMap::new(),
            journal: Journal::default(),
            version: None,
        };
        let (m0, w0) = (member("m0", 1), member("w0", 0));
        keys.pin("foo", "u", &[(m0, at(&["10.0.0.1"])), (w0, at(&["10.0.0.3"]))], &[m0, w0]);
        keys
    }

    fn known_hosts(keys: &Keys, places: Option<&Places>) -> Vec<String> {
        let data = keys.rendered(&cluster(), places);
        let text = String::from_utf8(data[secret_key::KNOWN_HOSTS].0.clone()).unwrap();
        // A line has names, a kind and a key.
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn known_hosts_has_the_places_of_now_whatever_was_written_before() {
        let keys = keys();
        for (places, found) in [
            // What was written down, while nothing is known.
            (None, &["foo-m0,10.0.0.1", "foo-w0,10.0.0.3"][..]),
            (
                Some(vec![(member("m0", 1), at(&["203.0.113.9", "10.0.0.1"])), (member("w0", 0), at(&["10.0.0.3"]))]),
                &["foo-m0,203.0.113.9,10.0.0.1", "foo-w0,10.0.0.3"],
            ),
            // One whose key was not seen yet has no line, and neither has one that is gone.
            (
                Some(vec![(member("m0", 1), at(&["10.0.0.1"])), (member("m1", 0), at(&["10.0.0.2"]))]),
                &["foo-m0,10.0.0.1"],
            ),
            // Another machine in the slot has another key.
            (Some(vec![(member("m0", 2), at(&["10.0.0.1"]))]), &[]),
            (Some(vec![]), &[]),
        ] {
            let places = places.map(|places| places.into_iter().collect::<Places>());
            assert_eq!(known_hosts(&keys, places.as_ref()), found, "{places:?}");
        }
    }

    #[test]
    fn a_line_has_the_key_of_its_host() {
        let keys = keys();
        let m0 = member("m0", 1);
        let data = keys.rendered(&cluster(), Some(&[(m0, at(&["10.0.0.1"]))].into()));
        let own = keys.seed.host_key(&Keys::host_id("u", m0)).public_line();
        assert_eq!(data[secret_key::KNOWN_HOSTS].0, format!("foo-m0,10.0.0.1 {own}\n").into_bytes());
        assert!(!data.contains_key(secret_key::JOURNAL), "what people read has no journal");
    }

    #[test]
    fn a_journal_is_the_clusters_by_uid_whatever_else_it_says() {
        let secret = |kind: &str, name: &str, uid: &str| -> Secret {
            serde_json::from_value(serde_json::json!({"metadata": {"name": "foo-journal", "ownerReferences": [
                {"apiVersion": "testkit.dev/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": true},
            ]}}))
            .unwrap()
        };
        let bare = Secret { data: Some(BTreeMap::new()), ..Secret::default() };
        for (secret, wanted) in [
            (secret("SwarmCluster", "foo", "u"), Whose::Ours),
            // Of another cluster: that of a name that is taken again, or one that somebody names.
            (secret("SwarmCluster", "foo", "v"), Whose::Earlier),
            (secret("SwarmCluster", "bar", "u"), Whose::Foreign),
            (secret("ConfigMap", "foo", "u"), Whose::Foreign),
            (bare, Whose::Foreign),
        ] {
            assert!(whose(&secret, &cluster()) == wanted, "{:?}", secret.metadata.owner_references);
        }
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_not_taken_for_none() {
        let keys = keys();
        let mut data = keys.shown();
        data.insert(secret_key::JOURNAL.to_owned(), keys.written());
        let whole = Secret { data: Some(data), ..Secret::default() };
        assert!(!Keys::parse(&whole).unwrap().journal.restored);
        for key in [secret_key::JOURNAL, secret_key::PRIVATE_KEY, secret_key::HOST_SEED] {
            let mut forged = whole.clone();
            forged.data.as_mut().unwrap().insert(key.to_owned(), bytes("{\"launches\": 7"));
            assert!(matches!(Keys::parse(&forged), Err(KeysError::Broken { key: of, .. }) if of == key), "{key}");
        }
    }
}
