//! What the API says of services, tasks and nodes, and what it refuses. Nothing here waits for more than a task.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    errors::Error,
    models::{
        EndpointPortConfig, EndpointSpec, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated,
        ServiceSpecRollbackConfig, ServiceSpecRollbackConfigFailureActionEnum, ServiceSpecRollbackConfigOrderEnum,
        ServiceSpecUpdateConfig, ServiceSpecUpdateConfigFailureActionEnum, ServiceSpecUpdateConfigOrderEnum,
        TaskSpecContainerSpecDnsConfig, TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum,
    },
    query_parameters::{ListServicesOptions, ListTasksOptions, UpdateServiceOptions},
};
use serde_json::Value;

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::service::{TASKS_WITHIN, container_of, nanos, replicated, task_of},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ServicesFilter", filter),
        Case::new("ServicesInspect", inspect),
        Case::new("ServicesLabels", labels),
        Case::new("ServicesNameTaken", name_taken),
        Case::new("ServicesNameUsedAgain", name_used_again),
        Case::new("ServicesByName", by_name),
        Case::new("ServicesRefused", refused),
        Case::new("ServicesStatus", status).needs(Need::Api(1, 41)),
        Case::new("TasksFilter", tasks_filter),
    ]
}

/// Services are found by id, the beginning of their name, label and mode.
async fn filter(t: Test) -> Result<()> {
    let label = t.name("label");
    let one = t.service("one").replicas(0).with(|spec| {
        spec.labels.get_or_insert_default().insert(label.clone(), "yes".into());
    });
    let one = one.create().await?;
    let nowhere = format!("node.labels.{}==yes", t.name("nowhere"));
    let longer = format!("{}-and-more", one.name);
    let two = t.service("two").global().constraint(&nowhere).with(|spec| spec.name = Some(longer));
    let two = two.create().await?;
    let three = t.service("three").global().constraint(&nowhere).create().await?;
    let both = [&one.id, &two.id, &three.id];
    for (filter, value, wanted) in [
        ("name", one.name.clone(), &both[..2]),
        ("name", two.name.clone(), &both[1..2]),
        ("name", label.clone(), &[]),
        ("id", two.id.clone(), &both[1..2]),
        ("label", label.clone(), &both[..1]),
        ("label", format!("{label}=yes"), &both[..1]),
        ("label", format!("{label}=no"), &[]),
        ("mode", "replicated".into(), &both[..1]),
        ("mode", "global".into(), &both[1..]),
    ] {
        let mut filters = std::collections::HashMap::from([("label".to_owned(), t.ours())]);
        filters.entry(filter.to_owned()).or_default().push(value.clone());
        let options = ListServicesOptions { filters: Some(filters), ..Default::default() };
        let found = t.docker().list_services(Some(options)).await?;
        let found: BTreeSet<_> = found.into_iter().filter_map(|it| it.id).collect();
        let wanted: BTreeSet<_> = wanted.iter().map(|&id| id.clone()).collect();
        ensure!(found == wanted, "{filter}={value} found {found:?}, wanted {wanted:?}");
    }
    Ok(())
}

/// Everything a service can say of its containers, its restarts and its updates.
fn in_full(spec: &mut ServiceSpec) {
    let seconds = |seconds| Some(nanos(Duration::from_secs(seconds)));
    let container = container_of(spec);
    container.command = Some(vec!["/e2e".into()]);
    container.env = Some(vec!["A=1".into(), "B=2".into()]);
    container.hosts = Some(vec!["10.9.8.7 other".into()]);
    container.hostname = Some("its-name".into());
    container.labels = Some([("what".to_owned(), "container".to_owned())].into());
    (container.dir, container.user) = (Some("/work".into()), Some("0".into()));
    (container.stop_signal, container.stop_grace_period) = (Some("SIGINT".into()), seconds(2));
    let nameservers = Some(vec!["10.9.8.7".into()]);
    let search = Some(vec!["example.test".into()]);
    container.dns_config = Some(TaskSpecContainerSpecDnsConfig { nameservers, search, ..Default::default() });
    task_of(spec).restart_policy = Some(TaskSpecRestartPolicy {
        condition: Some(TaskSpecRestartPolicyConditionEnum::ON_FAILURE),
        delay: seconds(1),
        max_attempts: Some(4),
        ..Default::default()
    });
    spec.update_config = Some(ServiceSpecUpdateConfig {
        parallelism: Some(2),
        delay: seconds(200),
        failure_action: Some(ServiceSpecUpdateConfigFailureActionEnum::CONTINUE),
        monitor: seconds(2),
        max_failure_ratio: Some(0.25),
        order: Some(ServiceSpecUpdateConfigOrderEnum::STOP_FIRST),
    });
    spec.rollback_config = Some(ServiceSpecRollbackConfig {
        parallelism: Some(3),
        delay: seconds(300),
        failure_action: Some(ServiceSpecRollbackConfigFailureActionEnum::PAUSE),
        monitor: seconds(3),
        max_failure_ratio: Some(0.5),
        order: Some(ServiceSpecRollbackConfigOrderEnum::START_FIRST),
    });
}

/// A service is told as it was asked for: nothing of what was sent is missing or another, while it runs so.
async fn inspect(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).constraint("node.role==manager").published().with(in_full);
    let sent = serde_json::to_value(service.spec())?;
    let service = service.create().await?;
    service.running(2).await?;
    let found = service.inspect().await?;
    ensure!(found.id.as_ref() == Some(&service.id), "its id is told as {:?}", found.id);
    let version = found.version.and_then(|version| version.index).unwrap_or_default();
    ensure!(version > 0 && found.created_at.is_some() && found.updated_at.is_some(), "no version or times: {version}");
    as_sent("Spec", &sent, &serde_json::to_value(found.spec)?)
}

/// Whether what is told has all that was sent, and not otherwise.
pub(crate) fn as_sent(at: &str, sent: &Value, told: &Value) -> Result<()> {
    missing(at, sent, told).map_or(Ok(()), |difference| bail!(difference))
}

/// What of a value is not in another that may have more.
fn missing(at: &str, sent: &Value, told: &Value) -> Option<String> {
    match (sent, told) {
        (Value::Object(sent), Value::Object(told)) => sent
            .iter()
            .find_map(|(key, value)| missing(&format!("{at}.{key}"), value, told.get(key).unwrap_or(&Value::Null))),
        (Value::Array(sent), Value::Array(told)) if sent.len() == told.len() => {
            sent.iter().zip(told).find_map(|(sent, told)| missing(at, sent, told))
        }
        _ => (sent != told).then(|| format!("{at} was {sent}, and is told as {told}")),
    }
}

/// Labels of a service are added, changed and taken away without touching its tasks.
async fn labels(t: Test) -> Result<()> {
    let service = t.service("web").create().await?;
    let before = service.running(1).await?;
    let (one, two, other) = (("a", "1"), ("b", "1"), ("a", "2"));
    for added in [&[one][..], &[one, two], &[other, two], &[other], &[], &[one]] {
        let mut wanted = t.labels();
        wanted.extend(added.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        service.update(|spec| spec.labels = Some(wanted.clone())).await?;
        let labels = service.inspect().await?.spec.and_then(|spec| spec.labels).unwrap_or_default();
        ensure!(labels == wanted, "wanted {added:?} besides the suite's, it has {labels:?}");
    }
    ensure!(service.running(1).await?[0].id == before[0].id, "its task was replaced");
    Ok(())
}

/// Two services of one name are refused, and the refusal says so.
async fn name_taken(t: Test) -> Result<()> {
    let first = t.service("web").replicas(0).create().await?;
    let again = t.service("web").replicas(0).with(|spec| spec.name = Some(first.name.clone())).create().await;
    refusal(again.map(|_| ()), 409, &format!("name conflicts with an existing object: service {} already", first.name))
}

/// How long a network that no service is on any more may be in use by tasks that are on their way out.
const NETWORK_FREE_WITHIN: Duration = Duration::from_secs(20);

/// The name of a service that was removed can be had again at once, on the same network, which can be removed after
/// the last.
async fn name_used_again(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let name = t.name("again");
    for replicas in [1, 4] {
        let service = t.service("again").on(&network).replicas(replicas).with(|spec| spec.name = Some(name.clone()));
        let service = service.create().await?;
        service.running(replicas as usize).await?;
        service.remove().await?;
    }
    t.until("the network is removed", NETWORK_FREE_WITHIN, || async {
        Ok(t.docker().remove_network(&network.id).await?)
    })
    .await?;
    t.until("it is gone", NETWORK_FREE_WITHIN, || async {
        let found = t.docker().inspect_network(&network.id, None).await.map(|_| ());
        refusal(found.map_err(Into::into), 404, "not found")
    })
    .await
}

/// A service is known by its name as by its id, is scaled by it, and cannot be renamed.
async fn by_name(t: Test) -> Result<()> {
    let service = t.service("web").create().await?;
    service.running(1).await?;
    let found = t.docker().inspect_service(&service.name, None).await.context("it is not found by its name")?;
    ensure!(found.id.as_ref() == Some(&service.id), "by its name {:?} is found", found.id);
    let version = i32::try_from(found.version.and_then(|version| version.index).unwrap_or_default())?;
    let spec = found.spec.unwrap_or_default();
    let options = UpdateServiceOptions { version, ..Default::default() };
    let renamed = ServiceSpec { name: Some(t.name("other")), ..spec.clone() };
    let end = t.docker().update_service(&service.name, renamed, options.clone(), None).await;
    refusal(end.map(|_| ()).map_err(Into::into), 501, "renaming services is not supported")?;
    let scaled = ServiceSpec { mode: Some(replicated(2)), ..spec };
    t.docker().update_service(&service.name, scaled, options, None).await.context("it is not updated by its name")?;
    service.running(2).await.map(|_| ())
}

/// What no service can be is refused when it is created, with the reason.
async fn refused(t: Test) -> Result<()> {
    type Change = Box<dyn Fn(&mut ServiceSpec) + Send + Sync>;
    // A port of the swarm's own choice: no other run has it, and neither could have it twice.
    let port = t.service("holder").replicas(0).published().create().await?.port().await?;
    let twice = move |spec: &mut ServiceSpec| {
        let port =
            EndpointPortConfig { target_port: Some(80), published_port: Some(port.into()), ..Default::default() };
        spec.endpoint_spec = Some(EndpointSpec { ports: Some(vec![port; 2]), ..Default::default() });
    };
    let cases: [(Change, u16, &str); 6] = [
        (Box::new(|spec| spec.name = Some("no name at all".into())), 400, "name must be valid as a DNS name component"),
        (Box::new(|spec| container_of(spec).image = None), 400, "ContainerSpec: image reference must be provided"),
        (
            Box::new(|spec| {
                task_of(spec).placement.get_or_insert_default().constraints = Some(vec!["node.id".into()]);
            }),
            // Swarmkit gives this error no code.
            500,
            "constraint expected one operator from ==, !=",
        ),
        (Box::new(twice), 400, "EndpointSpec: duplicate published ports provided"),
        (
            Box::new(|spec| spec.update_config.get_or_insert_default().delay = Some(-1)),
            400,
            "update-delay cannot be negative",
        ),
        (
            Box::new(|spec| {
                let replicated = Some(ServiceSpecModeReplicated { replicas: Some(-1) });
                spec.mode = Some(ServiceSpecMode { replicated, ..Default::default() });
            }),
            400,
            "cannot unmarshal number -1 into Go struct field",
        ),
    ];
    let mut wrong = Vec::new();
    for (change, status, words) in cases {
        let end = t.service("bad").replicas(0).with(change).create().await.map(|_| ());
        wrong.extend(refusal(end, status, words).err().map(|error| format!("{error:#}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// The list of services tells of each how many tasks are wanted and run, when asked to, and only then.
async fn status(t: Test) -> Result<()> {
    let (one, two) = tokio::try_join!(t.service("one").create(), t.service("two").replicas(2).create())?;
    tokio::try_join!(one.running(1), two.running(2))?;
    let list = async |status| {
        let filters = Some([("label".to_owned(), t.ours())].into());
        Ok::<_, anyhow::Error>(t.docker().list_services(Some(ListServicesOptions { filters, status })).await?)
    };
    t.until("the list says that all run", TASKS_WITHIN, || async {
        let told = list(Some(true)).await?.into_iter().map(|it| {
            let status = it.service_status.unwrap_or_default();
            (it.id.unwrap_or_default(), (status.running_tasks, status.desired_tasks))
        });
        let told: BTreeMap<_, _> = told.collect();
        let all = |count| (Some(count), Some(count));
        ensure!(told == [(one.id.clone(), all(1)), (two.id.clone(), all(2))].into(), "it says {told:?}");
        Ok(())
    })
    .await?;
    let unasked = list(None).await?;
    ensure!(unasked.len() == 2 && unasked.iter().all(|it| it.service_status.is_none()), "unasked it says {unasked:?}");
    Ok(())
}

/// Tasks are found by service, the beginning of their name, node and desired state.
async fn tasks_filter(t: Test) -> Result<()> {
    let nodes = t.usable().await?.len();
    let everywhere = t.service("everywhere").global().create().await?;
    let service = t.service("web").replicas(2).create().await?;
    let tasks = service.running(2).await?;
    everywhere.running(nodes).await?;
    let node = tasks[0].node_id.clone().unwrap_or_default();
    let there = tasks.iter().filter(|it| it.node_id.as_ref() == Some(&node)).count();
    for (filter, value, wanted) in [
        ("name", service.name.clone(), 2),
        ("name", service.name.chars().take(12).collect(), 2),
        ("name", format!("{}.1", service.name), 1),
        ("name", everywhere.name.clone(), 0),
        ("node", node.clone(), there),
        ("desired-state", "running".into(), 2),
        ("desired-state", "shutdown".into(), 0),
        ("id", tasks[1].id.clone().unwrap_or_default(), 1),
        ("label", t.ours().remove(0), 2),
    ] {
        let mut filters = std::collections::HashMap::from([("service".to_owned(), vec![service.id.clone()])]);
        filters.insert(filter.to_owned(), vec![value.clone()]);
        let found = t.docker().list_tasks(Some(ListTasksOptions { filters: Some(filters) })).await?.len();
        ensure!(found == wanted, "{filter}={value} found {found} tasks, wanted {wanted}");
    }
    for (name, wanted) in [(&service.name, there), (&everywhere.name, 1), (&t.name("nobody"), 0)] {
        let filters = [("node", &node), ("name", name)].map(|(key, value)| (key.to_owned(), vec![value.clone()]));
        let found = t.docker().list_tasks(Some(ListTasksOptions { filters: Some(filters.into()) })).await?.len();
        ensure!(found == wanted, "node={node} and name={name} found {found} tasks, wanted {wanted}");
    }
    Ok(())
}

/// Whether something was refused with this status and these words.
pub(crate) fn refusal(end: Result<()>, status: u16, words: &str) -> Result<()> {
    let Err(error) = end else { anyhow::bail!("what should be refused with {words:?} was accepted") };
    match error.downcast_ref::<Error>() {
        Some(Error::DockerResponseServerError { status_code, message }) => {
            let right = *status_code == status && message.contains(words);
            ensure!(right, "refused with {status_code} {message:?}, wanted {status} with {words:?}");
            Ok(())
        }
        _ => Err(error.context("this is no refusal")),
    }
}
