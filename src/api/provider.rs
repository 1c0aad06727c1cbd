//! Where the machines of a SwarmCluster come from.

use kube::KubeSchema;
use schemars::JsonSchema;
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
    /// Machines that exist already. Not served by this version: the cluster is reported `Stalled`.
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

/// Machines that exist already.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostsProvider {
    /// Their addresses; the first ones become the managers.
    #[serde(default)]
    #[schemars(length(max = 107), inner(length(max = 253)))]
    pub addresses: Vec<String>,
}

/// A Secret in the object's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
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
