//! `port-forward`: local ports that lead to ports of the swarm, of nodes and of containers.

mod resolve;
mod spec;

use std::net::{IpAddr, SocketAddr};

use futures::{StreamExt, stream::FuturesUnordered};

use self::{resolve::Resolver, spec::Spec};
use crate::{
    cli::{
        Context,
        failure::{Failure, exit},
    },
    forward::{Event, Forward},
};

/// Make ports of the swarm, of nodes and of containers ports of this machine, until Ctrl-C
#[derive(clap::Args, Debug)]
#[command(
    visible_alias = "pf",
    after_help = "Examples:
  kubectl testkit port-forward nightly 8080              here 8080, there what the swarm publishes as 8080
  kubectl testkit port-forward nightly 9090:8080 :5432   here 9090 and any that is free
  kubectl testkit port-forward nightly web:80            port 80 of the service web, published or not
  kubectl testkit port-forward nightly web:8080:80       the same, here as 8080
  kubectl testkit port-forward nightly w0:9323           a port of the node w0 itself
  kubectl testkit port-forward nightly w0/db:5432        of the container db on w0

A port is [WHERE:][LOCAL:]PORT. WHERE is a node (by name, slot, leader, …), a service, or a container (by name or
id): NODE/CONTAINER, or CONTAINER alone where one node has it. service/NAME, node/NAME and container/NAME say which is
meant. Without WHERE it is a port that every node publishes, by whichever manager can be reached.
What is not published is reached where its container runs when this begins.

Bytes travel over SSH with the cluster's key; each connection has an SSH connection of its own. Containers that an
attach makes: kubectl testkit attach NAME --publish."
)]
pub struct Args {
    /// The cluster
    #[arg(add = crate::cli::shell::complete::clusters())]
    name: String,
    /// The ports: [WHERE:][LOCAL:]PORT, where LOCAL may be empty for any that is free
    #[arg(required = true, value_name = "[WHERE:][LOCAL:]PORT")]
    ports: Vec<Spec>,
    /// Where to listen here; other than 127.0.0.1 lets other machines in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    address: IpAddr,
}

/// Forwards.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let cluster = kubernetes.cluster(&args.name).await?;
    let resolver = Resolver::new(context, &kubernetes, cluster).await?;
    let printer = &context.printer;
    let mut task = printer.task(args.name.as_str());
    task.say("connecting");
    let (says, mut said) = tokio::sync::mpsc::unbounded_channel();
    let mut forwards = Vec::new();
    let mut lines = Vec::new();
    for spec in &args.ports {
        let (destination, shown) = resolver.find(spec).await?;
        let local = SocketAddr::new(args.address, spec.local);
        let says = says.clone();
        let from = shown.clone();
        let say = move |event| {
            let _ = says.send((from.clone(), event));
        };
        let forward = Forward::begin(local, destination, say).await.map_err(|e| no_port(local, &e))?;
        lines.push(format!("Forwarding from {} -> {shown}", forward.local()));
        forwards.push(forward);
    }
    drop(task);
    for line in lines {
        printer.line(line)?;
    }
    let mut ends: FuturesUnordered<_> = forwards.iter_mut().map(Forward::ended).collect();
    loop {
        tokio::select! {
            Some((from, event)) = said.recv() => match event {
                Event::Connected => printer.detail(format_args!("a connection for {from}")),
                Event::Broken(why) => printer.warn(format_args!("a connection for {from} broke off: {why}")),
            },
            Some(why) = ends.next() => return Err(Failure::new(format!("a port takes no more connections: {why}"))),
            else => return Err(Failure::silent(exit::FAILED)),
        }
    }
}

fn no_port(local: SocketAddr, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("{local} cannot be listened on: {error}"));
    match error.kind() {
        std::io::ErrorKind::AddrInUse => failure.help("another port here: LOCAL:PORT, or :PORT for any that is free"),
        std::io::ErrorKind::PermissionDenied => failure.help("a port above 1023, such as 8080:80"),
        _ => failure,
    }
}
