//! Power over the hosts of the nodes, for those who have it: a command that is called with a verb and the address of a
//! node. What it did to a host is undone after the case that asked for it.

use std::{
    collections::BTreeMap,
    fmt,
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use super::test::Test;
use crate::cluster::Member;

/// How long the command may take. An engine that restarts first stops its containers, each of which has ten seconds.
const ACTS_WITHIN: Duration = Duration::from_secs(120);

/// What can be done to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// As a power cut does it.
    Kill,
    /// Boot it again.
    Reboot,
    /// No packet reaches another host.
    Partition,
    /// Undo that.
    Heal,
    /// Stop its engine and start it.
    RestartEngine,
    /// Have its engine leave the swarm, unless that takes force.
    Leave,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Reboot => "reboot",
            Self::Partition => "partition",
            Self::Heal => "heal",
            Self::RestartEngine => "restart-engine",
            Self::Leave => "leave",
        }
    }
}

/// What makes a host whole again.
#[derive(Clone)]
enum Remedy {
    Act(Verb),
    /// Its engine restarted or will, and then asks for this key, which opens the swarm's secrets.
    Unlock(String),
}

/// The command, and what is to be undone.
pub(crate) struct Hosts {
    command: Vec<String>,
    /// By address.
    hurt: Mutex<BTreeMap<String, Remedy>>,
}

/// Without the keys that remedies hold.
impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosts").field("command", &self.command).finish_non_exhaustive()
    }
}

impl Hosts {
    /// `command` is a program and its first arguments, separated by spaces.
    pub(crate) fn new(command: &str) -> Self {
        Self { command: command.split_whitespace().map(str::to_owned).collect(), hurt: Mutex::default() }
    }

    async fn act(&self, verb: Verb, address: &str) -> Result<()> {
        let remedy = match verb {
            Verb::Kill => Some(Verb::Reboot),
            Verb::Partition => Some(Verb::Heal),
            Verb::Reboot | Verb::Heal | Verb::RestartEngine | Verb::Leave => None,
        };
        // Before it is done, and taken back after it is undone: what ends in between is undone once too often.
        if let Some(remedy) = remedy {
            self.hurt().insert(address.to_owned(), Remedy::Act(remedy));
        }
        self.call(verb.word(), address, "").await?;
        if matches!(verb, Verb::Reboot | Verb::Heal) {
            self.hurt().remove(address);
        }
        Ok(())
    }

    async fn unlock(&self, address: &str, key: &str) -> Result<()> {
        self.call("unlock", address, &format!("{key}\n")).await?;
        self.hurt().remove(address);
        Ok(())
    }

    /// The input is for secrets, which everybody could read among the arguments.
    async fn call(&self, verb: &str, address: &str, input: &str) -> Result<()> {
        let what = format!("`{} {verb} {address}`", self.command.join(" "));
        let (program, arguments) = self.command.split_first().context("the command for hosts is empty")?;
        let mut command = Command::new(program);
        command.args(arguments).args([verb, address]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{what} does not start"))?;
        let mut stdin = child.stdin.take().with_context(|| format!("{what} has no input"))?;
        // A command that does not read has no use for it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let Ok(end) = timeout(ACTS_WITHIN, child.wait_with_output()).await else {
            bail!("{what} did not end within {ACTS_WITHIN:?}");
        };
        let end = end.with_context(|| format!("{what} cannot be waited for"))?;
        ensure!(end.status.success(), "{what}: {}: {}", end.status, String::from_utf8_lossy(&end.stderr).trim());
        Ok(())
    }

    /// Undoes what was done and is not undone.
    pub(crate) async fn mend(&self) -> Result<()> {
        let hurt = self.hurt().clone();
        for (address, remedy) in hurt {
            match remedy {
                Remedy::Act(verb) => self.act(verb, &address).await?,
                Remedy::Unlock(key) => self.unlock(&address, &key).await?,
            }
        }
        Ok(())
    }

    fn hurt(&self) -> MutexGuard<'_, BTreeMap<String, Remedy>> {
        self.hurt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Test {
    /// Does this to a node's host. It is undone after the case, if the case does not.
    pub(crate) async fn host(&self, verb: Verb, node: &Member) -> Result<()> {
        self.note(format_args!("{} {}", verb.word(), node.hostname));
        let (hosts, address) = (self.hosts()?, node.address.clone());
        let start = Instant::now();
        let end = self.make(async move { hosts.act(verb, &address).await }).await;
        self.waits().add(&format!("{} a host", verb.word()), ACTS_WITHIN, start.elapsed());
        end
    }

    /// From here on a node's engine may ask for this key; it gets it after the case, if the case does not give it.
    pub(crate) fn may_lock(&self, node: &Member, key: &str) -> Result<()> {
        self.hosts()?.hurt().insert(node.address.clone(), Remedy::Unlock(key.to_owned()));
        Ok(())
    }

    /// Gives a manager that is locked a key.
    pub(crate) async fn unlock(&self, node: &Member, key: &str) -> Result<()> {
        self.note(format_args!("unlock {}", node.hostname));
        self.hosts()?.unlock(&node.address, key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_undone_is_undone_at_the_end() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("e2e-hosts-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder)?;
        let (program, log) = (folder.join("hosts"), folder.join("log"));
        std::fs::write(&program, format!("echo \"$1 $2 $(cat)\" >> {}\n", log.display()))?;
        let hosts = Hosts::new(&format!("sh {}", program.display()));
        hosts.act(Verb::Kill, "10.0.0.1").await?;
        hosts.act(Verb::Partition, "10.0.0.2").await?;
        hosts.act(Verb::Heal, "10.0.0.2").await?;
        hosts.hurt().insert("10.0.0.3".into(), Remedy::Unlock("key".into()));
        hosts.mend().await?;
        hosts.mend().await?;
        let said = std::fs::read_to_string(&log)?;
        std::fs::remove_dir_all(&folder)?;
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        let end = ["reboot 10.0.0.1", "unlock 10.0.0.3 key"];
        assert_eq!(lines, [&["kill 10.0.0.1", "partition 10.0.0.2", "heal 10.0.0.2"], &end[..]].concat());
        Ok(())
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_its_words() {
        let error = Hosts::new("sh -c false_is_no_host").act(Verb::RestartEngine, "10.0.0.1").await.unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("restart-engine 10.0.0.1") && said.contains("not found"), "{said}");
    }
}
