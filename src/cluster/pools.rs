//! The addresses of overlay networks: apart from everything the hosts reach otherwise.
//!
//! A container that is given an address of the VPC's cannot reach the host that has it, nor the
//! VPC's name server: what is chosen here overlaps neither the VPC nor the networks a single
//! engine makes.

use ipnet::Ipv4Net;

use crate::{api::EngineSpec, swarm::AddressPools};

/// The prefix length of an overlay network, unless the spec says another: Docker's default.
const SUBNET: u32 = 24;

/// Where pools are looked for, in this order: Docker's own default for swarms, then the other
/// private blocks (RFC 1918), and the shared one (RFC 6598).
const CANDIDATES: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

/// No smaller than this: 256 networks of the default size.
const SMALLEST: u8 = 16;

/// What an engine takes for networks of its own, where its configuration does not say otherwise
/// (moby, `libnetwork/ipamutils`).
const LOCAL: [&str; 7] = [
    "172.17.0.0/16",
    "172.18.0.0/16",
    "172.19.0.0/16",
    "172.20.0.0/14",
    "172.24.0.0/14",
    "172.28.0.0/14",
    "192.168.0.0/16",
];

/// The pools to begin a swarm with. `vpc` are the blocks of the hosts' network.
///
/// # Errors
/// What the spec asks for overlaps, or nothing is free: what, and what to do.
pub fn pools(engine: Option<&EngineSpec>, vpc: &[String]) -> Result<AddressPools, String> {
    let vpc: Vec<Ipv4Net> = vpc.iter().filter_map(|block| block.parse().ok()).collect();
    let local = local(engine);
    let subnet_size = engine.and_then(|e| e.subnet_size).unwrap_or(SUBNET);
    let asked = engine.map(|e| e.address_pools.as_slice()).unwrap_or_default();
    if asked.is_empty() {
        let taken: Vec<Ipv4Net> = vpc.into_iter().chain(local).collect();
        let words = || {
            let taken: Vec<String> = taken.iter().map(ToString::to_string).collect();
            format!(
                "no private block is left for overlay networks beside {}: name one in spec.engine.addressPools",
                taken.join(", ")
            )
        };
        let pool = free(&taken).ok_or_else(words)?;
        return Ok(AddressPools { pools: vec![pool.to_string()], subnet_size });
    }
    for pool in asked {
        let block: Ipv4Net = pool.parse().map_err(|e| format!("spec.engine.addressPools has {pool}: {e}"))?;
        for (taken, whose) in [(&vpc, "the hosts' VPC"), (&local, "the networks of a single engine")] {
            if let Some(other) = taken.iter().find(|t| overlap(t, &block)) {
                return Err(format!(
                    "{pool} of spec.engine.addressPools overlaps {other} of {whose}, so that containers could not reach it: delete the SwarmCluster and apply it again with another block, or with none to have one chosen"
                ));
            }
        }
    }
    Ok(AddressPools { pools: asked.to_vec(), subnet_size })
}

/// The largest block that overlaps nothing of `taken`: of the first candidate that has one, the first of its size.
fn free(taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    CANDIDATES.iter().filter_map(|c| c.parse::<Ipv4Net>().ok()).find_map(|candidate| {
        (candidate.prefix_len()..=SMALLEST)
            .find_map(|length| candidate.subnets(length).ok()?.find(|block| !taken.iter().any(|t| overlap(t, block))))
    })
}

/// What the engines take for networks of their own.
fn local(engine: Option<&EngineSpec>) -> Vec<Ipv4Net> {
    let config = engine.and_then(|e| e.daemon_json.as_ref());
    let text = |value: Option<&serde_json::Value>| value.and_then(|v| v.as_str()?.parse::<Ipv4Net>().ok());
    let own = config.and_then(|c| c.get("default-address-pools")).and_then(|p| p.as_array());
    let mut taken: Vec<Ipv4Net> = match own {
        Some(pools) => pools.iter().filter_map(|pool| text(pool.get("base"))).collect(),
        None => LOCAL.iter().filter_map(|block| block.parse().ok()).collect(),
    };
    taken.extend(text(config.and_then(|c| c.get("bip"))));
    taken
}

/// Two blocks overlap when one has the other's first address.
fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn engine(json: serde_json::Value) -> EngineSpec {
        serde_json::from_value(json).unwrap()
    }

    fn chosen(vpc: &[&str], engine: Option<&EngineSpec>) -> String {
        let vpc: Vec<String> = vpc.iter().map(|v| (*v).to_owned()).collect();
        let pools = pools(engine, &vpc).unwrap();
        format!("{}:{}", pools.pools.join(","), pools.subnet_size)
    }

    #[test]
    fn the_pool_is_the_largest_that_is_nobody_elses() {
        let table: [(&[&str], &str); 9] = [
            // A default VPC: Docker's own default does.
            (&["172.31.0.0/16"], "10.0.0.0/8:24"),
            (&[], "10.0.0.0/8:24"),
            (&["10.0.0.0/16"], "10.128.0.0/9:24"),
            (&["10.79.0.0/24"], "10.128.0.0/9:24"),
            (&["10.200.0.0/16"], "10.0.0.0/9:24"),
            (&["10.0.0.0/16", "10.200.0.0/16"], "10.64.0.0/10:24"),
            (&["192.168.0.0/16", "2600:1f18::/56"], "10.0.0.0/8:24"),
            // More than a VPC can have: the next private block, as far as no engine takes it.
            (&["10.0.0.0/8"], "172.16.0.0/16:24"),
            (&["10.0.0.0/8", "172.16.0.0/12"], "100.64.0.0/10:24"),
        ];
        for (vpc, pool) in table {
            assert_eq!(chosen(vpc, None), pool, "{vpc:?}");
        }
    }

    #[test]
    fn an_engines_own_networks_are_as_its_configuration_says() {
        let own = engine(serde_json::json!({"daemonJson": {
            "bip": "100.64.0.1/24",
            "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}],
        }}));
        assert_eq!(chosen(&["172.31.0.0/16"], Some(&own)), "172.16.0.0/13:24");
        assert_eq!(chosen(&["172.16.0.0/12"], Some(&own)), "192.168.0.0/16:24");
    }

    #[test]
    fn what_the_spec_says_is_taken_unless_it_overlaps() {
        let asked = |json| engine(serde_json::json!({"addressPools": json, "subnetSize": 26}));
        let two = asked(serde_json::json!(["10.200.0.0/16", "100.64.0.0/16"]));
        assert_eq!(chosen(&["10.0.0.0/16"], Some(&two)), "10.200.0.0/16,100.64.0.0/16:26");
        for (pool, whose) in [("10.0.0.0/8", "10.0.0.0/16 of the hosts' VPC"), ("172.20.0.0/16", "a single engine")] {
            let words = pools(Some(&asked(serde_json::json!([pool]))), &["10.0.0.0/16".to_owned()]).unwrap_err();
            assert!(words.contains(whose) && words.contains("spec.engine.addressPools"), "{words}");
        }
    }

    #[test]
    fn nothing_left_is_said() {
        let own =
            engine(serde_json::json!({"daemonJson": {"default-address-pools": [{"base": "0.0.0.0/0", "size": 24}]}}));
        assert!(pools(Some(&own), &[]).unwrap_err().contains("spec.engine.addressPools"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A VPC has up to 50 blocks of /16 to /28: there is always room beside them, and nothing of it is theirs.
        #[test]
        fn no_vpc_is_overlapped(blocks in prop::collection::vec((any::<[u8; 3]>(), 16u8..=28), 0..50)) {
            let block = |([a, b, c], length): &([u8; 3], u8)| Ipv4Net::new([10, *a, *b, *c].into(), *length).unwrap().trunc();
            let vpc: Vec<Ipv4Net> = blocks.iter().map(block).collect();
            let words: Vec<String> = vpc.iter().map(ToString::to_string).collect();
            let pool: Ipv4Net = pools(None, &words).unwrap().pools[0].parse().unwrap();
            prop_assert!(pool.prefix_len() <= SMALLEST);
            prop_assert!(!vpc.iter().any(|v| overlap(v, &pool)), "{pool} of {words:?}");
        }
    }
}
