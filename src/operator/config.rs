//! What the process is told at its start. Everything has a default that works; that of who may reach hosts is nobody.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};

use crate::{api::Duration, prices::Prices};

/// Turns SwarmClusters into Docker Swarms on EC2 and runs end-to-end tests on them.
///
/// Kubernetes is found by KUBECONFIG or the ServiceAccount of the pod, AWS credentials by the
/// SDK's usual ways: environment, profile, web identity, instance metadata.
#[derive(clap::Parser, Clone, Debug)]
#[command(version, about)]
pub struct Config {
    /// What else to do than to operate.
    #[command(subcommand)]
    pub task: Option<Task>,

    /// Serve the objects of this namespace only, instead of all.
    #[arg(long, env = "TESTKIT_NAMESPACE")]
    pub namespace: Option<String>,

    /// The name this installation marks its cloud objects with (tag testkit.dev/installation).
    ///
    /// By default the UID of the kube-system namespace, which names the Kubernetes cluster, with
    /// --namespace where that is given. Two operators that share a name remove each other's machines.
    #[arg(long, env = "TESTKIT_INSTALLATION", value_parser = installation_name)]
    pub installation: Option<String>,

    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "TESTKIT_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Take part in leader election with this Lease, as NAMESPACE/NAME. Without it, this must be the only operator.
    ///
    /// In its namespace is also written down where this installation ever launched.
    #[arg(long, env = "TESTKIT_LEASE", value_name = "NAMESPACE/NAME")]
    pub lease: Option<LeaseName>,

    /// How often to look for what clusters left behind whose objects are gone.
    #[arg(long, env = "TESTKIT_COLLECT_EVERY", value_name = "DURATION", default_value = "5m")]
    pub collect_every: Duration,

    /// How long after the end of its ttl the annotation testkit.dev/hold-until can keep a cluster.
    #[arg(long, env = "TESTKIT_MAX_HOLD", value_name = "DURATION", default_value = "24h")]
    pub max_hold: Duration,

    /// Who may reach the hosts of clusters that do not say it (spec.accessCIDRs), such as 203.0.113.0/24,2001:db8::/32.
    ///
    /// CIDR blocks, separated by commas: the operator's own network is to be among them. Without
    /// it, such clusters are not launched, and say so.
    #[arg(long, env = "TESTKIT_ACCESS_CIDRS", value_name = "CIDR", value_delimiter = ',', value_parser = cidr)]
    pub access_cidrs: Vec<String>,

    /// A price table, by which status and metrics tell what clusters and runs cost. It is read at the start.
    ///
    /// YAML or JSON; docs/cost.md has its format. Without it, nothing is told of cost.
    #[arg(long, env = "TESTKIT_PRICES", value_name = "FILE")]
    pub prices: Option<PathBuf>,

    /// How to write the log.
    #[arg(long, env = "TESTKIT_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// What to log, as RUST_LOG has it. Libraries never say more than `info`.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log: String,

    /// Let libraries log below `info`, too: what they send and are sent, with keys and join tokens in it.
    #[arg(long, env = "TESTKIT_UNSAFE_LOG_LIBRARIES")]
    pub unsafe_log_libraries: bool,
}

/// What the program does in place of operating.
#[derive(clap::Subcommand, Clone, Copy, Debug)]
pub enum Task {
    /// Delete all clusters, what makes runs, and runs that have not ended, and wait until they are gone: before an end for good.
    ///
    /// An operator has to be at work meanwhile. With --namespace, those of this namespace only.
    DeleteClusters,
}

/// A Lease.
#[derive(Clone, Debug)]
pub struct LeaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for LeaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How to write the log.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for LeaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write NAMESPACE/NAME, such as testkit-system/testkit-operator".to_owned()),
        }
    }
}

/// The value of a tag at AWS by which all machines are listed, where `*`, `?` and `\` would find those of others, too.
fn installation_name(text: &str) -> Result<String, String> {
    let taken = |c: char| c.is_ascii_alphanumeric() || "._:/=+@-".contains(c);
    if text.is_empty() || text.len() > 256 || !text.chars().all(taken) {
        return Err("write 1 to 256 letters, digits and ._:/=+@-".to_owned());
    }
    Ok(text.to_owned())
}

/// A CIDR block, as `spec.accessCIDRs` takes it.
fn cidr(text: &str) -> Result<String, String> {
    let words = "write CIDR blocks such as 203.0.113.0/24, or 203.0.113.7/32 for a single address, separated by commas";
    text.trim().parse::<ipnet::IpNet>().map(|block| block.to_string()).map_err(|_| words.to_owned())
}

impl Config {
    /// The price table, where there is one.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn price_table(&self) -> anyhow::Result<Option<Prices>> {
        self.prices.as_deref().map(Prices::read).transpose()
    }

    /// The installation's name.
    ///
    /// # Errors
    /// When it is not given and the kube-system namespace cannot be read.
    pub async fn installation(&self, client: &Client) -> anyhow::Result<String> {
        if let Some(name) = &self.installation {
            return Ok(name.clone());
        }
        let system = Api::<Namespace>::all(client.clone()).get("kube-system").await.context(
            "the UID of namespace kube-system names this installation: allow to get it, or give --installation",
        )?;
        let uid = system.uid().context("namespace kube-system has no UID: give --installation")?;
        Ok(self.namespace.as_ref().map_or(uid.clone(), |namespace| format!("{uid}/{namespace}")))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Config, installation_name};

    #[test]
    fn who_may_reach_hosts_is_said_in_blocks() {
        let said = |value: &str| Config::try_parse_from(["testkit-operator", "--access-cidrs", value]);
        let table: [(&str, &[&str]); 3] = [
            ("203.0.113.0/24", &["203.0.113.0/24"]),
            ("203.0.113.7/32, 2001:DB8::/32", &["203.0.113.7/32", "2001:db8::/32"]),
            ("0.0.0.0/0,::/0", &["0.0.0.0/0", "::/0"]),
        ];
        for (value, blocks) in table {
            assert_eq!(said(value).unwrap().access_cidrs, blocks, "{value}");
        }
        for wrong in ["", "203.0.113.7", "203.0.113.0/33", "10.0.0.0/8,", "10.0.0.0/8;172.16.0.0/12", "the world"] {
            let words = said(wrong).unwrap_err().to_string();
            assert!(words.contains("--access-cidrs") && words.contains("203.0.113.0/24"), "{wrong:?}: {words}");
        }
    }

    #[test]
    fn an_installation_has_a_name_that_is_no_pattern() {
        for name in ["0c8b1d5e-6f0a-4d0c-9d5f-2f1f6f3f0a01/team-a", "prod", &"x".repeat(256)] {
            assert_eq!(installation_name(name).as_deref(), Ok(name));
        }
        for name in ["", "prod*", "prod?", r"a\b", "a b", &"x".repeat(257)] {
            assert!(installation_name(name).is_err(), "{name:?}");
        }
    }
}
