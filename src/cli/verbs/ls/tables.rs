//! Clusters and runs as rows.

use kube::ResourceExt;

use crate::{
    api::{E2ERun, Phase, SwarmCluster, is_true, reason, type_},
    cli::terminal::{Cell, Style, Table, age},
};

/// Which columns are shown besides those that always are.
pub struct Columns {
    /// The namespace.
    pub namespace: bool,
    /// All there is to say.
    pub wide: bool,
}

/// A row a cluster.
pub fn cluster_table(clusters: &[SwarmCluster], shown: &Columns, now: jiff::Timestamp) -> Table {
    let mut headings = vec!["CLUSTER", "READY", "MANAGERS", "WORKERS", "ENGINE", "EXPIRES", "AGE"];
    if shown.namespace {
        headings.insert(0, "NAMESPACE");
    }
    if shown.wide {
        headings.extend(["ENDPOINT", "HOURLY", "ACCRUED", "REASON"]);
    }
    headings.push("MESSAGE");
    let mut table = Table::new(&headings);
    for cluster in clusters {
        let status = cluster.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == type_::READY);
        let is_ready = ready.is_some_and(|c| c.status == "True");
        let tone = if is_ready {
            Style::Good
        } else if is_true(&status.conditions, type_::STALLED) {
            Style::Bad
        } else {
            Style::Attention
        };
        let mut cells: Vec<Cell> = Vec::new();
        if shown.namespace {
            cells.push(cluster.namespace().unwrap_or_default().into());
        }
        let expires = status.expires_at.as_ref().map(|t| until(t.0, now));
        cells.extend([
            cluster.name_any().into(),
            Cell::styled(tone, ready.map_or("Unknown", |c| &c.status)),
            Cell::optional(status.managers),
            Cell::optional(status.workers),
            Cell::optional(status.engine_version),
            Cell::optional(expires),
            since(cluster, now),
        ]);
        if shown.wide {
            let cost = status.cost.as_ref();
            cells.extend([
                Cell::optional(status.endpoint),
                Cell::optional(cost.and_then(|c| c.hourly)),
                Cell::optional(cost.and_then(|c| c.accrued_by(now))),
                Cell::optional(ready.map(|c| &c.reason)),
            ]);
        }
        cells.push(Cell::styled(
            if tone == Style::Bad { Style::Bad } else { Style::Plain },
            cluster_words(cluster, ready.filter(|c| c.reason != reason::READY).map(|c| c.message.as_str())),
        ));
        table.row(cells);
    }
    table
}

/// What is wrong or awaited; nothing when all is well.
fn cluster_words(cluster: &SwarmCluster, ready: Option<&str>) -> String {
    match ready {
        Some(message) => message.to_owned(),
        None if cluster.seen_status().is_none() => "the operator has not looked at it yet: is it running?".to_owned(),
        None => String::new(),
    }
}

/// A row a run.
pub fn run_table(runs: &[E2ERun], shown: &Columns, now: jiff::Timestamp) -> Table {
    let mut headings = vec!["RUN", "CLUSTER", "PHASE", "PASSED", "FAILED", "FLAKY", "SKIPPED", "DURATION", "AGE"];
    if shown.namespace {
        headings.insert(0, "NAMESPACE");
    }
    if shown.wide {
        headings.extend(["IMAGE", "MANAGER", "COST"]);
    }
    headings.push("MESSAGE");
    let mut table = Table::new(&headings);
    for run in runs {
        let status = run.status.clone().unwrap_or_default();
        let tone = match status.phase {
            Some(Phase::Complete) => Style::Good,
            Some(Phase::Failed) => Style::Bad,
            Some(Phase::Running) => Style::Plain,
            Some(Phase::Pending) | None => Style::Attention,
        };
        let mut cells: Vec<Cell> = Vec::new();
        if shown.namespace {
            cells.push(run.namespace().unwrap_or_default().into());
        }
        cells.extend([
            run.name_any().into(),
            run.cluster_name().into(),
            Cell::styled(tone, status.phase.map_or_else(|| "Unknown".to_owned(), |p| format!("{p:?}"))),
            Cell::optional(status.passed),
            Cell::optional(status.failed),
            Cell::optional(status.flaky),
            Cell::optional(status.skipped),
            Cell::optional(status.duration),
            since(run, now),
        ]);
        if shown.wide {
            cells.extend([
                run.spec.image.clone().into(),
                Cell::optional(status.manager),
                Cell::optional(status.cost.map(|c| c.amount)),
            ]);
        }
        cells.push(match status.message {
            Some(message) if status.phase != Some(Phase::Complete) => message.into(),
            Some(_) => "".into(),
            None => "the operator has not looked at it yet: is it running?".into(),
        });
        table.row(cells);
    }
    table
}

fn since(object: &impl ResourceExt, now: jiff::Timestamp) -> Cell {
    Cell::optional(object.creation_timestamp().map(|t| age(now.duration_since(t.0).try_into().unwrap_or_default())))
}

fn until(at: jiff::Timestamp, now: jiff::Timestamp) -> String {
    std::time::Duration::try_from(at.duration_since(now)).map_or_else(|_| "now".to_owned(), age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_what_is_left() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(until("2026-01-01T03:58:00Z".parse().unwrap(), now), "3h58m");
        assert_eq!(until("2025-12-31T23:59:00Z".parse().unwrap(), now), "now");
    }
}
