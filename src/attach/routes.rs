//! Which requests of the Docker Engine API share a connection.
//!
//! The list is of those that may: whatever is not known here has a connection of its own,
//! which costs time and never correctness.

use super::request::Head;

/// A larger body is not for the shared connection.
const BODY_LIMIT: u64 = 256 << 10;

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With others: a small question with a document for an answer.
    Shared {
        /// It changes nothing, so it may be asked again of another manager.
        repeatable: bool,
    },
    /// On a connection of its own, which carries nothing else from here on.
    Own,
}

/// How this request travels.
pub fn way(head: &Head) -> Way {
    let small = head.length.is_some_and(|length| length <= BODY_LIMIT);
    if head.upgrade || !small || !answers_with_a_document(&head.method, &head.path) {
        return Way::Own;
    }
    Way::Shared { repeatable: matches!(head.method.as_str(), "GET" | "HEAD") && head.length == Some(0) }
}

/// By the API's reference (v1.24 to v1.51).
fn answers_with_a_document(method: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts
        .first()
        .is_some_and(|v| v.len() > 1 && v.starts_with('v') && v[1..].starts_with(|c: char| c.is_ascii_digit()))
    {
        parts.remove(0);
    }
    let (Some(&first), Some(&last)) = (parts.first(), parts.last()) else { return false };
    // Names of images and plugins may have slashes: the last word decides there.
    match (method, first) {
        ("GET" | "HEAD", "_ping" | "version" | "info" | "distribution") => true,
        ("GET", "system") => last == "df",
        ("GET", "containers") => matches!(last, "json" | "top" | "changes") && parts.len() <= 3,
        ("GET", "images") => matches!(last, "json" | "history" | "search"),
        ("GET", "exec" | "plugins") => last == "json" || parts.len() == 1,
        ("GET", "services" | "tasks") => last != "logs",
        ("GET", "networks" | "volumes" | "nodes" | "secrets" | "configs" | "swarm") => true,
        ("DELETE", _) => true,
        ("POST", "containers") => matches!(
            last,
            "create"
                | "start"
                | "stop"
                | "restart"
                | "kill"
                | "update"
                | "rename"
                | "pause"
                | "unpause"
                | "resize"
                | "wait"
                | "exec"
                | "prune"
        ),
        ("POST", "exec") => last == "resize",
        ("POST", "images") => matches!(last, "tag" | "prune"),
        (
            "POST",
            "networks" | "volumes" | "services" | "nodes" | "secrets" | "configs" | "swarm" | "auth" | "commit",
        ) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn asked(line: &str) -> Way {
        let (method, path) = line.split_once(' ').unwrap();
        way(&Head {
            bytes: Bytes::new(),
            method: method.to_owned(),
            path: path.to_owned(),
            length: Some(0),
            upgrade: false,
        })
    }

    #[test]
    fn documents_share_and_streams_do_not() {
        for line in [
            "HEAD /_ping",
            "GET /_ping",
            "GET /v1.47/version",
            "GET /v1.51/info",
            "GET /v1.24/containers/json?all=1",
            "GET /containers/abc/json",
            "GET /images/json",
            "GET /v1.41/images/registry:5000/a/b:c/json",
            "GET /services",
            "GET /services/abc",
            "GET /tasks?filters=%7B%7D",
            "GET /nodes/self",
            "GET /swarm",
            "GET /exec/1/json",
            "GET /plugins",
            "GET /system/df",
            "GET /distribution/a/b/json",
        ] {
            assert_eq!(asked(line), Way::Shared { repeatable: true }, "{line}");
        }
        for line in [
            "POST /v1.47/containers/create?name=x",
            "POST /containers/a/start",
            "POST /containers/a/wait?condition=x",
            "POST /containers/a/exec",
            "POST /exec/1/resize?h=1",
            "POST /services/create",
            "DELETE /images/a/b",
            "POST /swarm/join",
            "POST /networks/x/connect",
            "POST /images/a/b/tag",
        ] {
            assert_eq!(asked(line), Way::Shared { repeatable: false }, "{line}");
        }
        for line in [
            "GET /images/get?names=a",
            "GET /v1.47/images/a/b/get",
            "POST /images/load",
            "POST /images/create?fromImage=a",
            "POST /images/a/b/push",
            "POST /build",
            "GET /containers/a/logs?follow=1",
            "GET /services/a/logs",
            "GET /tasks/a/logs",
            "GET /events",
            "GET /containers/a/stats",
            "GET /containers/a/export",
            "GET /containers/a/archive",
            "PUT /containers/a/archive",
            "POST /containers/a/attach",
            "POST /exec/1/start",
            "POST /session",
            "POST /grpc",
            "GET /containers/a/attach/ws",
            "POST /plugins/pull",
            "OPTIONS /",
            "GET /x",
        ] {
            assert_eq!(asked(line), Way::Own, "{line}");
        }
    }

    #[test]
    fn what_is_large_or_no_longer_http_does_not_share() {
        let head = |length, upgrade| {
            way(&Head {
                bytes: Bytes::new(),
                method: "POST".to_owned(),
                path: "/configs/create".to_owned(),
                length,
                upgrade,
            })
        };
        assert_eq!(head(Some(1000), false), Way::Shared { repeatable: false });
        assert_eq!([head(Some(1 << 20), false), head(None, false), head(Some(0), true)], [Way::Own; 3]);
    }
}
