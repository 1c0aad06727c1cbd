//! Names that other programs see: labels, tags, finalizer, Secret keys.

/// The API group of the custom resources.
pub const GROUP: &str = "testkit.dev";

/// The field manager of server-side apply, the reporter of Events and the value of
/// `app.kubernetes.io/managed-by` on everything the operator makes.
pub const MANAGER: &str = "testkit-operator";

/// The finalizer that keeps an object until what it stands for outside of Kubernetes is gone.
pub const FINALIZER: &str = "testkit.dev/cleanup";

/// The annotation of a SwarmCluster that names slots to be left as they are, such as `m1,w0`.
pub const KEEP: &str = "testkit.dev/keep";

/// The annotation of a SwarmCluster that puts off the end of its ttl, such as `2026-12-24T18:00:00Z`.
pub const HOLD_UNTIL: &str = "testkit.dev/hold-until";

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
    /// The E2ERun that an E2ERun repeats, by name; where that one repeats another, the first of them.
    pub const RERUN_OF: &str = "testkit.dev/rerun-of";
}

/// The name of the Secret with what the operator must not forget of the cluster of this name.
#[must_use]
pub fn journal_secret(cluster: &str) -> String {
    format!("{cluster}-journal")
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
    /// What must not happen twice or be forgotten (JSON), written before it is done. In `NAME-journal` only.
    pub const JOURNAL: &str = "journal";
    /// The same, as versions before had it in `NAME-ssh`.
    pub const INTENT: &str = "intent";
}
