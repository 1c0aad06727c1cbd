//! Who may reach a cluster's hosts: the rules of its security group, each with its reason, and
//! what AWS tells of a group's rules. Pure.
//!
//! The rules are what swarm and the end-to-end suite need, and no more. Not among them:
//! answers of every kind, ICMP's included, which AWS lets in by itself; what tasks ask of each
//! other, which travels inside the overlay's packets; and the Docker API, which has no port.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair};

use crate::cloud::NetworkSpec;

/// A range of ports, where the protocol has any.
type Ports = Option<(i32, i32)>;

/// One rule: a range of ports of a protocol, open for one source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    /// `tcp`, `udp`, a protocol's number, or `-1` for all.
    pub protocol: String,
    /// First and last port; for ICMP, type and code.
    pub ports: Ports,
    /// Who may come in.
    pub source: Source,
}

/// Who may come in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// An IPv4 block.
    V4(String),
    /// An IPv6 block.
    V6(String),
    /// The members of a group.
    Group(String),
    /// A managed list of blocks. We never make such a rule; it is known to be removed.
    List(String),
}

/// Rules, each with its reason, which is also its description at EC2.
pub(super) type Reasoned = BTreeMap<Rule, &'static str>;

/// Why the outside reaches SSH: everything the operator does on a host goes over it.
const SSH: &str = "SSH: the operator and kubectl testkit";

/// What nodes need of each other: a protocol, its ports, and the reason.
const AMONG_NODES: &[(&str, Ports, &str)] = &[
    ("tcp", Some((2377, 2377)), "swarm: managers, and nodes that join (swarmkit, its default port)"),
    ("tcp", Some((7946, 7946)), "swarm: nodes exchange the state of networks (memberlist)"),
    ("udp", Some((7946, 7946)), "swarm: nodes look whether each other live (memberlist)"),
    ("udp", Some((4789, 4789)), "swarm: overlay networks (VXLAN, its default data path port)"),
    ("50", None, "swarm: overlay networks with encryption (ESP)"),
    // Both ranges are TCP only: no case publishes anything else. From there, a test asks every
    // node, and a task is asked by itself, from the network of the host that the suite runs on.
    // swarmkit, manager/allocator/portallocator.go: dynamicPortStart, dynamicPortEnd.
    ("tcp", Some((30000, 32767)), "suite: ports published through the mesh, as swarm numbers them"),
    // moby, libnetwork/portallocator: the host's net.ipv4.ip_local_port_range, which is Linux's
    // default on every image that does not change it.
    ("tcp", Some((32768, 60999)), "suite: ports published on the host, as the engine numbers them"),
];

/// The rules of a cluster's group.
pub(super) fn wanted(network: &NetworkSpec, group: &str) -> Reasoned {
    let rule = |protocol: &str, ports, source| Rule { protocol: protocol.to_owned(), ports, source };
    let ssh = network.access_cidrs.iter().map(|cidr| (rule("tcp", Some((22, 22)), block(cidr)), SSH));
    let among = AMONG_NODES
        .iter()
        .map(|&(protocol, ports, reason)| (rule(protocol, ports, Source::Group(group.to_owned())), reason));
    ssh.chain(among).collect()
}

/// Whether a group has the rules it should have. What describes them is for people, and is theirs to change.
pub(super) fn are_as_wanted(present: &BTreeSet<Rule>, wanted: &Reasoned) -> bool {
    present.iter().eq(wanted.keys())
}

/// A CIDR block as AWS keeps it: without the bits the mask cuts off. What does not parse
/// goes to AWS as it is, which says what is wrong with it.
fn block(cidr: &str) -> Source {
    let parts =
        cidr.split_once('/').and_then(|(a, m)| Some((a.parse::<std::net::IpAddr>().ok()?, m.parse::<u32>().ok()?)));
    match parts {
        Some((std::net::IpAddr::V4(a), m @ 0..=32)) => {
            let mask = u32::MAX.checked_shl(32 - m).unwrap_or(0);
            Source::V4(format!("{}/{m}", std::net::Ipv4Addr::from_bits(a.to_bits() & mask)))
        }
        Some((std::net::IpAddr::V6(a), m @ 0..=128)) => {
            let mask = u128::MAX.checked_shl(128 - m).unwrap_or(0);
            Source::V6(format!("{}/{m}", std::net::Ipv6Addr::from_bits(a.to_bits() & mask)))
        }
        _ if cidr.contains(':') => Source::V6(cidr.to_owned()),
        _ => Source::V4(cidr.to_owned()),
    }
}

/// The rules AWS tells of.
pub(super) fn present(permissions: &[IpPermission]) -> BTreeSet<Rule> {
    permissions.iter().flat_map(rules_of).collect()
}

fn rules_of(permission: &IpPermission) -> impl Iterator<Item = Rule> {
    let protocol = permission.ip_protocol().unwrap_or("-1").to_owned();
    let has_ports = matches!(protocol.as_str(), "tcp" | "udp" | "icmp" | "icmpv6");
    let ports = permission.from_port().zip(permission.to_port()).filter(|_| has_ports);
    let v4 = permission.ip_ranges().iter().filter_map(|r| r.cidr_ip()).map(|c| Source::V4(c.to_owned()));
    let v6 = permission.ipv6_ranges().iter().filter_map(|r| r.cidr_ipv6()).map(|c| Source::V6(c.to_owned()));
    let groups = permission.user_id_group_pairs().iter().filter_map(|g| g.group_id());
    let lists = permission.prefix_list_ids().iter().filter_map(|l| l.prefix_list_id());
    let sources: Vec<Source> = v4
        .chain(v6)
        .chain(groups.map(|g| Source::Group(g.to_owned())))
        .chain(lists.map(|l| Source::List(l.to_owned())))
        .collect();
    sources.into_iter().map(move |source| Rule { protocol: protocol.clone(), ports, source })
}

/// Rule and description as AWS takes them.
pub(super) fn permission(rule: &Rule, description: Option<&str>) -> IpPermission {
    let words = description.map(str::to_owned);
    // EC2 ignores the ports of protocols that have none; not every endpoint goes without.
    let (from, to) = rule.ports.unwrap_or((0, 0));
    let all = IpPermission::builder().ip_protocol(&rule.protocol).from_port(from).to_port(to);
    match &rule.source {
        Source::V4(cidr) => all.ip_ranges(IpRange::builder().cidr_ip(cidr).set_description(words).build()),
        Source::V6(cidr) => all.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).set_description(words).build()),
        Source::Group(id) => {
            all.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).set_description(words).build())
        }
        Source::List(id) => {
            all.prefix_list_ids(PrefixListId::builder().prefix_list_id(id).set_description(words).build())
        }
    }
    .build()
}

#[cfg(test)]
mod tests {
    use super::{
        IpPermission, NetworkSpec, Rule, Source, UserIdGroupPair, are_as_wanted, block, permission, present, wanted,
    };

    fn spec(cidrs: &[&str]) -> NetworkSpec {
        NetworkSpec { access_cidrs: cidrs.iter().map(|&c| c.to_owned()).collect(), subnets: vec![] }
    }

    #[test]
    fn only_ssh_is_open_to_the_outside() {
        let outside: Vec<Rule> = wanted(&spec(&["203.0.113.0/24", "2001:db8::/32"]), "sg-1")
            .into_keys()
            .filter(|r| r.source != Source::Group("sg-1".to_owned()))
            .collect();
        let ssh = |source| Rule { protocol: "tcp".to_owned(), ports: Some((22, 22)), source };
        let expected = [ssh(Source::V4("203.0.113.0/24".to_owned())), ssh(Source::V6("2001:db8::/32".to_owned()))];
        assert_eq!(outside, expected);
    }

    #[test]
    fn what_aws_tells_of_our_rules_is_our_rules() {
        let rules = wanted(&spec(&["0.0.0.0/0", "::/0"]), "sg-1");
        let told: Vec<_> = rules.iter().map(|(rule, reason)| permission(rule, Some(reason))).collect();
        assert!(are_as_wanted(&present(&told), &rules));
        let unnamed: Vec<_> = rules.keys().map(|rule| permission(rule, None)).collect();
        assert!(are_as_wanted(&present(&unnamed), &rules), "whatever describes them");
        assert!(!are_as_wanted(&present(&told[1..]), &rules));
    }

    #[test]
    fn every_rule_has_a_reason_that_ec2_takes() {
        for (rule, reason) in wanted(&spec(&["0.0.0.0/0"]), "sg-1") {
            // The API reference of IpRange: at most 255 of these.
            let taken = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
            assert!(!reason.is_empty() && reason.len() <= 255 && reason.chars().all(taken), "{rule:?}: {reason}");
            assert!(include_str!("../../../docs/aws.md").contains(reason), "docs/aws.md does not tell {reason:?}");
        }
    }

    #[test]
    fn a_permission_with_several_sources_is_several_rules() {
        let both = IpPermission::builder()
            .ip_protocol("-1")
            .from_port(-1)
            .to_port(-1)
            .user_id_group_pairs(UserIdGroupPair::builder().group_id("sg-1").build())
            .user_id_group_pairs(UserIdGroupPair::builder().group_id("sg-2").build())
            .build();
        let rule = |id: &str| Rule { protocol: "-1".to_owned(), ports: None, source: Source::Group(id.to_owned()) };
        assert_eq!(present(&[both]).into_iter().collect::<Vec<_>>(), [rule("sg-1"), rule("sg-2")]);
    }

    #[test]
    fn blocks_are_written_as_aws_keeps_them() {
        for (given, kept) in [
            ("203.0.113.7/24", Source::V4("203.0.113.0/24".to_owned())),
            ("203.0.113.7/32", Source::V4("203.0.113.7/32".to_owned())),
            ("10.0.0.1/0", Source::V4("0.0.0.0/0".to_owned())),
            ("2001:DB8:0::1/64", Source::V6("2001:db8::/64".to_owned())),
            ("::1/0", Source::V6("::/0".to_owned())),
            ("nonsense", Source::V4("nonsense".to_owned())),
        ] {
            assert_eq!(block(given), kept, "{given}");
        }
    }
}
