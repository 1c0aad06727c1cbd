//! What the API says of services, tasks and nodes, and what it refuses. Nothing here waits for more than a task.

use anyhow::{Context as _, Result, ensure};
use bollard::{
    errors::Error,
    models::{EndpointPortConfig, EndpointSpec, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated},
    query_parameters::{ListServicesOptions, ListTasksOptions, UpdateServiceOptions},
};
use serde_json::Value;

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::service::{TASKS_WITHIN, container_of, task_of},
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

/// Services are found by name, label and mode.
async fn filter(t: Test) -> Result<()> {
    let label = t.name("label");
    let one = t.service("one").replicas(0).with(|spec| {
        spec.labels.get_or_insert_default().insert(label.clone(), "yes".into());
    });
    let one = one.create().await?;
    let nowhere = format!("node.labels.{}==yes", t.name("nowhere"));
    let two = t.service("two").global().constraint(&nowhere).create().await?;
    let both = [&one.id, &two.id];
    for (filter, value, wanted) in [
        ("name", one.name.clone(), &both[..1]),
        ("id", two.id.clone(), &both[1..]),
        ("label", label.clone(), &both[..1]),
        ("label", format!("{label}=yes"), &both[..1]),
        ("label", format!("{label}=no"), &[]),
        ("mode", "replicated".into(), &both[..1]),
        ("mode", "global".into(), &both[1..]),
    ] {
        let mut filters = std::collections::HashMap::from([("label".to_owned(), t.ours())]);
        filters.entry(filter.to_owned()).or_default().push(value.clone());
        let options = ListServicesOptions { filters: Some(filters), ..Default::default() };
        let found: Vec<_> = t.docker().list_services(Some(options)).await?.into_iter().filter_map(|it| it.id).collect();
        ensure!(found.iter().eq(wanted.iter().copied()), "{filter}={value} found {found:?}, wanted {wanted:?}");
    }
    Ok(())
}

/// A service is told as it was asked for: nothing of what was sent is missing or another.
async fn inspect(t: Test) -> Result<()> {
    let service = t.service("web").replicas(0).constraint("node.role==manager").published().with(|spec| {
        let container = container_of(spec);
        container.env = Some(vec!["A=1".into(), "B=2".into()]);
        container.hosts = Some(vec!["10.9.8.7 other".into()]);
        container.labels = Some([("what".to_owned(), "container".to_owned())].into());
        task_of(spec).restart_policy.get_or_insert_default().max_attempts = Some(4);
        spec.update_config.get_or_insert_default().parallelism = Some(3);
        spec.rollback_config.get_or_insert_default().parallelism = Some(2);
    });
    let sent = serde_json::to_value(service.spec())?;
    let service = service.create().await?;
    let told = serde_json::to_value(service.inspect().await?.spec)?;
    if let Some(difference) = missing("Spec", &sent, &told) {
        anyhow::bail!("{difference}");
    }
    Ok(())
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
    for value in [Some("1"), Some("2"), None] {
        service
            .update(|spec| {
                let labels = spec.labels.get_or_insert_default();
                labels.remove("changing");
                labels.extend(value.map(|value| ("changing".to_owned(), value.to_owned())));
            })
            .await?;
        let labels = service.inspect().await?.spec.and_then(|spec| spec.labels).unwrap_or_default();
        ensure!(labels.get("changing").map(String::as_str) == value, "wanted {value:?}, it has {labels:?}");
    }
    ensure!(service.running(1).await?[0].id == before[0].id, "its task was replaced");
    Ok(())
}

/// Two services of one name are refused, and the refusal says so.
async fn name_taken(t: Test) -> Result<()> {
    let first = t.service("web").replicas(0).create().await?;
    let again = t.service("web").replicas(0).with(|spec| spec.name = Some(first.name.clone())).create().await;
    refusal(again.map(|_| ()), 409, "name conflicts")
}

/// The name of a service that was removed can be had again at once, on the same network.
async fn name_used_again(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let name = t.name("again");
    for _ in 0..3 {
        let service = t.service("again").on(&network).with(|spec| spec.name = Some(name.clone())).create().await?;
        service.running(1).await?;
        t.docker().delete_service(&service.id).await.context("cannot remove the service")?;
    }
    Ok(())
}

/// A service is known by its name as by its id, and cannot be renamed.
async fn by_name(t: Test) -> Result<()> {
    let service = t.service("web").replicas(0).create().await?;
    let found = t.docker().inspect_service(&service.name, None).await.context("it is not found by its name")?;
    ensure!(found.id.as_ref() == Some(&service.id), "by its name {:?} is found", found.id);
    let version = i32::try_from(found.version.and_then(|version| version.index).unwrap_or_default())?;
    let spec = found.spec.unwrap_or_default();
    let options = UpdateServiceOptions { version, ..Default::default() };
    let renamed = ServiceSpec { name: Some(t.name("other")), ..spec.clone() };
    let end = t.docker().update_service(&service.name, renamed, options.clone(), None).await;
    refusal(end.map(|_| ()).map_err(Into::into), 501, "renaming services is not supported")?;
    t.docker().update_service(&service.name, spec, options, None).await.context("it is not updated by its name")?;
    Ok(())
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
    let cases: [(Change, &str); 6] = [
        (Box::new(|spec| spec.name = Some("no name at all".into())), "name must be valid"),
        (Box::new(|spec| container_of(spec).image = None), "image reference must be provided"),
        (
            Box::new(|spec| {
                task_of(spec).placement.get_or_insert_default().constraints = Some(vec!["node.id".into()]);
            }),
            "constraint",
        ),
        (Box::new(twice), "duplicate published ports"),
        (Box::new(|spec| spec.update_config.get_or_insert_default().delay = Some(-1)), "cannot be negative"),
        (
            Box::new(|spec| {
                let replicated = Some(ServiceSpecModeReplicated { replicas: Some(-1) });
                spec.mode = Some(ServiceSpecMode { replicated, ..Default::default() });
            }),
            "",
        ),
    ];
    let mut wrong = Vec::new();
    for (change, words) in cases {
        let end = t.service("bad").replicas(0).with(change).create().await.map(|_| ());
        wrong.extend(refusal(end, ANY, words).err().map(|error| format!("{error:#}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// The list of services tells how many tasks are wanted and run, when asked to.
async fn status(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).create().await?;
    service.running(2).await?;
    t.until("the list says that two of two run", TASKS_WITHIN, || async {
        let filters = Some([("id".to_owned(), vec![service.id.clone()])].into());
        let listed = t.docker().list_services(Some(ListServicesOptions { filters, status: Some(true) })).await?;
        let status = listed.into_iter().next().and_then(|it| it.service_status).context("it says nothing")?;
        ensure!(status.running_tasks == Some(2) && status.desired_tasks == Some(2), "it says {status:?}");
        Ok(())
    })
    .await
}

/// Tasks are found by service, name, node and desired state.
async fn tasks_filter(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).create().await?;
    let tasks = service.running(2).await?;
    let node = tasks[0].node_id.clone().unwrap_or_default();
    let there = tasks.iter().filter(|it| it.node_id.as_ref() == Some(&node)).count();
    for (filter, value, wanted) in [
        ("name", service.name.clone(), 2),
        ("node", node, there),
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
    Ok(())
}

/// For refusals whose status is not the same in all engines.
pub(crate) const ANY: u16 = 0;

/// Whether something was refused with this status and these words.
pub(crate) fn refusal(end: Result<()>, status: u16, words: &str) -> Result<()> {
    let Err(error) = end else { anyhow::bail!("what should be refused with {words:?} was accepted") };
    match error.downcast_ref::<Error>() {
        Some(Error::DockerResponseServerError { status_code, message }) => {
            let right = (*status_code == status || status == ANY) && message.contains(words);
            ensure!(right, "refused with {status_code} {message:?}, wanted {status} with {words:?}");
            Ok(())
        }
        _ => Err(error.context("this is no refusal")),
    }
}
