//! The way to machines that exist: the key and the host keys that a person gives, in place of our own.

use std::collections::BTreeMap;

use super::Keys;
use crate::{
    api::secret_key,
    cloud::Login,
    cluster::roster::Taken,
    host::{ClientKey, HostPin, Jump, known_host, written},
};

/// The port of sshd that is not written.
const SSH: u16 = 22;

/// The way to machines that exist, as a person gives it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key to log in with.
    pub client: ClientKey,
    /// The host keys to expect, as `known_hosts`.
    pub known: String,
    /// What is missing from them.
    pub doubt: Option<String>,
}

impl Keys {
    /// The key that was given for the host of this name, at this address.
    #[must_use]
    pub fn given(&self, name: &str, address: &str) -> Option<HostPin> {
        let is = |names: &str| [name, address].iter().all(|n| names.split(',').any(|of| of == *n));
        let (_, line) = self.known.iter().find(|(names, _)| is(names))?;
        HostPin::from_openssh(line).ok()
    }

    /// The way through the host that a machine is behind; none where no key that it must show was given.
    #[must_use]
    pub fn through(&self, login: &Login) -> Option<Vec<Jump>> {
        let Some(jump) = login.via.as_deref() else { return Some(Vec::new()) };
        let (_, line) = self.known.get_key_value(&jump_host(jump))?;
        let pin = HostPin::from_openssh(line).ok()?;
        Some(vec![Jump::given(&jump.address, jump.port, &jump.user, pin, self.client.clone())])
    }

    /// Takes over what a person gives for the machines that are taken. Says whether anything changed.
    pub fn enter(&mut self, entry: &Entry, cluster: &str) -> bool {
        let key = |taken: &Taken| {
            let login = &taken.machine.login;
            let pin = known_host(&entry.known, &login.address, login.port).ok()?;
            // As OpenSSH looks for it, and as we do.
            let mut names = vec![format!("{cluster}-{}", taken.id.slot), login.address.clone()];
            names.extend((login.port != SSH).then(|| written(&login.address, login.port)));
            Some((names.join(","), pin.public_line()))
        };
        let mut known: BTreeMap<String, String> = self.journal.taken.iter().filter_map(key).collect();
        let jumps = self.journal.taken.iter().filter_map(|taken| taken.machine.login.via.as_deref());
        known.extend(jumps.filter_map(|jump| {
            let pin = known_host(&entry.known, &jump.address, jump.port).ok()?;
            Some((jump_host(jump), pin.public_line()))
        }));
        let changed = self.client != entry.client || self.known != known;
        (self.client, self.known) = (entry.client.clone(), known);
        changed
    }
}

/// The names by which the host is known that machines are behind: no slot is called so.
fn jump_host(login: &Login) -> String {
    format!("{},{}", secret_key::JUMP_HOST, written(&login.address, login.port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::SwarmCluster,
        cluster::{
            Journal,
            keys::Places,
            roster::{self, Given},
        },
        host::HostSeed,
    };

    fn journal_places(keys: &Keys) -> Places {
        keys.journal.taken.iter().map(|t| (t.id, vec![t.machine.login.address.clone()])).collect()
    }

    #[test]
    fn what_is_given_is_what_is_shown_and_connected_by() {
        let hosts = serde_json::json!({"secretRef": {"name": "lab"}, "machines": [
            {"name": "a", "address": "10.0.0.1", "role": "Manager"},
            {"name": "b", "address": "10.0.0.2", "role": "Worker", "port": 2222},
            {"name": "c", "address": "10.0.0.3", "role": "Worker"},
        ], "jumpHost": {"address": "bastion", "port": 2200, "user": "me"}});
        let cluster: SwarmCluster = serde_json::from_value(serde_json::json!({
            "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster",
            "metadata": {"name": "foo", "namespace": "a", "uid": "u"}, "spec": {"provider": {"hosts": hosts}},
        }))
        .unwrap();
        let mut journal = Journal::default();
        roster::take(&Given::of(cluster.spec.provider.hosts.as_ref().unwrap()), &mut journal);
        let (client, seed) = (ClientKey::generate(), HostSeed::generate());
        let mut keys = Keys { client: ClientKey::generate(), seed, known: BTreeMap::new(), journal, version: None };
        let line = ClientKey::generate().public_line("");
        let known = format!("10.0.0.1 {line}\n[10.0.0.2]:2222 {line}\n[bastion]:2200 {line}\n");
        let entry = Entry { client: client.clone(), known, doubt: None };
        assert!(keys.enter(&entry, "foo") && !keys.enter(&entry, "foo"));
        assert_eq!(keys.client, client);
        let names: Vec<_> = keys.known.keys().map(String::as_str).collect();
        assert_eq!(names, ["foo-m0,10.0.0.1", "foo-w0,10.0.0.2,[10.0.0.2]:2222", "jump-host,[bastion]:2200"]);
        // Where the machines are now is no reason to show keys of our own, or none.
        let places = journal_places(&keys);
        assert_eq!(keys.known_at(&cluster, Some(&places)), keys.known);
        let pin = HostPin::from_openssh(&line).unwrap();
        let table = [
            ("foo-m0", "10.0.0.1", true),
            ("foo-w0", "10.0.0.2", true),
            ("foo-m0", "10.0.0.2", false),
            ("foo-w1", "10.0.0.3", false),
        ];
        for (name, address, known) in table {
            assert_eq!(keys.given(name, address), known.then(|| pin.clone()), "{name} {address}");
        }
        // All go through the host that was named; one whose key was not given is not gone through.
        let mut login = keys.journal.taken[0].machine.login.clone();
        assert_eq!(keys.through(&login), Some(vec![Jump::given("bastion", 2200, "me", pin, client)]));
        login.via = login.via.map(|jump| Box::new(Login { port: 22, ..*jump }));
        assert_eq!(keys.through(&login), None);
        login.via = None;
        assert_eq!(keys.through(&login), Some(vec![]));
    }
}
