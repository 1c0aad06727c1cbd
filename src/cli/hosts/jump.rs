//! Which hosts are gone through on the way to a cluster's hosts, and how to log in there.

use super::{
    route::{Route, Stop},
    ssh_config::{SshConfig, SshConfigs},
};
use crate::{
    cli::{
        failure::{Failure, exit},
        shell::quoted,
    },
    host::{Jump, KeyError, known_hosts, written},
};

/// A jump host of a jump host of a jump host: more is a circle.
const DEEPEST: usize = 4;

/// The options that say how hosts are reached.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Host options")]
pub struct HostArgs {
    /// Reach the hosts through these, as ssh -J; none for no detour [default: the cluster's spec.access.jumpHost,
    /// else ProxyJump of ~/.ssh/config]
    #[arg(short = 'J', long, global = true, value_name = "[USER@]HOST[:PORT],…", hide_short_help = true)]
    pub jump: Option<Route>,
}

impl Route {
    /// What it takes to log in to each of them.
    ///
    /// # Errors
    /// One of them is not known by a host key, or is reached in a way that is not followed.
    pub async fn jumps(&self, configs: &SshConfigs) -> Result<Vec<Jump>, Failure> {
        let mut jumps: Vec<Jump> = Vec::new();
        for stop in self.whole(configs).await? {
            let config = configs.of(&stop.host, stop.user.as_deref(), stop.port).await?;
            let jump = jump(&stop, config, &for_ssh(&jumps, &stop.to_string()))?;
            jumps.push(jump);
        }
        Ok(jumps)
    }

    /// With those that are gone through on the way to the first, and so on.
    async fn whole(&self, configs: &SshConfigs) -> Result<Vec<Stop>, Failure> {
        let mut stops = self.0.clone();
        for _ in 0..=DEEPEST {
            let Some(first) = stops.first() else { return Ok(stops) };
            let Some(before) = configs.of(&first.host, first.user.as_deref(), first.port).await?.jump else {
                return Ok(stops);
            };
            let before: Self = before.parse().map_err(|e| Failure::new(format!("ProxyJump of {first}: {e}")))?;
            stops.splice(0..0, before.0);
        }
        let last = stops.last().map_or("it", |stop| &stop.host);
        Err(Failure::new(format!("the ProxyJumps of {last} lead in a circle"))
            .help(format!("see them: ssh -G {} | grep -i proxyjump", quoted(last))))
    }
}

/// What `ssh` takes on a shell's line to log in to a jump host, through those before it. A port belongs to a URI.
pub fn for_ssh(before: &[Jump], name: &str) -> String {
    // An IPv6 address in a list is in brackets.
    let in_list = |jump: &Jump| match jump.name.parse::<Stop>() {
        Ok(Stop { user, host, port }) if host.contains(':') => {
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            format!("{user}[{host}]{}", port.map(|port| format!(":{port}")).unwrap_or_default())
        }
        _ => jump.name.clone(),
    };
    let through = match before {
        [] => String::new(),
        before => format!("-J {} ", quoted(&before.iter().map(in_list).collect::<Vec<_>>().join(","))),
    };
    let has_port = name.parse::<Stop>().is_ok_and(|stop| stop.port.is_some());
    let name = if has_port { format!("ssh://{name}") } else { name.to_owned() };
    format!("{through}{}", quoted(&name))
}

/// The jump host that the user's OpenSSH knows so. `words` are what `ssh` takes to log in to it.
fn jump(stop: &Stop, config: SshConfig, words: &str) -> Result<Jump, Failure> {
    if let Some(command) = config.command {
        return Err(Failure::new(format!(
            "the jump host {stop} has a ProxyCommand in the configuration of ssh ({command}), which is not followed"
        ))
        .help("name a host that can be reached directly or through other jump hosts: --jump"));
    }
    let (name, port) = config.alias.as_deref().map_or((config.host_name.as_str(), config.port), |alias| (alias, 22));
    let files = || match config.known_hosts.as_slice() {
        [] => "no file, as the configuration of ssh has it".to_owned(),
        files => files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "),
    };
    let log_in =
        format!("log in to it once and compare the fingerprint that is shown with the host's own: ssh {words}");
    let known = known_hosts(name, port, &config.known_hosts).map_err(|error| match error {
        KeyError::Kind(kind) => Failure::new(format!("of the jump host {stop} only a key of type {kind} is known"))
            .help(format!("its ed25519 or ECDSA key is needed: ssh -o HostKeyAlgorithms=ssh-ed25519 {words}")),
        error => Failure::new(format!("the host key of the jump host {stop} cannot be read: {error}")),
    })?;
    if known.is_empty() {
        return Err(Failure::new(format!(
            "the host key of the jump host {stop} ({name}) is not known: looked at was {}",
            files()
        ))
        .help(log_in)
        .exit(exit::FAILED));
    }
    let known_as = Some(written(name, port));
    Ok(Jump {
        name: stop.to_string(),
        address: config.host_name,
        port: config.port,
        user: config.user,
        known,
        known_as,
        key: None,
        agent: config.agent,
        keys: config.keys,
        only_keys: config.only_keys,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{ClientKey, HostId, HostSeed};

    #[test]
    fn jump_hosts_are_written_as_for_ssh() {
        for (text, shown, words, listed) in [
            ("me@b", "me@b", "me@b", "-J me@b c"),
            ("me@b:2222", "me@b:2222", "ssh://me@b:2222", "-J me@b:2222 c"),
            ("[fd00::1]:2200", "[fd00::1]:2200", "'ssh://[fd00::1]:2200'", "-J '[fd00::1]:2200' c"),
            ("me@fd00::1", "me@fd00::1", "me@fd00::1", "-J 'me@[fd00::1]' c"),
            (r"CORP\me@b", r"CORP\me@b", r"'CORP\me@b'", r"-J 'CORP\me@b' c"),
        ] {
            let stop: Stop = text.parse().unwrap();
            assert_eq!((stop.to_string().as_str(), for_ssh(&[], text).as_str()), (shown, words));
            let pin =
                HostSeed::generate().host_key(&HostId { cluster: String::new(), slot: String::new(), incarnation: 0 });
            let before = Jump { name: text.to_owned(), ..Jump::given("b", 22, "me", pin.pin(), ClientKey::generate()) };
            assert_eq!(for_ssh(&[before], "c"), listed);
        }
    }

    #[test]
    fn a_jump_host_without_a_known_key_is_not_gone_through() {
        let stop: Stop = "me@bastion:2222".parse().unwrap();
        let config = SshConfig {
            host_name: "10.0.0.9".to_owned(),
            port: 2222,
            known_hosts: vec!["/nowhere/known_hosts".into()],
            ..SshConfig::default()
        };
        let words = "-J outer ssh://me@bastion:2222";
        let failure = jump(&stop, config.clone(), words).unwrap_err();
        assert!(failure.what().contains("/nowhere/known_hosts"), "{failure}");
        assert!(failure.remedies()[0].ends_with("ssh -J outer ssh://me@bastion:2222"), "{failure}");
        let failure = jump(&stop, SshConfig { command: Some("nc x".to_owned()), ..config }, words).unwrap_err();
        assert!(failure.what().contains("ProxyCommand"), "{failure}");
    }
}
