//! What containers use at the moment, as `docker stats` counts it.

use bollard::{
    models::{ContainerMemoryStats, ContainerStatsResponse},
    query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder},
};
use futures::{StreamExt as _, stream};

use super::{Engine, QUICK, SwarmError, WORK};

/// How many containers are asked about at once.
const AT_ONCE: usize = 16;

/// What a container uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// Its name.
    pub name: String,
    /// Processors, in the last second: 1.5 is one and a half of them. `None` where the engine does not tell.
    pub cpus: Option<f64>,
    /// Memory in bytes, without what the kernel would give back.
    pub memory: u64,
    /// The most it may have, in bytes: the host's where it has no limit.
    pub memory_limit: u64,
}

impl Engine {
    /// What each running container uses. Takes the second or two that the engine measures.
    pub async fn usage(&self) -> Result<Vec<Usage>, SwarmError> {
        let running = ListContainersOptionsBuilder::new().all(false).build();
        let containers = self.within(QUICK).list_containers(Some(running)).await?;
        let ids: Vec<String> = containers.into_iter().filter_map(|c| c.id).collect();
        let asked = ids.into_iter().map(async |id| {
            let options = StatsOptionsBuilder::new().stream(false).one_shot(false).build();
            // One that ended meanwhile uses nothing.
            let found = Box::pin(self.within(WORK).stats(&id, Some(options))).next().await?.ok()?;
            Some(Usage::from(found))
        });
        let mut found: Vec<Usage> =
            stream::iter(asked).buffer_unordered(AT_ONCE).filter_map(async |u| u).collect().await;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

impl From<ContainerStatsResponse> for Usage {
    fn from(stats: ContainerStatsResponse) -> Self {
        let memory = stats.memory_stats.clone().unwrap_or_default();
        Self {
            name: stats.name.clone().unwrap_or_default().trim_start_matches('/').to_owned(),
            cpus: cpus(&stats),
            memory: used(&memory),
            memory_limit: memory.limit.unwrap_or_default(),
        }
    }
}

/// As the docker CLI counts (`calculateCPUPercentUnix`), without its factor of 100.
#[allow(clippy::cast_precision_loss)] // for people
fn cpus(stats: &ContainerStatsResponse) -> Option<f64> {
    let (now, before) = (stats.cpu_stats.as_ref()?, stats.precpu_stats.as_ref()?);
    let total = |s: &bollard::models::ContainerCpuStats| s.cpu_usage.as_ref().and_then(|u| u.total_usage);
    let container = total(now)?.checked_sub(total(before)?)?;
    let system = now.system_cpu_usage?.checked_sub(before.system_cpu_usage?).filter(|s| *s > 0)?;
    Some(container as f64 / system as f64 * f64::from(now.online_cpus.unwrap_or(1)))
}

/// As the docker CLI counts (`calculateMemUsageUnixNoCache`): cgroup v1 and v2 name it differently.
fn used(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or_default();
    let cache = memory.stats.as_ref().and_then(|s| s.get("total_inactive_file").or_else(|| s.get("inactive_file")));
    cache.filter(|cache| **cache < usage).map_or(usage, |cache| usage - cache)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn use_is_counted_as_docker_stats_does() {
        let stats: ContainerStatsResponse = serde_json::from_value(json!({
            "name": "/web",
            "cpu_stats": {"cpu_usage": {"total_usage": 3_000_000_000_u64}, "system_cpu_usage": 14_000_000_000_u64, "online_cpus": 4},
            "precpu_stats": {"cpu_usage": {"total_usage": 2_000_000_000_u64}, "system_cpu_usage": 10_000_000_000_u64},
            "memory_stats": {"usage": 100, "limit": 1000, "stats": {"inactive_file": 30}},
        }))
        .unwrap();
        let usage = Usage::from(stats);
        assert_eq!((usage.name.as_str(), usage.cpus, usage.memory, usage.memory_limit), ("web", Some(1.0), 70, 1000));
        assert_eq!(Usage::from(ContainerStatsResponse::default()).cpus, None);
    }
}
