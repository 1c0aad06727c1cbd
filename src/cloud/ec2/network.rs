//! The security group of a cluster: found by its tags, made once, kept as it should be.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use aws_sdk_ec2::types::{IpPermission, ResourceType, SecurityGroup, Vpc, VpcCidrBlockStateCode as BlockState};

use super::{
    Ec2,
    error::{Failure, NO_DEFAULT_VPC},
    rules::{self, Rule},
    tags,
};
use crate::{
    api::label,
    cloud::{CloudError, Network, NetworkSpec, OwnedNetwork, Owner, Removal},
};

/// A cluster's group as it is.
struct Group {
    id: String,
    vpc: String,
    rules: BTreeSet<Rule>,
}

impl Ec2 {
    pub(super) async fn ensure_group(&self, owner: &Owner, spec: &NetworkSpec) -> Result<Network, CloudError> {
        if let Some((verified, network)) = self.groups.get(&owner.uid)
            && verified == *spec
        {
            return Ok(network);
        }
        let Group { id, vpc, rules: present } = match self.find_group(owner).await? {
            Some(found) => found,
            None => self.make_group(owner, spec).await?,
        };
        let wanted = rules::wanted(spec, &id);
        let missing = wanted.iter().filter(|(rule, _)| !present.contains(*rule));
        self.authorize(&id, missing.map(|(rule, reason)| rules::permission(rule, Some(reason))).collect()).await?;
        let extra = present.iter().filter(|rule| !wanted.contains_key(*rule));
        self.revoke(&id, extra.map(|rule| rules::permission(rule, None)).collect()).await?;
        let network = Network { security_group: id, cidrs: self.blocks_of(&vpc).await? };
        self.groups.put(owner.uid.clone(), (spec.clone(), network.clone()));
        Ok(network)
    }

    async fn find_group(&self, owner: &Owner) -> Result<Option<Group>, Failure> {
        let groups = self.groups_of(Some(owner)).await?;
        let read = |g: &SecurityGroup| {
            let (id, vpc) = (g.group_id()?.to_owned(), g.vpc_id()?.to_owned());
            Some(Group { id, vpc, rules: rules::present(g.ip_permissions()) })
        };
        Ok(groups.iter().find_map(read))
    }

    async fn make_group(&self, owner: &Owner, spec: &NetworkSpec) -> Result<Group, CloudError> {
        let vpc = self.vpc(&spec.subnets).await?;
        let name = group_name(owner);
        let tags = tags::of_cluster(&self.installation, owner, &name);
        let made = self
            .client
            .create_security_group()
            .group_name(&name)
            .description(format!("Hosts of SwarmCluster {}", owner.name))
            .vpc_id(&vpc)
            .tag_specifications(tags::on(ResourceType::SecurityGroup, &tags))
            .send()
            .await
            .map_err(Failure::of("CreateSecurityGroup"));
        self.learn(made.as_ref().ok().and_then(|m| m.security_group_arn()?.split(':').nth(4)));
        match made {
            Ok(made) => match made.group_id {
                Some(id) => Ok(Group { id, vpc, rules: BTreeSet::new() }),
                None => Err(CloudError::Unavailable("CreateSecurityGroup: AWS named no group".to_owned())),
            },
            // An earlier try made it and it was not listed yet, or it is somebody else's.
            Err(e) if e.is("InvalidGroup.Duplicate") => self.find_group(owner).await?.ok_or_else(|| {
                CloudError::Unavailable(format!(
                    "{}: if a security group of this name is there without the tags of this cluster, delete it",
                    e.message()
                ))
            }),
            Err(e) => Err(e.into()),
        }
    }

    async fn authorize(&self, id: &str, missing: Vec<IpPermission>) -> Result<(), CloudError> {
        if missing.is_empty() {
            return Ok(());
        }
        let all = self.authorize_at_once(id, missing.clone()).await;
        match all {
            Err(e) if e.is("InvalidPermission.Duplicate") => {}
            Err(e) if e.is("InvalidGroup.NotFound") => return Err(not_there(&e)),
            other => return Ok(other?),
        }
        // One that is there already fails them all: each for itself.
        for one in missing {
            match self.authorize_at_once(id, vec![one]).await {
                Err(e) if e.is("InvalidPermission.Duplicate") => {}
                other => other?,
            }
        }
        Ok(())
    }

    async fn authorize_at_once(&self, id: &str, missing: Vec<IpPermission>) -> Result<(), Failure> {
        let call = self.client.authorize_security_group_ingress().group_id(id).set_ip_permissions(Some(missing));
        call.send().await.map(drop).map_err(Failure::of("AuthorizeSecurityGroupIngress"))
    }

    async fn revoke(&self, id: &str, extra: Vec<IpPermission>) -> Result<(), CloudError> {
        if extra.is_empty() {
            return Ok(());
        }
        tracing::info!(group = id, rules = extra.len(), "removing rules that are not the cluster's");
        match self.revoke_at_once(id, extra.clone()).await {
            Err(e) if e.is("InvalidPermission.NotFound") => {}
            Err(e) if e.is("InvalidGroup.NotFound") => return Err(not_there(&e)),
            other => return Ok(other?),
        }
        // One that is gone already keeps them all, but in a default VPC: each for itself.
        for one in extra {
            match self.revoke_at_once(id, vec![one]).await {
                Err(e) if e.is("InvalidPermission.NotFound") => {}
                other => other?,
            }
        }
        Ok(())
    }

    async fn revoke_at_once(&self, id: &str, extra: Vec<IpPermission>) -> Result<(), Failure> {
        let call = self.client.revoke_security_group_ingress().group_id(id).set_ip_permissions(Some(extra));
        call.send().await.map(drop).map_err(Failure::of("RevokeSecurityGroupIngress"))
    }

    /// The VPC of subnets, or the default one.
    async fn vpc(&self, subnets: &[String]) -> Result<String, CloudError> {
        if let Some(known) = self.vpcs.get(&subnets.to_vec()) {
            return Ok(known);
        }
        let vpc = if subnets.is_empty() { self.default_vpc().await? } else { self.vpc_of(subnets).await? };
        self.vpcs.put(subnets.to_vec(), vpc.clone());
        Ok(vpc)
    }

    /// The IPv4 blocks of a VPC.
    async fn blocks_of(&self, vpc: &str) -> Result<Vec<String>, CloudError> {
        if let Some(known) = self.blocks.get(&vpc.to_owned()) {
            return Ok(known);
        }
        let found = self.client.describe_vpcs().vpc_ids(vpc).send().await.map_err(Failure::of("DescribeVpcs"))?;
        let blocks: Vec<String> = found.vpcs().iter().flat_map(blocks).collect();
        self.blocks.put(vpc.to_owned(), blocks.clone());
        Ok(blocks)
    }

    async fn default_vpc(&self) -> Result<String, CloudError> {
        let found = self.client.describe_vpcs().filters(tags::filter("is-default", "true")).send().await;
        let found = found.map_err(Failure::of("DescribeVpcs"))?;
        let id = found.vpcs().iter().find_map(|v| v.vpc_id());
        let none = || CloudError::Invalid(format!("{} has no default VPC: {NO_DEFAULT_VPC}", self.region));
        id.map(str::to_owned).ok_or_else(none)
    }

    async fn vpc_of(&self, subnets: &[String]) -> Result<String, CloudError> {
        let found = self.client.describe_subnets().set_subnet_ids(Some(subnets.to_vec())).send().await;
        let found = found.map_err(Failure::of("DescribeSubnets"))?;
        let vpcs: BTreeSet<&str> = found.subnets().iter().filter_map(|s| s.vpc_id()).collect();
        match vpcs.iter().collect::<Vec<_>>().as_slice() {
            [vpc] => Ok((**vpc).to_owned()),
            several => Err(CloudError::Invalid(format!(
                "the subnets {} are of {} VPCs: name subnets of one VPC in spec.provider.ec2.subnets",
                subnets.join(", "),
                several.len()
            ))),
        }
    }

    /// Deletes the groups of a cluster, unless something uses one.
    pub(super) async fn delete_groups(&self, owner: &Owner) -> Result<Removal, Failure> {
        self.groups.forget(|uid, _| *uid == owner.uid);
        let mut users = Vec::new();
        for group in self.groups_of(Some(owner)).await? {
            let Some(id) = group.group_id() else { continue };
            let call = self.client.delete_security_group().group_id(id);
            match call.send().await.map_err(Failure::of("DeleteSecurityGroup")) {
                Err(e) if e.is("DependencyViolation") => users.extend(self.users_of(id, &e).await),
                Err(e) if e.is("InvalidGroup.NotFound") => {}
                other => drop(other?),
            }
        }
        Ok(if users.is_empty() { Removal::Gone } else { Removal::InUse(users) })
    }

    /// Every group of the installation. What is as it was left is verified by that for all clusters at once.
    pub(super) async fn list_groups(&self) -> Result<Vec<OwnedNetwork>, Failure> {
        let asked = Instant::now();
        let groups = self.groups_of(None).await?;
        let present: HashMap<&str, BTreeSet<Rule>> =
            groups.iter().filter_map(|g| Some((g.group_id()?, rules::present(g.ip_permissions())))).collect();
        self.groups.seen(asked, |_, (spec, network)| {
            let id = network.security_group.as_str();
            present.get(id).is_some_and(|present| rules::are_as_wanted(present, &rules::wanted(spec, id)))
        });
        let owned =
            |g: &SecurityGroup| Some(OwnedNetwork { owner: tags::owner(g.tags())?, id: g.group_id()?.to_owned() });
        Ok(groups.iter().filter_map(owned).collect())
    }

    async fn groups_of(&self, owner: Option<&Owner>) -> Result<Vec<SecurityGroup>, Failure> {
        let mut call = self
            .client
            .describe_security_groups()
            .filters(tags::tagged(label::INSTALLATION, &self.installation))
            .max_results(1000);
        if let Some(owner) = owner {
            call = call.filters(tags::tagged(label::CLUSTER_UID, &owner.uid));
        }
        let mut pages = call.into_paginator().items().send();
        let mut groups = Vec::new();
        while let Some(group) = pages.next().await {
            groups.push(group.map_err(Failure::of("DescribeSecurityGroups"))?);
        }
        self.learn(groups.iter().find_map(|g| g.owner_id()));
        Ok(groups)
    }
}

/// The IPv4 blocks that are associated with a VPC. The first one is also told by itself.
fn blocks(vpc: &Vpc) -> BTreeSet<String> {
    let associated = vpc.cidr_block_association_set().iter().filter(|a| {
        let state = a.cidr_block_state().and_then(|s| s.state());
        !matches!(state, Some(BlockState::Disassociated | BlockState::Failed))
    });
    associated.filter_map(|a| a.cidr_block()).chain(vpc.cidr_block()).map(str::to_owned).collect()
}

/// AWS said that a group is not there which it just told of, or made.
pub(super) fn not_there(e: &Failure) -> CloudError {
    CloudError::Refused(format!("the cluster's security group is not there: {}", e.message()))
}

/// The name of a cluster's group: for people, and the one thing AWS keeps unique, so that two
/// tries at the same time cannot make two.
fn group_name(owner: &Owner) -> String {
    let uid: String = owner.uid.chars().take(8).collect();
    format!("testkit-{}-{uid}", owner.name.replace('/', "-"))
}
