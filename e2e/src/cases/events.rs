//! Events of the swarm: who listens hears of every object that comes, changes and goes.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    models::{EventMessage, EventMessageScopeEnum},
    query_parameters::EventsOptions,
};
use futures::StreamExt as _;

use crate::{
    harness::{case::Case, test::Test},
    swarm::{node, stored::Kind},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("EventsOfServices", services),
        Case::new("EventsOfNetworks", networks),
        Case::new("EventsOfSecrets", |t| stored(t, Kind::Secret, "secret")),
        Case::new("EventsOfConfigs", |t| stored(t, Kind::Config, "config")),
        Case::new("EventsOfNodes", nodes),
    ]
}

/// How soon an event is heard.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

async fn services(t: Test) -> Result<()> {
    let before = now(&t).await?;
    let service = t.service("web").replicas(0).create().await?;
    service.scale(1).await?;
    t.docker().delete_service(&service.id).await?;
    heard(&t, &before, "service", &service.id, &["create", "update", "remove"]).await
}

async fn networks(t: Test) -> Result<()> {
    let before = now(&t).await?;
    let network = t.network("net").await?;
    t.docker().remove_network(&network.id).await?;
    heard(&t, &before, "network", &network.id, &["create", "remove"]).await
}

async fn stored(t: Test, kind: Kind, word: &str) -> Result<()> {
    let before = now(&t).await?;
    let stored = t.store(kind, &t.name("stored"), "content").await?;
    t.change_stored(kind, &stored, t.labels(), None).await?;
    t.remove_stored(kind, &stored).await?;
    heard(&t, &before, word, &stored.id, &["create", "update", "remove"]).await
}

async fn nodes(t: Test) -> Result<()> {
    let before = now(&t).await?;
    let node = node::list(t.docker()).await?.into_iter().next().context("the swarm has no nodes")?;
    let label = t.node_label("label");
    t.label(&node.id, &label, "1").await?;
    t.unlabel(&node.id, &label).await?;
    heard(&t, &before, "node", &node.id, &["update", "update"]).await
}

/// The engine's own clock, which says when events were.
async fn now(t: &Test) -> Result<String> {
    let told = t.docker().info().await?.system_time.context("the engine does not say what time it is")?;
    let time: jiff::Timestamp = told.parse().with_context(|| format!("{told} is no time"))?;
    Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
}

/// Hears these events of an object, in this order, from an engine that is asked for events of the swarm; and none
/// of them from one that is asked for its own.
async fn heard(t: &Test, since: &str, kind: &str, id: &str, actions: &[&str]) -> Result<()> {
    let listen = |scope: &str| {
        let filters = [("type", kind), ("scope", scope)].map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
        t.docker().events(Some(EventsOptions {
            since: Some(since.into()),
            filters: Some(filters.into()),
            ..Default::default()
        }))
    };
    let ours = |event: &EventMessage| event.actor.as_ref().is_some_and(|actor| actor.id.as_deref() == Some(id));
    let mut heard = Vec::<String>::new();
    let mut found = 0;
    let mut events = Box::pin(listen("swarm"));
    let all = async {
        while found < actions.len() {
            let event = events.next().await.context("the events ended")??;
            if ours(&event) {
                ensure!(event.scope == Some(EventMessageScopeEnum::SWARM), "its scope is {:?}", event.scope);
                heard.push(event.action.unwrap_or_default());
                // Others may come between: the swarm itself changes what it was given.
                found += usize::from(heard.last().map(String::as_str) == Some(actions[found]));
            }
        }
        Ok(())
    };
    match t.within("the events are heard", HEARD_WITHIN, all).await {
        Ok(end) => end?,
        Err(_) => bail!("of {kind} {id} was heard {heard:?} within {HEARD_WITHIN:?}, wanted {actions:?}"),
    }
    // What was heard above is in the engine's memory by now, and would come at once.
    let until = Some(now(t).await?);
    let filters = [("type", kind), ("scope", "local")].map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
    let past = EventsOptions { since: Some(since.into()), until, filters: Some(filters.into()) };
    let mut local = Box::pin(t.docker().events(Some(past)));
    while let Some(event) = local.next().await {
        let event = event?;
        ensure!(!ours(&event), "an event of the swarm is told as the engine's own: {event:?}");
    }
    Ok(())
}
