//! An engine that is in no swarm, and what swarms it can begin: played between leaving a swarm and joining it again, by a
//! container beside it. What came out is read from its log: a line `NAME: ok`, or `NAME: ` and the error.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::BoxFuture;
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{SOCKET, say};
use crate::{harness::until::until, swarm::raw};

/// How long an engine may take over one step.
const STEP_WITHIN: Duration = Duration::from_secs(60);
/// How often a node joins and leaves, one directly after the other.
const JOINS: usize = 5;
/// The port of managers.
const MANAGER: u16 = 2377;
/// The port of overlays, unless a swarm is begun with another.
const USUAL_DATA_PATH: u16 = 4789;
/// An address that nobody has: RFC 5737 keeps it for documentation.
const NOBODY: &str = "192.0.2.1:2377";
/// A checksum of an authority's certificate that is no swarm's, as tokens have it.
const OTHER_AUTHORITY: &str = "1kxftv4ofnc6mt30lmgipg6ngf9luhwqopfk1tz6bdmnkubg0e";

/// The engine, and the swarm that it left.
#[derive(Debug)]
pub(crate) struct Alone {
    pub(super) api: (usize, usize),
    pub(super) image: String,
    pub(super) labels: Value,
    /// Its own address.
    pub(super) address: String,
    /// That of a manager.
    pub(super) remote: String,
    /// What lets it in again, and what did before.
    pub(super) token: String,
    pub(super) old_token: String,
}

/// Its name and what it does.
pub(crate) type Named = (&'static str, for<'a> fn(&'a Alone) -> BoxFuture<'a, Result<()>>);

/// What an engine in no swarm refuses, and that it is in none after.
pub(crate) const OUTSIDE: [Named; 6] = [
    ("addresses", |it| Box::pin(it.addresses())),
    ("port in use", |it| Box::pin(it.port_in_use())),
    ("no lock", |it| Box::pin(it.no_lock())),
    ("tokens", |it| Box::pin(it.tokens())),
    ("pending", |it| Box::pin(it.pending())),
    ("joins and leaves", |it| Box::pin(it.joins_and_leaves())),
];

/// What the swarms are that it begins.
pub(crate) const OWN: [Named; 5] = [
    ("settings", |it| Box::pin(it.settings())),
    ("drained", |it| Box::pin(it.drained())),
    ("data path", |it| Box::pin(it.data_path())),
    ("ingress", |it| Box::pin(it.ingress())),
    ("leaving", |it| Box::pin(it.leaving())),
];

/// Plays all, and says of each how it ended.
pub(super) async fn play(alone: &Alone, plays: &[Named]) {
    for (name, play) in plays {
        let end = async {
            play(alone).await?;
            alone.is("inactive").await
        };
        match end.await {
            Ok(()) => say(&format!("{name}: ok")),
            Err(error) => say(&format!("{name}: {error:#}")),
        }
        // The next one begins outside too.
        if alone.is("inactive").await.is_err() {
            let _ = alone.leave(true).await;
        }
    }
}

impl Alone {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        raw::ask_at(&format!("unix://{SOCKET}"), self.api, method, path, body.as_ref()).await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Waits until this is so.
    async fn until<T, F>(&self, what: &str, look: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        until(what, STEP_WITHIN, |_| (), look).await.map(|(value, _)| value)
    }

    async fn is(&self, state: &str) -> Result<()> {
        let swarm = &self.get("/info").await?["Swarm"];
        let manages = swarm["ControlAvailable"] == true;
        ensure!(swarm["LocalNodeState"] == state, "the engine is {}, wanted {state}", swarm["LocalNodeState"]);
        ensure!(!manages || state == "active", "it manages a swarm and is {state}");
        Ok(())
    }

    /// Begins a swarm. It is like others but for this.
    async fn init(&self, more: Value) -> Result<Value> {
        let address = &self.address;
        let mut request = json!({ "ListenAddr": format!("0.0.0.0:{MANAGER}"), "AdvertiseAddr": address });
        if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
            request.extend(more);
        }
        self.post("/swarm/init", request).await
    }

    async fn join(&self, remote: &str, token: &str) -> Result<Value> {
        let (listen, remotes) = (format!("0.0.0.0:{MANAGER}"), [remote]);
        let request =
            json!({ "ListenAddr": listen, "AdvertiseAddr": self.address, "RemoteAddrs": remotes, "JoinToken": token });
        self.post("/swarm/join", request).await
    }

    async fn leave(&self, force: bool) -> Result<()> {
        self.post(&format!("/swarm/leave?force={force}"), json!({})).await?;
        self.until("it has left", || self.is("inactive")).await
    }

    /// The services of a swarm of its own: made, and running where that is waited for.
    async fn service(&self, name: &str, more: Value) -> Result<String> {
        let container = json!({ "Image": self.image, "Args": ["test-server"], "StopGracePeriod": 1_000_000_000 });
        let mut spec = json!({
            "Name": name, "Labels": self.labels, "TaskTemplate": { "ContainerSpec": container },
            "Mode": { "Replicated": { "Replicas": 1 } },
        });
        if let Some(networks) = more.get("Networks") {
            spec["TaskTemplate"]["Networks"] = networks.clone();
        }
        if let Some(endpoint) = more.get("EndpointSpec") {
            spec["EndpointSpec"] = endpoint.clone();
        }
        let made = self.post("/services/create", spec).await?;
        made["ID"].as_str().map(str::to_owned).context("the service has no id")
    }

    async fn runs(&self, name: &str) -> Result<()> {
        self.until(&format!("a task of {name} runs"), || async {
            let tasks = self.get(&format!("/tasks?filters={{%22service%22:[%22{name}%22]}}")).await?;
            ensure!(
                tasks.as_array().is_some_and(|all| all.iter().any(|it| it["Status"]["State"] == "running")),
                "{tasks}"
            );
            Ok(())
        })
        .await
    }

    /// The containers of any swarm's tasks that run.
    pub(super) async fn tasks(&self) -> Result<usize> {
        let found = self.get("/containers/json?filters={%22is-task%22:[%22true%22]}").await?;
        found.as_array().map(Vec::len).context("no list of containers")
    }

    /// Addresses that are none are refused.
    async fn addresses(&self) -> Result<()> {
        refused(self.post("/swarm/init", json!({ "ListenAddr": "" })).await, "400")?;
        refused(self.join("", &self.token).await, "400")?;
        let words = "advertise address must be a non-zero IP address";
        refused(self.init(json!({ "AdvertiseAddr": "0.0.0.0" })).await, words)?;
        for address in ["0.0.0.0", "0.0.0.0:2000"] {
            let end = self.init(json!({ "DataPathAddr": address })).await;
            refused(end, "data path address must be a non-zero IP")?;
        }
        Ok(())
    }

    /// A port that is another's is no manager's.
    async fn port_in_use(&self) -> Result<()> {
        let _taken = TcpListener::bind(("0.0.0.0", MANAGER)).await.context("cannot take the port of managers")?;
        refused(self.init(json!({})).await, "address already in use")
    }

    /// What is in no swarm is not locked.
    async fn no_lock(&self) -> Result<()> {
        let end = self.post("/swarm/unlock", json!({ "UnlockKey": "SWMKEY-1-none" })).await;
        refused(end, "This node is not a swarm manager")
    }

    /// Nobody joins without a token that is good now, or a swarm whose authority is another than the token says.
    async fn tokens(&self) -> Result<()> {
        let remote = format!("{}:{MANAGER}", self.remote);
        let mut parts: Vec<_> = self.token.split('-').collect();
        *parts.get_mut(2).context("the token has no checksum")? = OTHER_AUTHORITY;
        for (token, words) in [
            ("", "join token is necessary"),
            ("foobaz", "invalid join token"),
            (&self.old_token, "join token is necessary"),
            (&parts.join("-"), "remote CA does not match fingerprint"),
        ] {
            refused(self.join(&remote, token).await, words)?;
            self.until("it joined nothing", || self.is("inactive")).await?;
        }
        Ok(())
    }

    /// An engine that joins a swarm which does not answer goes on to try, and can be told to leave it be; other
    /// containers live on.
    async fn pending(&self) -> Result<()> {
        refused(self.join(NOBODY, &self.token).await, "Timeout was reached before node joined")?;
        self.is("pending").await?;
        self.leave(true).await
    }

    /// A node may join and leave as often as it likes.
    async fn joins_and_leaves(&self) -> Result<()> {
        for _ in 0..JOINS {
            self.join(&format!("{}:{MANAGER}", self.remote), &self.token).await?;
            self.is("active").await?;
            self.leave(false).await?;
        }
        Ok(())
    }

    /// A swarm has the settings it was begun with, and one begun without has those that are usual.
    async fn settings(&self) -> Result<()> {
        const HOUR: i64 = 3600 * 1_000_000_000;
        let outside = json!([{ "Protocol": "cfssl", "URL": "https://one.example.test" }]);
        let spec = json!({
            "CAConfig": { "NodeCertExpiry": 30 * HOUR, "ExternalCAs": outside },
            "Dispatcher": { "HeartbeatPeriod": 11_000_000_000_i64 },
        });
        for (spec, expiry, heartbeat, authorities) in
            [(spec, 30 * HOUR, 11_000_000_000_i64, 1), (json!({}), 90 * 24 * HOUR, 5_000_000_000, 0)]
        {
            self.init(json!({ "Spec": spec })).await?;
            self.is("active").await?;
            let info = self.get("/info").await?;
            let cluster = &info["Swarm"]["Cluster"];
            ensure!(info["Swarm"]["ControlAvailable"] == true, "it does not manage its swarm");
            ensure!(cluster["RootRotationInProgress"] == false, "it changes its certificates already");
            ensure!(cluster["DataPathPort"] == USUAL_DATA_PATH, "its data path has port {}", cluster["DataPathPort"]);
            let told = self.get("/swarm").await?;
            let (ca, dispatcher) = (&told["Spec"]["CAConfig"], &told["Spec"]["Dispatcher"]);
            let count = ca["ExternalCAs"].as_array().map_or(0, Vec::len);
            let right = ca["NodeCertExpiry"] == expiry && dispatcher["HeartbeatPeriod"] == heartbeat;
            ensure!(right && count == authorities, "wanted {expiry}, {heartbeat} and {authorities}: {}", told["Spec"]);
            self.leave(true).await?;
        }
        Ok(())
    }

    /// A manager can be drained from its beginning.
    async fn drained(&self) -> Result<()> {
        self.init(json!({ "Availability": "drain" })).await?;
        let nodes = self.get("/nodes").await?;
        ensure!(nodes[0]["Spec"]["Availability"] == "drain" && nodes[1].is_null(), "the nodes are {nodes}");
        self.leave(true).await
    }

    /// A swarm can have another port for its overlays, and other addresses: first those of the ingress network. The next
    /// that says nothing of it has the usual port again.
    async fn data_path(&self) -> Result<()> {
        let pool = json!({ "DataPathPort": 7777, "DefaultAddrPool": ["20.20.0.0/16"], "SubnetSize": 24 });
        self.init(pool).await?;
        let info = self.get("/info").await?;
        let port = &info["Swarm"]["Cluster"]["DataPathPort"];
        ensure!(*port == 7777, "its data path has port {port}");
        let network = json!({ "Name": "e2e-own", "Driver": "overlay", "Labels": self.labels });
        self.post("/networks/create", network).await?;
        self.service("e2e-own", json!({ "Networks": [{ "Target": "e2e-own" }] })).await?;
        self.runs("e2e-own").await?;
        for (network, wanted) in [("ingress", "20.20.0.0/24"), ("e2e-own", "20.20.1.0/24")] {
            let told = self.get(&format!("/networks/{network}")).await?;
            let subnet = &told["IPAM"]["Config"][0]["Subnet"];
            ensure!(*subnet == wanted, "network {network} has {subnet}, wanted {wanted}");
        }
        self.leave(true).await?;
        self.init(json!({})).await?;
        let info = self.get("/info").await?;
        let port = &info["Swarm"]["Cluster"]["DataPathPort"];
        ensure!(*port == USUAL_DATA_PATH, "the next swarm's data path has port {port}");
        let network = json!({ "Name": "e2e-own", "Driver": "overlay", "Labels": self.labels });
        self.post("/networks/create", network).await?;
        self.service("e2e-own", json!({ "Networks": [{ "Target": "e2e-own" }] })).await?;
        self.runs("e2e-own").await?;
        self.leave(true).await
    }

    /// The network of published ports can be removed while no service needs it, and made anew, once; without it no
    /// service can publish a port, and others do not miss it.
    async fn ingress(&self) -> Result<()> {
        self.init(json!({})).await?;
        self.until("there is an ingress network", || self.get("/networks/ingress")).await?;
        let remove = async |name: &str| self.ask(Method::DELETE, &format!("/networks/{name}"), None).await;
        let make = async |name: &str| {
            let network = json!({ "Name": name, "Driver": "overlay", "Ingress": true, "Labels": self.labels });
            self.post("/networks/create", network).await
        };
        remove("ingress").await.context("the ingress network is not removed")?;
        // The engine takes a moment to forget it, and the name of one that is there is taken.
        self.until("another is made", || make("e2e-ingress")).await?;
        refused(make("e2e-another").await, "is already present")?;
        let ports =
            |published: u16| json!({ "Ports": [{ "Protocol": "tcp", "TargetPort": 80, "PublishedPort": published }] });
        let first = self.service("e2e-first", json!({ "EndpointSpec": ports(30900) })).await?;
        refused(remove("e2e-ingress").await, "ingress network cannot be removed because service")?;
        let update = async |endpoint: Value| {
            let told = self.get(&format!("/services/{first}")).await?;
            let (mut spec, version) = (told["Spec"].clone(), told["Version"]["Index"].clone());
            spec["EndpointSpec"] = endpoint;
            self.post(&format!("/services/{first}/update?version={version}"), spec).await
        };
        self.until("it publishes nothing", || update(json!({}))).await?;
        remove("e2e-ingress").await.context("the ingress network that nobody needs is not removed")?;
        let words = "no ingress network is present";
        refused(self.service("e2e-second", json!({ "EndpointSpec": ports(30901) })).await, words)?;
        // Its tasks change it too, for a moment.
        self.until("it cannot publish", || async { refused(update(ports(30900)).await, words) }).await?;
        self.service("e2e-third", json!({ "EndpointSpec": { "Mode": "dnsrr" } })).await?;
        let network = json!({ "Name": "e2e-own", "Driver": "overlay", "Labels": self.labels });
        self.post("/networks/create", network).await?;
        self.service("e2e-fourth", json!({ "Networks": [{ "Target": "e2e-own" }] })).await?;
        self.runs("e2e-fourth").await?;
        self.leave(true).await
    }

    /// The last manager leaves by force alone. Its tasks' containers go with the swarm, and no other: not this one.
    async fn leaving(&self) -> Result<()> {
        self.init(json!({})).await?;
        self.service("e2e-one", json!({})).await?;
        self.runs("e2e-one").await?;
        ensure!(self.tasks().await? == 1, "{} containers of tasks run", self.tasks().await?);
        let end = self.post("/swarm/leave?force=false", json!({})).await;
        refused(end, "on a node that is participating as a manager")?;
        self.is("active").await?;
        self.leave(true).await?;
        self.until("the tasks' containers are gone", || async {
            let left = self.tasks().await?;
            ensure!(left == 0, "{left} run");
            Ok(())
        })
        .await
    }

    /// Beside the swarm, before the node leaves: a container on a network of the swarm.
    pub(super) async fn attach(&self, network: &str) -> Result<String> {
        let body = json!({
            "Image": self.image, "Cmd": ["test-server"], "Labels": self.labels, "HostConfig": { "NetworkMode": network },
        });
        let made = self.post("/containers/create", body).await?;
        let id = made["Id"].as_str().context("the container has no id")?.to_owned();
        let start = format!("/containers/{id}/start");
        self.until("it is attached", || self.post(&start, json!({}))).await?;
        Ok(id)
    }

    /// After the node has left: the container is on that network no more, which the engine has forgotten; and no task
    /// has a container.
    pub(super) async fn detached(&self, id: &str, network: &str) -> Result<()> {
        self.until("the network is forgotten", || async {
            let networks = self.get("/networks").await?;
            let listed = networks.as_array().is_some_and(|all| all.iter().any(|it| it["Name"] == network));
            ensure!(!listed, "it is listed");
            let on = self.get(&format!("/containers/{id}/json")).await?["NetworkSettings"]["Networks"].clone();
            ensure!(on.get(network).is_none(), "the container is on it: {on}");
            let tasks = self.tasks().await?;
            ensure!(tasks == 0, "{tasks} containers of tasks run");
            Ok(())
        })
        .await?;
        self.ask(Method::DELETE, &format!("/containers/{id}?force=true"), None).await.map(|_| ())
    }
}

/// Whether something was refused with these words.
fn refused<T: std::fmt::Debug>(end: Result<T>, words: &str) -> Result<()> {
    match end {
        Ok(end) => bail!("what should be refused with {words:?} was accepted: {end:?}"),
        Err(error) if format!("{error:#}").contains(words) => Ok(()),
        Err(error) => Err(error.context(format!("this was to be refused with {words:?}"))),
    }
}
