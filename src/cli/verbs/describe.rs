//! `describe`: the whole story of a cluster or a run, as Kubernetes has it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use crate::api::{
    AttemptStatus, BalancedBy, ClusterCost, E2ERun, MadeRun, NodeState, Phase, SwarmCluster, reason, type_,
};
use crate::cli::{
    Context,
    failure::Failure,
    hosts::Reach,
    kubernetes::{Kubernetes, Named, Pick, RUNS, events},
    terminal::{Cell, Printer, Style, Table, age},
    verbs::diagnose,
};

/// How many events are shown: the latest.
const EVENTS: usize = 12;
/// How many lines of the engine's log are shown of a node that is down.
const LINES: usize = 10;

/// Tell the whole story of a cluster, or of a run when it is named as run/NAME
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit describe nightly
  kubectl testkit describe run/nightly-x7k2p

Of a cluster: conditions, nodes, runs, events, and the end of the engine's log of nodes that are down.
All that and more in files, to give to others: kubectl testkit diagnose NAME")]
pub struct Args {
    /// The name of a cluster, or run/NAME
    #[arg(add = crate::cli::shell::complete::clusters_and_runs())]
    name: String,
}

/// Tells it.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let now = jiff::Timestamp::now();
    let printer = &context.printer;
    let named: Named = args.name.parse()?;
    let name = named.name.as_str();
    let text = match named.is_run {
        true => {
            let run = kubernetes.run(name).await?;
            let mut text = of_run(printer, &run, now);
            text.push_str(&events_of(&kubernetes, printer, run.uid(), now).await?);
            text
        }
        false => {
            let cluster = kubernetes.cluster(name).await?;
            let runs = kubernetes.list::<E2ERun>(RUNS, false, &Pick::default()).await;
            // The story without its runs is better than none.
            let mut runs = runs.unwrap_or_else(|failure| {
                printer.warn(format_args!("its runs are not shown: {}", failure.what()));
                Vec::new()
            });
            runs.retain(|run| run.cluster_name() == name);
            let mut text = of_cluster(printer, &cluster, &runs, now);
            text.push_str(&events_of(&kubernetes, printer, cluster.uid(), now).await?);
            text.push_str(&engine_logs(context, &kubernetes, &cluster).await);
            text
        }
    };
    printer.bytes(text.as_bytes())
}

fn of_cluster(printer: &Printer, cluster: &SwarmCluster, runs: &[E2ERun], now: jiff::Timestamp) -> String {
    let status = cluster.status.clone().unwrap_or_default();
    let expires = status.expires_at.map(|t| t.0.to_string());
    let mut text = facts(
        printer,
        &[
            ("Cluster", Some(cluster.name_any())),
            ("Namespace", cluster.namespace()),
            ("Age", how_old(cluster, now)),
            ("Expires", expires),
            ("Managers", status.managers),
            ("Workers", status.workers),
            ("Engine", status.engine_version),
            ("Leader at", status.endpoint),
            ("Cost", status.cost.map(|cost| priced(&cost, now))),
            ("Paused", cluster.spec.paused.then(|| "yes".to_owned())),
        ],
    );
    text.push_str(&conditions(printer, &status.conditions, now));
    if !status.nodes.is_empty() {
        let mut table = Table::new(&["NODE", "STATE", "ROLE", "ADDRESS", "INSTANCE", "TYPE", "ENGINE", "MESSAGE"]);
        for node in status.nodes {
            let style = match node.state {
                NodeState::Ready => Style::Good,
                NodeState::Down | NodeState::Missing => Style::Bad,
                NodeState::Booting | NodeState::Joining | NodeState::Terminating => Style::Attention,
            };
            table.row(vec![
                node.name.into(),
                Cell::styled(style, format!("{:?}", node.state)),
                format!("{:?}{}", node.role, if node.leader { ", leader" } else { "" }).into(),
                Cell::optional(node.address),
                Cell::optional(node.instance_id),
                Cell::optional(node.instance_type),
                Cell::optional(node.engine_version),
                node.message.unwrap_or_default().into(),
            ]);
        }
        section(&mut text, &table.render(printer));
    }
    if !runs.is_empty() {
        let mut table = Table::new(&["RUN", "PHASE", "AGE", "MESSAGE"]);
        for run in runs {
            let status = run.status.clone().unwrap_or_default();
            table.row(vec![
                run.name_any().into(),
                Cell::optional(status.phase.map(|p| format!("{p:?}"))),
                Cell::optional(how_old(run, now)),
                status.message.unwrap_or_default().into(),
            ]);
        }
        section(&mut text, &table.render(printer));
    }
    text
}

/// What a cluster costs, and has cost by now.
fn priced(cost: &ClusterCost, now: jiff::Timestamp) -> String {
    let ClusterCost { currency, hourly, unpriced, since, .. } = cost;
    let (Some(hourly), Some(accrued)) = (hourly, cost.accrued_by(now)) else {
        return format!("not known: the operator's price table has no price for {}", unpriced.join(", "));
    };
    let since = since.as_ref().map(|since| format!(" since {}", since.0)).unwrap_or_default();
    format!("{hourly} {currency} an hour, {accrued} {currency}{since}")
}

fn of_run(printer: &Printer, run: &E2ERun, now: jiff::Timestamp) -> String {
    let status = run.status.clone().unwrap_or_default();
    let count = |n: Option<u32>| n.map(|n| n.to_string());
    let mut text = facts(
        printer,
        &[
            ("Run", Some(run.name_any())),
            ("Namespace", run.namespace()),
            ("Age", how_old(run, now)),
            ("Cluster", (!run.is_divided() || run.spec.cluster_ref.is_some()).then(|| run.cluster_name())),
            ("Image", Some(run.spec.image.clone())),
            ("Arguments", (!run.spec.args.is_empty()).then(|| run.spec.args.join(" "))),
            ("Phase", status.phase.map(|p| format!("{p:?}"))),
            ("Message", status.message),
            ("Passed", count(status.passed)),
            ("Failed", count(status.failed)),
            ("Quarantined", count(status.quarantined)),
            ("Flaky", count(status.flaky)),
            ("Skipped", count(status.skipped)),
            ("Exit code", status.exit_code.map(|c| c.to_string())),
            ("Duration", status.duration),
            ("Cost", status.cost.map(|cost| format!("{} {}", cost.amount, cost.currency))),
            ("Manager", status.manager),
            ("Container", status.container_id),
            ("Results", status.results),
            ("Balanced by", status.balanced_by.as_ref().and_then(balanced)),
        ],
    );
    text.push_str(&conditions(printer, &status.conditions, now));
    if !status.attempts.is_empty() {
        section(&mut text, &attempts(printer, &status.attempts));
    }
    if !status.shards.is_empty() {
        section(&mut text, &shards(printer, &status.shards));
    }
    for failure in &status.failures {
        section(&mut text, &format!("{} {}\n", printer.paint(Style::Bad, "failed"), failure.name));
        for line in failure.message.lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

/// By what its shards divide the cases.
fn balanced(by: &BalancedBy) -> Option<String> {
    (by.cases > 0).then(|| format!("how long {} cases took in {}", by.cases, by.runs.join(", ")))
}

/// A line a shard.
fn shards(printer: &Printer, shards: &[MadeRun]) -> String {
    let mut table = Table::new(&["SHARD", "PHASE", "PASSED", "FAILED", "REASON", "MESSAGE"]);
    for shard in shards {
        let style = match shard.phase {
            Phase::Complete => Style::Good,
            Phase::Failed => Style::Bad,
            Phase::Pending | Phase::Running => Style::Plain,
        };
        table.row(vec![
            shard.run.clone().into(),
            Cell::styled(style, format!("{:?}", shard.phase)),
            Cell::optional(shard.passed.map(|n| n.to_string())),
            Cell::optional(shard.failed.map(|n| n.to_string())),
            Cell::optional(shard.reason.clone()),
            Cell::optional(shard.message.clone()),
        ]);
    }
    table.render(printer)
}

/// A line an attempt.
fn attempts(printer: &Printer, attempts: &[AttemptStatus]) -> String {
    let mut table = Table::new(&["ATTEMPT", "REASON", "MANAGER", "DURATION", "RESULTS", "MESSAGE"]);
    for attempt in attempts {
        let style = if attempt.reason == reason::PASSED { Style::Good } else { Style::Bad };
        table.row(vec![
            attempt.number.to_string().into(),
            Cell::styled(style, attempt.reason.clone()),
            Cell::optional(attempt.manager.clone()),
            Cell::optional(attempt.duration.clone()),
            Cell::optional(attempt.results.clone()),
            attempt.message.clone().into(),
        ]);
    }
    table.render(printer)
}

fn facts(printer: &Printer, facts: &[(&str, Option<String>)]) -> String {
    let mut text = String::new();
    for (what, value) in facts {
        if let Some(value) = value {
            let padding = " ".repeat(12_usize.saturating_sub(what.len()));
            text.push_str(&format!("{}{padding}{value}\n", printer.paint(Style::Strong, &format!("{what}:"))));
        }
    }
    text
}

fn conditions(printer: &Printer, conditions: &[Condition], now: jiff::Timestamp) -> String {
    if conditions.is_empty() {
        return format!(
            "\n{}\n",
            printer.paint(Style::Attention, "The operator has not looked at it yet: is it running?")
        );
    }
    let mut table = Table::new(&["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"]);
    for condition in conditions {
        let is = condition.status == "True";
        let style = match condition.type_.as_str() {
            type_::STALLED | type_::FAILED if is => Style::Bad,
            type_::READY | type_::COMPLETE if is => Style::Good,
            type_::READY => Style::Attention,
            _ => Style::Plain,
        };
        let since = now.duration_since(condition.last_transition_time.0);
        table.row(vec![
            condition.type_.clone().into(),
            Cell::styled(style, condition.status.clone()),
            condition.reason.clone().into(),
            age(since.try_into().unwrap_or_default()).into(),
            condition.message.clone().into(),
        ]);
    }
    format!("\n{}", table.render(printer))
}

async fn events_of(
    kubernetes: &Kubernetes,
    printer: &Printer,
    uid: Option<String>,
    now: jiff::Timestamp,
) -> Result<String, Failure> {
    let Some(uid) = uid else { return Ok(String::new()) };
    let events = match events::of(kubernetes, &uid).await {
        Ok(events) => events,
        // The story without its events is better than none.
        Err(failure) => {
            printer.warn(format_args!("its events are not shown: {}", failure.what()));
            return Ok(String::new());
        }
    };
    let latest = &events[events.len().saturating_sub(EVENTS)..];
    Ok(if latest.is_empty() { String::new() } else { format!("\n{}", events::table(latest, now).render(printer)) })
}

/// The end of the engine's log of each node that is not well, as far as it can be read.
async fn engine_logs(context: &Context, kubernetes: &Kubernetes, cluster: &SwarmCluster) -> String {
    let printer = &context.printer;
    let nodes = cluster.status.as_ref().map(|s| s.nodes.as_slice()).unwrap_or_default();
    // One that is on its way has no log yet, or a log that says so.
    let bad: Vec<_> = nodes.iter().filter(|n| n.state == NodeState::Down && n.address.is_some()).collect();
    let Some(secret) = cluster.status.as_ref().and_then(|s| s.ssh_secret.as_deref()).filter(|_| !bad.is_empty()) else {
        return String::new();
    };
    let reach = match Reach::of(context, kubernetes, cluster).await {
        Ok(reach) => reach,
        // The story without the logs is better than none.
        Err(failure) => {
            printer.warn(format_args!("the engines' logs of nodes that are down were not read: {}", failure.what()));
            return String::new();
        }
    };
    let redactor = diagnose::redactor(kubernetes.secret(secret).await.ok().flatten().as_ref());
    let mut task = printer.task(cluster.name_any());
    task.say(&format!(
        "reading the engine's log of {}",
        bad.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ")
    ));
    let logs = futures::future::join_all(bad.iter().map(async |node| {
        let said = match diagnose::connect(&reach, node).await {
            Ok(host) => diagnose::steps::engine_log(&host, LINES).await.text,
            Err(failure) => failure.what().to_owned(),
        };
        let heading = printer.paint(Style::Strong, &format!("The end of the engine's log of {}:", node.name));
        let lines: Vec<String> = redactor.text(&said).trim_end().lines().map(|line| format!("  {line}\n")).collect();
        format!("\n{heading}\n{}", lines.concat())
    }));
    logs.await.concat()
}

fn section(text: &mut String, part: &str) {
    text.push('\n');
    text.push_str(part);
}

fn how_old(object: &impl ResourceExt, now: jiff::Timestamp) -> Option<String> {
    object.creation_timestamp().map(|t| age(now.duration_since(t.0).try_into().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_costs_is_told_as_of_now_or_why_it_is_not_known() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        for (cost, words) in [
            (
                serde_json::json!({
                    "currency": "USD", "hourly": "0.36", "accrued": "1.5",
                    "accruedAt": "1970-01-01T01:00:00Z", "since": "1970-01-01T00:00:00Z",
                }),
                "0.36 USD an hour, 1.68 USD since 1970-01-01T00:00:00Z",
            ),
            (
                serde_json::json!({"currency": "USD", "unpriced": ["c7g.large (spot)", "m7i.large"]}),
                "not known: the operator's price table has no price for c7g.large (spot), m7i.large",
            ),
        ] {
            let cost: ClusterCost = serde_json::from_value(cost).unwrap();
            assert_eq!(priced(&cost, at(5400)), words);
        }
    }
}
