//! What `ssh -G` says, read. Pure.

use std::path::{Path, PathBuf};

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

/// What this process is told of its user.
pub struct Environment {
    /// Its home folder.
    pub home: Option<PathBuf>,
    /// Its name.
    pub user: Option<String>,
    /// The socket of its agent.
    pub agent: Option<PathBuf>,
    /// Where OpenSSH has what counts for all users.
    pub system: PathBuf,
}

/// Reads what `ssh -G` says, which names everything that counts; OpenSSH's defaults where there is no `ssh`.
pub fn read(said: Option<&str>, host: &str, environment: &Environment) -> SshConfig {
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
            "port" => config.port = value.parse().ok().filter(|port| *port > 0).unwrap_or(22),
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
        config.known_hosts = vec![home.join(".ssh/known_hosts"), environment.system.join("ssh_known_hosts")];
        config.keys = ["id_ed25519", "id_ecdsa"].map(|name| home.join(".ssh").join(name)).into();
    }
    config
}

/// A path as OpenSSH writes it: `~` and `%d` stand for the home folder.
fn path(text: &str, home: &Path) -> PathBuf {
    let text = text.trim_matches('"');
    match text.strip_prefix("~/").or_else(|| text.strip_prefix("%d/")) {
        // What begins with a slash would be a path of its own.
        Some(rest) => home.join(rest.trim_start_matches('/')),
        None => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            home: Some("/home/me".into()),
            user: Some("me".to_owned()),
            agent: Some("/run/agent".into()),
            system: "/etc/ssh".into(),
        }
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
    fn a_path_in_the_home_folder_is_in_the_home_folder() {
        for (written, path) in [("~//k", "/home/me/k"), ("%d/k", "/home/me/k"), ("/k", "/k"), ("k", "k")] {
            let config = read(Some(&format!("identityfile {written}\nport 0\n")), "b", &environment());
            assert_eq!((config.keys, config.port), (vec![PathBuf::from(path)], 22), "{written}");
        }
    }

    #[test]
    fn no_key_and_no_file_is_what_was_asked_for() {
        let said =
            "hostname b\nidentityfile none\nuserknownhostsfile none\nglobalknownhostsfile none\nidentityagent none\n";
        let config = read(Some(said), "b", &environment());
        assert_eq!((config.keys.len(), config.known_hosts.len(), config.agent), (0, 0, None));
    }
}
