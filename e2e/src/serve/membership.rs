//! What the disruptive cases have done on other nodes: they cannot reach the engines there themselves.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    Docker,
    models::{ContainerCreateBody, HostConfig, LocalNodeState, NodeSpecRoleEnum as Role},
    query_parameters::{CreateContainerOptions, LeaveSwarmOptions, StartContainerOptions},
};
use hyper::Method;
use serde_json::json;

use crate::{
    cluster::Member,
    harness::until::until,
    swarm::{node, raw},
};

const SOCKET: &str = "/var/run/docker.sock";
/// How long an engine may take over one step.
const STEP_WITHIN: Duration = Duration::from_secs(90);
/// The variable in which a container gets the token: it is for workers, and on a worker's engine no secret.
pub(super) const TOKEN: &str = "E2E_JOIN_TOKEN";

/// The engine of the node on which this task runs.
pub(super) async fn engine() -> Result<Docker> {
    Ok(Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION)?.negotiate_version().await?)
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
pub(super) async fn rejoin_from_task(image: &str, labels: &str, remote: &str, address: &str) -> Result<()> {
    let docker = engine().await?;
    let labels: HashMap<String, String> = serde_json::from_str(labels).context("the labels are no JSON")?;
    let token = std::fs::read_to_string("/run/secrets/token").context("the task has no token")?;
    let body = ContainerCreateBody {
        image: Some(image.into()),
        cmd: Some(["rejoin", "--remote", remote, "--address", address].map(str::to_owned).into()),
        env: Some(vec![format!("{TOKEN}={token}")]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some("host".into()),
            binds: Some(vec![format!("{SOCKET}:{SOCKET}")]),
            auto_remove: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await.context("cannot create it")?.id;
    docker.start_container(&id, None::<StartContainerOptions>).await.context("cannot start it")
}

/// Beside the swarm: has the engine leave it and join it again, as a worker that gets no tasks yet.
pub(super) async fn rejoin(remote: &str, address: &str) -> Result<()> {
    let docker = engine().await?;
    let token = std::env::var(TOKEN).context("no token in the environment")?;
    let state = async || Ok::<_, anyhow::Error>(docker.info().await?.swarm.and_then(|swarm| swarm.local_node_state));
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
                "AdvertiseAddr": address,
                "RemoteAddrs": [format!("{remote}:2377")],
                "JoinToken": token,
                "Availability": "drain",
            });
            let version = docker.client_version();
            let api = (version.major_version, version.minor_version);
            raw::ask_at(&format!("unix://{SOCKET}"), api, Method::POST, "/swarm/join", Some(&request)).await?;
            bail!("it has not joined yet")
        },
    )
    .await?;
    Ok(())
}
