//! `attach --publish`: what containers and services publish is published here too, while it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    attach::Node,
    cli::terminal::Printer,
    forward::{Destination, Event, Forward, Way},
    swarm::{Engine, Ports, Published, Publisher},
};

/// Before a home that could not be asked is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// An event that was missed, as when events begin to be told, is made up for.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// Forwards what is published at the attach's home, wherever that is, until it is dropped.
pub async fn keep(printer: &Printer, mut nodes: watch::Receiver<Vec<Node>>, mut home: watch::Receiver<String>) {
    let mut said = Said::default();
    let mut here: Option<Home> = None;
    loop {
        let name = home.borrow_and_update().clone();
        let node = nodes.borrow_and_update().iter().find(|n| n.name == name).cloned();
        if here.as_ref().is_some_and(|here| !here.is_still(&name, node.as_ref())) {
            here = None;
        }
        let at_home = async {
            match (&mut here, node) {
                (Some(here), _) => here.follow(printer, &mut said).await,
                (here, Some(node)) => here.insert(Home::at(node)).follow(printer, &mut said).await,
                (None, None) => format!("{name} is no node that can be logged in to"),
            }
        };
        let why = tokio::select! {
            why = at_home => why,
            // Containers are another engine's from here on.
            Ok(()) = home.changed() => continue,
        };
        // What is forwarded stays so: a node that does not answer has not taken anything back.
        printer.detail(format_args!("what is published is not known for now: {why}"));
        // A node that is away may come back, and a home that moves is told at once.
        tokio::select! {
            () = sleep(AGAIN) => {}
            Ok(()) = home.changed() => {}
            Ok(()) = nodes.changed() => {}
        }
    }
}

/// The home, and what is forwarded from there. Dropped, nothing is.
struct Home {
    node: Node,
    way: Arc<Way>,
    forwards: BTreeMap<Published, Forward>,
}

impl Home {
    fn at(node: Node) -> Self {
        let way = Arc::new(Way::new(&node.name, node.target.clone()));
        Self { node, way, forwards: BTreeMap::new() }
    }

    /// Whether this is the same engine. One that is not listed for now may be.
    fn is_still(&self, name: &str, node: Option<&Node>) -> bool {
        self.node.name == name && node.is_none_or(|node| node.target.address == self.node.target.address)
    }

    /// Forwards while the host can be asked; gives why it cannot any more.
    async fn follow(&mut self, printer: &Printer, said: &mut Said) -> String {
        let host = match self.way.connect().await {
            Ok(host) => host,
            Err(error) => return error.to_string(),
        };
        let engine = Engine::new(&host);
        let mut changes = engine.published_changes();
        loop {
            match engine.published().await {
                Ok(ports) => follow(printer, &self.way, ports, &mut self.forwards, said).await,
                Err(error) => return error.to_string(),
            }
            // The stream ends with the connection or the engine.
            if let Ok(None) = timeout(AT_LEAST_EVERY, changes.next()).await {
                return format!("{} tells no more events", self.node.name);
            }
        }
    }
}

/// What was said once need not be said again.
#[derive(Default)]
struct Said(BTreeSet<String>);

impl Said {
    fn is_new(&mut self, what: &str) -> bool {
        self.0.insert(what.to_owned())
    }
}

/// Opens what is new, and closes what is not published any more.
async fn follow(
    printer: &Printer,
    way: &Arc<Way>,
    ports: Ports,
    forwards: &mut BTreeMap<Published, Forward>,
    said: &mut Said,
) {
    let (gone, new) = changes(&forwards.keys().cloned().collect(), &ports);
    for published in gone {
        if let Some(forward) = forwards.remove(&published) {
            forward.close().await;
        }
        printer.detail(format_args!("{} publishes {} no more", published.of, published.place.port));
    }
    for published in new {
        match forward(printer, way, &published).await {
            Ok(forward) => {
                forwards.insert(published, forward);
            }
            Err(why) => {
                let what = format!("port {} of {} is not forwarded: {why}", published.place.port, published.of);
                if said.is_new(&what) {
                    printer.warn(what);
                }
            }
        }
    }
    for other in ports.others {
        if said.is_new(&other) {
            printer.warn(format_args!("{other} is not forwarded: SSH carries TCP alone"));
        }
    }
}

/// What is to be closed, and what to be opened. What nobody can tell for now stays.
fn changes(here: &BTreeSet<Published>, there: &Ports) -> (Vec<Published>, Vec<Published>) {
    let unknown = |p: &&Published| there.services_unknown && matches!(p.of, Publisher::Service(_));
    let gone = here.difference(&there.tcp).filter(|p| !unknown(p)).cloned().collect();
    (gone, there.tcp.difference(here).cloned().collect())
}

async fn forward(printer: &Printer, way: &Arc<Way>, published: &Published) -> Result<Forward, String> {
    let Published { place, of } = published;
    let to = Destination::new(vec![(way.clone(), vec![(place.address.clone(), place.port)])]);
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Nobody looks at these: who connects is told by the end of the connection.
    let say = |event: Event| {
        if let Event::Broken(why) = event {
            tracing::debug!(why, "a forwarded connection broke off");
        }
    };
    let shown = format!("{}:{} ({of})", way.name(), place.port);
    match Forward::begin(here(place.port), to.clone(), say).await {
        Ok(forward) => {
            printer.note(format_args!("Forwarding from {} -> {shown}", forward.local()));
            Ok(forward)
        }
        Err(taken) => {
            let forward = Forward::begin(here(0), to, say).await.map_err(|e| e.to_string())?;
            printer.warn(format_args!(
                "port {} cannot be had here ({taken}): forwarding from {} -> {shown}",
                place.port,
                forward.local()
            ));
            Ok(forward)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Place;

    fn published(port: u16, of: Publisher) -> Published {
        Published { place: Place { address: "127.0.0.1".to_owned(), port }, of }
    }

    fn of_containers(ports: &[(u16, &str)]) -> BTreeSet<Published> {
        ports.iter().map(|(port, of)| published(*port, Publisher::Container((*of).to_owned()))).collect()
    }

    fn ports(list: &[Published]) -> Vec<u16> {
        list.iter().map(|p| p.place.port).collect()
    }

    #[test]
    fn what_stays_is_left_alone() {
        let there = Ports { tcp: of_containers(&[(80, "a"), (81, "z"), (83, "d")]), ..Ports::default() };
        let (gone, new) = changes(&of_containers(&[(80, "a"), (81, "b"), (82, "c")]), &there);
        // One that another container has by now is another one: its connections end.
        assert_eq!((ports(&gone), ports(&new)), (vec![81, 82], vec![81, 83]));
    }

    #[test]
    fn what_nobody_can_tell_of_stays() {
        let mut here = of_containers(&[(80, "a")]);
        here.insert(published(90, Publisher::Service("web".to_owned())));
        let mut there = Ports { services_unknown: true, ..Ports::default() };
        assert_eq!(ports(&changes(&here, &there).0), [80]);
        there.services_unknown = false;
        assert_eq!(ports(&changes(&here, &there).0), [80, 90]);
    }
}
