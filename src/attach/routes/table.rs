//! Every request of the Docker Engine API: method, path, whose it is, whether it may be asked again, small or endless.

use serde_json::Value;

use self::{Repeat::*, Size::*};

/// The version of Docker's API description this was read from, which the tests hold it against.
#[cfg(test)]
pub const API_VERSION: &str = "1.53";

/// Who has what a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// One engine: what another one says of it is wrong.
    Engine,
    /// The swarm: every manager says the same.
    Swarm,
    /// The swarm, and the engine that is asked has a word in it: it makes no overlay network of a name that a network of
    /// its own has. Therefore home is asked as long as it answers, and then any manager.
    SwarmAndHome,
    /// Nobody: every engine says the same.
    Anyone,
}

/// How a request tells who has what it is about.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    /// By its path.
    Of(Owner),
    /// The swarm's where it asks for the scope of the swarm. An inspected overlay network lists the
    /// containers of the engine that is asked, so that without this it is the engine's.
    ByScope,
    /// The swarm's where its filters ask for that: a plain list has the engine's networks too.
    ByFilter,
    /// The swarm's where it names an id of the swarm; a name may be anybody's.
    ById,
    /// The swarm's where its body says so, and its engine may refuse it.
    ByBody(fn(&Value) -> bool),
}

impl PartialEq for Whose {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Of(a), Self::Of(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Eq for Whose {}

/// Whether a request may be sent a second time where the first had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing.
    Again,
    /// It may have been done.
    Once,
}

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// With others: a small question with a document for an answer.
    Small,
    /// On a connection of its own: what is asked or answered may be large, or without an end.
    Endless,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub method: &'static str,
    pub path: &'static str,
    pub whose: Whose,
    pub repeat: Repeat,
    pub size: Size,
}

const ENGINE: Whose = Whose::Of(Owner::Engine);
const SWARM: Whose = Whose::Of(Owner::Swarm);
const ANYONE: Whose = Whose::Of(Owner::Anyone);

/// An overlay network, or one of another driver that is made for the swarm.
fn is_a_swarms_network(body: &Value) -> bool {
    body["Driver"] == "overlay" || body["Scope"] == "swarm"
}

/// A volume of the whole cluster (CSI).
fn is_a_swarms_volume(body: &Value) -> bool {
    body["ClusterVolumeSpec"].is_object()
}

const fn row(method: &'static str, path: &'static str, whose: Whose, repeat: Repeat, size: Size) -> Row {
    Row { method, path, whose, repeat, size }
}

/// In the order of Docker's description. The first that fits counts, so words of their own come before `{id}`.
///
/// What makes a node part of a swarm or not (init, join, leave, unlock) is done to the engine that is asked.
/// `_ping` is nobody's: clients ask it before everything else, to learn the version of the API.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row("GET", "/containers/json", ENGINE, Again, Small),
    row("POST", "/containers/create", ENGINE, Once, Small),
    row("GET", "/containers/{id}/json", ENGINE, Again, Small),
    row("GET", "/containers/{id}/top", ENGINE, Again, Small),
    row("GET", "/containers/{id}/logs", ENGINE, Again, Endless),
    row("GET", "/containers/{id}/changes", ENGINE, Again, Small),
    row("GET", "/containers/{id}/export", ENGINE, Again, Endless),
    row("GET", "/containers/{id}/stats", ENGINE, Again, Endless),
    row("POST", "/containers/{id}/resize", ENGINE, Once, Small),
    row("POST", "/containers/{id}/start", ENGINE, Once, Small),
    row("POST", "/containers/{id}/stop", ENGINE, Once, Small),
    row("POST", "/containers/{id}/restart", ENGINE, Once, Small),
    row("POST", "/containers/{id}/kill", ENGINE, Once, Small),
    row("POST", "/containers/{id}/update", ENGINE, Once, Small),
    row("POST", "/containers/{id}/rename", ENGINE, Once, Small),
    row("POST", "/containers/{id}/pause", ENGINE, Once, Small),
    row("POST", "/containers/{id}/unpause", ENGINE, Once, Small),
    row("POST", "/containers/{id}/attach", ENGINE, Once, Endless),
    row("GET", "/containers/{id}/attach/ws", ENGINE, Again, Endless),
    row("POST", "/containers/{id}/wait", ENGINE, Once, Small),
    row("DELETE", "/containers/{id}", ENGINE, Once, Small),
    row("HEAD", "/containers/{id}/archive", ENGINE, Again, Small),
    row("GET", "/containers/{id}/archive", ENGINE, Again, Endless),
    row("PUT", "/containers/{id}/archive", ENGINE, Once, Endless),
    row("POST", "/containers/prune", ENGINE, Once, Small),
    row("GET", "/images/json", ENGINE, Again, Small),
    row("POST", "/build", ENGINE, Once, Endless),
    row("POST", "/build/prune", ENGINE, Once, Endless),
    row("POST", "/images/create", ENGINE, Once, Endless),
    row("GET", "/images/{name}/json", ENGINE, Again, Small),
    row("GET", "/images/{name}/history", ENGINE, Again, Small),
    row("POST", "/images/{name}/push", ENGINE, Once, Endless),
    row("POST", "/images/{name}/tag", ENGINE, Once, Small),
    row("DELETE", "/images/{name}", ENGINE, Once, Small),
    row("GET", "/images/search", ENGINE, Again, Small),
    row("POST", "/images/prune", ENGINE, Once, Small),
    row("POST", "/auth", ENGINE, Once, Small),
    row("GET", "/info", ENGINE, Again, Small),
    row("GET", "/version", ENGINE, Again, Small),
    row("GET", "/_ping", ANYONE, Again, Small),
    row("HEAD", "/_ping", ANYONE, Again, Small),
    row("POST", "/commit", ENGINE, Once, Small),
    row("GET", "/events", ENGINE, Again, Endless),
    row("GET", "/system/df", ENGINE, Again, Small),
    row("GET", "/images/{name}/get", ENGINE, Again, Endless),
    row("GET", "/images/get", ENGINE, Again, Endless),
    row("POST", "/images/load", ENGINE, Once, Endless),
    row("POST", "/containers/{id}/exec", ENGINE, Once, Small),
    row("POST", "/exec/{id}/start", ENGINE, Once, Endless),
    row("POST", "/exec/{id}/resize", ENGINE, Once, Small),
    row("GET", "/exec/{id}/json", ENGINE, Again, Small),
    row("GET", "/volumes", ENGINE, Again, Small),
    row("POST", "/volumes/create", Whose::ByBody(is_a_swarms_volume), Once, Small),
    row("GET", "/volumes/{id}", ENGINE, Again, Small),
    row("PUT", "/volumes/{id}", SWARM, Once, Small),
    row("DELETE", "/volumes/{id}", ENGINE, Once, Small),
    row("POST", "/volumes/prune", ENGINE, Once, Small),
    row("GET", "/networks", Whose::ByFilter, Again, Small),
    row("GET", "/networks/{id}", Whose::ByScope, Again, Small),
    row("DELETE", "/networks/{id}", Whose::ById, Once, Small),
    row("POST", "/networks/create", Whose::ByBody(is_a_swarms_network), Once, Small),
    row("POST", "/networks/{id}/connect", ENGINE, Once, Small),
    row("POST", "/networks/{id}/disconnect", ENGINE, Once, Small),
    row("POST", "/networks/prune", ENGINE, Once, Small),
    row("GET", "/plugins", ENGINE, Again, Small),
    row("GET", "/plugins/privileges", ENGINE, Again, Small),
    row("POST", "/plugins/pull", ENGINE, Once, Endless),
    row("GET", "/plugins/{name}/json", ENGINE, Again, Small),
    row("DELETE", "/plugins/{name}", ENGINE, Once, Small),
    row("POST", "/plugins/{name}/enable", ENGINE, Once, Small),
    row("POST", "/plugins/{name}/disable", ENGINE, Once, Small),
    row("POST", "/plugins/{name}/upgrade", ENGINE, Once, Endless),
    row("POST", "/plugins/create", ENGINE, Once, Endless),
    row("POST", "/plugins/{name}/push", ENGINE, Once, Endless),
    row("POST", "/plugins/{name}/set", ENGINE, Once, Small),
    row("GET", "/nodes", SWARM, Again, Small),
    row("GET", "/nodes/{id}", SWARM, Again, Small),
    row("DELETE", "/nodes/{id}", SWARM, Once, Small),
    row("POST", "/nodes/{id}/update", SWARM, Once, Small),
    row("GET", "/swarm", SWARM, Again, Small),
    row("POST", "/swarm/init", ENGINE, Once, Small),
    row("POST", "/swarm/join", ENGINE, Once, Small),
    row("POST", "/swarm/leave", ENGINE, Once, Small),
    row("POST", "/swarm/update", SWARM, Once, Small),
    row("GET", "/swarm/unlockkey", SWARM, Again, Small),
    row("POST", "/swarm/unlock", ENGINE, Once, Small),
    row("GET", "/services", SWARM, Again, Small),
    row("POST", "/services/create", SWARM, Once, Small),
    row("GET", "/services/{id}", SWARM, Again, Small),
    row("DELETE", "/services/{id}", SWARM, Once, Small),
    row("POST", "/services/{id}/update", SWARM, Once, Small),
    row("GET", "/services/{id}/logs", SWARM, Again, Endless),
    row("GET", "/tasks", SWARM, Again, Small),
    row("GET", "/tasks/{id}", SWARM, Again, Small),
    row("GET", "/tasks/{id}/logs", SWARM, Again, Endless),
    row("GET", "/secrets", SWARM, Again, Small),
    row("POST", "/secrets/create", SWARM, Once, Small),
    row("GET", "/secrets/{id}", SWARM, Again, Small),
    row("DELETE", "/secrets/{id}", SWARM, Once, Small),
    row("POST", "/secrets/{id}/update", SWARM, Once, Small),
    row("GET", "/configs", SWARM, Again, Small),
    row("POST", "/configs/create", SWARM, Once, Small),
    row("GET", "/configs/{id}", SWARM, Again, Small),
    row("DELETE", "/configs/{id}", SWARM, Once, Small),
    row("POST", "/configs/{id}/update", SWARM, Once, Small),
    row("GET", "/distribution/{name}/json", ENGINE, Again, Small),
    row("POST", "/session", ENGINE, Once, Endless),
    row("GET", "/containers/{id}/checkpoints", ENGINE, Again, Small),
    row("POST", "/containers/{id}/checkpoints", ENGINE, Once, Endless),
    row("DELETE", "/containers/{id}/checkpoints/{id}", ENGINE, Once, Small),
    row("POST", "/grpc", ENGINE, Once, Endless),
];
