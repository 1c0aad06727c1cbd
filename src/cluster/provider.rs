//! From the provider that a spec names to a cloud: the one place that asks which it is.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::{
    Context,
    act::Failure,
    credentials,
    journal::Journal,
    keys::Entry,
    places::SecretName,
    roster::{self, Given},
    words,
};
use crate::{
    api::{AddressKind, Ec2Provider, FINALIZER, HostsProvider, SwarmCluster, secret_key},
    cloud::{Account, StaticCredentials},
    host::{ClientKey, known_host},
};

/// The cloud of a cluster.
#[derive(Clone)]
pub struct CloudOf<'a> {
    /// The account and region.
    pub account: Account,
    /// The spec's own words on it, where it makes machines.
    pub ec2: Option<&'a Ec2Provider>,
    /// The way to machines that exist, where it makes none.
    pub entry: Option<Entry>,
    /// What is wrong with the Secret that it needs, where what that once had is used.
    pub doubt: Option<Failure>,
}

impl CloudOf<'_> {
    /// Which of an instance's addresses is connected to.
    #[must_use]
    pub fn connect_to(&self) -> AddressKind {
        self.ec2.map(|e| e.connect_to).unwrap_or_default()
    }
}

/// A provider, before the cluster's own journal is read.
pub enum Opened<'a> {
    /// EC2, in this account and region.
    Ec2(CloudOf<'a>),
    /// Machines that exist, and what logs in to them as far as that can be read.
    Hosts(Option<Entry>, Option<Failure>),
}

impl<'a> Opened<'a> {
    /// What a spec names.
    ///
    /// # Errors
    /// It cannot be spoken to, and never could.
    pub async fn of(context: &Context, cluster: &'a SwarmCluster) -> Result<Self, Failure> {
        match (&cluster.spec.provider.ec2, &cluster.spec.provider.hosts) {
            (Some(ec2), _) => self::ec2(context, cluster, ec2).await.map(Self::Ec2),
            (None, Some(hosts)) => match entry(context, cluster, hosts).await {
                Ok(entry) => Ok(Self::Hosts(Some(entry), None)),
                // What the journal has of it goes on.
                Err(failure) => Ok(Self::Hosts(None, Some(failure))),
            },
            (None, None) => Err(Failure::Spec("it names no provider: name one, such as ec2".to_owned())),
        }
    }

    /// What logs in to machines that exist.
    pub const fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Ec2(_) => None,
            Self::Hosts(entry, _) => entry.as_ref(),
        }
    }

    /// The cloud, once it is known what is written down of the cluster.
    pub fn cloud(self, cluster: &SwarmCluster, journal: Option<&Journal>) -> CloudOf<'a> {
        match self {
            Self::Ec2(cloud) => cloud,
            Self::Hosts(entry, doubt) => {
                let owner = super::owner(cluster);
                let taken = journal.map(|j| roster::instances(j, &owner)).unwrap_or_default();
                CloudOf { account: Account::of_hosts(taken), ec2: None, entry, doubt }
            }
        }
    }
}

/// The machines that a spec names, where it names any.
#[must_use]
pub fn given(cluster: &SwarmCluster) -> Option<Given> {
    cluster.spec.provider.hosts.as_ref().map(Given::of)
}

/// The account and region a spec names.
async fn ec2<'a>(context: &Context, cluster: &SwarmCluster, ec2: &'a Ec2Provider) -> Result<CloudOf<'a>, Failure> {
    let secret = credentials::place(cluster).and_then(|p| p.credentials);
    let (credentials, doubt) = match &secret {
        Some(secret) => credentials_of(context, cluster, secret, &ec2.region).await?,
        None => (None, None),
    };
    let account = context.clouds.get(&ec2.region, credentials).await;
    Ok(CloudOf { account, ec2: Some(ec2), entry: None, doubt })
}

async fn credentials_of(
    context: &Context,
    cluster: &SwarmCluster,
    secret: &SecretName,
    region: &str,
) -> Result<(Option<StaticCredentials>, Option<Failure>), Failure> {
    let deleting = cluster.metadata.deletion_timestamp.is_some();
    match context.vault.get(secret, !deleting).await {
        Ok((good, doubt)) => Ok((Some(good), doubt.map(Failure::Spec))),
        Err(words) if deleting => Err(Failure::Spec(format!(
            "{words}. Without it nothing of this cluster can be ended in {region}: make the Secret again, or take the finalizer {FINALIZER} off the SwarmCluster where nothing is left there"
        ))),
        Err(words) => Err(Failure::Spec(words)),
    }
}

/// The key to log in with and the host keys to expect, as a person gives them.
async fn entry(context: &Context, cluster: &SwarmCluster, hosts: &HostsProvider) -> Result<Entry, Failure> {
    let name = &hosts.secret_ref.name;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &cluster.namespace().unwrap_or_default());
    let secret = secrets.get(name).await.map_err(|error| {
        let words = format!("Secret {name}: {}", words::of(&error));
        match error {
            kube::Error::Api(status) if status.is_not_found() || status.is_forbidden() => Failure::Spec(words),
            // An API server that does not answer says nothing of the spec.
            _ => Failure::Host(words),
        }
    })?;
    read(&secret, hosts).map_err(Failure::Spec)
}

/// What a Secret holds of it.
fn read(secret: &Secret, hosts: &HostsProvider) -> Result<Entry, String> {
    let name = &hosts.secret_ref.name;
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|d| d.get(key));
        let found = bytes.and_then(|b| std::str::from_utf8(&b.0).ok()).map(str::to_owned);
        found.ok_or_else(|| format!("Secret {name} has no {key}"))
    };
    let key = text(secret_key::PRIVATE_KEY)?;
    // The library wants the line's end that editors and kubectl leave off.
    let key = format!("{}\n", key.trim_end());
    let client = ClientKey::from_openssh(&key)
        .map_err(|e| format!("{} of Secret {name} is no key that can be used: {e}", secret_key::PRIVATE_KEY))?;
    let known = text(secret_key::KNOWN_HOSTS)?;
    let places = hosts.machines.iter().map(|m| (m.address.as_str(), m.port));
    let jump = hosts.jump_host.as_ref().map(|j| (j.address.as_str(), j.port));
    let unknown = places.chain(jump).find_map(|(address, port)| known_host(&known, address, port).err());
    let doubt = unknown.map(|e| format!("{} of Secret {name} {e}", secret_key::KNOWN_HOSTS));
    Ok(Entry { client, known, doubt })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn a_secret_is_read_and_what_it_lacks_is_said() {
        let machines = serde_json::json!([{"name": "a", "address": "10.0.0.1", "role": "Manager"}]);
        let hosts = serde_json::json!({"secretRef": {"name": "lab"}, "machines": machines});
        let hosts: HostsProvider = serde_json::from_value(hosts).unwrap();
        let key = ClientKey::generate();
        // As editors leave it, without the end of its last line.
        let text = key.to_openssh().trim_end().to_owned();
        let at = |address: &str| format!("{address} {}\n", key.public_line(""));
        let private = |text: &str| (secret_key::PRIVATE_KEY.to_owned(), ByteString(text.as_bytes().to_vec()));
        let known = |text: &str| (secret_key::KNOWN_HOSTS.to_owned(), ByteString(text.as_bytes().to_vec()));
        let mut behind = hosts.clone();
        behind.jump_host = Some(serde_json::from_value(serde_json::json!({"address": "bastion"})).unwrap());
        let secret =
            Secret { data: Some([private(&text), known(&at("10.0.0.1"))].into_iter().collect()), ..Secret::default() };
        let doubt = read(&secret, &behind).unwrap().doubt.unwrap_or_default();
        assert!(doubt.contains("has no line for bastion"), "{doubt}");
        for (data, told) in [
            (vec![], "Secret lab has no ssh-privatekey"),
            (vec![private(&text)], "Secret lab has no known_hosts"),
            (vec![private("none"), known(&at("10.0.0.1"))], "is no key that can be used"),
            (vec![private(&text), known(&at("10.0.0.2"))], "has no line for 10.0.0.1"),
            (vec![private(&text), known(&at("10.0.0.1"))], ""),
        ] {
            let secret = Secret { data: Some(data.into_iter().collect()), ..Secret::default() };
            let words = read(&secret, &hosts).map(|entry| {
                assert_eq!(entry.client, key);
                entry.doubt.unwrap_or_default()
            });
            let words = words.unwrap_or_else(|words| words);
            assert!(words.contains(told) && words.is_empty() == told.is_empty(), "{words}");
        }
    }
}
