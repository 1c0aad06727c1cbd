//! Whether the API server serves what the operator needs.

use std::time::Duration;

use kube::{Client, Resource};

use super::health::State;
use crate::api::{E2EMatrix, E2ERun, E2ESchedule, SwarmCluster};

/// How often to look, and how long an answer may take.
const EVERY: Duration = Duration::from_secs(5);

/// Looks for ever, and tells the state.
pub async fn keep_looking(client: Client, state: State) {
    loop {
        let answer = match tokio::time::timeout(EVERY, check(&client)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("the API server does not answer within {} s", EVERY.as_secs())),
        };
        let words = answer.clone().err();
        // Once, and not at every look.
        if state.api(answer)
            && let Some(words) = words
        {
            tracing::error!("{words}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Says what is missing before the first watch fails.
async fn check(client: &Client) -> Result<(), String> {
    let version = <SwarmCluster as Resource>::api_version(&());
    let group = client.list_api_group_resources(&version).await;
    let kinds = match group {
        Ok(list) => list.resources.into_iter().map(|r| r.kind).collect(),
        Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
        Err(error) => return Err(format!("the API server does not answer: {error}")),
    };
    for kind in [SwarmCluster::kind(&()), E2ERun::kind(&()), E2ESchedule::kind(&()), E2EMatrix::kind(&())] {
        if !kinds.iter().any(|k| *k == kind) {
            return Err(format!(
                "the API server does not know {kind} ({version}): apply the CustomResourceDefinitions first (kubectl apply --server-side -f crds/)"
            ));
        }
    }
    Ok(())
}
