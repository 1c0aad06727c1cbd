//! Puts a host's own key in place of the boot key.
//!
//! The boot key travelled in user-data, which containers on the host can read. Its successor
//! travels over the connection the boot key proved, on standard input, and from then on no
//! other one is accepted. Every step may be cut off: until sshd has read the new key it shows
//! the boot key and all of this is done again; afterwards it shows the own key and nothing is
//! left to do.

use std::time::Duration;

use bytes::Bytes;

use super::{ConnectError, Host, HostError, HostKey, Target, login::Patience};

/// The file appears whole or not at all. sshd re-reads its keys on SIGHUP, whoever started it;
/// where it runs once a connection there is nothing to tell it.
const SCRIPT: &str = r#"set -eu
umask 077
key=/etc/ssh/ssh_host_ed25519_key
new=$key.new.$$
trap 'rm -f "$new" "$new.pub"' EXIT
cat > "$new"
ssh-keygen -y -P '' -f "$new" > "$new.pub"
chmod 644 "$new.pub"
rm -f "$key.pub"
mv -f "$new" "$key"
mv -f "$new.pub" "$key.pub"
for kind in dsa ecdsa rsa; do rm -f "/etc/ssh/ssh_host_${kind}_key" "/etc/ssh/ssh_host_${kind}_key.pub"; done
sync -f "$key" 2>/dev/null || sync
reload() {
	if [ -d /run/systemd/system ]; then
		systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null && return
	fi
	for file in /run/sshd.pid /var/run/sshd.pid; do
		[ -s "$file" ] && kill -HUP "$(cat "$file")" 2>/dev/null && return
	done
	service ssh restart >/dev/null 2>&1 || service sshd restart >/dev/null 2>&1
}
reload || echo "sshd was not told of its new key" >&2
"#;

/// How long the script may take on a host that is busy booting.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);

/// Why a key was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The script could not be run.
    #[error("replacing the boot key: {0}")]
    Host(#[from] HostError),
    /// The script failed.
    #[error("replacing the boot key: exit status {status}: {message}")]
    Script {
        /// The exit status.
        status: String,
        /// Its words.
        message: String,
    },
    /// It took too long.
    #[error("replacing the boot key took longer than {} s", SCRIPT_LIMIT.as_secs())]
    Timeout,
    /// The new key does not show.
    #[error("replacing the boot key: {0}")]
    NotInPlace(#[from] ConnectError),
}

/// Replaces the key and returns a connection that proved to have it.
pub async fn rotate(host: &Host, target: &Target, own: &HostKey) -> Result<Host, RotationError> {
    let key = Bytes::copy_from_slice(own.to_openssh().as_bytes());
    let script = host.exec(SCRIPT, Some(key));
    let output = tokio::time::timeout(SCRIPT_LIMIT, script).await.map_err(|_| RotationError::Timeout)??;
    if !output.success() {
        let status = output.status.map_or_else(|| "none".to_owned(), |s| s.to_string());
        return Err(RotationError::Script { status, message: output.complaint() });
    }
    if !output.stderr.is_empty() {
        tracing::warn!(host = host.address(), message = output.complaint(), "replaced the boot key");
    }
    let target = target.rotated();
    // sshd restarts itself on the signal: for a moment it refuses, or still shows the boot key.
    let mut wait = Duration::from_millis(50);
    loop {
        match Host::connect_with(&target, Patience::CONTROL.for_a_long_way(), None).await {
            Ok(host) => return Ok(host),
            Err(error) if wait > Duration::from_secs(2) => return Err(error.into()),
            Err(error) => tracing::debug!(host = host.address(), %error, "the new host key does not show yet"),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}
