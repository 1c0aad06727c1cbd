//! What the user's OpenSSH says of a host: its name, user, keys, and the hosts in between.
//!
//! `ssh -G` is asked, which reads all files there are as `ssh` itself does (`Match`, `Include`, the system's own).
//! Where there is no `ssh`, there is no configuration of it either, and its defaults count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::ssh_command::ask;
use crate::cli::failure::Failure;

/// What counts for a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshConfig {
    /// Where it is.
    pub host_name: String,
    /// The port of its sshd.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// Private keys, the first to be offered first.
    pub keys: Vec<PathBuf>,
    /// Whether no other keys are offered.
    pub only_keys: bool,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// Files with host keys.
    pub known_hosts: Vec<PathBuf>,
    /// The name by which they have its key, where it is another one.
    pub alias: Option<String>,
    /// The hosts to go through, as `ProxyJump` has them.
    pub jump: Option<String>,
    /// A command that makes the connection instead.
    pub command: Option<String>,
}

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
        let environment = Environment {
            home: home(),
            user: std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok(),
            agent: std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
        };
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
        let files = [user_file.as_deref(), Some(Path::new("/etc/ssh/ssh_config"))];
        let may = files.into_iter().flatten().any(|file| fs::read_to_string(file).is_ok_and(|text| may_jump(&text)));
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

/// What this process is told of its user.
struct Environment {
    home: Option<PathBuf>,
    user: Option<String>,
    agent: Option<PathBuf>,
}

/// Reads what `ssh -G` says, which names everything that counts; OpenSSH's defaults where there is no `ssh`.
fn read(said: Option<&str>, host: &str, environment: &Environment) -> SshConfig {
    let home = environment.home.clone().unwrap_or_default();
    let mut config = SshConfig {
        host_name: host.to_owned(),
        port: 22,
        user: environment.user.clone().unwrap_or_else(|| "root".to_owned()),
        agent: environment.agent.clone(),
        ..SshConfig::default()
    };
    for line in said.unwrap_or_default().lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.trim();
        let is_set = !value.is_empty() && !value.eq_ignore_ascii_case("none");
        match key {
            "hostname" if is_set => config.host_name = value.to_owned(),
            "user" if is_set => config.user = value.to_owned(),
            "port" => config.port = value.parse().unwrap_or(22),
            "identityfile" if is_set => config.keys.push(path(value, &home)),
            "identitiesonly" => config.only_keys = value == "yes",
            "identityagent" => {
                config.agent = match value {
                    "SSH_AUTH_SOCK" => environment.agent.clone(),
                    value => is_set.then(|| path(value, &home)),
                }
            }
            "userknownhostsfile" | "globalknownhostsfile" => {
                let files = value.split_whitespace().filter(|file| !file.eq_ignore_ascii_case("none"));
                config.known_hosts.extend(files.map(|file| path(file, &home)));
            }
            "hostkeyalias" if is_set => config.alias = Some(value.to_owned()),
            "proxyjump" if is_set => config.jump = Some(value.to_owned()),
            "proxycommand" if is_set => config.command = Some(value.to_owned()),
            _ => {}
        }
    }
    if said.is_none() {
        config.known_hosts = vec![home.join(".ssh/known_hosts"), "/etc/ssh/ssh_known_hosts".into()];
        config.keys = ["id_ed25519", "id_ecdsa"].map(|name| home.join(".ssh").join(name)).into();
    }
    config
}

/// A path as OpenSSH writes it: `~` and `%d` stand for the home folder.
fn path(text: &str, home: &Path) -> PathBuf {
    let text = text.trim_matches('"');
    match text.strip_prefix("~/").or_else(|| text.strip_prefix("%d/")) {
        Some(rest) => home.join(rest),
        None => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment { home: Some("/home/me".into()), user: Some("me".to_owned()), agent: Some("/run/agent".into()) }
    }

    #[test]
    fn what_ssh_says_counts_and_its_defaults_where_it_says_nothing() {
        let default = read(None, "bastion", &environment());
        assert_eq!((default.host_name.as_str(), default.port, default.user.as_str()), ("bastion", 22, "me"));
        assert_eq!(default.agent, Some("/run/agent".into()));
        assert_eq!(default.keys, [Path::new("/home/me/.ssh/id_ed25519"), Path::new("/home/me/.ssh/id_ecdsa")]);
        assert_eq!(default.known_hosts[0], Path::new("/home/me/.ssh/known_hosts"));

        let said = "host b\nuser jumper\nhostname 10.9.0.1\nport 2222\nidentitiesonly yes\nidentityfile ~/.ssh/work\n\
                    identityfile %d/.ssh/other\nidentityagent none\nuserknownhostsfile /k ~/.ssh/more\n\
                    globalknownhostsfile none\nhostkeyalias the-bastion\nproxyjump outer:2200\nproxycommand none\n";
        assert_eq!(
            read(Some(said), "b", &environment()),
            SshConfig {
                host_name: "10.9.0.1".to_owned(),
                port: 2222,
                user: "jumper".to_owned(),
                keys: vec!["/home/me/.ssh/work".into(), "/home/me/.ssh/other".into()],
                only_keys: true,
                agent: None,
                known_hosts: vec!["/k".into(), "/home/me/.ssh/more".into()],
                alias: Some("the-bastion".to_owned()),
                jump: Some("outer:2200".to_owned()),
                command: None,
            }
        );
    }

    #[test]
    fn no_key_and_no_file_is_what_was_asked_for() {
        let said =
            "hostname b\nidentityfile none\nuserknownhostsfile none\nglobalknownhostsfile none\nidentityagent none\n";
        let config = read(Some(said), "b", &environment());
        assert_eq!((config.keys.len(), config.known_hosts.len(), config.agent), (0, 0, None));
    }

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
