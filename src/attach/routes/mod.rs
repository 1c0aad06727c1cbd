//! What a request of the Docker Engine API asks for: whose it is, whether it may be asked again, how it travels.
//!
//! [`table`] is the whole of it. What the table does not know is an engine's, is asked once,
//! and has a connection of its own: that costs time and never correctness.

mod table;
#[cfg(test)]
mod tests;

pub use table::{Owner, Repeat, Size};

use super::request::Head;
use table::{TABLE, Whose};

/// A larger body is not for the shared connection.
pub const BODY_LIMIT: u64 = 256 << 10;

/// What is known of a request before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    whose: Whose,
    /// Whether it may be sent a second time.
    pub repeat: Repeat,
    /// How it travels.
    pub size: Size,
}

impl Route {
    const UNKNOWN: Self = Self { whose: Whose::Of(Owner::Engine), repeat: Repeat::Once, size: Size::Endless };

    /// By the request's head alone.
    pub fn of(head: &Head) -> Self {
        let path = path(&head.path);
        let row = TABLE.iter().find(|row| row.method == head.method && fits(row.path, path));
        let mut route = row.map_or(Self::UNKNOWN, |r| Self { whose: r.whose, repeat: r.repeat, size: r.size });
        if head.upgrade || head.length.is_none_or(|length| length > BODY_LIMIT) {
            route.size = Size::Endless;
        }
        if head.length != Some(0) {
            route.repeat = Repeat::Once;
        }
        route
    }

    /// Whether only the body tells whose it is. A body that does not share a connection is not looked at.
    pub fn needs_body(&self) -> bool {
        self.size == Size::Small && matches!(self.whose, Whose::ByBody(_))
    }

    /// Whose it is, by the whole request.
    pub fn owner(&self, head: &Head, body: &[u8]) -> Owner {
        let swarms = match self.whose {
            Whose::Of(owner) => return owner,
            Whose::ByScope => query(&head.path).contains("scope=swarm"),
            Whose::ByFilter => asks_for_overlays(query(&head.path)),
            Whose::ById => is_a_swarms_id(path(&head.path)),
            Whose::ByBody(is_a_swarms) => {
                let swarms = serde_json::from_slice(body).is_ok_and(|body| is_a_swarms(&body));
                return if swarms { Owner::SwarmAndHome } else { Owner::Engine };
            }
        };
        if swarms { Owner::Swarm } else { Owner::Engine }
    }
}

/// The path without its version and its query.
fn path(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    let versioned = path.strip_prefix("/v").filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    versioned.and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(path)
}

fn query(target: &str) -> &str {
    target.split_once('?').map_or("", |(_, query)| query)
}

/// `{id}` stands for one word of the path, `{name}` for one or more: names of images and plugins have slashes.
fn fits(pattern: &str, path: &str) -> bool {
    let Some((before, after)) = pattern.split_once("{name}") else {
        let (mut words, mut wanted) = (path.split('/'), pattern.split('/'));
        return loop {
            match (wanted.next(), words.next()) {
                (None, None) => break true,
                (Some("{id}"), Some(word)) if !word.is_empty() => {}
                (Some(want), Some(word)) if want == word => {}
                _ => break false,
            }
        };
    };
    let name = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    name.is_some_and(|name| !name.is_empty() && !name.starts_with('/'))
}

/// A list that is filtered to what the swarm has: `filters={"driver":["overlay"]}`, or by scope.
fn asks_for_overlays(query: &str) -> bool {
    let decoded = unquoted(query);
    ["\"scope\":[\"swarm\"]", "\"scope\":{\"swarm\":true}", "\"driver\":[\"overlay\"]", "\"driver\":{\"overlay\":true}"]
        .iter()
        .any(|filter| decoded.contains(filter))
}

/// The query without its escapes, blanks and all: enough to find a filter in it.
fn unquoted(query: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = query.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, escape) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes.retain(|byte| !matches!(byte, b' ' | b'+'));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The swarm's ids have 25 letters and digits (swarmkit's `identity.NewID`), an engine's 64 hexadecimal ones.
fn is_a_swarms_id(path: &str) -> bool {
    let id = path.rsplit('/').next().unwrap_or_default();
    id.len() == 25 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
