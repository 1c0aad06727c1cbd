//! What the disruptive cases have done on other nodes: they cannot reach the engines there themselves.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    Docker,
    models::{
        ContainerCreateBody, HostConfig, LocalNodeState, NodeSpecRoleEnum as Role, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptions, LeaveSwarmOptions, LogsOptions, RemoveContainerOptions, StartContainerOptions,
    },
};
use clap::{Args, ValueEnum};
use futures::TryStreamExt as _;
use hyper::Method;
use serde_json::json;

use super::{
    SOCKET,
    alone::{self, Alone},
    engine, say,
};
use crate::{
    cluster::Member,
    harness::until::until,
    swarm::{node, raw},
};

/// How long an engine may take over one step.
const STEP_WITHIN: Duration = Duration::from_secs(90);
/// The variables in which a container gets the tokens: they are for workers, and on a worker's engine no secret.
const TOKEN: &str = "E2E_JOIN_TOKEN";
const OLD_TOKEN: &str = "E2E_OLD_JOIN_TOKEN";

/// The sub-command by which a task has its node leave and join again.
pub(crate) const REJOIN: &str = "rejoin-from-task";
/// A file that a container has once it was begun, and finds when it is begun again.
const BEGUN: &str = "/begun";
/// How often a container is begun again that could not join. The engine waits a minute before each of the last.
const AGAIN: i64 = 20;

/// How an engine is to leave and join again.
#[derive(Debug, Clone, Args)]
pub(crate) struct RejoinArgs {
    /// The suite's image
    #[arg(long)]
    image: String,
    /// Labels of what is made, as JSON
    #[arg(long)]
    labels: String,
    /// A manager's address
    #[arg(long)]
    remote: String,
    /// The node's own
    #[arg(long)]
    address: String,
    /// The name of the container that does it, whose log says what came of it; without one it goes when it is done
    #[arg(long)]
    name: Option<String>,
    /// What is played meanwhile
    #[arg(long)]
    play: Option<Play>,
    /// An attachable network, which the engine is to forget
    #[arg(long)]
    network: Option<String>,
}

/// What is played with an engine that has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Play {
    /// What it refuses in no swarm
    Outside,
    /// Swarms that it begins
    Own,
}

/// Demotes a node, waits until it manages nothing, and promotes it again; says when it is done.
pub(super) async fn demote_and_promote(id: &str) -> Result<String> {
    let docker = engine().await?;
    let find = async || {
        let nodes = node::list(&docker).await?;
        nodes.into_iter().find(|node| node.id == id).context("the node is not there")
    };
    let begun: Member = find().await?;
    ensure!(begun.manager, "{} is no manager", begun.hostname);
    let set = |role: Role| node_role(&docker, id, role);
    let (_, demoted) = until(
        "it is demoted",
        STEP_WITHIN,
        |_| (),
        || async {
            set(Role::WORKER).await?;
            let now = find().await?;
            ensure!(!now.manager, "it is {now:?}");
            ensure!(node::list(&docker).await?.iter().any(|node| node.leader), "nobody leads");
            Ok(())
        },
    )
    .await?;
    let (_, promoted) = until(
        "it is promoted",
        STEP_WITHIN,
        |_| (),
        || async {
            set(Role::MANAGER).await?;
            let now = find().await?;
            ensure!(now.reachable, "it is {now:?}");
            Ok(())
        },
    )
    .await?;
    Ok(format!("{} was demoted after {demoted:.1?} and promoted after {promoted:.1?}", begun.hostname))
}

async fn node_role(docker: &Docker, id: &str, role: Role) -> Result<()> {
    node::update(docker, id, |spec| spec.role = Some(role)).await
}

/// In a task: starts a container beside the swarm, which goes on when the swarm's tasks here end.
pub(super) async fn rejoin_from_task(args: &RejoinArgs) -> Result<()> {
    let docker = engine().await?;
    let labels: HashMap<String, String> = serde_json::from_str(&args.labels).context("the labels are no JSON")?;
    let token = std::fs::read_to_string("/run/secrets/token").context("the task has no token")?;
    let old_token = std::fs::read_to_string("/run/secrets/old-token").unwrap_or_default();
    let mut cmd = vec!["rejoin".to_owned()];
    // The same that this task was given.
    cmd.extend(std::env::args().skip_while(|arg| arg != REJOIN).skip(1));
    let body = ContainerCreateBody {
        image: Some(args.image.clone()),
        cmd: Some(cmd),
        env: Some(vec![format!("{TOKEN}={token}"), format!("{OLD_TOKEN}={old_token}")]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some("host".into()),
            binds: Some(vec![format!("{SOCKET}:{SOCKET}")]),
            auto_remove: Some(args.name.is_none()),
            // What is played takes minutes, in which it or its host may die: the node is not to stay where it is then.
            restart_policy: args.name.is_some().then_some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::ON_FAILURE),
                maximum_retry_count: Some(AGAIN),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = CreateContainerOptions { name: args.name.clone(), ..Default::default() };
    let id = docker.create_container(Some(options), body).await.context("cannot create it")?.id;
    docker.start_container(&id, None::<StartContainerOptions>).await.context("cannot start it")
}

/// Beside the swarm: has the engine leave it and join it again, as the token says, to get no tasks yet. When it is begun
/// again, as it or its host died, nothing is played any more, and an engine that is a worker is where it is to be.
pub(super) async fn rejoin(args: &RejoinArgs) -> Result<()> {
    let docker = engine().await?;
    let version = docker.client_version();
    let variable = |name: &str| std::env::var(name).with_context(|| format!("no {name} in the environment"));
    let alone = Alone {
        api: (version.major_version, version.minor_version),
        image: args.image.clone(),
        labels: serde_json::from_str(&args.labels).context("the labels are no JSON")?,
        address: args.address.clone(),
        remote: args.remote.clone(),
        token: variable(TOKEN)?,
        old_token: variable(OLD_TOKEN)?,
    };
    let swarm = async || Ok::<_, anyhow::Error>(docker.info().await?.swarm.unwrap_or_default());
    let state = async || Ok::<_, anyhow::Error>(swarm().await?.local_node_state);
    let again = std::fs::exists(BEGUN).context("whether this was begun before cannot be told")?;
    if again {
        say("begun again: it has died, or its host");
        let now = swarm().await?;
        if now.local_node_state == Some(LocalNodeState::ACTIVE) && now.control_available != Some(true) {
            return Ok(());
        }
    } else {
        std::fs::write(BEGUN, "").context("that this was begun cannot be written down")?;
    }
    let attached = match &args.network {
        Some(network) if !again => Some((alone.attach(network).await?, network)),
        _ => None,
    };
    until(
        "the engine leaves",
        STEP_WITHIN,
        |_| (),
        || async {
            match state().await? {
                Some(LocalNodeState::INACTIVE) => Ok(()),
                _ => {
                    docker.leave_swarm(Some(LeaveSwarmOptions { force: true })).await?;
                    bail!("it has not left yet")
                }
            }
        },
    )
    .await?;
    if let Some((id, network)) = attached {
        match alone.detached(&id, network).await {
            Ok(()) => say("detached: ok"),
            Err(error) => say(&format!("detached: {error:#}")),
        }
    }
    match args.play.filter(|_| !again) {
        Some(Play::Outside) => alone::play(&alone, &alone::OUTSIDE).await,
        Some(Play::Own) => alone::play(&alone, &alone::OWN).await,
        None => {}
    }
    // The swarm is to notice: it has missed the node when three heartbeats are missing.
    until(
        "the engine joins",
        STEP_WITHIN,
        |_| (),
        || async {
            if state().await? == Some(LocalNodeState::ACTIVE) {
                return Ok(());
            }
            // Not by the client library, which has no word for the availability.
            let request = json!({
                "ListenAddr": "0.0.0.0:2377",
                "AdvertiseAddr": alone.address,
                "RemoteAddrs": [format!("{}:2377", alone.remote)],
                "JoinToken": alone.token,
                "Availability": "drain",
            });
            raw::ask_at(&format!("unix://{SOCKET}"), alone.api, Method::POST, "/swarm/join", Some(&request)).await?;
            bail!("it has not joined yet")
        },
    )
    .await?;
    say("joined: ok");
    Ok(())
}

/// Prints the log of a container of this node that has ended, and removes it.
pub(super) async fn show_log(name: &str) -> Result<()> {
    let docker = engine().await?;
    until(
        &format!("container {name} has ended"),
        STEP_WITHIN,
        |_| (),
        || async {
            let state = docker.inspect_container(name, None).await?.state.unwrap_or_default();
            ensure!(state.running == Some(false) && state.restarting != Some(true), "it runs");
            Ok(())
        },
    )
    .await?;
    let all = LogsOptions { stdout: true, stderr: true, ..Default::default() };
    let log: Vec<_> = docker.logs(name, Some(all)).try_collect().await.context("cannot read its log")?;
    say(log.iter().map(ToString::to_string).collect::<String>().trim());
    docker.remove_container(name, None::<RemoveContainerOptions>).await.context("cannot remove it")
}
