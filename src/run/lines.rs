//! Connections held ready for what running containers will leave: making one takes longer than
//! reading most results does. Holding none is only slower, so nothing here ever fails.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::host::{Host, HostError, HostId, Hosts};

/// How many are held to one host, of the few that it has for everything that is bulky.
const MOST: usize = 3;

/// The connections, by the UID of the run.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<HashMap<String, (HostId, Host)>>>);

impl Lines {
    /// Makes one for a run, where there is room.
    pub async fn prepare(&self, hosts: &Hosts, uid: &str, id: &HostId) {
        let held = self.lock().values().filter(|(host, line)| host == id && !line.is_closed()).count();
        if held >= MOST {
            return;
        }
        if let Ok(line) = hosts.bulk(id).await {
            self.lock().insert(uid.to_owned(), (id.clone(), line));
        }
    }

    /// The one that was made for a run, or a new one.
    ///
    /// # Errors
    /// Where the host cannot be reached.
    pub async fn take(&self, hosts: &Hosts, uid: &str, id: &HostId) -> Result<Host, HostError> {
        match self.forget(uid) {
            Some((host, line)) if host == *id && !line.is_closed() => Ok(line),
            _ => hosts.bulk(id).await,
        }
    }

    /// Lets go of the one that was made for a run.
    pub fn forget(&self, uid: &str) -> Option<(HostId, Host)> {
        self.lock().remove(uid)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (HostId, Host)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
