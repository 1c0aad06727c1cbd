//! What a task says about itself. Pure.

use bollard::models::{Task, TaskState};

use crate::{cluster::Cluster, harness::until::Never};

/// The state a task is in.
pub(crate) fn state(task: &Task) -> Option<TaskState> {
    task.status.as_ref()?.state
}

/// The state the orchestrator wants it in.
pub(crate) fn wanted(task: &Task) -> bool {
    task.desired_state == Some(TaskState::RUNNING)
}

/// Whether it runs and is meant to.
pub(crate) fn runs(task: &Task) -> bool {
    wanted(task) && state(task) == Some(TaskState::RUNNING)
}

/// The container's id.
pub(crate) fn container_id(task: &Task) -> Option<&str> {
    task.status.as_ref()?.container_status.as_ref()?.container_id.as_deref()
}

/// The container's id as its host name shows it.
pub(crate) fn container(task: &Task) -> Option<String> {
    Some(container_id(task)?.chars().take(12).collect())
}

/// What went wrong, in the words of the scheduler or the node.
pub(crate) fn error(task: &Task) -> Option<&str> {
    task.status.as_ref()?.err.as_deref().filter(|error| !error.is_empty())
}

/// How its program ended.
pub(crate) fn exit_code(task: &Task) -> Option<i64> {
    task.status.as_ref()?.container_status.as_ref()?.exit_code
}

/// One line for a person.
pub(crate) fn describe(cluster: &Cluster, task: &Task) -> String {
    let slot = task.slot.map_or_else(String::new, |slot| format!(".{slot}"));
    let id: String = task.id.as_deref().unwrap_or_default().chars().take(12).collect();
    let node = task.node_id.as_deref().filter(|id| !id.is_empty());
    let place = node.map_or_else(|| "on no node".to_owned(), |node| format!("on {}", cluster.hostname(node)));
    let state = state(task).map_or_else(|| "unknown".to_owned(), |state| state.to_string());
    let wanted = task.desired_state.map_or_else(|| "?".to_owned(), |state| state.to_string());
    let message = task.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or_default();
    let error = error(task).map_or_else(String::new, |error| format!(": {error}"));
    format!("task {id}{slot} {place}: {state}, wanted {wanted} ({message}){error}")
}

/// A reason never to wait for a task: its node has no such image, and no registry to get it from.
pub(crate) fn hopeless(cluster: &Cluster, tasks: &[Task]) -> Option<Never> {
    let task = tasks.iter().find(|task| error(task).is_some_and(|error| error.contains("No such image")))?;
    let node = cluster.hostname(task.node_id.as_deref().unwrap_or("its node"));
    Some(Never(format!(
        "node {node} has not got the image ({}); put it on every node first: \
         docker save {} | ssh NODE docker load, or kubectl testkit load",
        error(task).unwrap_or_default(),
        cluster.image
    )))
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerStatus, TaskStatus};

    use super::*;

    fn task(state: TaskState, wanted: TaskState) -> Task {
        let container_status =
            Some(ContainerStatus { container_id: Some("0123456789abcdef".into()), ..Default::default() });
        let status = TaskStatus { state: Some(state), container_status, ..Default::default() };
        Task { status: Some(status), desired_state: Some(wanted), ..Default::default() }
    }

    #[test]
    fn a_task_that_is_told_to_stop_does_not_count_as_running() {
        assert!(runs(&task(TaskState::RUNNING, TaskState::RUNNING)));
        assert!(!runs(&task(TaskState::RUNNING, TaskState::SHUTDOWN)));
        assert!(!runs(&task(TaskState::STARTING, TaskState::RUNNING)));
    }

    #[test]
    fn a_container_is_known_by_its_host_name() {
        assert_eq!(container(&task(TaskState::RUNNING, TaskState::RUNNING)).as_deref(), Some("0123456789ab"));
    }
}
