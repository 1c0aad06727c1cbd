//! Where the machines of a SwarmCluster come from.

use kube::{KubeSchema, core::Rule};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::{
    NodeRole,
    schema::{integer, required_by_rule},
};

/// Where the machines come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// EC2 instances, made and removed with the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec2: Option<Ec2Provider>,
    /// Machines that exist already: they are neither made nor ended, and belong to the cluster while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostsProvider>,
}

/// EC2 instances.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(
    validation = Rule::new("has(self.region)").message("write the region, such as region: us-east-1"),
    validation = Rule::new("!self.spotManagers || self.spot").message("write spot: true beside spotManagers: true: where managers may be spot instances, so may workers").field_path(".spotManagers"),
    validation = Rule::new("has(self.subnets) == has(oldSelf.subnets) && (!has(self.subnets) || self.subnets == oldSelf.subnets)").message("the subnets cannot be changed: create another SwarmCluster, or delete this one and apply it again").field_path(".subnets"),
    validation = Rule::new("has(self.credentials) == has(oldSelf.credentials) && (!has(self.credentials) || self.credentials == oldSelf.credentials)").message("the credentials cannot be changed: change the Secret's content instead").field_path(".credentials")
)]
pub struct Ec2Provider {
    /// The region, such as `us-east-1`.
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$')").message("write a region such as us-east-1 or eu-central-1"),
        validation = Rule::new("self == oldSelf").message("the region cannot be changed: create another SwarmCluster, or delete this one and apply it again")
    )]
    pub region: String,

    /// The image to boot. By default Canonical's current Ubuntu 24.04, by its public SSM parameter. Another one has the machines replaced, as `spec.update` says; one that was published since under the same name or parameter has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("[has(self.id), has(self.ssmParameter), has(self.name)].filter(x, x).size() == 1").message("name the image in exactly one way: id, ssmParameter or name (with owner if it is somebody else's)"),
        validation = Rule::new("has(self.name) || !has(self.owner)").message("write owner only beside name: an id or parameter needs none")
    )]
    pub ami: Option<AmiSelector>,

    /// Instance types in order of preference: the next one is tried where one has no capacity. Machines whose type is not among them any more are replaced.
    #[serde(default = "instance_types")]
    #[schemars(length(max = 16), inner(length(max = 32)))]
    #[x_kube(validation = Rule::new("self.size() > 0 && self.all(t, t.matches('^[a-z0-9-]+\\\\.[a-z0-9-]+$'))").message("write at least one instance type such as t3.medium"))]
    pub instance_types: Vec<String>,

    /// Subnets to spread the instances over, all of one VPC. By default the default VPC's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 32)))]
    #[x_kube(validation = Rule::new("self.all(s, s.matches('^subnet-[0-9a-f]{8,17}$'))").message("write subnet ids such as subnet-0123456789abcdef0"))]
    pub subnets: Vec<String>,

    /// Security groups to put the instances into, beside the one made for the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(max = 32)))]
    #[x_kube(validation = Rule::new("self.all(s, s.matches('^sg-[0-9a-f]{8,17}$'))").message("write security group ids such as sg-0123456789abcdef0"))]
    pub security_groups: Vec<String>,

    /// Which of an instance's addresses the operator and `kubectl testkit` connect to.
    #[serde(default)]
    pub connect_to: AddressKind,

    /// Use spot instances for the workers. A change has the machines replaced.
    #[serde(default)]
    pub spot: bool,

    /// Use spot instances for the managers, too. By default they are on demand, since EC2 may take back a majority of them at once, and the swarm with it.
    #[serde(default)]
    pub spot_managers: bool,

    /// The root volume, where the image's own size and type do not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,

    /// The instance profile (by name) to give the instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub instance_profile: Option<String>,

    /// A Secret with `aws_access_key_id` and `aws_secret_access_key` (and `aws_session_token`). By default the operator's own credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretRef>,
}

/// An image, named in exactly one way.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct AmiSelector {
    /// The image's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^ami-[0-9a-f]{8,17}$')").message("write an image id such as ami-0123456789abcdef0"))]
    pub id: Option<String>,
    /// The SSM parameter that holds the image's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^/[a-zA-Z0-9_./-]+$')").message("write the full name of a parameter, such as /aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"))]
    pub ssm_parameter: Option<String>,
    /// The image's name, where `*` and `?` are wildcards. The newest of those that match is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 128))]
    pub name: Option<String>,
    /// Who owns the image found by name: an account id, `self`, `amazon` or `aws-marketplace`. By default `self` or `amazon`: anybody may publish an image under any name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{12}|self|amazon|aws-marketplace)$')").message("write an account id of 12 digits, self, amazon or aws-marketplace"))]
    pub owner: Option<String>,
}

/// A root volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its size in GiB.
    #[serde(rename = "sizeGiB")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = Rule::new("self >= 8 && self <= 16384").message("write a size in GiB from 8 to 16384"))]
    pub size_gib: u32,
    /// Its type. EC2 boots from no disk of type st1 or sc1, and makes none of io1 or io2 without IOPS, which cannot be given here.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = Rule::new("self in ['gp2', 'gp3', 'standard']").message("write a volume type: gp3, gp2 or standard"))]
    pub type_: Option<String>,
    /// The device to be the root volume, such as `/dev/xvda`. By default the image's own root device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub device_name: Option<String>,
}

/// Machines that exist already. The swarm is formed on them; or the one that they are is adopted, where it agrees with what is written here, and then outlives this object.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(
    validation = Rule::new("has(self.secretRef)").message("write the Secret with ssh-privatekey (ed25519, without a passphrase) and known_hosts, such as secretRef: {name: lab-ssh}"),
    validation = Rule::new("has(self.machines) && self.machines.filter(m, has(m.role) && m.role == 'Manager').size() in [1, 3, 5, 7]").message("write machines of which 1, 3, 5 or 7 are managers, such as machines: [{name: alpha, address: 10.0.0.5, role: Manager}]").field_path(".machines"),
    validation = Rule::new("!has(self.machines) || self.machines.all(m, !has(m.address) || self.machines.filter(o, has(o.address) && o.address == m.address && o.port == m.port).size() == 1)").message("write each machine once: two of them have the same address and port").field_path(".machines")
)]
pub struct HostsProvider {
    /// The machines. One that is taken off the list gives up its tasks, leaves the swarm and is let go; one whose role changes is promoted or demoted; one whose address changes is another machine.
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(default)]
    pub machines: Vec<Machine>,

    /// A Secret in the cluster's namespace with the key to log in, as `ssh-privatekey` (as a Secret of type `kubernetes.io/ssh-auth` has it), and the host keys to expect, as `known_hosts`. Both are ed25519.
    pub secret_ref: SecretRef,

    /// Install an engine, as `spec.engine` says, where a machine has none. Without this, a machine without an engine is waited for.
    #[serde(default)]
    pub install_engine: bool,

    /// The host through which all machines are reached, by the operator and by `kubectl testkit`: they are logged in to inside its connection. Where people go another way than the operator, `spec.access.jumpHost` says theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump_host: Option<JumpHost>,
}

/// A host in between. The same key opens it as the machines, and `known_hosts` of the same Secret has its host key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.address)").message("write the jump host's address, such as jumpHost: {address: bastion.example.com}"))]
pub struct JumpHost {
    /// Its IP address or name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = an_address())]
    pub address: String,
    /// The port of its sshd.
    #[serde(default = "ssh_port")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = a_port())]
    pub port: u16,
    /// Who logs in there. Nothing but forwarding TCP to the machines need be allowed.
    #[serde(default = "ssh_user")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = a_user())]
    pub user: String,
}

/// A machine that exists.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = name_required)]
#[x_kube(
    validation = Rule::new("has(self.address)").message("write the address to log in at, such as address: 10.0.0.5"),
    validation = Rule::new("has(self.role)").message("write role: Manager or role: Worker"),
    validation = Rule::new("!has(self.address) || has(self.privateAddress) || isIP(self.address)").message("write privateAddress beside an address that is a name: the other machines reach it by an IP address, such as privateAddress: 10.0.0.5").field_path(".privateAddress")
)]
pub struct Machine {
    /// What it is called in this list, in status and in messages.
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("write a name of lower-case letters, digits and dashes, such as alpha"))]
    pub name: String,
    /// The IP address or name at which the operator and `kubectl testkit` log in; `known_hosts` has a key for it.
    #[schemars(length(max = 253))]
    #[x_kube(validation = an_address())]
    pub address: String,
    /// The IP address by which the other machines reach it, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45))]
    #[x_kube(validation = Rule::new("isIP(self)").message("write an IP address, such as 10.0.0.5"))]
    pub private_address: Option<String>,
    /// What it is to be in the swarm.
    pub role: NodeRole,
    /// The port of sshd.
    #[serde(default = "ssh_port")]
    #[schemars(schema_with = "integer")]
    #[x_kube(validation = a_port())]
    pub port: u16,
    /// Who logs in: root, or one who may use `sudo` without a password. Where that one may not use the engine's socket, it becomes a member of the group `docker`.
    #[serde(default = "ssh_user")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = a_user())]
    pub user: String,
}

/// A Secret in the object's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("write the name of a Secret in the same namespace, such as lab-ssh"))]
    pub name: String,
}

/// Which of an instance's addresses to connect to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressKind {
    /// The address within the VPC: for an operator that runs in it or is peered with it.
    #[default]
    Private,
    /// The public address: for an operator anywhere else.
    Public,
}

/// How a machine is told from an instance that a cloud made.
const PREFIX: &str = "host/";

impl Machine {
    /// What the machine of this name is called as an instance.
    #[must_use]
    pub fn id_of(name: &str) -> String {
        format!("{PREFIX}{name}")
    }

    /// The name of the machine that is called so as an instance.
    #[must_use]
    pub fn name_of(id: &str) -> Option<&str> {
        id.strip_prefix(PREFIX)
    }
}

impl Ec2Provider {
    /// Whether machines of this role are spot instances.
    #[must_use]
    pub const fn spot_for(&self, role: NodeRole) -> bool {
        match role {
            NodeRole::Manager => self.spot && self.spot_managers,
            NodeRole::Worker => self.spot,
        }
    }

    /// The image used when the spec names none.
    #[must_use]
    pub fn default_ami() -> AmiSelector {
        AmiSelector {
            ssm_parameter: Some(
                "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id".to_owned(),
            ),
            ..AmiSelector::default()
        }
    }
}

fn instance_types() -> Vec<String> {
    vec!["t3.medium".to_owned(), "t3a.medium".to_owned()]
}

/// What an address to log in at may be.
fn an_address() -> Rule {
    Rule::new("self.matches('^[0-9A-Za-z:]([-0-9A-Za-z.:]*[0-9A-Za-z])?$')")
        .message("write an IP address or a name, such as 10.0.0.5, without a port (that is port: 22)")
}

/// What a port may be.
fn a_port() -> Rule {
    Rule::new("self >= 1 && self <= 65535").message("write a port from 1 to 65535, such as 22")
}

/// What a user's name may be.
fn a_user() -> Rule {
    Rule::new("self.matches('^[a-z_][-a-z0-9_]*$')").message("write the name of a user, such as root or ubuntu")
}

/// Only the name is required by the schema, since the list is keyed by it: the rest by rules.
fn name_required(schema: &mut Schema) {
    schema.insert("required".to_owned(), serde_json::json!(["name"]));
}

const fn ssh_port() -> u16 {
    22
}

fn ssh_user() -> String {
    "root".to_owned()
}
