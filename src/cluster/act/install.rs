//! Installing an engine on a machine that exists and has none.

use std::time::Duration;

use bytes::Bytes;

use super::{Actor, Effect, Failure};
use crate::{
    cluster::{keys::Keys, member::MemberId, user_data},
    host::ExecOutput,
};

/// The script is a file, which it removes at its end; it asks nobody for a password.
const RUN: &str =
    r#"file=$(mktemp) && cat > "$file" && if [ "$(id -u)" = 0 ]; then sh "$file"; else sudo -n sh "$file"; fi"#;

/// What the way there may take beside the script's own patience.
const MARGIN: Duration = Duration::from_secs(60);

/// From one try to the next: the script has tried again by itself for long before it gives up, and what ends sooner (nobody
/// may use `sudo`) is not put right within seconds.
pub const REST: Duration = Duration::from_secs(30);

impl Actor<'_> {
    /// Has an engine installed, unless that is under way: why it failed is told at the next call.
    pub(super) fn install(&self, member: MemberId) -> Result<Effect, Failure> {
        let id = Keys::host_id(&self.owner.uid, member);
        let patience = self.cluster.spec.boot_timeout.get();
        let script = user_data::install(self.cluster.spec.engine.as_ref(), patience);
        let (hosts, of) = (self.context.hosts.clone(), id.clone());
        let job = async move {
            let host = hosts.bulk(&of).await.map_err(|e| e.to_string())?;
            let done = tokio::time::timeout(patience + MARGIN, host.exec(RUN, Some(Bytes::from(script)))).await;
            let output = done.map_err(|_| format!("it took longer than {} s", (patience + MARGIN).as_secs()))?;
            let output = output.map_err(|e| e.to_string())?;
            if !output.success() {
                return Err(last_words(&output));
            }
            drop(host);
            // An engine that answers now wakes the cluster by itself; where its socket is there and nobody answers, there is
            // nothing to install.
            tokio::time::sleep(REST).await;
            Ok(())
        };
        self.context.installs.ensure(id, job).map_err(Failure::Host)?;
        Ok(Effect::Waits)
    }
}

/// Why the script gave up, as it says itself; else what was complained about last.
fn last_words(output: &ExecOutput) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let own = text.lines().rev().find_map(|line| line.strip_prefix("testkit: "));
    own.map_or_else(|| output.complaint(), |words| words.trim().chars().take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_own_words_are_told_before_others() {
        let output = |stdout: &'static str, stderr: &'static str| ExecOutput {
            status: Some(1),
            stdout: Bytes::from_static(stdout.as_bytes()),
            stderr: Bytes::from_static(stderr.as_bytes()),
        };
        let table = [
            ("testkit: giving up: no network\nrest\n", "curl: (6)\n", "giving up: no network"),
            ("", "sudo: a password is required\n", "sudo: a password is required"),
        ];
        for (stdout, stderr, told) in table {
            assert_eq!(last_words(&output(stdout, stderr)), told);
        }
    }
}
