//! Conditions as kstatus reads them: `Ready`, `Reconciling` and `Stalled` on a cluster,
//! `Complete` and `Failed` on a run, each with the generation it speaks of.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::text;

/// The conditions of an object, as status carries them.
pub type Conditions = Vec<Condition>;

/// Condition types.
pub mod type_ {
    /// The object is as its spec asks for.
    pub const READY: &str = "Ready";
    /// The operator is working towards the spec.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing will change until a person changes something; the message says what.
    pub const STALLED: &str = "Stalled";
    /// Every slot has an instance.
    pub const LAUNCHED: &str = "Launched";
    /// Every instance is a node of the swarm.
    pub const JOINED: &str = "Joined";
    /// The run ended and every case passed or was skipped.
    pub const COMPLETE: &str = "Complete";
    /// The run ended otherwise.
    pub const FAILED: &str = "Failed";
}

/// Reasons, in the order a person meets them.
pub mod reason {
    /// Instances are being launched.
    pub const LAUNCHING: &str = "Launching";
    /// Instances exist, and their engines do not answer yet.
    pub const BOOTING: &str = "Booting";
    /// An instance did not become an engine within `spec.bootTimeout`, and is replaced.
    pub const BOOT_FAILED: &str = "BootFailed";
    /// An instance ended that nobody of us ended, and is replaced.
    pub const INSTANCE_ENDED: &str = "InstanceEnded";
    /// `connectTo` is `Public`, and an instance has no public address.
    pub const NO_PUBLIC_ADDRESS: &str = "NoPublicAddress";
    /// Neither the spec nor the operator says who may reach the hosts.
    pub const NO_ACCESS_CIDRS: &str = "NoAccessCIDRs";
    /// Nodes are being joined to the swarm.
    pub const JOINING: &str = "Joining";
    /// Machines give way to others, since the spec asks for other ones now.
    pub const UPDATING: &str = "Updating";
    /// Everything the spec asks for is there.
    pub const READY: &str = "ClusterReady";
    /// The cluster was ready, and a node is not any more.
    pub const NODE_NOT_READY: &str = "NodeNotReady";
    /// A host that was an engine is not well, and is replaced.
    pub const HOST_UNHEALTHY: &str = "HostUnhealthy";
    /// EC2 takes a spot instance back, and another one takes its place.
    pub const SPOT_INTERRUPTION: &str = "SpotInterruption";
    /// Somebody votes among the managers who is no host of the cluster, or too few of them answer
    /// for one more to fail.
    pub const VOTERS: &str = "VotersDiffer";
    /// No manager answers for a majority.
    pub const NO_QUORUM: &str = "NoQuorum";
    /// The swarm is lost for good, and is made anew.
    pub const SWARM_LOST: &str = "SwarmLost";
    /// `spec.paused` is set.
    pub const PAUSED: &str = "Paused";
    /// The object is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The cluster is deleted soon, for its ttl is nearly over.
    pub const EXPIRES_SOON: &str = "ExpiresSoon";
    /// Something in the cloud is left of a cluster that is gone.
    pub const LEFT_BEHIND: &str = "LeftBehind";
    /// Something of the cluster is used by what is not the cluster's, and cannot be removed.
    pub const IN_USE: &str = "InUse";
    /// The cloud says the spec cannot be served (no such AMI, a bad parameter).
    pub const INVALID_SPEC: &str = "InvalidConfiguration";
    /// The cloud refuses a call for want of a permission.
    pub const UNAUTHORIZED: &str = "Unauthorized";
    /// The account's quota is used up.
    pub const QUOTA: &str = "QuotaExceeded";
    /// None of the instance types has capacity now.
    pub const NO_CAPACITY: &str = "InsufficientCapacity";
    /// The cloud asks to slow down.
    pub const THROTTLED: &str = "Throttled";
    /// The cloud failed or cannot be reached.
    pub const CLOUD_ERROR: &str = "CloudError";
    /// A host or its engine refused an operation.
    pub const HOST_ERROR: &str = "HostError";
    /// The machines are in a swarm that is not as the spec says: it is not adopted.
    pub const SWARM_DIFFERS: &str = "SwarmDiffers";

    /// The run waits for its cluster.
    pub const WAITING_FOR_CLUSTER: &str = "WaitingForCluster";
    /// Other runs have the cluster, or were there first.
    pub const QUEUED: &str = "Queued";
    /// Another run of the same `spec.dedupeKey` is run for this one.
    pub const DEDUPLICATED: &str = "Deduplicated";
    /// The cluster that the run makes cannot be made, or will not become ready by itself.
    pub const CLUSTER_FAILED: &str = "ClusterFailed";
    /// The name of the cluster that the run makes is somebody else's.
    pub const CLUSTER_NAME_TAKEN: &str = "ClusterNameTaken";
    /// The cluster that the run made is kept, as its spec says.
    pub const CLUSTER_KEPT: &str = "ClusterKept";
    /// The cluster that the run made is deleted, as its spec says.
    pub const CLUSTER_DELETED: &str = "ClusterDeleted";
    /// What the run's environment is made of is not there. Kubernetes' own word for it, of a container of a pod.
    pub const CONFIG_MISSING: &str = "CreateContainerConfigError";
    /// The run's image is being brought to the nodes.
    pub const PULLING_IMAGE: &str = "PullingImage";
    /// The run's container runs.
    pub const RUNNING: &str = "Running";
    /// Every case passed or was skipped.
    pub const PASSED: &str = "CasesPassed";
    /// The run's container was told to end.
    pub const STOPPING: &str = "Stopping";
    /// The run is begun again, as `spec.retries` says.
    pub const RETRYING: &str = "Retrying";
    /// At least one case failed.
    pub const CASES_FAILED: &str = "CasesFailed";
    /// Cases failed that are in quarantine, and made nothing red.
    pub const QUARANTINED: &str = "CasesQuarantined";
    /// The image cannot be had.
    pub const IMAGE_UNAVAILABLE: &str = "ImageUnavailable";
    /// The container ended without results.
    pub const NO_RESULTS: &str = "NoResults";
    /// No case was run: there was none, or all were skipped.
    pub const NO_CASES: &str = "NoCasesRun";
    /// The container ended badly, and no case of it failed.
    pub const CONTAINER_FAILED: &str = "ContainerFailed";
    /// A process in the container was killed for want of memory, and no case failed. Kubernetes' own word for it.
    pub const OOM_KILLED: &str = "OOMKilled";
    /// Somebody removed the container, or its machine, and its results with it.
    pub const CONTAINER_LOST: &str = "ContainerLost";
    /// `spec.timeout` passed.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// `spec.pendingTimeout` passed before the container started.
    pub const PENDING_TIMEOUT: &str = "PendingTimeoutExceeded";
    /// `spec.cancel` was set, or the run was deleted.
    pub const CANCELLED: &str = "Cancelled";
    /// A host, its engine or the way to it failed: nothing is said of the tests.
    pub const INFRASTRUCTURE: &str = "InfrastructureFailed";
    /// The results cannot be kept in Kubernetes.
    pub const NOT_KEPT: &str = "ResultsNotKept";
    /// The container of a run that ended could not be removed.
    pub const CONTAINER_LEFT: &str = "ContainerLeft";
    /// The schedule makes runs when they are due.
    pub const SCHEDULED: &str = "Scheduled";
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
    /// A run is due, and waits until the one before it has ended, for `concurrencyPolicy` is `Forbid`.
    pub const RUN_ACTIVE: &str = "RunAlreadyActive";
    /// A run that is to be made is refused by the API server.
    pub const RUN_NOT_MADE: &str = "RunNotMade";
    /// A run was made.
    pub const RUN_CREATED: &str = "RunCreated";
    /// A run was not made in time.
    pub const MISSED: &str = "MissedSchedule";
    /// All runs of a matrix passed.
    pub const RUNS_PASSED: &str = "RunsPassed";
    /// At least one run of a matrix failed.
    pub const RUNS_FAILED: &str = "RunsFailed";

    /// Several shards of a run have run the same case: the image does not divide its cases.
    pub const SHARDS_OVERLAP: &str = "ShardsOverlap";

    /// The cluster was deleted.
    pub const CLUSTER_GONE: &str = "ClusterGone";
}

/// A condition that holds from `now` on.
#[must_use]
pub fn condition(
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: bounded(message),
        observed_generation: generation,
        last_transition_time: Time(now),
    }
}

/// Puts `new` among `conditions`; the transition time moves only when the status does.
pub fn set(conditions: &mut Conditions, mut new: Condition) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Whether the condition is there and true.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|c| c.type_ == type_ && c.status == "True")
}

/// The API server accepts condition messages of at most 32,768 characters
/// (`metav1.Condition`); a person reads far fewer.
fn bounded(message: &str) -> String {
    text::line(message, 1024)
}

/// A message as an Event carries it: `events.k8s.io/v1` takes notes of at most 1,024 bytes.
#[must_use]
pub fn event_note(message: &str) -> String {
    text::line_of_bytes(message, 1024)
}

#[cfg(test)]
mod tests {
    use super::event_note;

    #[test]
    fn a_note_has_at_most_the_bytes_that_an_event_takes() {
        assert_eq!(event_note("four"), "four");
        for cases in [1, 12, 400] {
            assert!(event_note(&format!("x{}", "é".repeat(100 * cases))).len() <= 1024, "{cases}");
        }
    }
}
