//! The script an instance runs as root at its first boot.
//!
//! It installs the key to log in with and the host key to expect at the first connection,
//! and the engine where the image brings none. Whoever runs a container on the host may read
//! it: the host key in it is replaced at first contact, and nothing else in it is secret.

use std::fmt::Write as _;

use crate::api::EngineSpec;

/// Docker's own script, for images without an engine: <https://github.com/docker/docker-install>.
const INSTALL_SCRIPT: &str = "https://get.docker.com";

/// EC2 accepts at most 16 KiB of user data before base64 (EC2 User Guide, "User data").
pub const LIMIT: usize = 16 * 1024;

/// Many streams on one connection (`MaxSessions`), and many people at once (`MaxStartups`).
const SSHD: &str = "PermitRootLogin prohibit-password
PasswordAuthentication no
HostKey /etc/ssh/ssh_host_ed25519_key
MaxStartups 64:30:256
MaxSessions 256";

/// Writes the script. `boot_key` is an OpenSSH private key, `authorized` an `authorized_keys` line.
pub fn user_data(authorized: &str, boot_key: &str, engine: Option<&EngineSpec>) -> String {
    let mut script = String::from("#!/bin/sh\n# First boot of a host of a SwarmCluster.\nset -eu\numask 077\n");
    file(&mut script, "/etc/ssh/ssh_host_ed25519_key", boot_key);
    script.push_str("mkdir -p /root/.ssh /etc/ssh/sshd_config.d\n");
    file(&mut script, "/root/.ssh/authorized_keys", authorized);
    file(&mut script, "/etc/ssh/sshd_config.d/00-testkit.conf", SSHD);
    script.push_str(
        "rm -f /etc/ssh/ssh_host_ed25519_key.pub\n\
         chmod 644 /etc/ssh/sshd_config.d/00-testkit.conf\n\
         grep -qs '^Include /etc/ssh/sshd_config.d/' /etc/ssh/sshd_config || sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config\n\
         systemctl try-restart ssh sshd >/dev/null 2>&1 || service ssh restart >/dev/null 2>&1 || true\n",
    );
    if let Some(config) = engine.and_then(|e| e.daemon_json.as_ref()) {
        script.push_str("mkdir -p /etc/docker\n");
        let json = serde_json::Value::Object(config.clone());
        file(&mut script, "/etc/docker/daemon.json", &format!("{json:#}"));
        script.push_str("if systemctl is-active docker >/dev/null 2>&1; then systemctl restart docker; fi\n");
    }
    let url = engine.and_then(|e| e.install_script.as_deref()).unwrap_or(INSTALL_SCRIPT);
    let how = match engine.and_then(|e| e.version.as_deref()) {
        Some(channel @ ("stable" | "test")) => format!("CHANNEL={channel}"),
        Some(version) => format!("VERSION={version}"),
        None => String::new(),
    };
    let _ = write!(
        script,
        "command -v dockerd >/dev/null 2>&1 || {{\n\
         \tcurl -fsSL --retry 5 --retry-connrefused -o /run/install-docker.sh '{}'\n\
         \tenv {how} sh /run/install-docker.sh\n\
         \tsystemctl enable --now docker\n}}\n",
        url.replace('\'', "%27"),
    );
    script
}

/// Appends a here-document. Its delimiter is quoted, so nothing in the content is expanded.
fn file(script: &mut String, path: &str, content: &str) {
    let _ = writeln!(script, "cat > {path} <<'TESTKIT_END'\n{}\nTESTKIT_END", content.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(json: serde_json::Value) -> EngineSpec {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_shell_accepts_every_variant() {
        let variants = [
            None,
            Some(engine(
                serde_json::json!({"version": "28.5", "daemonJson": {"debug": true, "labels": ["a='b'$(reboot)"]}}),
            )),
            Some(engine(serde_json::json!({"version": "test", "installScript": "https://example.com/it's.sh"}))),
        ];
        for variant in variants {
            let script = user_data("ssh-ed25519 AAAA x", "KEY", variant.as_ref());
            assert!(script.len() < LIMIT);
            let shell = std::process::Command::new("sh").args(["-n", "-c", &script]).output().unwrap();
            assert!(shell.status.success(), "{}\n{script}", String::from_utf8_lossy(&shell.stderr));
        }
    }

    #[test]
    fn an_engine_in_the_image_is_left_alone() {
        let script = user_data("k", "KEY", None);
        assert!(script.contains("command -v dockerd >/dev/null 2>&1 ||"), "{script}");
        assert!(!script.contains("daemon.json"));
    }
}
