//! `SwarmCluster`: a Docker Swarm and the machines it runs on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ClusterCost, Conditions, Duration, Provider,
    schema::{any_object, integer, required_by_rule},
};

/// A Docker Swarm of the given size, with the machines it runs on.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "testkit.dev",
    version = "v1alpha1",
    kind = "SwarmCluster",
    plural = "swarmclusters",
    shortname = "swc",
    category = "testkit",
    namespaced,
    status = "SwarmClusterStatus",
    derive = "PartialEq",
    doc = "A Docker Swarm and the machines it runs on",
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name becomes part of host names: write at most 40 lower-case letters, digits and dashes, with a letter first"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Managers", type_ = "string", json_path = ".status.managers"),
    printcolumn(name = "Workers", type_ = "string", json_path = ".status.workers"),
    printcolumn(name = "Engine", type_ = "string", json_path = ".status.engineVersion"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Hourly", type_ = "string", json_path = ".status.cost.hourly", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(
    validation = Rule::new("has(self.provider) && has(self.provider.ec2) != has(self.provider.hosts)").message("name exactly one provider, such as provider: {ec2: {region: us-east-1}}").field_path(".provider"),
    validation = Rule::new("!has(self.provider) || !has(self.provider.hosts) || !has(self.provider.hosts.machines) || self.managers in [1, self.provider.hosts.machines.filter(m, has(m.role) && m.role == 'Manager').size()] && self.workers in [0, self.provider.hosts.machines.filter(m, has(m.role) && m.role == 'Worker').size()]").message("leave managers and workers out: beside provider.hosts, the roles of its machines say how many there are"),
    validation = Rule::new("!has(self.provider) || !has(self.provider.hosts) || self.provider.hosts.installEngine || !has(self.engine) || !has(self.engine.version) && !has(self.engine.installScript) && !has(self.engine.daemonJson)").message("write installEngine: true beside provider.hosts.machines, or leave version, installScript and daemonJson out: an engine that is there is left as it is").field_path(".engine"),
    validation = Rule::new("(has(self.engine) && has(self.engine.addressPools) ? self.engine.addressPools : []) == (has(oldSelf.engine) && has(oldSelf.engine.addressPools) ? oldSelf.engine.addressPools : []) && (has(self.engine) && has(self.engine.subnetSize) ? self.engine.subnetSize : 0) == (has(oldSelf.engine) && has(oldSelf.engine.subnetSize) ? oldSelf.engine.subnetSize : 0)").message("the address pools cannot be changed, for a swarm keeps those it was begun with: create another SwarmCluster, or delete this one and apply it again").field_path(".engine")
)]
pub struct SwarmClusterSpec {
    /// How many managers: 1, 3, 5 or 7. An even number tolerates no more failures than the odd one below it.
    #[serde(default = "one")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 7 && self % 2 == 1").message("write 1, 3, 5 or 7: a swarm needs an odd number of managers (a majority of 4 is 3, so 4 tolerate no more failures than 3)"))]
    pub managers: u32,

    /// How many workers, at most 100.
    #[serde(default)]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of workers from 0 to 100"))]
    pub workers: u32,

    /// Docker Engine on the hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSpec>,

    /// Where the machines come from: exactly one of `ec2` and `hosts`.
    #[x_kube(validation = Rule::new("has(self.ec2) == has(oldSelf.ec2)").message("the provider cannot be changed: create another SwarmCluster, or delete this one and apply it again"))]
    pub provider: Provider,

    /// Who may reach the hosts over SSH, as CIDR blocks: the operator's network and yours. Where it is not written, the operator's own default holds, `--access-cidrs`; where there is none, nothing is launched. Swarm's own ports are open within the cluster only. Machines of `provider.hosts` are not concerned.
    #[serde(default, rename = "accessCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 43)))]
    #[x_kube(validation = Rule::new("self.size() > 0 && self.all(c, isCIDR(c))").message("write CIDR blocks such as 203.0.113.0/24, or 203.0.113.7/32 for a single address"))]
    pub access_cidrs: Vec<String>,

    /// How people come to the hosts, where they cannot reach them by themselves. The operator does not go this way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessSpec>,

    /// How long after its creation the cluster is deleted, such as `4h`. Without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,

    /// How long after its launch a machine may take until its engine answers, from 30s to 1h. One that takes longer is replaced, and what its console said last is told.
    #[serde(default = "boot_timeout")]
    #[x_kube(validation = Rule::new("!self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') || !self.matches('[1-9]') || duration(self) >= duration('30s') && duration(self) <= duration('1h')").message("write a boot timeout from 30s to 1h, such as 5m: an image that brings no engine needs a minute or two to install it"))]
    pub boot_timeout: Duration,

    /// How long a machine that was an engine may be dead, frozen, cut off or out of the swarm until it is replaced, from 30s to 1h. It is replaced only while the managers have a majority.
    #[serde(default = "unhealthy_after")]
    #[x_kube(validation = Rule::new("!self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') || !self.matches('[1-9]') || duration(self) >= duration('30s') && duration(self) <= duration('1h')").message("write a time from 30s to 1h, such as 2m: a machine that reboots is back within a minute"))]
    pub unhealthy_after: Duration,

    /// How machines give way to others where the spec asks for other ones: another image, volume or instance type, another engine or configuration of it.
    #[serde(default)]
    pub update: UpdateSpec,

    /// What to do when the managers have lost their majority for good. Until this says otherwise, nothing touches them.
    #[serde(default)]
    pub recovery: Recovery,

    /// Leave the machines and the swarm as they are, whatever happens to them, until this is false again. Deletion still works.
    #[serde(default)]
    pub paused: bool,
}

/// How people come to the hosts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AccessSpec {
    /// A host through which `kubectl testkit` reaches the hosts, unless it is told another with `--jump`: `[user@]host[:port]`, several by comma, the first from the user's machine. Each user logs in there with keys of their own, and must have its host key in known_hosts; the cluster's key is not shown to it. The operator connects directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z0-9_][A-Za-z0-9._-]*@)?([A-Za-z0-9_][A-Za-z0-9._-]*|\\\\[[0-9A-Fa-f:.]+\\\\])(:[1-9][0-9]{0,4})?(,([A-Za-z0-9_][A-Za-z0-9._-]*@)?([A-Za-z0-9_][A-Za-z0-9._-]*|\\\\[[0-9A-Fa-f:.]+\\\\])(:[1-9][0-9]{0,4})?)*$')").message("write [user@]host[:port], such as bastion.example.com or me@10.0.0.5:2222; several by comma, without spaces"))]
    pub jump_host: Option<String>,
}

/// How many machines there may be too many or too few while others take their places. Workers come first, then managers one by one, the leader last; nothing goes on while a machine is not well. A run that is under way is waited for.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.maxSurge + self.maxUnavailable > 0").message("write a maxSurge or a maxUnavailable of at least 1: with neither, no machine could ever give way to another"))]
pub struct UpdateSpec {
    /// How many workers there may be beside those asked for. Of managers it is one, or none where this is 0: then a manager goes before its successor comes, and an only manager is never replaced.
    #[serde(default = "one")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of machines from 0 to 100"))]
    pub max_surge: u32,
    /// How many of the workers asked for may be missing or not ready.
    #[serde(default)]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 100").message("write a number of machines from 0 to 100"))]
    pub max_unavailable: u32,
}

impl Default for UpdateSpec {
    /// Nobody misses a machine, and the account needs room for one more.
    fn default() -> Self {
        Self { max_surge: 1, max_unavailable: 0 }
    }
}

/// What to do with a swarm whose managers have lost their majority for good.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing: the cluster is `Stalled`, and says what is known of each manager.
    #[default]
    None,
    /// One manager that answers goes on alone with what it knows of services, secrets and nodes, as `docker swarm init --force-new-cluster`. The machines of managers that do not answer are ended first, and others take their places.
    ForceNewCluster,
    /// A new, empty swarm on the hosts. Whatever ran in the old one is gone.
    Recreate,
}

/// Docker Engine on the hosts. An image that has a running engine is used as it is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.subnetSize) || has(self.addressPools)").message("write subnetSize only beside addressPools, such as addressPools: [10.200.0.0/16]").field_path(".subnetSize"),
    validation = Rule::new("!has(self.addressPools) || self.addressPools.all(p, !isCIDR(p) || cidr(p).prefixLength() <= (has(self.subnetSize) ? self.subnetSize : 24))").message("write pools that hold at least one subnet: a pool of 10.200.0.0/16 holds 256 subnets of /24, the size unless subnetSize says another").field_path(".addressPools")
)]
pub struct EngineSpec {
    /// The channel (`stable`, `test`) or version (`28.5`, `28.5.2`) the install script is asked for when the image brings no engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^(stable|test|[0-9]+\\\\.[0-9]+(\\\\.[0-9]+)?)$')").message("write a channel (stable or test) or a version such as 28.5 or 28.5.2"))]
    pub version: Option<String>,

    /// The URL of a shell script that installs the engine when the image brings none. By default Docker's own convenience script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https://[!-~]+$')").message("write an https:// URL: the script runs as root on every host"))]
    pub install_script: Option<String>,

    /// The engine's configuration, written to `/etc/docker/daemon.json` before it first starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub daemon_json: Option<serde_json::Map<String, serde_json::Value>>,

    /// The IPv4 CIDR blocks that the subnets of overlay networks (and of the ingress network) come from, as `docker swarm init --default-addr-pool`. By default 10.0.0.0/8, or the largest part of it that is not in use by the hosts' VPC or by networks of a single engine. They cannot be changed once the cluster exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 18)))]
    #[x_kube(validation = Rule::new("self.all(p, isCIDR(p) && cidr(p).ip().family() == 4 && cidr(p) == cidr(p).masked())").message("write IPv4 CIDR blocks such as 10.200.0.0/16, with nothing beyond the prefix"), validation = Rule::new("!self.all(p, isCIDR(p)) || self.all(p, self.filter(q, cidr(q).containsCIDR(cidr(p))).size() == 1)").message("write pools that do not overlap, such as 10.200.0.0/16 and 10.201.0.0/16"))]
    pub address_pools: Vec<String>,

    /// The prefix length of the subnets that are cut from `addressPools`, as `docker swarm init --default-addr-pool-mask-length`. By default 24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 8 && self <= 29").message("write a prefix length from 8 to 29: a smaller subnet has no room for what swarm itself needs"))]
    pub subnet_size: Option<u32>,
}

/// What the cluster is, as the cloud and the engines tell it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SwarmClusterStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`, `Launched` and `Joined`.
    #[serde(default)]
    pub conditions: Conditions,
    /// Ready managers of those asked for, such as `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managers: Option<String>,
    /// Ready workers of those asked for, such as `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
    /// The engine's version, or all of them where nodes differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// How many machines are as the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub updated: Option<u32>,
    /// How many machines are as an earlier spec asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub outdated: Option<u32>,
    /// The address of the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The Secret with the key to log in and the host keys to expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_secret: Option<String>,
    /// When the cluster will be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// What it costs, where the operator was given a price table and the machines are EC2's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<ClusterCost>,
    /// The slots of the cluster and what fills them.
    #[serde(default)]
    pub nodes: Vec<NodeStatus>,
}

/// A slot of the cluster and what fills it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The slot's name, such as `foo-m0`.
    pub name: String,
    /// The role the slot has in the spec.
    pub role: NodeRole,
    /// How far it is.
    pub state: NodeState,
    /// Whether it leads the managers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leader: bool,
    /// The instance that fills it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The instance's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The address to connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The address within the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_address: Option<String>,
    /// The public address, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<String>,
    /// The port of sshd, where it is not 22.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub port: Option<u16>,
    /// Who logs in, where it is not root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The node's id in the swarm.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "nodeID")]
    pub node_id: Option<String>,
    /// The version of its engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// What is wrong or awaited, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The role of a node.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeRole {
    /// Takes part in the swarm's decisions.
    Manager,
    /// Runs tasks only.
    Worker,
}

/// How far a slot is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// No instance fills it yet.
    Missing,
    /// The instance exists; its engine does not answer yet.
    Booting,
    /// The engine answers and is not a node of the swarm yet.
    Joining,
    /// The swarm says the node is ready.
    Ready,
    /// The swarm says the node is down, or it does not answer.
    Down,
    /// The instance is being removed.
    Terminating,
}

impl SwarmClusterSpec {
    /// How many nodes of a role are asked for: the machines that are named with it, where they are named.
    #[must_use]
    pub fn count(&self, role: NodeRole) -> u32 {
        match (&self.provider.hosts, role) {
            (Some(hosts), _) => {
                let count = hosts.machines.iter().filter(|m| m.role == role).count();
                u32::try_from(count).unwrap_or(u32::MAX)
            }
            (None, NodeRole::Manager) => self.managers,
            (None, NodeRole::Worker) => self.workers,
        }
    }
}

impl SwarmCluster {
    /// The status; `None` while the operator has not looked at the object, and what it says is the API server's default.
    #[must_use]
    pub fn seen_status(&self) -> Option<&SwarmClusterStatus> {
        self.status.as_ref().filter(|status| status.observed_generation.is_some_and(|seen| seen >= 0))
    }

    /// The name of the Secret with the cluster's keys.
    #[must_use]
    pub fn ssh_secret_name(&self) -> String {
        format!("{}-ssh", self.metadata.name.as_deref().unwrap_or_default())
    }

    /// The name of the Secret with what the operator must not forget.
    #[must_use]
    pub fn journal_secret_name(&self) -> String {
        super::names::journal_secret(self.metadata.name.as_deref().unwrap_or_default())
    }
}

impl NodeRole {
    /// The letter that begins the slots of this role.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Manager => 'm',
            Self::Worker => 'w',
        }
    }
}

/// Twice what an image without an engine takes on a small instance, and some more.
fn boot_timeout() -> Duration {
    Duration::from_secs(300)
}

/// A reboot takes less, and so does what a kernel does when its memory is short.
fn unhealthy_after() -> Duration {
    Duration::from_secs(120)
}

fn one() -> u32 {
    1
}
