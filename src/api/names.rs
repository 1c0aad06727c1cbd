//! Names that other programs see: labels, tags, finalizer, Secret keys.

use sha2::{Digest, Sha256};

/// The API group of the custom resources.
pub const GROUP: &str = "testkit.dev";

/// The field manager of server-side apply, the reporter of Events and the value of
/// `app.kubernetes.io/managed-by` on everything the operator makes.
pub const MANAGER: &str = "testkit-operator";

/// The version of the program, and of the definitions of the custom resources that are made with it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The ConfigMap in the operator's namespace that says which version of it works.
pub const OPERATOR_VERSION: &str = "testkit-operator-version";

/// The finalizer that keeps an object until what it stands for outside of Kubernetes is gone.
pub const FINALIZER: &str = "testkit.dev/cleanup";

/// The annotation of a SwarmCluster that names slots to be left as they are, such as `m1,w0`.
pub const KEEP: &str = "testkit.dev/keep";

/// The annotation of a SwarmCluster that puts off the end of its ttl, such as `2026-12-24T18:00:00Z`.
pub const HOLD_UNTIL: &str = "testkit.dev/hold-until";

/// The annotation of a SwarmCluster with the runs that have a place on it (JSON): taken and given up against its version.
pub const RUNS: &str = "testkit.dev/runs";

/// The annotation of an E2ERun that a schedule made: the time it was due, such as `2026-12-24T03:00:00Z`.
pub const SCHEDULED_AT: &str = "testkit.dev/scheduled-at";

/// The finalizer that keeps a Secret with cloud credentials while a cluster needs it.
pub const CREDENTIALS_FINALIZER: &str = "testkit.dev/credentials";

/// Keys of labels on Kubernetes objects, Docker nodes and containers, and of EC2 tags.
pub mod label {
    /// The installation of the operator that owns a cloud object.
    pub const INSTALLATION: &str = "testkit.dev/installation";
    /// `namespace/name` of the SwarmCluster, for people.
    pub const CLUSTER: &str = "testkit.dev/cluster";
    /// The UID of the SwarmCluster: what ownership is decided by.
    pub const CLUSTER_UID: &str = "testkit.dev/cluster-uid";
    /// The slot, such as `m0` or `w1`.
    pub const SLOT: &str = "testkit.dev/slot";
    /// Which instance fills the slot, counted from 0.
    pub const INCARNATION: &str = "testkit.dev/incarnation";
    /// On a node that we told to give up its tasks: whether it took tasks before.
    pub const DRAINING: &str = "testkit.dev/draining";
    /// The UID of the E2ERun a container belongs to.
    pub const RUN_UID: &str = "testkit.dev/run-uid";
    /// `namespace/name` of the E2ERun, for people.
    pub const RUN: &str = "testkit.dev/run";
    /// What image a run's container was made of: what its registry knows it by, or its id.
    pub const IMAGE: &str = "testkit.dev/image-id";
    /// Which attempt of its run a container is, counted from 1; the first has none.
    pub const ATTEMPT: &str = "testkit.dev/attempt";
    /// On an image: how it is told which cases to run, as a tool's name or as the JSON of `spec.retries.filter`.
    pub const CASE_FILTER: &str = "testkit.dev/case-filter";
    /// The E2ESchedule that made an E2ERun, by name.
    pub const SCHEDULE: &str = "testkit.dev/schedule";
    /// The E2EMatrix that made an E2ERun, by name.
    pub const MATRIX: &str = "testkit.dev/matrix";
    /// Which suite an E2ERun is of, for the history of its cases; without it the image says.
    pub const SUITE: &str = "testkit.dev/suite";
    /// The E2ERun of whose shards an E2ERun is one, by name.
    pub const SHARD_OF: &str = "testkit.dev/shard-of";
    /// The E2ERun that an E2ERun repeats, by name; where that one repeats another, the first of them.
    pub const RERUN_OF: &str = "testkit.dev/rerun-of";
}

/// The name of the Secret with what the operator must not forget of the cluster of this name.
#[must_use]
pub fn journal_secret(cluster: &str) -> String {
    format!("{cluster}-journal")
}

/// The most characters of a SwarmCluster's name, as its own rule has it, and those of them that tell runs of one name apart.
const CLUSTER_NAME: (usize, usize) = (40, 8);
/// So many told them apart before: too few for a namespace of some hundred runs.
const EARLIER: usize = 5;

/// The name of the SwarmCluster that a run makes: the run's own as far as that may be the name of one, and a part of
/// the run's UID, so that a run which is made anew under its name does not meet the cluster of the one before. `told` is
/// the name that its status has: a cluster that was made under an earlier name of it keeps that.
#[must_use]
pub fn cluster_of_run(run: &str, uid: &str, told: Option<&str>) -> String {
    let earlier = cluster_by(run, uid, EARLIER);
    if told == Some(earlier.as_str()) { earlier } else { cluster_by(run, uid, CLUSTER_NAME.1) }
}

fn cluster_by(run: &str, uid: &str, digits: usize) -> String {
    let part: String = uid.chars().filter(char::is_ascii_alphanumeric).take(digits).collect();
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let mut name: String = run.chars().map(letter).collect();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert_str(0, "run-");
    }
    name.truncate(CLUSTER_NAME.0 - digits - 1);
    format!("{}-{}", name.trim_end_matches('-'), part.to_ascii_lowercase())
}

/// The most characters of a run's name, as its own rule has it, and those of them that tell names apart which are cut.
const RUN_NAME: (usize, usize) = (63, 8);

/// The name of the run that is a shard of this one, such as `nightly-2of4`.
#[must_use]
pub fn shard_of_run(run: &str, shard: super::Shard) -> String {
    let which = format!("-{}of{}", shard.index, shard.total);
    let room = RUN_NAME.0 - which.len();
    if run.len() <= room {
        return format!("{run}{which}");
    }
    let digest = Sha256::digest(run.as_bytes());
    let told: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let cut: String = run.chars().take(room - RUN_NAME.1 - 1).collect();
    format!("{}-{}{which}", cut.trim_end_matches(['-', '.']), &told[..RUN_NAME.1])
}

/// Keys of the Secrets `NAME-ssh` and `NAME-journal` of a cluster.
pub mod secret_key {
    /// The private key the operator and people log in with (OpenSSH format).
    pub const PRIVATE_KEY: &str = "ssh-privatekey";
    /// Its public half, one `authorized_keys` line.
    pub const PUBLIC_KEY: &str = "ssh-publickey";
    /// 32 random bytes every host key of the cluster is derived from.
    pub const HOST_SEED: &str = "host-seed";
    /// Host keys that were seen in place after rotation, as a `known_hosts` file.
    pub const KNOWN_HOSTS: &str = "known_hosts";
    /// The name that the line of the jump host has there.
    pub const JUMP_HOST: &str = "jump-host";
    /// What must not happen twice or be forgotten (JSON), written before it is done. In `NAME-journal` only.
    pub const JOURNAL: &str = "journal";
    /// The same, as versions before had it in `NAME-ssh`.
    pub const INTENT: &str = "intent";
}

#[cfg(test)]
mod tests {
    use super::{cluster_of_run, shard_of_run};
    use crate::api::Shard;

    #[test]
    fn a_shard_is_named_by_its_run_and_its_number_within_what_a_name_may_have() {
        let shard = |index, total| Shard { index, total };
        assert_eq!(shard_of_run("nightly", shard(2, 4)), "nightly-2of4");
        let fits = "n".repeat(56);
        assert_eq!(shard_of_run(&fits, shard(32, 32)), format!("{fits}-32of32"));
        let (long, other) = ("n".repeat(62) + "a", "n".repeat(62) + "b");
        let named = |run: &str| shard_of_run(run, shard(2, 4));
        assert!(named(&long).len() == 63 && named(&long).ends_with("-2of4"), "{}", named(&long));
        assert_ne!(named(&long), named(&other));
    }

    #[test]
    fn a_run_of_any_name_has_a_cluster_of_a_name_that_is_taken() {
        let uid = "3f2a19c0-1111-2222-3333-444444444444";
        let (long, cut) = ("n".repeat(63), format!("{}-3f2a19c0", "n".repeat(31)));
        for (run, cluster) in [
            ("nightly", "nightly-3f2a19c0"),
            ("2026.11.28", "run-2026-11-28-3f2a19c0"),
            ("a.b-", "a-b-3f2a19c0"),
            (long.as_str(), cut.as_str()),
        ] {
            let made = cluster_of_run(run, uid, None);
            assert_eq!(made, cluster);
            assert_eq!(cluster_of_run(run, uid, Some("foo-3f2a1")), cluster, "of what is not its own");
            assert!(made.len() <= 40, "{made}");
        }
        assert_ne!(cluster_of_run("nightly", uid, None), cluster_of_run("nightly", "77777777", None));
        assert_eq!(cluster_of_run("nightly", uid, Some("nightly-3f2a1")), "nightly-3f2a1");
    }
}
