//! Subnets for networks that are to have one of their own: free ones, other in every run.
//!
//! A case that names a subnet itself finds it taken by whatever a killed run left, or by the run beside it.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::Ipv4Addr,
};

use anyhow::{Context as _, Result};
use bollard::{Docker, errors::Error};
use ipnet::Ipv4Net;

use super::{life, test::Test};
use crate::cluster::{Cluster, Member};

/// Where a subnet is looked for, the best first. The first is nobody's network: it is set apart for tests (RFC 2544).
/// Then come private ones (RFC 1918), and at last what carriers have between them and their customers (RFC 6598).
const RANGES: [Ipv4Net; 5] = [
    net([198, 18, 0, 0], 15),
    net([172, 16, 0, 0], 12),
    net([192, 168, 0, 0], 16),
    net([10, 0, 0, 0], 8),
    net([100, 64, 0, 0], 10),
];

/// From which an engine takes subnets for its own networks when it is not told otherwise (`docker info` is silent then).
const ENGINE_POOLS: [Ipv4Net; 2] = [net([172, 16, 0, 0], 12), net([192, 168, 0, 0], 16)];

/// The same for a swarm's networks.
const SWARM_POOL: Ipv4Net = net([10, 0, 0, 0], 8);

/// A node's own network is not told. A VPC's range is no larger than this.
const LARGEST_VPC: u8 = 16;

/// How large the subnets are.
const PREFIX: u8 = 24;

const fn net(address: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(address[0], address[1], address[2], address[3]), prefix)
}

impl Test {
    /// A subnet of 254 addresses that overlaps nothing: no network of the swarm or of this engine, no pool from which
    /// they take subnets, not the nodes' own network. It is this case's until it is over.
    pub(crate) async fn subnet(&self) -> Result<Ipv4Net> {
        let taken = taken(self.cluster()).await?;
        for subnet in in_order(self.run_id(), self.case(), self.nth_subnet(), &taken) {
            let Some(claim) = self.claim(subnet).await? else { continue };
            // Only now: who had it before gives up the claim first, and then the network.
            if overlaps(subnet, &of_networks(self.docker()).await?) {
                self.docker().delete_config(&claim).await.context("cannot give up the claim to a subnet")?;
                continue;
            }
            self.note(format_args!("has the subnet {subnet}"));
            return Ok(subnet);
        }
        anyhow::bail!("no subnet is free: all of {RANGES:?} is taken by {taken:?}")
    }

    /// Takes a subnet before others do: the swarm has only one config of a name.
    async fn claim(&self, subnet: Ipv4Net) -> Result<Option<String>> {
        let name = format!("e2e-subnet-{}", subnet.network());
        let says = "The subnet of this name is a running test's.";
        let (docker, spec) = (self.docker().clone(), life::config(name, self.labels(), says));
        let create = async move {
            match docker.create_config(spec).await {
                Ok(created) => Ok(Some(created.id)),
                Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        self.make(create).await.context("cannot claim a subnet")
    }
}

/// All that a subnet must not overlap, except for networks that are made from here on.
async fn taken(cluster: &Cluster) -> Result<Vec<Ipv4Net>> {
    let docker = &cluster.docker;
    let mut taken = of_networks(docker).await?;
    let info = docker.info().await.context("cannot ask the engine for its address pools")?;
    let pools: Vec<_> = info.default_address_pools.unwrap_or_default().into_iter().filter_map(|it| it.base).collect();
    taken.extend(nets(&pools));
    if pools.is_empty() {
        taken.extend(ENGINE_POOLS);
    }
    let swarm = docker.inspect_swarm().await.context("cannot ask the swarm for its address pools")?;
    let pools = swarm.default_addr_pool.unwrap_or_default();
    taken.extend(nets(&pools));
    if pools.is_empty() {
        taken.push(SWARM_POOL);
    }
    for node in docker.list_nodes(None).await.context("cannot list the nodes")? {
        let address = Member::from(node).address.parse().ok();
        taken.extend(address.and_then(|address| Ipv4Net::new(address, LARGEST_VPC).ok()).map(|net| net.trunc()));
    }
    if cluster.on_a_node {
        taken.extend(routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default()));
    }
    Ok(taken)
}

/// The subnets of the swarm's networks, and of those that the engine has for itself.
async fn of_networks(docker: &Docker) -> Result<Vec<Ipv4Net>> {
    let networks = docker.list_networks(None).await.context("cannot list the networks")?;
    let configs = networks.into_iter().filter_map(|network| network.ipam?.config).flatten();
    let subnets: Vec<_> = configs.filter_map(|config| config.subnet).collect();
    Ok(nets(&subnets).collect())
}

/// Those of IPv6 are left out.
fn nets(texts: &[String]) -> impl Iterator<Item = Ipv4Net> {
    texts.iter().filter_map(|text| text.parse::<Ipv4Net>().ok()).map(|net| net.trunc())
}

/// Where this machine has routes to, from the kernel's table, whose numbers are in the machine's order of bytes.
fn routes(table: &str) -> impl Iterator<Item = Ipv4Net> {
    table.lines().skip(1).filter_map(|line| {
        let number = |nth| Some(u32::from_str_radix(line.split_whitespace().nth(nth)?, 16).ok()?.to_ne_bytes());
        let (to, mask): ([u8; 4], [u8; 4]) = (number(1)?, number(7)?);
        let net = Ipv4Net::with_netmask(to.into(), mask.into()).ok()?;
        // The way to everywhere is no network.
        (net.prefix_len() >= 8).then_some(net)
    })
}

fn overlaps(net: Ipv4Net, others: &[Ipv4Net]) -> bool {
    others.iter().any(|other| other.contains(&net.network()) || net.contains(&other.network()))
}

/// The free subnets, beginning with one that depends on run and case alone, so that few look at the same one.
fn in_order(run: &str, case: &str, nth: usize, taken: &[Ipv4Net]) -> impl Iterator<Item = Ipv4Net> {
    let mut hasher = DefaultHasher::new();
    (run, case, nth).hash(&mut hasher);
    let hash = usize::try_from(hasher.finish() & u64::from(u32::MAX)).unwrap_or_default();
    RANGES.into_iter().flat_map(move |range| {
        let count = 1_usize << (PREFIX - range.prefix_len());
        (0..count).filter_map(move |step| {
            let number = u32::try_from((hash + step) % count).ok()? << (32 - PREFIX);
            let subnet = Ipv4Net::new((u32::from(range.network()) + number).into(), PREFIX).ok()?;
            (!overlaps(subnet, taken)).then_some(subnet)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Vec<Ipv4Net> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn no_subnet_overlaps_what_is_taken_and_none_comes_twice() {
        let taken = parsed(&["198.18.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.7.0/28"]);
        let mut found: Vec<_> = in_order("run", "Case", 0, &taken).collect();
        let count = found.len();
        assert_eq!(count, 256 + 255 + (1 << 14), "of 198.19.0.0/16, 192.168.0.0/16 and 100.64.0.0/10");
        assert!(found.iter().all(|&subnet| !overlaps(subnet, &taken)));
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), count);
    }

    #[test]
    fn the_same_run_looks_in_the_same_order_and_another_in_another() {
        let first = |run, case, nth| in_order(run, case, nth, &[]).next().unwrap();
        assert_eq!(first("one", "NetworkIpam", 0), first("one", "NetworkIpam", 0));
        let all = [
            first("one", "NetworkIpam", 0),
            first("one", "NetworkIpam", 1),
            first("one", "Other", 0),
            first("two", "NetworkIpam", 0),
        ];
        assert!(all.iter().enumerate().all(|(nth, it)| !all[..nth].contains(it)), "{all:?}");
    }

    #[test]
    fn the_last_range_is_used_when_all_others_are_taken() {
        let found = in_order("run", "Case", 0, &RANGES[..4]).next().unwrap();
        assert!(RANGES[4].contains(&found));
        assert_eq!(in_order("run", "Case", 0, &RANGES).next(), None);
    }

    #[test]
    fn routes_are_those_of_the_kernel_but_for_the_way_to_everywhere() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t00004F0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        if cfg!(target_endian = "little") {
            assert_eq!(routes(table).collect::<Vec<_>>(), parsed(&["10.79.0.0/16"]));
        }
    }

    #[test]
    fn of_what_an_engine_tells_only_subnets_of_ipv4_count() {
        let texts = ["10.1.2.3/16", "fd00::/64", "nonsense"].map(str::to_owned);
        assert_eq!(nets(&texts).collect::<Vec<_>>(), parsed(&["10.1.0.0/16"]));
    }
}
