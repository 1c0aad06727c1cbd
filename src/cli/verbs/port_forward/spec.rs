//! What a person asks to be forwarded: `[WHERE:][LOCAL:]PORT`.

use std::{fmt, str::FromStr};

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Whose port; none for one that every node publishes.
    pub at: Option<Where>,
    /// The port here; 0 for any.
    pub local: u16,
    /// The port there.
    pub port: u16,
}

/// Whose port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// A word that may name a node, a service or a container.
    Any(String),
    /// A node.
    Node(String),
    /// A service.
    Service(String),
    /// A container, on this node where one is said.
    Container(Option<String>, String),
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no port: write [WHERE:][LOCAL:]PORT, such as 8080:80 or web:8080:80");
        let port = |word: &str| word.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(wrong);
        let local = |word: &str| if word.is_empty() { Ok(0) } else { word.parse::<u16>().map_err(|_| wrong()) };
        let is_local = |word: &str| word.chars().all(|c| c.is_ascii_digit());
        match *text.split(':').collect::<Vec<_>>() {
            [there] => Ok(Self { at: None, local: port(there)?, port: port(there)? }),
            [here, there] if is_local(here) => Ok(Self { at: None, local: local(here)?, port: port(there)? }),
            [at, there] => {
                Ok(Self { at: Some(at.parse().map_err(|()| wrong())?), local: port(there)?, port: port(there)? })
            }
            [at, here, there] if is_local(here) => {
                Ok(Self { at: Some(at.parse().map_err(|()| wrong())?), local: local(here)?, port: port(there)? })
            }
            _ => Err(wrong()),
        }
    }
}

impl FromStr for Where {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_name = |word: &str| !word.is_empty() && !word.contains('/');
        match text.split_once('/') {
            None if is_name(text) => Ok(Self::Any(text.to_owned())),
            Some(("node", name)) if is_name(name) => Ok(Self::Node(name.to_owned())),
            Some(("svc" | "service", name)) if is_name(name) => Ok(Self::Service(name.to_owned())),
            Some(("container", name)) => match name.split_once('/') {
                None if is_name(name) => Ok(Self::Container(None, name.to_owned())),
                Some((node, name)) if is_name(node) && is_name(name) => {
                    Ok(Self::Container(Some(node.to_owned()), name.to_owned()))
                }
                _ => Err(()),
            },
            Some((node, name)) if is_name(node) && is_name(name) => {
                Ok(Self::Container(Some(node.to_owned()), name.to_owned()))
            }
            _ => Err(()),
        }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(name) | Self::Node(name) | Self::Service(name) | Self::Container(None, name) => f.write_str(name),
            Self::Container(Some(node), name) => write!(f, "{node}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_kubectl_reads_them_and_with_a_place_before_them() {
        let any = |name: &str| Some(Where::Any(name.to_owned()));
        for (text, at, local, port) in [
            ("8080", None, 8080, 8080),
            ("9090:80", None, 9090, 80),
            (":80", None, 0, 80),
            ("0:80", None, 0, 80),
            ("web:80", any("web"), 80, 80),
            ("web:8080:80", any("web"), 8080, 80),
            ("web::80", any("web"), 0, 80),
            ("m0:2377", any("m0"), 2377, 2377),
            ("service/80:8080:80", Some(Where::Service("80".to_owned())), 8080, 80),
            ("svc/web:80", Some(Where::Service("web".to_owned())), 80, 80),
            ("node/m0:80", Some(Where::Node("m0".to_owned())), 80, 80),
            ("m0/db:5432", Some(Where::Container(Some("m0".to_owned()), "db".to_owned())), 5432, 5432),
            ("container/db:5432", Some(Where::Container(None, "db".to_owned())), 5432, 5432),
            ("container/m0/db::1", Some(Where::Container(Some("m0".to_owned()), "db".to_owned())), 0, 1),
        ] {
            assert_eq!(text.parse(), Ok(Spec { at, local, port }), "{text}");
        }
        for wrong in ["", "web", "0", "8080:0", "70000", "1:2:3:4", "web:x:80", ":", "/:80", "a/b/c:80", "web:"] {
            assert!(wrong.parse::<Spec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_and_a_number_are_two_ports() {
        // As for kubectl: a node whose slot is a number is written node/8.
        assert_eq!("8:80".parse::<Spec>().map(|s| s.at), Ok(None));
        assert_eq!("8:9:80".parse::<Spec>().map(|s| s.at), Ok(Some(Where::Any("8".to_owned()))));
    }
}
