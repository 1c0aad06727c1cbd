//! The scripts that a host runs as root: nothing that a spec says leaves the place in them where it belongs.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use testkit_fuzz::{
    api::EngineSpec,
    cluster::user_data::{install, user_data},
};

fuzz_target!(|input: (String, Vec<(String, String)>)| {
    let (url, values) = input;
    let config = values.into_iter().map(|(key, value)| (key, value.into())).collect();
    // As the rule of spec.engine.installScript has it.
    let url: String = url.chars().filter(char::is_ascii_graphic).collect();
    let engine =
        EngineSpec { version: None, install_script: Some(format!("https://{url}")), daemon_json: Some(config) };
    let hour = Duration::from_secs(3600);
    for script in [user_data("ssh-ed25519 AAAA me", "a key", Some(&engine), hour), install(Some(&engine), hour)] {
        let json = here_document(&script, "/etc/docker/daemon.json").expect("it is written");
        let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).expect("it is whole");
        assert_eq!(Some(read), engine.daemon_json);
        let installer = here_document(&script, "/var/lib/cloud/scripts/per-boot/testkit-engine").unwrap_or(script);
        let line = installer.lines().find(|line| line.starts_with("url=")).expect("it has its variables");
        let (set, rest) = line["url='".len()..].split_once('\'').expect("a quoted URL");
        let expected = format!("https://{}", url.replace('\'', "%27"));
        assert_eq!((set, rest), (expected.as_str(), " how=CHANNEL=stable patience=2520"));
    }
});

/// What a shell writes into a file.
fn here_document(script: &str, path: &str) -> Option<String> {
    let (_, rest) = script.split_once(&format!("cat > {path} <<'TESTKIT_END'\n"))?;
    rest.split_once("\nTESTKIT_END\n").map(|(content, _)| content.to_owned())
}
