//! Hosts to go through, as `ssh -J` and `ProxyJump` write them. Pure.

use std::{fmt, str::FromStr};

/// The hosts to go through, the first of them from here; none for no detour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route(pub Vec<Stop>);

/// A host as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Who logs in there.
    pub user: Option<String>,
    /// Its name, or its address without brackets.
    pub host: String,
    /// The port of its sshd.
    pub port: Option<u16>,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(Self::default());
        }
        text.split(',').map(|stop| stop.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Stop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("{text:?} is no jump host: write [USER@]HOST[:PORT], such as me@bastion.example.com:2222");
        let bare = text.strip_prefix("ssh://").unwrap_or(text).trim_end_matches('/');
        let (user, place) = match bare.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, bare),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
            // More colons than one are those of an IPv6 address.
            None if place.matches(':').count() > 1 => (place, None),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong)).transpose()?;
        // What is handed on to ssh must be neither an option nor anything else than a name.
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%\\+".contains(c))
        };
        if !is_name(host) || user.is_some_and(|user| !is_name(user)) {
            return Err(wrong());
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jump_hosts_are_read_as_for_ssh() {
        let stop =
            |user: Option<&str>, host: &str, port| Stop { user: user.map(str::to_owned), host: host.to_owned(), port };
        for (text, stops) in [
            ("bastion", vec![stop(None, "bastion", None)]),
            ("me@bastion.example.com:2222", vec![stop(Some("me"), "bastion.example.com", Some(2222))]),
            ("a, me@b:22", vec![stop(None, "a", None), stop(Some("me"), "b", Some(22))]),
            ("[fd00::1]:2200", vec![stop(None, "fd00::1", Some(2200))]),
            ("fd00::1", vec![stop(None, "fd00::1", None)]),
            ("ssh://me@b:23/", vec![stop(Some("me"), "b", Some(23))]),
            ("None", vec![]),
        ] {
            assert_eq!(text.parse(), Ok(Route(stops)), "{text}");
        }
        for wrong in ["", "a,", "-oProxyCommand=x", "me@-x", "a b", "a:0", "a:x", "@a", "a;b", "$(a)", "[::1]22"] {
            assert!(wrong.parse::<Route>().is_err(), "{wrong}");
        }
    }
}
