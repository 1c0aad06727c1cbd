//! The script an instance runs as root at its first boot.
//!
//! It installs the key to log in with and the host key to expect at the first connection, has sshd take
//! them, and only then installs the engine where the image brings none: what that waits for can be seen
//! over SSH, and on the console. cloud-init runs user data once in the life of an instance, also where a
//! reboot cut it off; so the part that takes long is left where cloud-init runs it in every boot, and
//! removes itself when it is done. Whoever runs a container on the host may read user data: the host key
//! in it is replaced at first contact, and nothing else in it is secret.

use std::{fmt::Write as _, time::Duration};

use crate::api::EngineSpec;

/// Docker's own script, for images without an engine: <https://github.com/docker/docker-install>.
const INSTALL_SCRIPT: &str = "https://get.docker.com";

/// The part that installs the engine, behind lines that set `url`, `how` and `patience`.
const INSTALL_ENGINE: &str = include_str!("install-engine.sh");

/// Where cloud-init runs scripts in every boot (its module "Scripts Per Boot").
const PER_BOOT: &str = "/var/lib/cloud/scripts/per-boot";

/// EC2 accepts at most 16 KiB of user data before base64 (EC2 User Guide, "User data").
pub const LIMIT: usize = 16 * 1024;

/// Many streams on one connection (`MaxSessions`), and many people at once (`MaxStartups`).
const SSHD: &str = "PermitRootLogin prohibit-password
PasswordAuthentication no
HostKey /etc/ssh/ssh_host_ed25519_key
MaxStartups 64:30:256
MaxSessions 256";

/// Writes the script. `boot_key` is an OpenSSH private key, `authorized` an `authorized_keys` line, `boot_timeout`
/// the time after which a host that has no engine is replaced.
pub fn user_data(authorized: &str, boot_key: &str, engine: Option<&EngineSpec>, boot_timeout: Duration) -> String {
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
    let _ = writeln!(script, "if command -v dockerd >/dev/null 2>&1; then exit 0; fi\nmkdir -p {PER_BOOT}");
    file(&mut script, &format!("{PER_BOOT}/testkit-engine"), &installer(engine, boot_timeout));
    let _ = writeln!(script, "chmod 700 {PER_BOOT}/testkit-engine\nexec {PER_BOOT}/testkit-engine");
    script
}

/// The script that installs the engine, and can be run again at any time.
///
/// Its steps are tried again for seven tenths of `boot_timeout`: with the boot before it, less than all of it, so that
/// the console has the reason by then.
fn installer(engine: Option<&EngineSpec>, boot_timeout: Duration) -> String {
    let url = engine.and_then(|e| e.install_script.as_deref()).unwrap_or(INSTALL_SCRIPT);
    let how = match engine.and_then(|e| e.version.as_deref()) {
        Some(channel @ ("stable" | "test")) => format!("CHANNEL={channel}"),
        Some(version) => format!("VERSION={version}"),
        None => "CHANNEL=stable".to_owned(),
    };
    let (url, patience) = (url.replace('\'', "%27"), boot_timeout.as_secs() * 7 / 10);
    format!("#!/bin/sh\nurl='{url}' how={how} patience={patience}\n{INSTALL_ENGINE}")
}

/// What installs an engine on a machine that has none, run as root; its last line says how that ended. Where the
/// engine's socket is there, nothing is done. A configuration that is there is left as it is.
pub fn install(engine: Option<&EngineSpec>, patience: Duration) -> String {
    let mut script = String::from("#!/bin/sh\n[ ! -S /var/run/docker.sock ] || exit 0\n");
    if let Some(config) = engine.and_then(|e| e.daemon_json.as_ref()) {
        script.push_str("mkdir -p /etc/docker\n[ -e /etc/docker/daemon.json ] || {\n");
        let json = serde_json::Value::Object(config.clone());
        file(&mut script, "/etc/docker/daemon.json", &format!("{json:#}"));
        script.push_str("}\n");
    }
    script + &installer(engine, patience)
}

/// Appends a here-document. Its delimiter is quoted, so nothing in the content is expanded.
fn file(script: &mut String, path: &str, content: &str) {
    let _ = writeln!(script, "cat > {path} <<'TESTKIT_END'\n{}\nTESTKIT_END", content.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Duration = Duration::from_secs(300);

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
            let script = user_data("ssh-ed25519 AAAA x", "KEY", variant.as_ref(), BOOT);
            assert!(script.len() < LIMIT / 3, "{} bytes: what is left is daemon.json's", script.len());
            for script in [script, installer(variant.as_ref(), BOOT), install(variant.as_ref(), BOOT)] {
                let shell = std::process::Command::new("sh").args(["-n", "-c", &script]).output().unwrap();
                assert!(shell.status.success(), "{}\n{script}", String::from_utf8_lossy(&shell.stderr));
            }
        }
    }

    #[test]
    fn nothing_that_a_spec_says_leaves_its_place() {
        let shell = |script: &str| {
            let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
            assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let hostile = "x\nTESTKIT_END\nexit 7\n'\"$(exit 7)`exit 7`\\";
        let json = serde_json::json!({hostile: hostile, "labels": [hostile]});
        // As the rule of the field takes it.
        let url = "https://example.com/'$(exit)`exit`\";exit;'&&exit|exit#\\";
        let spec = engine(serde_json::json!({"daemonJson": json, "installScript": url}));
        for script in [user_data("k", "KEY", Some(&spec), BOOT), install(Some(&spec), BOOT)] {
            let (_, rest) = script.split_once("cat > /etc/docker/daemon.json <<'TESTKIT_END'\n").unwrap();
            let (content, _) = rest.split_once("\nTESTKIT_END\n").unwrap();
            let written = shell(&format!("cat <<'TESTKIT_END'\n{content}\nTESTKIT_END\n"));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), json);
            let line = script.lines().find(|line| line.starts_with("url=")).unwrap();
            assert_eq!(shell(&format!("{line}\nprintf %s \"$url\"")), url.replace('\'', "%27"));
        }
    }

    #[test]
    fn what_is_downloaded_came_by_https() {
        let (_, rest) = INSTALL_ENGINE.split_once("\ndownload() {\n").unwrap();
        let (body, _) = rest.split_once("\n}\n").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let place = listener.local_addr().unwrap();
        let file = std::env::temp_dir().join(format!("testkit-download-{}", std::process::id()));
        let script = format!("has() {{ [ $1 = curl ]; }}\nscript='{}' url=http://{place}/\n{body}", file.display());
        let shell = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        // "Unsupported protocol", of libcurl's own errors: also where an https URL leads on to another.
        assert_eq!(shell.status.code(), Some(1), "{}", String::from_utf8_lossy(&shell.stderr));
        assert!(listener.accept().is_err(), "it was asked");
    }

    #[test]
    fn who_logs_in_does_not_wait_for_the_engine() {
        let script = user_data("k", "KEY", None, BOOT);
        assert!(script.find("systemctl try-restart ssh").unwrap() < script.find("testkit-engine").unwrap(), "{script}");
    }

    #[test]
    fn the_reason_is_on_the_console_before_the_host_is_replaced() {
        assert!(user_data("k", "KEY", None, BOOT).contains(" patience=210\n"));
    }

    #[test]
    fn an_engine_in_the_image_is_left_alone() {
        let script = user_data("k", "KEY", None, BOOT);
        let (ours, installs) = script.split_once("if command -v dockerd >/dev/null 2>&1; then exit 0; fi\n").unwrap();
        assert!(!ours.contains(INSTALL_SCRIPT) && installs.contains(INSTALL_SCRIPT), "{script}");
        assert!(!script.contains("daemon.json"));
    }
}
