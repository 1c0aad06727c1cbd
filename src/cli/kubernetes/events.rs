//! Events of one object.

use k8s_openapi::api::core::v1::Event;
use kube::Api;

use super::{Kubernetes, Pick};
use crate::cli::{
    failure::Failure,
    terminal::{Cell, Style, Table, age},
};

/// Those of the object with this UID.
pub fn pick(uid: &str) -> Pick {
    Pick { labels: None, fields: Some(format!("involvedObject.uid={uid}")) }
}

/// The events of the object with this UID, the latest last.
pub async fn of(kubernetes: &Kubernetes, uid: &str) -> Result<Vec<Event>, Failure> {
    let api: Api<Event> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let mut events = match api.list(&pick(uid).params()).await {
        Ok(list) => list.items,
        Err(e) => return Err(kubernetes.explain(&e, &kubernetes.attempt("list", "events", None))),
    };
    events.sort_by_key(when);
    Ok(events)
}

/// When the event was last seen.
pub fn when(event: &Event) -> Option<jiff::Timestamp> {
    let series = event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0);
    series.or(event.last_timestamp.as_ref().map(|t| t.0)).or(event.event_time.as_ref().map(|t| t.0))
}

/// A row an event.
pub fn table(events: &[Event], now: jiff::Timestamp) -> Table {
    let mut table = Table::new(&["AGE", "EVENT", "REASON", "MESSAGE"]);
    for event in events {
        let kind = event.type_.clone().unwrap_or_default();
        let style = if kind == "Warning" { Style::Attention } else { Style::Plain };
        table.row(vec![
            Cell::optional(when(event).map(|t| age(now.duration_since(t).try_into().unwrap_or_default()))),
            Cell::styled(style, kind),
            event.reason.clone().unwrap_or_default().into(),
            event.message.clone().unwrap_or_default().into(),
        ]);
    }
    table
}
