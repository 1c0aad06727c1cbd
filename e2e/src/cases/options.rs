//! What a service says of its containers, seen from inside them and through the engine; and that it can change.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use bollard::models::{
    ContainerInspectResponse, Limit, ResourcesUlimits, ServiceSpec, ServiceUpdateStatusStateEnum as State,
    TaskSpecContainerSpecDnsConfig,
};
use bollard::query_parameters::ListContainersOptions;

use super::catalog::as_sent;
use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        ask::base,
        service::{PORT, container_of, task_of},
    },
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
    let (nameservers, search, options) = (strings(["10.9.8.7"]), strings(["example.test"]), strings(["ndots:3"]));
    container.dns_config = Some(TaskSpecContainerSpecDnsConfig { nameservers, search, options });
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
    let service = t.service("web").askable().with(options);
    let sent = serde_json::to_value(service.spec())?;
    let service = service.create().await?;
    let task = service.running(1).await?.remove(0);
    // Both say that they are what was asked for.
    as_sent("Spec", &sent, &serde_json::to_value(service.inspect().await?.spec)?)?;
    as_sent("the task's", &sent["TaskTemplate"], &serde_json::to_value(&task.spec)?)?;
    let name = format!("{}-1", t.cluster().hostname(task.node_id.as_deref().unwrap_or_default()));
    for (ask, wanted) in [
        ("/", &*name),
        ("/env?name=COLOUR", "red"),
        ("/env?name=SERVICE", &service.name),
        ("/file?path=/etc/hosts", "10.9.8.7 somewhere.else"),
        ("/file?path=/etc/resolv.conf", "nameserver 10.9.8.7"),
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

/// What can be asked for one way and another.
#[derive(Debug, Clone, Copy)]
struct Options {
    tty: bool,
    signal: &'static str,
    /// No limit when it is 0.
    pids: i64,
    /// No name servers of its own when it is empty.
    dns: &'static str,
    init: Option<bool>,
    sysctl: &'static str,
}

const SYSCTL: &str = "net.ipv4.ip_nonlocal_bind";

impl Options {
    fn set(self, spec: &mut ServiceSpec) {
        task_of(spec).resources.get_or_insert_default().limits =
            Some(Limit { pids: Some(self.pids), memory_bytes: Some(64 << 20), nano_cpus: Some(500_000_000) });
        let container = container_of(spec);
        // What it has not is not told.
        (container.tty, container.stop_signal) = (self.tty.then_some(true), Some(self.signal.into()));
        let (nameservers, search, options) = (strings(["10.9.8.7"]), strings([self.dns]), strings(["timeout:3"]));
        let config = TaskSpecContainerSpecDnsConfig { nameservers, search, options };
        container.dns_config = (!self.dns.is_empty()).then_some(config);
        container.init = self.init;
        container.sysctls = Some([(SYSCTL.to_owned(), self.sysctl.to_owned())].into());
    }

    fn are(self, found: &ContainerInspectResponse) -> Result<()> {
        let config = found.config.clone().unwrap_or_default();
        let host = found.host_config.clone().unwrap_or_default();
        ensure!(config.tty == Some(self.tty), "its terminal is {:?}", config.tty);
        ensure!(config.stop_signal.as_deref() == Some(self.signal), "its signal is {:?}", config.stop_signal);
        let pids = host.pids_limit.unwrap_or_default();
        ensure!(pids == self.pids, "its limit of processes is {pids}, wanted {}", self.pids);
        ensure!(host.memory == Some(64 << 20), "its limit of memory is {:?}", host.memory);
        ensure!(host.nano_cpus == Some(500_000_000), "its share of processors is {:?}", host.nano_cpus);
        let lists = [(&host.dns, "10.9.8.7"), (&host.dns_search, self.dns), (&host.dns_options, "timeout:3")];
        for (list, wanted) in lists {
            let wanted: Vec<_> = (!self.dns.is_empty()).then(|| wanted.to_owned()).into_iter().collect();
            let list = list.clone().unwrap_or_default();
            ensure!(list == wanted, "of name servers it is told {list:?}, wanted {wanted:?}");
        }
        ensure!(host.init == self.init, "it has an init: {:?}, wanted {:?}", host.init, self.init);
        let sysctl = host.sysctls.as_ref().and_then(|all| all.get(SYSCTL)).map(String::as_str);
        ensure!(sysctl == Some(self.sysctl), "{SYSCTL} is {sysctl:?}");
        Ok(())
    }
}

/// What a service says of its containers is so for the engine, and again each time it is changed; service and task tell
/// it too. At first it says nothing of name servers.
async fn change(t: Test) -> Result<()> {
    let here = format!("node.id=={}", t.cluster().node);
    let one = Options { tty: true, signal: "SIGINT", pids: 50, dns: "", init: None, sysctl: "0" };
    let two = Options { tty: false, signal: "SIGQUIT", pids: 0, dns: "two.test", init: Some(false), sysctl: "1" };
    let three = Options { pids: 60, tty: true, ..two };
    let service = t.service("web").constraint(&here).with(|spec| one.set(spec)).create().await?;
    for (number, options) in [one, two, three].into_iter().enumerate() {
        if number > 0 {
            service.update(|spec| options.set(spec)).await?;
            service.updated(State::COMPLETED).await?;
        }
        let task = service.running(1).await?.remove(0);
        let container = t.container_of_service(&service.id).await?;
        options.are(&container.inspect().await?)?;
        let mut sent = ServiceSpec::default();
        options.set(&mut sent);
        let sent = serde_json::to_value(sent)?;
        let told = service.inspect().await?.spec;
        if options.pids > 0 {
            as_sent("Spec", &sent, &serde_json::to_value(told)?)?;
            as_sent("the task's", &sent["TaskTemplate"], &serde_json::to_value(&task.spec)?)?;
        } else {
            // No limit is none, and not told.
            let limits = told.and_then(|spec| spec.task_template?.resources?.limits).unwrap_or_default();
            ensure!(limits.pids.unwrap_or_default() == 0, "its limit of processes is told as {:?}", limits.pids);
        }
        let terminal = container.run(&["get", "http://127.0.0.1/terminal"]).await?;
        ensure!(terminal.trim() == options.tty.to_string(), "that it has a terminal is {terminal:?}");
    }
    Ok(())
}

/// Containers of tasks are told from those that nobody manages, and with the port that they publish on the host.
async fn is_task(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let here = format!("node.id=={}", t.cluster().node);
    let service = t.service("web").constraint(&here).on(&network).askable().create().await?;
    let alone = t.container("alone", &network).await?;
    let task = service.running(1).await?.remove(0);
    let managed = t.container_of_service(&service.id).await?;
    for (value, wanted, other) in [("true", &managed.id, &alone.id), ("false", &alone.id, &managed.id)] {
        let filters = Some([("is-task".to_owned(), vec![value.to_owned()])].into());
        let found = t.docker().list_containers(Some(ListContainersOptions { filters, ..Default::default() })).await?;
        let has = |id: &String| found.iter().any(|it| it.id.as_ref() == Some(id));
        ensure!(has(wanted) && !has(other), "is-task={value} finds {wanted}: {}, {other}: {}", has(wanted), has(other));
    }
    let published = base(&task, &t.usable().await?)?;
    let published = published.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let filters = Some([("id".to_owned(), vec![managed.id.clone()])].into());
    let found = t.docker().list_containers(Some(ListContainersOptions { filters, ..Default::default() })).await?;
    let ports = found.into_iter().flat_map(|it| it.ports.unwrap_or_default());
    // Once for each kind of address that the host has; the image says of the port, too, that it is there.
    let mut ports: Vec<_> = ports.filter_map(|it| Some((it.ip?, it.public_port?, it.private_port))).collect();
    ports.sort_unstable();
    let wanted: Vec<_> = ["0.0.0.0", "::"].iter().filter_map(|ip| Some(((*ip).to_owned(), published?, PORT))).collect();
    ensure!(!ports.is_empty() && wanted.starts_with(&ports), "its ports are {ports:?}, wanted {wanted:?}");
    Ok(())
}
