//! Which logins of a run's `imagePullSecrets` fit its image: found as the kubelet finds those of a
//! pod's. Pure but for [`Keyring::read`]; a login is shown by nothing.

use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde::Deserialize;

use super::variables::is_own;
use crate::swarm::Login;

/// How Docker Hub is named in an image's full name, and in Docker's own configuration.
const HUB: (&str, &str) = ("docker.io", "index.docker.io");
/// What an engine knows Docker Hub's logins by.
const HUB_SERVER: &str = "https://index.docker.io/v1/";
/// `auth` has padding, or has not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The logins of several Secrets.
#[derive(Default)]
pub struct Keyring {
    keys: Vec<Key>,
    /// What is wrong with a Secret, in words.
    problems: Vec<String>,
    secrets: Vec<String>,
}

/// A login, what it is for, and the Secret it is from.
struct Key {
    place: String,
    secret: String,
    entry: Entry,
}

/// A login that fits an image.
pub struct Fit<'a> {
    /// The Secret it is from.
    pub secret: &'a str,
    /// The registry, or a part of it, that the Secret has it for.
    pub place: &'a str,
    /// The login.
    pub login: Login,
}

#[derive(Clone, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

impl Keyring {
    /// Reads Secrets of a namespace.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub async fn read(client: &Client, namespace: &str, names: &[String]) -> Result<Self, kube::Error> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let reads = names.iter().map(async |name| match api.get_opt(name).await {
            Ok(found) => Ok(found),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            Err(error) => Err(error),
        });
        let mut keyring = Self::default();
        for (name, found) in names.iter().zip(try_join_all(reads).await?) {
            keyring.add(name, found.as_ref());
        }
        Ok(keyring)
    }

    /// Takes in what a Secret holds.
    fn add(&mut self, name: &str, secret: Option<&Secret>) {
        self.secrets.push(name.to_owned());
        match entries(secret) {
            Ok(entries) => {
                for (place, entry) in entries {
                    self.keys.push(Key { place: plain(&place), secret: name.to_owned(), entry });
                }
                // Among those of one beginning the longest first; of one place in the order of the spec.
                self.keys.sort_by(|a, b| b.place.cmp(&a.place));
            }
            Err(why) => self.problems.push(format!("Secret {name} {why}")),
        }
    }

    /// The logins for an image, the most fitting one first.
    pub fn fits(&self, image: &str) -> Vec<Fit<'_>> {
        let (host, path) = full_name(image);
        let server = if host == HUB.0 { HUB_SERVER.to_owned() } else { host.clone() };
        let fitting = self.keys.iter().filter(|key| covers(&key.place, &host, &path));
        fitting
            .filter_map(|key| {
                Some(Fit { secret: &key.secret, place: &key.place, login: key.entry.login(server.clone())? })
            })
            .collect()
    }

    /// What was tried with a registry that refused, as a clause; nothing where no Secret is named.
    pub fn tried(&self, image: &str) -> String {
        if self.secrets.is_empty() {
            return String::new();
        }
        let fits = self.fits(image);
        let tried: Vec<_> = fits.iter().map(|fit| format!("Secret {} for {}", fit.secret, fit.place)).collect();
        let mut words = if tried.is_empty() {
            let (host, _) = full_name(image);
            format!("without a login, for spec.imagePullSecrets ({}) have none for {host}", self.secrets.join(", "))
        } else {
            format!("with the login of {}", tried.join(", then of "))
        };
        for problem in &self.problems {
            words.push_str("; ");
            words.push_str(problem);
        }
        format!(" (tried {words})")
    }
}

impl Entry {
    /// The login; `None` where there is nothing to log in with.
    fn login(&self, server: String) -> Option<Login> {
        let decoded = BASE64.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
        let (username, password) = pair.unwrap_or((&self.username, &self.password));
        let login = Login {
            server,
            username: username.to_owned(),
            password: password.to_owned(),
            identity_token: self.identity_token.clone(),
        };
        (!login.password.is_empty() || !login.identity_token.is_empty()).then_some(login)
    }
}

/// The logins that a Secret holds, by what they are for. No error has a part of what it holds.
fn entries(secret: Option<&Secret>) -> Result<BTreeMap<String, Entry>, String> {
    let secret = secret.ok_or("is not there, or the operator may not read it")?;
    if is_own(secret) {
        return Err("is the operator's own".to_owned());
    }
    let type_ = secret.type_.as_deref().unwrap_or("Opaque");
    let key = match type_ {
        "kubernetes.io/dockerconfigjson" => ".dockerconfigjson",
        "kubernetes.io/dockercfg" => ".dockercfg",
        other => return Err(format!("is of type {other} and not kubernetes.io/dockerconfigjson")),
    };
    let data = secret.data.as_ref().and_then(|data| data.get(key)).ok_or_else(|| format!("has no key {key}"))?;
    let read = if key == ".dockercfg" {
        serde_json::from_slice(&data.0)
    } else {
        serde_json::from_slice(&data.0).map(|config: Config| config.auths)
    };
    read.map_err(|_| format!("has a {key} that cannot be read as JSON"))
}

/// What a login is for, without the scheme and the API's version, which say nothing.
fn plain(place: &str) -> String {
    let rest = place.strip_prefix("https://").or_else(|| place.strip_prefix("http://")).unwrap_or(place);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let version =
        |path: &str| ["v1", "v2"].iter().find_map(|v| path.strip_prefix(v)?.strip_prefix('/').map(str::to_owned));
    let path = version(path).unwrap_or_else(|| path.to_owned());
    let host = if host == HUB.1 { HUB.0 } else { host };
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

/// The registry of an image, and its path there, without tag and digest.
pub fn full_name(image: &str) -> (String, String) {
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (if host == HUB.1 { HUB.0 } else { host }.to_owned(), path.to_owned())
        }
        Some(_) => (HUB.0.to_owned(), name.to_owned()),
        None => (HUB.0.to_owned(), format!("library/{name}")),
    }
}

/// Whether a login for this place is one for that registry and path: as many parts of the name, the same port, and
/// the path begins so.
fn covers(place: &str, host: &str, path: &str) -> bool {
    let (pattern, begins) = place.split_once('/').unwrap_or((place, ""));
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let (pattern, pattern_port) = pattern.split_once(':').unwrap_or((pattern, ""));
    let (parts, patterns): (Vec<_>, Vec<_>) = (name.split('.').collect(), pattern.split('.').collect());
    port == pattern_port
        && parts.len() == patterns.len()
        && patterns.iter().zip(&parts).all(|(pattern, part)| glob(pattern.as_bytes(), part.as_bytes()))
        && path.starts_with(begins)
}

/// `*` is any letters, `?` any one. Anybody may write the pattern, so that the last `*` alone is tried again: the time is
/// at most the product of both lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star = None;
    while let Some(letter) = text.get(at) {
        match pattern.get(of) {
            Some(b'*') => {
                of += 1;
                star = Some((at, of));
            }
            Some(b'?') => (at, of) = (at + 1, of + 1),
            Some(wanted) if wanted == letter => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((from, after)) = star else { return false };
                (at, of) = (from + 1, after);
                star = Some((from + 1, after));
            }
        }
    }
    pattern.iter().skip(of).all(|rest| *rest == b'*')
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
