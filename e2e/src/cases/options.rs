//! What a service says of its containers, seen from inside them and through the engine; and that it can change.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use bollard::models::{
    ContainerInspectResponse, HealthConfig, HealthStatusEnum, Limit, ResourcesUlimits, ServiceSpec,
    ServiceUpdateStatusStateEnum as State, TaskSpecContainerSpecDnsConfig,
};
use bollard::query_parameters::ListContainersOptions;

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::service::{container_of, task_of},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ContainerOptionsInside", inside),
        Case::new("ContainerOptionsChange", change).needs(Need::Here),
        Case::new("ContainersFilterIsTask", is_task).needs(Need::Here),
    ]
}

fn strings<const N: usize>(list: [&str; N]) -> Option<Vec<String>> {
    Some(list.map(str::to_owned).into())
}

fn options(spec: &mut ServiceSpec) {
    let container = container_of(spec);
    container.hostname = Some("{{.Node.Hostname}}-{{.Task.Slot}}".into());
    container.env = strings(["COLOUR=red", "SERVICE={{.Service.Name}}"]);
    container.hosts = strings(["10.9.8.7 somewhere.else"]);
    let (search, options) = (strings(["example.test"]), strings(["ndots:3"]));
    container.dns_config = Some(TaskSpecContainerSpecDnsConfig { search, options, ..Default::default() });
    container.groups = strings(["4242"]);
    container.sysctls = Some(HashMap::from([("net.ipv4.ip_nonlocal_bind".to_owned(), "1".to_owned())]));
    container.capability_add = strings(["CAP_NET_ADMIN"]);
    container.capability_drop = strings(["CAP_CHOWN"]);
    container.ulimits =
        Some(vec![ResourcesUlimits { name: Some("nofile".into()), soft: Some(1234), hard: Some(2345) }]);
    container.init = Some(true);
    container.read_only = Some(true);
}

/// What a service says of its containers is so inside them.
async fn inside(t: Test) -> Result<()> {
    let service = t.service("web").askable().with(options).create().await?;
    let task = service.running(1).await?.remove(0);
    let name = format!("{}-1", t.cluster().hostname(task.node_id.as_deref().unwrap_or_default()));
    for (ask, wanted) in [
        ("/", &*name),
        ("/env?name=COLOUR", "red"),
        ("/env?name=SERVICE", &service.name),
        ("/file?path=/etc/hosts", "10.9.8.7 somewhere.else"),
        ("/file?path=/etc/resolv.conf", "search example.test"),
        ("/file?path=/etc/resolv.conf", "ndots:3"),
        ("/file?path=/proc/self/status", "Groups: 0 4242"),
        ("/file?path=/proc/sys/net/ipv4/ip_nonlocal_bind", "1"),
        ("/file?path=/proc/self/limits", "Max open files 1234 2345"),
        ("/file?path=/proc/1/comm", "init"),
    ] {
        let found = service.ask(ask).await?;
        // The kernel sets its tables with tabs and spaces.
        let words = found.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(words.contains(wanted), "{ask} says {words:?}, wanted {wanted:?} in it");
    }
    let status = service.ask("/file?path=/proc/self/status").await?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no capabilities")?;
    let effective = u64::from_str_radix(effective.trim(), 16)?;
    // Their numbers are the kernel's: CHOWN is 0, KILL is 5, NET_ADMIN is 12.
    ensure!(effective & (1 << 12 | 1 << 5 | 1) == (1 << 12 | 1 << 5), "its capabilities are {effective:x}");
    let mounts = service.ask("/file?path=/proc/self/mounts").await?;
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap_or_default();
    ensure!(root.split(' ').nth(3).is_some_and(|flags| flags.starts_with("ro")), "its root is {root:?}");
    Ok(())
}

/// What a service says of its containers is so for the engine, and again when it is changed.
async fn change(t: Test) -> Result<()> {
    let here = format!("node.id=={}", t.cluster().node);
    let check = |test: &str| HealthConfig { test: strings([test]), ..Default::default() };
    let set = |spec: &mut ServiceSpec, tty: bool, signal: &str, pids: i64, dns: &str| {
        task_of(spec).resources.get_or_insert_default().limits =
            Some(Limit { pids: Some(pids), memory_bytes: Some(64 << 20), nano_cpus: Some(500_000_000) });
        let container = container_of(spec);
        (container.tty, container.stop_signal) = (Some(tty), Some(signal.into()));
        container.dns_config = Some(TaskSpecContainerSpecDnsConfig { search: strings([dns]), ..Default::default() });
        container.health_check = Some(check("NONE"));
    };
    let is = |found: &ContainerInspectResponse, tty: bool, signal: &str, pids: i64, dns: &str| {
        let config = found.config.clone().unwrap_or_default();
        let host = found.host_config.clone().unwrap_or_default();
        ensure!(config.tty == Some(tty), "its terminal is {:?}", config.tty);
        ensure!(config.stop_signal.as_deref() == Some(signal), "its signal is {:?}", config.stop_signal);
        ensure!(host.pids_limit == Some(pids), "its limit of processes is {:?}", host.pids_limit);
        ensure!(host.memory == Some(64 << 20), "its limit of memory is {:?}", host.memory);
        ensure!(host.nano_cpus == Some(500_000_000), "its share of processors is {:?}", host.nano_cpus);
        ensure!(host.dns_search == strings([dns]), "it searches {:?}", host.dns_search);
        let health = found.state.as_ref().and_then(|state| state.health.as_ref()).and_then(|health| health.status);
        ensure!(
            matches!(health, None | Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY)),
            "it has no health check, and is {health:?}"
        );
        Ok(())
    };
    let service = t.service("web").constraint(&here).with(|spec| set(spec, true, "SIGINT", 50, "one.test"));
    let service = service.create().await?;
    service.running(1).await?;
    is(&t.container_of_service(&service.id).await?.inspect().await?, true, "SIGINT", 50, "one.test")?;
    service.update(|spec| set(spec, false, "SIGQUIT", 60, "two.test")).await?;
    service.updated(State::COMPLETED).await?;
    service.running(1).await?;
    is(&t.container_of_service(&service.id).await?.inspect().await?, false, "SIGQUIT", 60, "two.test")
}

/// Containers of tasks are told from those that nobody manages.
async fn is_task(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let here = format!("node.id=={}", t.cluster().node);
    let service = t.service("web").constraint(&here).create().await?;
    let alone = t.container("alone", &network).await?;
    service.running(1).await?;
    let managed = t.container_of_service(&service.id).await?;
    for (value, wanted, other) in [("true", &managed.id, &alone.id), ("false", &alone.id, &managed.id)] {
        let filters = Some([("is-task".to_owned(), vec![value.to_owned()])].into());
        let found = t.docker().list_containers(Some(ListContainersOptions { filters, ..Default::default() })).await?;
        let has = |id: &String| found.iter().any(|it| it.id.as_ref() == Some(id));
        ensure!(has(wanted) && !has(other), "is-task={value} finds {wanted}: {}, {other}: {}", has(wanted), has(other));
    }
    Ok(())
}
