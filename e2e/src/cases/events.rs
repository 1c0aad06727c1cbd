//! Events of the swarm: who listens hears of every object that comes, changes and goes.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    models::{EventMessage, EventMessageScopeEnum, ServiceUpdateStatusStateEnum as State},
    query_parameters::EventsOptions,
};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        node,
        service::{TASKS_WITHIN, task_of},
        stored::Kind,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("EventsOfServices", services),
        Case::new("EventsOfNetworks", networks),
        Case::new("EventsOfSecrets", |t| stored(t, Kind::Secret, "secret")),
        Case::new("EventsOfConfigs", |t| stored(t, Kind::Config, "config")),
        Case::new("EventsOfNodes", nodes),
        Case::new("EventsOnEveryNode", everywhere),
        Case::new("EventsByScope", scopes).needs(Need::Here),
    ]
}

/// How soon an event is heard.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// How long a service may take to run, be updated, scaled and removed.
const CHANGED_WITHIN: Duration = Duration::from_secs(100);

/// Who listens hears how an update goes on, and of how many tasks there are to be.
async fn services(t: Test) -> Result<()> {
    let before = node::clock(t.docker()).await?;
    // Not heard by who asks for events of services.
    t.network("net").await?;
    let service = t.service("web").create().await?;
    let changes = async {
        service.running(1).await?;
        service.update(|spec| task_of(spec).force_update = Some(1)).await?;
        service.updated(State::COMPLETED).await?;
        service.scale(2).await?;
        service.running(2).await?;
        service.remove().await
    };
    let (new, old) = ("updatestate.new", "updatestate.old");
    let wanted: [(&str, &[(&str, &str)]); 5] = [
        ("create", &[]),
        ("update", &[(new, "updating")]),
        ("update", &[(new, "completed"), (old, "updating")]),
        ("update", &[("replicas.new", "2"), ("replicas.old", "1")]),
        ("remove", &[]),
    ];
    // From the beginning: an engine remembers 256 events, and there are other cases.
    tokio::try_join!(changes, heard_of(&t, &before, "service", &service.id, &wanted, CHANGED_WITHIN))?;
    Ok(())
}

async fn networks(t: Test) -> Result<()> {
    let before = node::clock(t.docker()).await?;
    // Not heard by who asks for events of networks.
    t.service("web").replicas(0).create().await?;
    let network = t.network("net").await?;
    t.docker().remove_network(&network.id).await?;
    heard(&t, &before, "network", &network.id, &["create", "remove"]).await
}

/// Every manager hears of what is made through one, and no worker does.
async fn everywhere(t: Test) -> Result<()> {
    let (name, nodes) = (t.name("net"), t.usable().await?);
    let service = t.service("hears").global().with_engine().args(&["show-events", "network", &name]);
    let service = service.create().await?;
    service.running(nodes.len()).await?;
    t.until("every node listens", TASKS_WITHIN, || async {
        let told = service.told().await?.len();
        ensure!(told == nodes.len(), "{told} do");
        Ok(())
    })
    .await?;
    t.network_with("net", |request| request.name = name).await?;
    t.until("every manager has heard, and no worker", TASKS_WITHIN, || async {
        let told = service.told().await?;
        for node in &nodes {
            let heard = told.get(&node.id).with_context(|| format!("{} tells nothing: {told:?}", node.hostname))?;
            // The swarm itself changes what it was given.
            let right = if node.manager { heard[0] == "create" } else { *heard == json!([]) };
            let is = if node.manager { "manages" } else { "does not manage" };
            ensure!(right, "{} {is} and has heard {heard}", node.hostname);
        }
        Ok(())
    })
    .await
}

/// Events of containers are the engine's own, those of services are the swarm's, and who asks for neither hears both.
async fn scopes(t: Test) -> Result<()> {
    let before = node::clock(t.docker()).await?;
    let here = format!("node.id=={}", t.cluster().node);
    let service = t.service("web").constraint(&here).create().await?;
    service.running(1).await?;
    let container = t.container_of_service(&service.id).await?.id;
    t.until("both are heard as what they are", HEARD_WITHIN, || async {
        for (scope, of_service, of_container) in
            [(None, true, true), (Some("swarm"), true, false), (Some("local"), false, true)]
        {
            let filters = scope.map(|scope| [("scope".to_owned(), vec![scope.to_owned()])].into());
            let until = Some(node::clock(t.docker()).await?);
            let past = EventsOptions { since: Some(before.clone()), until, filters };
            let all: Vec<EventMessage> = t.docker().events(Some(past)).try_collect().await?;
            let has = |id: &str| {
                let of = |event: &&EventMessage| event.actor.as_ref().is_some_and(|it| it.id.as_deref() == Some(id));
                all.iter().filter(of).any(|event| event.action.as_deref() == Some("create"))
            };
            let found = (has(&service.id), has(&container));
            ensure!(found == (of_service, of_container), "with scope {scope:?}, service and container are {found:?}");
        }
        Ok(())
    })
    .await
}

async fn stored(t: Test, kind: Kind, word: &str) -> Result<()> {
    let before = node::clock(t.docker()).await?;
    let stored = t.store(kind, &t.name("stored"), "content").await?;
    t.change_stored(kind, &stored.id, t.labels(), None).await?;
    t.remove_stored(kind, &stored.id).await?;
    heard(&t, &before, word, &stored.id, &["create", "update", "remove"]).await
}

async fn nodes(t: Test) -> Result<()> {
    let before = node::clock(t.docker()).await?;
    let node = node::list(t.docker()).await?.into_iter().next().context("the swarm has no nodes")?;
    let label = t.node_label("label");
    t.label(&node.id, &label, "1").await?;
    t.unlabel(&node.id, &label).await?;
    heard(&t, &before, "node", &node.id, &["update", "update"]).await
}

/// Hears these events of an object: see [`heard_of`].
async fn heard(t: &Test, since: &str, kind: &str, id: &str, actions: &[&str]) -> Result<()> {
    let wanted: Vec<(&str, &[(&str, &str)])> = actions.iter().map(|&action| (action, &[][..])).collect();
    heard_of(t, since, kind, id, &wanted, HEARD_WITHIN).await
}

/// Hears these events of an object, which say this of it, in this order, from an engine that is asked for events of the
/// swarm; and none of them from one that is asked for its own.
pub(super) async fn heard_of(
    t: &Test,
    since: &str,
    kind: &str,
    id: &str,
    wanted: &[(&str, &[(&str, &str)])],
    within: Duration,
) -> Result<()> {
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
        while found < wanted.len() {
            let event = events.next().await.context("the events ended")??;
            let typ = event.typ.map(|typ| typ.to_string());
            ensure!(typ.as_deref() == Some(kind), "asked for events of kind {kind}, it tells of {event:?}");
            if ours(&event) {
                ensure!(event.scope == Some(EventMessageScopeEnum::SWARM), "its scope is {:?}", event.scope);
                let (action, says) = wanted[found];
                let said = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
                let says = says.iter().all(|&(key, value)| said.get(key).map(String::as_str) == Some(value));
                // Others may come between: the swarm itself changes what it was given.
                found += usize::from(event.action.as_deref() == Some(action) && says);
                heard.push(format!("{} {said:?}", event.action.unwrap_or_default()));
            }
        }
        Ok(())
    };
    match t.within("the events are heard", within, all).await {
        Ok(end) => end?,
        Err(_) => bail!("of {kind} {id} was heard {heard:?} within {within:?}, wanted {wanted:?}"),
    }
    // What was heard above is in the engine's memory by now, and would come at once.
    let until = Some(node::clock(t.docker()).await?);
    let filters = [("type", kind), ("scope", "local")].map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
    let past = EventsOptions { since: Some(since.into()), until, filters: Some(filters.into()) };
    let mut local = Box::pin(t.docker().events(Some(past)));
    while let Some(event) = local.next().await {
        let event = event?;
        ensure!(!ours(&event), "an event of the swarm is told as the engine's own: {event:?}");
    }
    Ok(())
}
