//! What `ssh -G` says, and the hosts in it to go through: nothing else than what is said counts, and nothing of it is an
//! option to whoever is given it.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use testkit_fuzz::cli::hosts::{
    route::Route,
    ssh_config::said::{Environment, SshConfig, read},
};

/// What is read.
const KEYS: [&str; 10] = [
    "hostname",
    "user",
    "port",
    "identityfile",
    "identitiesonly",
    "identityagent",
    "userknownhostsfile",
    "globalknownhostsfile",
    "hostkeyalias",
    "proxyjump",
];
const HOME: &str = "/home/me";

fuzz_target!(|bytes: &[u8]| {
    let text = &*String::from_utf8_lossy(bytes);
    let config = said(text);
    assert!(!config.host_name.is_empty() && !config.user.is_empty() && config.port > 0, "{config:?}");
    let word = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let of = |keys: &[&str]| -> Vec<&str> { text.lines().filter(|line| keys.contains(&&*word(line))).collect() };
    let known = [&KEYS[..], &["proxycommand"]].concat();
    assert_eq!(said(&of(&known).join("\n")), config, "a word that is not known changes something");

    let values = [&config.host_name, &config.user].into_iter().chain([&config.alias, &config.jump, &config.command].into_iter().flatten());
    for value in values {
        let is_said = of(&known).iter().any(|line| line.trim_end().ends_with(value.as_str()));
        assert!(is_said || ["bastion", "me"].contains(&&**value), "{value:?}");
    }
    let keys: Vec<PathBuf> = of(&["identityfile"]).into_iter().filter_map(key).collect();
    assert_eq!(config.keys, keys);

    for text in config.jump.as_deref().into_iter().chain([text]) {
        let Ok(route) = text.parse::<Route>() else { continue };
        for stop in &route.0 {
            for word in stop.user.iter().chain([&stop.host]) {
                assert!(!word.starts_with('-') && !word.is_empty(), "{word:?} would be taken for an option");
                assert!(word.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%\\+".contains(c)), "{word:?}");
            }
            assert_ne!(stop.port, Some(0));
            assert_eq!(stop.to_string().parse(), Ok(stop.clone()), "it is read as it is shown");
        }
    }
});

fn said(text: &str) -> SshConfig {
    let environment =
        Environment { home: Some(HOME.into()), user: Some("me".to_owned()), agent: Some("/run/agent".into()), system: "/etc/ssh".into() };
    read(Some(text), "bastion", &environment)
}

/// The file that a line names.
fn key(line: &str) -> Option<PathBuf> {
    let value = line.split_once(' ')?.1.trim();
    if value.is_empty() || value.eq_ignore_ascii_case("none") {
        return None;
    }
    let value = value.trim_matches('"');
    Some(match value.strip_prefix("~/").or_else(|| value.strip_prefix("%d/")) {
        Some(rest) => format!("{HOME}/{rest}").into(),
        None => value.into(),
    })
}
