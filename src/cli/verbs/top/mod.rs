//! `top`: what nodes and containers use at the moment.

mod node;

use std::str::FromStr;

use futures::{StreamExt, stream};

use self::node::{Load, MEASURE};
use crate::{
    api::NodeStatus,
    cli::{
        Context,
        failure::Failure,
        hosts::{Reach, nodes},
        terminal::{Cell, Style, Table, size},
    },
    swarm::{Engine, Usage},
};

/// How many nodes at once.
const AT_ONCE: usize = 32;

/// Show what nodes and containers use: processors, memory, disk
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit top nightly                            nodes, and containers on them
  kubectl testkit top nightly --on workers --sort-by memory
  kubectl testkit top nightly --no-headers

CPU is in processors, as Kubernetes counts it: 0.50 is half of one. It is that of one second. Memory is without what
the kernel would give back; disk is that of the engine's data.")]
pub struct Args {
    /// The cluster
    #[arg(add = crate::cli::shell::complete::clusters())]
    name: String,
    /// Which nodes: managers, workers, all or a node
    #[arg(long, value_name = "WHERE", default_value = "all", add = crate::cli::shell::complete::groups())]
    on: String,
    /// The containers in this order: cpu, memory or name, of each node
    #[arg(long, value_name = "WHAT", default_value = "cpu", value_parser = Order::from_str)]
    sort_by: Order,
    /// Without the headings of tables
    #[arg(long)]
    no_headers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Cpu,
    Memory,
    Name,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "cpu" => Ok(Self::Cpu),
            "memory" => Ok(Self::Memory),
            "name" => Ok(Self::Name),
            _ => Err("write cpu, memory or name".to_owned()),
        }
    }
}

/// What one node uses, and what is on it.
struct Used {
    load: Option<Load>,
    containers: Vec<Usage>,
}

/// Shows it.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let cluster = kubernetes.cluster(&args.name).await?;
    let nodes = nodes::several(&cluster, &args.on)?;
    let reach = Reach::of(context, &kubernetes, &cluster).await?;
    let printer = &context.printer;
    let mut task = printer.task(args.name.as_str());
    task.say("measuring");
    let asked = stream::iter(nodes).map(async |node| (node, look(&reach, node).await)).buffered(AT_ONCE);
    let found: Vec<(&NodeStatus, Result<Used, Failure>)> = asked.collect().await;
    drop(task);
    let mut of_nodes = Table::new(&["NODE", "CPU", "CPUS", "MEMORY", "OF", "DISK", "OF"]);
    let mut of_containers = Table::new(&["NODE", "CONTAINER", "CPU", "MEMORY", "OF"]);
    let (mut lost, mut any) = (0, false);
    for (node, used) in found {
        match used {
            Ok(mut used) => {
                of_nodes.row(row(&node.name, used.load.as_ref()));
                sort(&mut used.containers, args.sort_by);
                any |= !used.containers.is_empty();
                for usage in &used.containers {
                    of_containers.row(vec![
                        node.name.as_str().into(),
                        usage.name.as_str().into(),
                        Cell::optional(usage.cpus.map(cpus)),
                        size(usage.memory).into(),
                        size(usage.memory_limit).into(),
                    ]);
                }
            }
            Err(failure) => {
                lost += 1;
                printer.failure(&failure);
            }
        }
    }
    let mut text = of_nodes.headless(args.no_headers).render(printer);
    if any {
        text.push('\n');
        text.push_str(&of_containers.headless(args.no_headers).render(printer));
    }
    printer.bytes(text.as_bytes())?;
    match lost {
        0 => Ok(()),
        lost => Err(Failure::new(format!("{lost} of the nodes of {} could not be asked", args.name))),
    }
}

async fn look(reach: &Reach, node: &NodeStatus) -> Result<Used, Failure> {
    let host = reach.connect(node).await?;
    let engine = Engine::new(&host);
    let (said, containers) = tokio::join!(host.exec(MEASURE, None), engine.usage());
    let said = said.map_err(|e| Failure::new(format!("{}: {e}", node.name)))?;
    let containers = containers.map_err(|e| Failure::new(format!("the engine of {}: {e}", node.name)))?;
    Ok(Used { load: Load::read(&String::from_utf8_lossy(&said.stdout)), containers })
}

fn row(name: &str, load: Option<&Load>) -> Vec<Cell> {
    let bytes = |of: fn(&Load) -> u64| Cell::optional(load.map(|load| size(of(load))));
    let full = load.is_some_and(|load| load.disk_used.saturating_mul(10) >= load.disk.saturating_mul(9));
    vec![
        name.into(),
        Cell::optional(load.map(|load| cpus(load.cpu))),
        Cell::optional(load.map(|load| load.cpus)),
        bytes(|load| load.memory_used),
        bytes(|load| load.memory),
        match load {
            Some(load) if full => Cell::styled(Style::Bad, size(load.disk_used)),
            _ => bytes(|load| load.disk_used),
        },
        bytes(|load| load.disk),
    ]
}

fn cpus(count: f64) -> String {
    format!("{count:.2}")
}

fn sort(containers: &mut [Usage], by: Order) {
    match by {
        Order::Cpu => containers.sort_by(|a, b| b.cpus.unwrap_or(-1.0).total_cmp(&a.cpus.unwrap_or(-1.0))),
        Order::Memory => containers.sort_by_key(|usage| std::cmp::Reverse(usage.memory)),
        Order::Name => containers.sort_by(|a, b| a.name.cmp(&b.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_in_the_order_that_was_asked_for() {
        let usage = |name: &str, cpus, memory| Usage { name: name.to_owned(), cpus, memory, memory_limit: 0 };
        let found = [usage("b", Some(0.5), 3), usage("a", None, 2), usage("c", Some(2.0), 1)];
        for (word, names) in [("cpu", "cba"), ("memory", "bac"), ("name", "abc")] {
            let mut found = found.clone();
            sort(&mut found, word.parse().unwrap());
            assert_eq!(found.iter().map(|u| u.name.as_str()).collect::<String>(), names, "{word}");
        }
        assert!("size".parse::<Order>().is_err());
    }
}
