//! What the user's OpenSSH says of a host: its name, user, keys, and the hosts in between.
//!
//! `ssh -G` is asked, which reads all files there are as `ssh` itself does (`Match`, `Include`, the system's own).
//! Where there is no `ssh`, there is no configuration of it either, and its defaults count.

mod said;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use self::said::SshConfig;
use self::said::{Environment, read};
use super::ssh_command::ask;
use crate::{
    cli::failure::Failure,
    platform::{files, local},
};

/// Asks for configurations, each once.
#[derive(Debug, Default)]
pub struct SshConfigs {
    known: Mutex<BTreeMap<Asked, SshConfig>>,
    told: Mutex<BTreeSet<String>>,
}

/// Host, user and port as they were named.
type Asked = (String, Option<String>, Option<u16>);

/// Where OpenSSH keeps the user's files.
fn home() -> Option<PathBuf> {
    std::env::home_dir()
}

impl SshConfigs {
    /// What counts for a host that is named so.
    ///
    /// # Errors
    /// There is an `ssh`, and it does not tell: what it was told not to do must not be done because of that.
    pub async fn of(&self, host: &str, user: Option<&str>, port: Option<u16>) -> Result<SshConfig, Failure> {
        let asked = (host.to_owned(), user.map(str::to_owned), port);
        if let Some(config) = self.known().get(&asked) {
            return Ok(config.clone());
        }
        let said = ask(host, user, port).await.map_err(|why| {
            Failure::new(format!("`ssh -G {host}` does not tell how the host is reached: {why}"))
                .help("mend the configuration of ssh that it speaks of, or go directly: --jump none")
        })?;
        Ok(self.keep(asked, said.as_deref()))
    }

    /// Reads what was said of a host.
    fn keep(&self, asked: Asked, said: Option<&str>) -> SshConfig {
        let (host, user, port) = &asked;
        let environment =
            Environment { home: home(), user: files::user(), agent: local::agent(), system: files::of_ssh() };
        let mut config = read(said, host, &environment);
        config.user = user.clone().unwrap_or(config.user);
        config.port = port.unwrap_or(config.port);
        self.known().insert(asked, config.clone());
        config
    }

    /// The `ProxyJump` of a host that is named so. Where no file can have one, nothing is asked.
    ///
    /// # Errors
    /// There is an `ssh`, and it does not tell: why.
    pub async fn jump_of(&self, host: &str) -> Result<Option<String>, String> {
        let user_file = home().map(|home| home.join(".ssh/config"));
        let system_file = files::of_ssh().join("ssh_config");
        let both = [user_file.as_deref(), Some(system_file.as_path())];
        let may = both.into_iter().flatten().any(|file| fs::read_to_string(file).is_ok_and(|text| may_jump(&text)));
        if !may {
            return Ok(None);
        }
        let asked = (host.to_owned(), None, None);
        if let Some(config) = self.known().get(&asked) {
            return Ok(config.jump.clone());
        }
        let said = ask(host, None, None).await?;
        Ok(self.keep(asked, said.as_deref()).jump)
    }

    /// Whether this is said for the first time.
    pub fn first_time(&self, what: &str) -> bool {
        // Nothing panics while it holds this lock.
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Asked, SshConfig>> {
        // Nor this one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a configuration has a `ProxyJump`, or includes one that may. The system's own includes a folder everywhere,
/// and that is looked at as well.
fn may_jump(text: &str) -> bool {
    text.lines().map(|line| line.trim_start().to_ascii_lowercase()).any(|line| {
        line.starts_with("proxyjump") || line.starts_with("include") && !line.contains("/etc/ssh/ssh_config.d")
    }) || text.contains("/etc/ssh/ssh_config.d") && in_folder("/etc/ssh/ssh_config.d")
}

fn in_folder(folder: &str) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .any(|text| text.to_ascii_lowercase().contains("proxyjump"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_told_once() {
        let configs = SshConfigs::default();
        assert_eq!(["a", "b", "a"].map(|what| configs.first_time(what)), [true, true, false]);
    }

    #[test]
    fn ssh_is_asked_only_where_a_file_may_have_an_answer() {
        for (text, may) in [
            ("Host a\n  ProxyJump b\n", true),
            ("Include conf.d/*\n", true),
            ("# ProxyJump b\nHost *\n  SendEnv LANG\n", false),
            ("", false),
        ] {
            assert_eq!(may_jump(text), may, "{text:?}");
        }
    }
}
