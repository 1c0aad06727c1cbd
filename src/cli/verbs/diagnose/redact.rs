//! What a bundle must not tell: cut out of every text that goes into one. Pure.
//!
//! Two ways beside each other: what the cluster's own secrets are is known, and is cut wherever it
//! stands; what else looks like a secret is cut by its form. Rather too much than too little.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// What stands where something was cut.
pub const CUT: &str = "[cut]";
/// A private key has no more lines than this: one whose end is missing must not take the rest with it.
const LONGEST_KEY: usize = 120;
/// Shorter pieces of a secret give nothing away and stand in many places.
const SHORTEST: usize = 16;

/// A kind of token that is known by how it begins.
struct Token {
    prefix: &'static str,
    /// What it is made of.
    letter: fn(char) -> bool,
    /// How many of these it has at least.
    least: usize,
}

const fn token(prefix: &'static str, letter: fn(char) -> bool, least: usize) -> Token {
    Token { prefix, letter, least }
}

static TOKENS: [Token; 10] = [
    token("SWMTKN-", in_word, 20),
    token("SWMKEY-", in_base64_word, 20),
    token("AKIA", in_caps, 16),
    token("ASIA", in_caps, 16),
    token("eyJ", in_jwt, 40),
    token("ghp_", in_word, 30),
    token("github_pat_", in_word, 30),
    token("glpat-", in_word, 20),
    token("dckr_pat_", in_word, 20),
    token("xoxb-", in_word, 20),
];

/// Names whose values are secret, in lower case and without `-` and `_`.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "secretaccesskey",
    "secretkey",
    "clientsecret",
    "sessiontoken",
    "securitytoken",
    "accesstoken",
    "authtoken",
    "identitytoken",
    "token",
    "apikey",
    "authorization",
    "xregistryauth",
];

/// Cuts.
pub struct Redactor {
    /// Longest first: a piece of one may be another.
    known: Vec<String>,
}

impl Redactor {
    /// With these values known to be secret, as text and as the encodings it may stand in.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut known = BTreeSet::new();
        for secret in secrets {
            known.insert(STANDARD.encode(secret));
            known.insert(secret.iter().map(|byte| format!("{byte:02x}")).collect());
            if let Ok(text) = std::str::from_utf8(secret) {
                known.insert(text.trim().to_owned());
                known.extend(text.lines().map(str::trim).filter(|l| !l.starts_with("-----")).map(str::to_owned));
            }
        }
        let mut known: Vec<String> = known.into_iter().filter(|secret| secret.len() >= SHORTEST).collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { known }
    }

    /// The text without secrets.
    pub fn text(&self, text: &str) -> String {
        let mut known = text.to_owned();
        for secret in &self.known {
            if known.contains(secret.as_str()) {
                known = known.replace(secret.as_str(), CUT);
            }
        }
        let mut clean: Vec<String> = Vec::new();
        // How many lines of a private key were left out.
        let mut within: Option<usize> = None;
        for line in known.lines() {
            let mut rest = line;
            if let Some(left_out) = within {
                match marker(line, "-----END ") {
                    Some(at) => {
                        rest = after_marker(&line[at..]);
                        within = None;
                    }
                    None if left_out < LONGEST_KEY => {
                        within = Some(left_out + 1);
                        continue;
                    }
                    None => within = None,
                }
            } else if let Some(at) = marker(line, "-----END ")
                && marker(&line[..at], "-----BEGIN ").is_none()
            {
                cut_key_before(&mut clean);
                rest = after_marker(&line[at..]);
            }
            let mut shown = String::new();
            while let Some(at) = marker(rest, "-----BEGIN ") {
                shown.push_str(&rest[..at]);
                shown.push_str(CUT);
                match marker(&rest[at..], "-----END ") {
                    Some(end) => rest = after_marker(&rest[at + end..]),
                    None => {
                        within = Some(0);
                        rest = "";
                    }
                }
            }
            shown.push_str(rest);
            clean.push(line_without_secrets(&shown));
        }
        clean.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect()
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} known)", self.known.len())
    }
}

/// Whether values under this name are secret.
pub fn is_secret_name(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    NAMES.iter().any(|secret| plain.ends_with(secret))
}

/// Where a line of a private key's beginning or end is.
fn marker(line: &str, which: &str) -> Option<usize> {
    line.match_indices(which).map(|(at, _)| at).find(|at| {
        let label = line[*at + which.len()..].split("-----").next().unwrap_or_default();
        label.contains("PRIVATE KEY")
    })
}

/// The lines of a private key whose beginning is not there, once its end is seen.
fn cut_key_before(lines: &mut [String]) {
    for line in lines.iter_mut().rev().take(LONGEST_KEY) {
        let at = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &line[at..];
        let has = |what: fn(&char) -> bool| word.chars().any(|c| what(&c));
        let key = word.ends_with('=') || (has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase));
        if word != CUT && !(key && word.chars().all(in_base64)) {
            return;
        }
        line.replace_range(at.., CUT);
    }
}

/// What follows `-----END … KEY-----`.
fn after_marker(from: &str) -> &str {
    from.get(8..).and_then(|rest| rest.split_once("-----")).map_or("", |(_, rest)| rest)
}

fn line_without_secrets(line: &str) -> String {
    let mut line = line.to_owned();
    for token in &TOKENS {
        line = without_tokens(&line, token);
    }
    without_values(&without_keys(&without_logins(&line)))
}

fn without_tokens(line: &str, token: &Token) -> String {
    let Token { prefix, letter, least } = *token;
    let (mut clean, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(prefix) {
        let (before, found) = rest.split_at(at);
        let tail = &found[prefix.len()..];
        let length = tail.find(|c| !letter(c)).unwrap_or(tail.len());
        let begins = !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        clean.push_str(before);
        clean.push_str(if begins && length >= least { CUT } else { &found[..prefix.len() + length] });
        rest = &tail[length..];
    }
    clean + rest
}

/// `scheme://user:password@host`
fn without_logins(line: &str) -> String {
    let (mut clean, mut rest) = (String::new(), line);
    while let Some(at) = rest.find("://") {
        let (before, found) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = found.find(|c: char| c.is_whitespace() || "/\"'".contains(c)).unwrap_or(found.len());
        match found[..end].rfind('@').filter(|at| found[..*at].contains(':')) {
            Some(at) => {
                clean.push_str(CUT);
                rest = &found[at..];
            }
            None => rest = found,
        }
    }
    clean + rest
}

/// Lines of private keys whose beginning is not there, and AWS' secret keys: by their length and their letters.
fn without_keys(line: &str) -> String {
    let mut clean = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let length = rest.find(|c| !in_base64(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(length);
        let has = |what: fn(&char) -> bool| word.chars().any(|c| what(&c));
        let mixed = has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit);
        let path = word.starts_with('/') || word.matches('/').count() > 4;
        clean.push_str(if mixed && !path && matches!(length, 40 | 64 | 70 | 76) { CUT } else { word });
        let next = tail.chars().next().map_or(0, char::len_utf8);
        clean.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    clean
}

/// `password=x`, `"token": "x"`, `Authorization: Bearer x`
fn without_values(line: &str) -> String {
    let (mut clean, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(['=', ':']) {
        let (before, found) = rest.split_at(at);
        let name = before.trim_end_matches(['"', '\'', '\\', ' ']);
        let begin = name.rfind(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).map_or(0, |at| at + 1);
        clean.push_str(before);
        let lead = found[1..].find(|c: char| !" \"'\\".contains(c)).map_or(found.len(), |at| at + 1);
        clean.push_str(&found[..lead]);
        rest = &found[lead..];
        if !is_secret_name(name.get(begin..).unwrap_or_default()) {
            continue;
        }
        for how in ["Bearer ", "bearer ", "Basic ", "basic "] {
            if let Some(value) = rest.strip_prefix(how) {
                clean.push_str(how);
                rest = value;
            }
        }
        let length = rest.find(|c: char| c.is_whitespace() || "\"'\\,;&)}]".contains(c)).unwrap_or(rest.len());
        if length > 0 {
            clean.push_str(CUT);
            // What was cut before has brackets of its own.
            rest = rest[length..].strip_prefix(']').filter(|_| rest.starts_with("[cut")).unwrap_or(&rest[length..]);
        }
    }
    clean + rest
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_".contains(c)
}

fn in_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=".contains(c)
}

/// An unlock key of a swarm has a dash after its version.
fn in_base64_word(c: char) -> bool {
    in_base64(c) || c == '-'
}

fn in_caps(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit()
}

fn in_jwt(c: char) -> bool {
    in_word(c) || c == '.'
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
