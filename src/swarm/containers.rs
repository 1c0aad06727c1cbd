//! Containers: the ones the runs are made of.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use bollard::{
    body_full,
    errors::Error,
    models::{
        ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptions,
        ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
        StopContainerOptionsBuilder, UploadToContainerOptionsBuilder, WaitContainerOptions,
    },
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::{ENDLESS, Engine, QUICK, SwarmError, WORK};

/// What to make a container of. It is never restarted, and its log is bounded.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// The image, which is there.
    pub image: String,
    /// Arguments in place of the image's own; empty for those.
    pub args: Vec<String>,
    /// `NAME=value` each. Not shown: people put tokens into variables.
    pub env: Vec<String>,
    /// Labels to find it by.
    pub labels: BTreeMap<String, String>,
    /// Share the host's network.
    pub host_network: bool,
    /// Paths of the host, `source:target` each.
    pub binds: Vec<String>,
    /// Where anonymous volumes go: they are empty, whatever the image has there, outlive the container's
    /// processes and end with it.
    pub volumes: Vec<String>,
    /// The most processors it may use, in billionths of one.
    pub nano_cpus: Option<i64>,
    /// The most memory it may use, in bytes. It has no swap beside it then.
    pub memory: Option<i64>,
}

impl fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerSpec").field("name", &self.name).field("image", &self.image).finish_non_exhaustive()
    }
}

/// A container in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Docker's word for its state: `created`, `running`, `exited`, ….
    pub state: String,
}

/// A container, looked at closely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// What it exited with; 0 while it has not.
    pub exit_code: i64,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Why it did not start, in the engine's words; empty where it did.
    pub error: String,
    /// When it started, if it did.
    pub started_at: Option<Timestamp>,
    /// When it ended, if it did.
    pub finished_at: Option<Timestamp>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The words of its program and its arguments, whoever gave them.
    pub started: Vec<String>,
}

impl Engine {
    /// Every container with a label of this value, running or not.
    pub async fn containers(&self, label: &str, value: &str) -> Result<Vec<ContainerSummary>, SwarmError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{label}={value}")])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.within(QUICK).list_containers(Some(options)).await?;
        Ok(found
            .into_iter()
            .map(|c| ContainerSummary {
                id: c.id.unwrap_or_default(),
                name: plain(c.names.unwrap_or_default().into_iter().next()),
                labels: c.labels.unwrap_or_default().into_iter().collect(),
                state: c.state.map(|s| s.to_string()).unwrap_or_default(),
            })
            .collect())
    }

    /// Makes a container. Its id.
    pub async fn create(&self, spec: ContainerSpec) -> Result<String, SwarmError> {
        let log = [("max-size", "20m"), ("max-file", "5")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let body = ContainerCreateBody {
            image: Some(spec.image),
            cmd: Some(spec.args).filter(|a| !a.is_empty()),
            env: Some(spec.env),
            labels: Some(spec.labels.into_iter().collect()),
            host_config: Some(HostConfig {
                binds: Some(spec.binds),
                mounts: Some(spec.volumes.into_iter().map(volume).collect()),
                nano_cpus: spec.nano_cpus,
                memory: spec.memory,
                memory_swap: spec.memory,
                network_mode: spec.host_network.then(|| "host".to_owned()),
                log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log.into()) }),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::NO),
                    maximum_retry_count: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        Ok(self.within(WORK).create_container(Some(options), body).await?.id)
    }

    /// Lets every user of a container write into a folder of it: the root of a volume is its engine's
    /// user's alone. To be done before it starts; done again, it is as it was.
    pub async fn open_folder(&self, id: &str, path: &str) -> Result<(), SwarmError> {
        let tar = open_folder(path).map_err(|e| SwarmError::Refused(format!("{path} is no path of a folder: {e}")))?;
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        Ok(self.within(WORK).upload_to_container(id, Some(options), body_full(tar.into())).await?)
    }

    /// Starts a container. One that runs is fine.
    pub async fn start(&self, id: &str) -> Result<(), SwarmError> {
        Ok(self.within(WORK).start_container(id, None::<StartContainerOptions>).await?)
    }

    /// Looks at a container.
    pub async fn inspect(&self, id: &str) -> Result<Container, SwarmError> {
        let found = self.within(QUICK).inspect_container(id, None::<InspectContainerOptions>).await?;
        let state = found.state.unwrap_or_default();
        let config = found.config.unwrap_or_default();
        Ok(Container {
            id: found.id.unwrap_or_default(),
            name: plain(found.name),
            running: state.running.unwrap_or_default(),
            exit_code: state.exit_code.unwrap_or_default(),
            oom_killed: state.oom_killed.unwrap_or_default(),
            error: state.error.unwrap_or_default(),
            started_at: moment(state.started_at.as_deref()),
            finished_at: moment(state.finished_at.as_deref()),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            started: [config.entrypoint, config.cmd].into_iter().flatten().flatten().collect(),
        })
    }

    /// Waits until a container does not run (any more). What it exited with.
    pub async fn wait(&self, id: &str) -> Result<i64, SwarmError> {
        let mut answer = Box::pin(self.within(ENDLESS).wait_container(id, None::<WaitContainerOptions>));
        match answer.next().await {
            Some(Ok(done)) => Ok(done.status_code),
            // The Docker client takes every exit code but 0 for an error.
            Some(Err(Error::DockerContainerWaitError { error, code })) if error.is_empty() => Ok(code),
            Some(Err(Error::DockerContainerWaitError { error, .. })) => Err(SwarmError::Refused(error)),
            Some(Err(error)) => Err(error.into()),
            None => Err(SwarmError::Unreachable("the answer was cut off".to_owned())),
        }
    }

    /// What a container wrote, both streams as they came; from a moment on, and for as long as it runs if asked.
    pub fn logs(
        &self,
        id: &str,
        follow: bool,
        since: Option<Timestamp>,
    ) -> impl Stream<Item = Result<Bytes, SwarmError>> + Send + Unpin + use<> {
        // Docker counts from 0 for "all of it", and in whole seconds.
        let since = since.map_or(0, |t| i32::try_from(t.as_second()).unwrap_or(i32::MAX));
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(follow).since(since).build();
        let lines = self.stream(ENDLESS, |docker| docker.logs(id, Some(options)));
        lines.map_ok(bollard::container::LogOutput::into_bytes)
    }

    /// The same for a person, who may want the time of each line.
    pub fn log_lines(
        &self,
        id: &str,
        follow: bool,
        since: Option<Timestamp>,
        timestamps: bool,
    ) -> impl Stream<Item = Result<Bytes, SwarmError>> + Send + Unpin + use<> {
        let since = since.map_or(0, |t| i32::try_from(t.as_second()).unwrap_or(i32::MAX));
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true);
        let options = options.follow(follow).since(since).timestamps(timestamps).build();
        let lines = self.stream(ENDLESS, |docker| docker.logs(id, Some(options)));
        lines.map_ok(bollard::container::LogOutput::into_bytes)
    }

    /// The last lines a container wrote, without going through those before.
    pub fn last_lines(
        &self,
        id: &str,
        lines: u32,
    ) -> impl Stream<Item = Result<Bytes, SwarmError>> + Send + Unpin + use<> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let lines = self.stream(ENDLESS, |docker| docker.logs(id, Some(options)));
        lines.map_ok(bollard::container::LogOutput::into_bytes)
    }

    /// Stops a container: asked first, then killed. One that does not run is fine.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), SwarmError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        Ok(self.within(grace + WORK).stop_container(id, Some(options)).await?)
    }

    /// Removes a container with its anonymous volumes, running or not. One that is not there is fine.
    pub async fn remove_container(&self, id: &str) -> Result<(), SwarmError> {
        let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
        match self.within(WORK).remove_container(id, Some(options)).await.map_err(SwarmError::from) {
            Err(SwarmError::NotFound(_)) => Ok(()),
            // Somebody else removes it at this moment.
            Err(SwarmError::Conflict(words)) if words.contains("already in progress") => Ok(()),
            other => other,
        }
    }

    /// A file or directory of a container as a tar archive, piece by piece: it may be of any size.
    pub fn archive(
        &self,
        id: &str,
        path: &str,
    ) -> impl Stream<Item = Result<Bytes, SwarmError>> + Send + Unpin + use<> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        self.stream(WORK, |docker| docker.download_from_container(id, Some(options)))
    }
}

/// An anonymous volume.
fn volume(target: String) -> Mount {
    Mount {
        target: Some(target),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

/// An archive of nothing but a folder that everybody may write into, as of `/`. Engines leave a
/// folder that is there as it is, but for its owner and mode; of `.` they would leave these too.
fn open_folder(path: &str) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o1777);
    header.set_size(0);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, path.trim_start_matches('/'), std::io::empty())?;
    tar.into_inner()
}

/// Docker puts a slash before names.
fn plain(name: Option<String>) -> String {
    name.unwrap_or_default().trim_start_matches('/').to_owned()
}

/// Docker's "never" is the year 1.
fn moment(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|t| t.parse::<Timestamp>().ok()).filter(|t| t.as_second() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opened_folder_is_one_entry_that_everybody_may_write_into() {
        for path in ["/results", "/srv/e2e/results"] {
            let tar = open_folder(path).unwrap();
            let mut archive = tar::Archive::new(tar.as_slice());
            let entries: Vec<_> = archive.entries().unwrap().map(Result::unwrap).collect();
            let [entry] = entries.as_slice() else { panic!("{path}: {} entries", entries.len()) };
            assert_eq!(entry.header().mode().unwrap(), 0o1777);
            assert!(entry.header().entry_type().is_dir());
            assert_eq!(entry.path().unwrap().to_str(), Some(&path[1..]));
        }
    }
}
