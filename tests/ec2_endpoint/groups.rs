//! The security group of a cluster: its rules, what else uses it, and its end.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{IpPermission, IpRange, UserIdGroupPair};
use serde_json::json;
use testkit::cloud::{CloudError, CloudProvider, InstanceState, NetworkSpec, Removal};

use crate::bed::{Bed, launch, network, owner, until};

/// The rules of the cluster's group, in words.
async fn rules(bed: &Bed, group: &str) -> BTreeSet<String> {
    let found = bed.sdk().await.describe_security_groups().group_ids(group).send().await.unwrap();
    let mut words = BTreeSet::new();
    for p in found.security_groups()[0].ip_permissions() {
        let v4 = p.ip_ranges().iter().filter_map(|r| r.cidr_ip());
        let v6 = p.ipv6_ranges().iter().filter_map(|r| r.cidr_ipv6());
        let groups = p.user_id_group_pairs().iter().filter_map(|g| g.group_id());
        for source in v4.chain(v6).chain(groups.map(|g| if g == group { "self" } else { g })) {
            let ports = p
                .from_port()
                .zip(p.to_port())
                .filter(|_| p.ip_protocol() != Some("50"))
                .map(|(from, to)| format!(" {from}-{to}"))
                .unwrap_or_default();
            words.insert(format!("{}{ports} {source}", p.ip_protocol().unwrap()));
        }
    }
    words
}

#[tokio::test]
async fn the_group_has_exactly_its_rules_and_is_repaired() {
    let bed = bed!();
    let group = bed.ec2().await.ensure_network(&owner(), &network()).await.unwrap().security_group;
    let expected: BTreeSet<String> = [
        "tcp 22-22 203.0.113.0/24",
        "tcp 22-22 2001:db8::/32",
        "tcp 2377-2377 self",
        "tcp 7946-7946 self",
        "udp 7946-7946 self",
        "udp 4789-4789 self",
        "50 self",
        "tcp 30000-32767 self",
        "tcp 32768-60999 self",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(rules(&bed, &group).await, expected);

    let sdk = bed.sdk().await;
    let found = sdk.describe_security_groups().group_ids(&group).send().await.unwrap();
    let permissions = found.security_groups()[0].ip_permissions();
    let mut reasons = permissions.iter().flat_map(|p| {
        let v4 = p.ip_ranges().iter().map(|r| r.description());
        let v6 = p.ipv6_ranges().iter().map(|r| r.description());
        v4.chain(v6).chain(p.user_id_group_pairs().iter().map(|g| g.description())).collect::<Vec<_>>()
    });
    assert!(reasons.all(|r| r.is_some_and(|r| !r.is_empty())), "{permissions:?}");
    let tcp = |port, cidr: &str| {
        let range = IpRange::builder().cidr_ip(cidr).build();
        IpPermission::builder().ip_protocol("tcp").from_port(port).to_port(port).ip_ranges(range).build()
    };
    let open = sdk.authorize_security_group_ingress().group_id(&group).ip_permissions(tcp(2375, "0.0.0.0/0"));
    open.send().await.unwrap();
    let shut = sdk.revoke_security_group_ingress().group_id(&group).ip_permissions(tcp(22, "203.0.113.0/24"));
    shut.send().await.unwrap();
    assert_ne!(rules(&bed, &group).await, expected);

    let ec2 = bed.ec2().await;
    assert_eq!(ec2.ensure_network(&owner(), &network()).await.unwrap().security_group, group);
    assert_eq!(rules(&bed, &group).await, expected);

    let before = bed.all_calls();
    ec2.ensure_network(&owner(), &network()).await.unwrap();
    assert_eq!(bed.all_calls(), before, "what was just verified costs no call");

    // The one listing of all groups verifies: what it saw changed is repaired at the next look.
    ec2.list_networks().await.unwrap();
    let before = bed.all_calls();
    ec2.ensure_network(&owner(), &network()).await.unwrap();
    assert_eq!(bed.all_calls(), before, "what the listing verified costs no call");
    let open = sdk.authorize_security_group_ingress().group_id(&group).ip_permissions(tcp(2375, "0.0.0.0/0"));
    open.send().await.unwrap();
    ec2.list_networks().await.unwrap();
    ec2.ensure_network(&owner(), &network()).await.unwrap();
    assert_eq!(rules(&bed, &group).await, expected);

    let narrower = NetworkSpec { access_cidrs: vec!["198.51.100.7/32".to_owned()], subnets: vec![] };
    ec2.ensure_network(&owner(), &narrower).await.unwrap();
    let outside: Vec<String> = rules(&bed, &group).await.into_iter().filter(|r| !r.ends_with("self")).collect();
    assert_eq!(outside, ["tcp 22-22 198.51.100.7/32"]);
}

#[tokio::test]
async fn what_is_too_much_goes_although_some_of_it_went_already() {
    let bed = bed!();
    let group = bed.ec2().await.ensure_network(&owner(), &network()).await.unwrap().security_group;
    let expected = rules(&bed, &group).await;
    let everybody = IpRange::builder().cidr_ip("0.0.0.0/0").build();
    let open = |port| {
        let all = IpPermission::builder().ip_protocol("tcp").from_port(port).to_port(port);
        all.ip_ranges(everybody.clone()).build()
    };
    let call = bed.sdk().await.authorize_security_group_ingress().group_id(&group);
    call.ip_permissions(open(2375)).ip_permissions(open(2376)).send().await.unwrap();
    // What EC2 says, outside of a default VPC, when one of two is not there any more: it revokes neither.
    let gone = json!({"action": "RevokeSecurityGroupIngress", "code": "InvalidPermission.NotFound", "times": 1});
    bed.knobs(&json!({"fail": [gone]}));
    bed.ec2().await.ensure_network(&owner(), &network()).await.unwrap();
    assert_eq!(rules(&bed, &group).await, expected);
}

#[tokio::test]
async fn a_group_that_is_not_listed_yet_is_not_made_twice() {
    let bed = bed!();
    bed.knobs(&json!({"groups_visible_after_s": 3600}));
    let group = bed.ec2().await.ensure_network(&owner(), &network()).await.unwrap().security_group;
    let after_a_crash = bed.ec2().await;
    let e = after_a_crash.ensure_network(&owner(), &network()).await.unwrap_err();
    assert!(matches!(&e, CloudError::Unavailable(m) if m.contains("already exists")), "{e:?}");
    bed.knobs(&json!({"groups_visible_after_s": 0}));
    assert_eq!(after_a_crash.ensure_network(&owner(), &network()).await.unwrap().security_group, group);
}

#[tokio::test]
async fn the_network_goes_after_the_instances_and_only_then() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let instance = ec2.launch(&launch(&ec2, "m0").await).await.unwrap();
    let networks = ec2.list_networks().await.unwrap();
    assert_eq!(networks.iter().map(|n| &n.owner).collect::<Vec<_>>(), [&owner()]);
    assert!(matches!(ec2.delete_network(&owner()).await.unwrap(), Removal::InUse(users) if !users.is_empty()));

    let unknown = "i-0123456789abcdef0".to_owned();
    ec2.terminate(&[unknown.clone(), instance.id.clone()]).await.unwrap();
    ec2.terminate(&[unknown]).await.unwrap();
    until(&ec2, &instance.id, InstanceState::Terminated).await;
    assert_eq!(ec2.delete_network(&owner()).await.unwrap(), Removal::Gone);
    assert_eq!(ec2.delete_network(&owner()).await.unwrap(), Removal::Gone, "nothing left is fine");
    assert_eq!(ec2.list_networks().await.unwrap(), []);
}

#[tokio::test]
async fn a_group_that_somebody_else_uses_is_named_with_its_users() {
    let bed = bed!();
    let (ec2, sdk) = (bed.ec2().await, bed.sdk().await);
    let base = launch(&ec2, "m0").await;
    let ours = base.security_groups[0].as_str();
    let stranger = ec2.launch(&base).await.unwrap();
    // Before EC2 lists it, its name cannot be told.
    until(&ec2, &stranger.id, InstanceState::Running).await;

    let vpc = sdk.describe_vpcs().send().await.unwrap().vpcs()[0].vpc_id().unwrap().to_owned();
    let other = sdk.create_security_group().group_name("theirs").description("x").vpc_id(vpc).send().await.unwrap();
    let other = other.group_id.unwrap();
    let ours_may = UserIdGroupPair::builder().group_id(ours).build();
    let web =
        IpPermission::builder().ip_protocol("tcp").from_port(80).to_port(80).user_id_group_pairs(ours_may).build();
    sdk.authorize_security_group_ingress().group_id(&other).ip_permissions(web).send().await.unwrap();
    let alone = sdk.create_network_interface().subnet_id(stranger.subnet.as_deref().unwrap()).groups(ours);
    let alone = alone.description("ELB app/front/1").send().await.unwrap().network_interface.unwrap();

    let Removal::InUse(users) = ec2.delete_network(&owner()).await.unwrap() else { panic!("it is in use") };
    let users = users.join("; ");
    for user in [
        format!("of instance {} (foo-m0)", stranger.id),
        format!("network interface {} (ELB app/front/1)", alone.network_interface_id().unwrap()),
        format!("the rules of security group {other} (theirs)"),
    ] {
        assert!(users.contains(&user), "{users} lacks {user}");
    }
    assert!(!users.contains(&format!("security group {ours}")), "its own rules are no user: {users}");

    bed.knobs(&json!({"unauthorized": ["DescribeNetworkInterfaces"]}));
    let Removal::InUse(users) = ec2.delete_network(&owner()).await.unwrap() else { panic!("it is in use") };
    assert!(users[0].contains("dependent object") && users[0].contains("ec2:DescribeNetworkInterfaces"), "{users:?}");
}

#[tokio::test]
async fn a_network_is_told_with_all_its_blocks() {
    let bed = bed!();
    let sdk = bed.sdk().await;
    let vpc = sdk.describe_vpcs().send().await.unwrap().vpcs()[0].vpc_id().unwrap().to_owned();
    sdk.associate_vpc_cidr_block().vpc_id(vpc).cidr_block("10.7.0.0/16").send().await.unwrap();
    let ec2 = bed.ec2().await;
    assert_eq!(ec2.ensure_network(&owner(), &network()).await.unwrap().cidrs, ["10.7.0.0/16", "172.31.0.0/16"]);
}

#[tokio::test]
async fn a_group_that_somebody_removed_is_made_again() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let wanted = launch(&ec2, "m0").await;
    bed.sdk().await.delete_security_group().group_id(&wanted.security_groups[0]).send().await.unwrap();
    let e = ec2.launch(&wanted).await.unwrap_err();
    assert!(matches!(e, CloudError::Refused(_)), "nothing was made: {e:?}");
    ec2.launch(&launch(&ec2, "m0").await).await.unwrap();
}
