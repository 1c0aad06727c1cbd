//! What a cluster costs: a pure function of its instances, the price table, and what was said of it before.
//!
//! What is said is a point to count on from. It is moved only when the sum of prices changes or another machine comes, so
//! that a cluster in which nothing happens has no write. That nothing need be remembered of each machine hangs on one
//! rule: the point is after the launch of each machine that is in the sum, so that what was launched at it or later is not.

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{
    api::{CURRENCY, ClusterCost, Ec2Provider, SwarmClusterSpec, Usd},
    cloud::{Instance, InstanceState},
    prices::Prices,
    status::whole,
};

/// What a cluster costs by now; `None` where there is no table, no machine yet, or the machines are nobody's to pay for.
#[must_use]
pub fn cost(
    spec: &SwarmClusterSpec,
    instances: Option<&[Instance]>,
    prices: Option<&Prices>,
    before: Option<&ClusterCost>,
    now: Timestamp,
) -> Option<ClusterCost> {
    let (ec2, prices) = (spec.provider.ec2.as_ref()?, prices?);
    // Before the first listing nobody knows which there are: what was said stands.
    let Some(instances) = instances else { return before.cloned() };
    let live = || instances.iter().filter(|i| !i.state.is_ended());
    let unpriced: BTreeSet<String> = live().filter_map(|i| price(ec2, prices, i).err()).collect();
    if !unpriced.is_empty() {
        let unpriced = unpriced.into_iter().collect();
        return Some(ClusterCost { currency: CURRENCY.to_owned(), unpriced, ..ClusterCost::default() });
    }
    let machines: Vec<Machine> =
        live().filter_map(|i| Some(Machine { launched: i.launched_at, hourly: price(ec2, prices, i).ok()? })).collect();
    let point = before.and_then(Point::of);
    let hourly: Usd = machines.iter().map(|m| m.hourly).sum();
    let at = next_point(&machines, point.as_ref(), whole(now).0);
    let (accrued, since): (Usd, Timestamp) = match point {
        None if machines.is_empty() => return None,
        None => (machines.iter().map(|m| m.cost(at)).sum(), at),
        Some(point) => {
            let new: Vec<&Machine> = machines.iter().filter(|m| m.launched.is_some_and(|l| l >= point.at)).collect();
            if hourly == point.hourly && new.is_empty() {
                return before.cloned();
            }
            let old = point.accrued.plus(point.hourly.an_hour_between(point.at, at));
            (old.plus(new.into_iter().map(|m| m.cost(at)).sum()), point.since)
        }
    };
    Some(ClusterCost {
        currency: CURRENCY.to_owned(),
        hourly: Some(hourly),
        accrued: Some(accrued),
        accrued_at: Some(whole(at)),
        since: Some(whole(since)),
        unpriced: vec![],
    })
}

/// The point to count on from: now, but after the launch of each machine that is in the sum, whose second EC2 tells by
/// its own clock, and never before the point that was.
fn next_point(machines: &[Machine], before: Option<&Point>, now: Timestamp) -> Timestamp {
    let after = |launched: Timestamp| launched.checked_add(SignedDuration::from_secs(1)).unwrap_or(launched);
    let launches = machines.iter().filter_map(|m| m.launched).map(after);
    launches.chain(before.map(|point| point.at)).fold(now, Ord::max)
}

/// What is to be paid for.
struct Machine {
    /// When it was launched, where EC2 told: else it is counted from when it was seen.
    launched: Option<Timestamp>,
    hourly: Usd,
}

impl Machine {
    fn cost(&self, to: Timestamp) -> Usd {
        self.hourly.an_hour_between(self.launched.unwrap_or(to), to)
    }
}

/// What was said, where all of it was known.
struct Point {
    hourly: Usd,
    accrued: Usd,
    at: Timestamp,
    since: Timestamp,
}

impl Point {
    fn of(cost: &ClusterCost) -> Option<Self> {
        let (at, since) = (cost.accrued_at.as_ref()?.0, cost.since.as_ref()?.0);
        Some(Self { hourly: cost.hourly?, accrued: cost.accrued?, at, since })
    }
}

/// What an instance costs an hour, or else what has no price. Of one that is stopped only its volume is paid for.
fn price(ec2: &Ec2Provider, prices: &Prices, instance: &Instance) -> Result<Usd, String> {
    let volume = ec2.volume.as_ref().and_then(|volume| prices.volume(&ec2.region, volume)).unwrap_or_default();
    if matches!(instance.state, InstanceState::Stopping | InstanceState::Stopped) {
        return Ok(volume);
    }
    let of = &instance.instance_type;
    let hourly = prices.instance(&ec2.region, of, instance.spot);
    hourly
        .map(|hourly| hourly.plus(volume))
        .ok_or_else(|| format!("{of}{}", if instance.spot { " (spot)" } else { "" }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::cluster::plan::tests::instance;

    const TABLE: &str = r#"{"regions": {"us-east-1": {
        "instances": {"t3.medium": {"onDemand": "0.36", "spot": "0.036"}, "c7g.large": {"onDemand": "0.72"}},
        "volumes": {"gp3": "0.73"}
    }}}"#;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn spec(ec2: &serde_json::Value) -> SwarmClusterSpec {
        serde_json::from_value(json!({"provider": {"ec2": ec2}})).unwrap()
    }

    fn plain() -> SwarmClusterSpec {
        spec(&json!({"region": "us-east-1"}))
    }

    /// One that was launched then.
    fn machine(slot: &str, of: &str, launched: i64) -> Instance {
        Instance {
            instance_type: of.to_owned(),
            launched_at: Some(at(launched)),
            ..instance(slot, 0, InstanceState::Running)
        }
    }

    fn in_state(state: InstanceState, machine: Instance) -> Instance {
        Instance { state, ..machine }
    }

    /// What is said pass by pass, by the same operator or another one: nothing but what was said is remembered.
    fn told(spec: &SwarmClusterSpec, passes: &[(i64, Vec<Instance>)]) -> Option<ClusterCost> {
        let prices: Prices = TABLE.parse().unwrap();
        let mut said = None;
        for (second, instances) in passes {
            said = cost(spec, Some(instances), Some(&prices), said.as_ref(), at(*second));
            // What is said again of the same is the same, so that nothing is written.
            let again = cost(spec, Some(instances), Some(&prices), said.as_ref(), at(*second + 3600));
            assert_eq!(again, said, "{second}");
        }
        said
    }

    #[test]
    fn it_is_counted_from_launch_to_end_and_said_anew_only_at_a_change() {
        use InstanceState::{Pending, ShuttingDown, Stopped, Terminated};
        let m0 = || machine("m0", "t3.medium", 0);
        let w0 = || machine("w0", "c7g.large", 0);
        let later = || machine("w1", "t3.medium", 50);
        // The passes; what is said at the end an hour, accrued by then, and by an hour later.
        let table = [
            // Ten seconds of 0.36 are a tenth of a cent.
            (vec![(10, vec![m0()])], "0.36", "0.001", "0.361"),
            (vec![(10, vec![in_state(Pending, m0())])], "0.36", "0.001", "0.361"),
            (vec![(10, vec![m0(), w0()])], "1.08", "0.003", "1.083"),
            // Nothing changes for an hour: the point stays.
            (vec![(10, vec![m0()]), (3610, vec![m0()])], "0.36", "0.001", "0.361"),
            // One comes, and is counted from its launch.
            (vec![(10, vec![m0()]), (100, vec![m0(), later()])], "0.72", "0.015", "0.735"),
            // One ends: to when that was seen.
            (vec![(10, vec![m0(), w0()]), (110, vec![m0(), in_state(ShuttingDown, w0())])], "0.36", "0.033", "0.393"),
            (
                vec![(10, vec![m0(), w0()]), (110, vec![m0()]), (210, vec![m0(), in_state(Terminated, w0())])],
                "0.36",
                "0.033",
                "0.393",
            ),
            // One takes the place of another of the same price.
            (vec![(10, vec![m0()]), (100, vec![later()])], "0.36", "0.015", "0.375"),
            // All end.
            (vec![(10, vec![m0()]), (100, vec![])], "0.00", "0.01", "0.01"),
            // One that is stopped is not paid for.
            (vec![(10, vec![m0()]), (100, vec![in_state(Stopped, m0())])], "0.00", "0.01", "0.01"),
            // One that is launched in the second of the point is not in it.
            (vec![(10, vec![m0()]), (20, vec![m0(), machine("w1", "t3.medium", 10)])], "0.72", "0.003", "0.723"),
            (vec![(50, vec![later()])], "0.36", "0.0001", "0.3601"),
            // EC2's clock is ahead by 5 s: the one that is counted is not counted again.
            (vec![(45, vec![m0(), later()]), (145, vec![m0(), later(), w0()])], "1.44", "0.024", "1.464"),
            // Our own clock was turned back.
            (vec![(100, vec![m0()]), (60, vec![m0(), later()])], "0.72", "0.01", "0.73"),
            // Of one EC2 does not tell its launch.
            (vec![(10, vec![Instance { launched_at: None, ..m0() }])], "0.36", "0.00", "0.36"),
        ];
        for (passes, hourly, accrued, in_an_hour) in table {
            let said = told(&plain(), &passes).unwrap();
            assert_eq!((said.hourly, said.accrued), (Some(usd(hourly)), Some(usd(accrued))), "{passes:?}");
            let point = said.accrued_at.as_ref().unwrap().0;
            let hour_later = Timestamp::from_second(point.as_second() + 3600).unwrap();
            assert_eq!(said.accrued_by(hour_later), Some(usd(in_an_hour)), "{passes:?}");
            assert_eq!((said.currency.as_str(), said.unpriced.len()), ("USD", 0));
        }
    }

    #[test]
    fn where_one_price_is_missing_no_amount_is_there() {
        let (m0, unknown) = (|| machine("m0", "t3.medium", 0), || machine("w0", "m7i.large", 0));
        let spot = |of: &str| Instance { spot: true, ..machine("w1", of, 0) };
        let table = [
            (vec![m0(), spot("t3.medium")], Some("0.396"), vec![]),
            (vec![m0(), unknown()], None, vec!["m7i.large"]),
            (vec![spot("c7g.large"), unknown(), unknown()], None, vec!["c7g.large (spot)", "m7i.large"]),
            // One that has ended costs nothing, known or not.
            (vec![m0(), in_state(InstanceState::Terminated, unknown())], Some("0.36"), vec![]),
        ];
        for (instances, hourly, unpriced) in table {
            let said = told(&plain(), &[(10, instances)]).unwrap();
            assert_eq!(
                (said.hourly, said.unpriced),
                (hourly.map(usd), unpriced.iter().map(|u| (*u).to_owned()).collect::<Vec<_>>())
            );
            assert_eq!(said.accrued.is_some(), hourly.is_some());
        }
        // Once it is known again, it is counted anew, of the machines that are there.
        let said = told(&plain(), &[(10, vec![m0()]), (20, vec![m0(), unknown()]), (100, vec![m0()])]).unwrap();
        assert_eq!((said.accrued, said.since), (Some(usd("0.01")), Some(Time(at(100)))));
    }

    #[test]
    fn nothing_is_said_where_nothing_is_known() {
        let prices: Prices = TABLE.parse().unwrap();
        let machines = [machine("m0", "t3.medium", 0)];
        let hosts: SwarmClusterSpec =
            serde_json::from_value(json!({"provider": {"hosts": {"secretRef": {"name": "lab"}, "machines": []}}}))
                .unwrap();
        assert_eq!(cost(&plain(), Some(&machines), None, None, at(10)), None, "no table");
        assert_eq!(cost(&hosts, Some(&machines), Some(&prices), None, at(10)), None, "machines of somebody's own");
        assert_eq!(cost(&plain(), Some(&[]), Some(&prices), None, at(10)), None, "no machine yet");
        let said = cost(&plain(), Some(&machines), Some(&prices), None, at(10));
        assert_eq!(cost(&plain(), None, Some(&prices), said.as_ref(), at(99)), said, "no listing yet");
    }

    #[test]
    fn volumes_count_where_size_type_and_price_are_known() {
        let with = |volume: serde_json::Value| spec(&json!({"region": "us-east-1", "volume": volume}));
        for (spec, state, hourly) in [
            (with(json!({"sizeGiB": 100, "type": "gp3"})), InstanceState::Running, "0.46"),
            (with(json!({"sizeGiB": 100, "type": "gp3"})), InstanceState::Stopped, "0.1"),
            (with(json!({"sizeGiB": 100, "type": "gp2"})), InstanceState::Running, "0.36"),
            (with(json!({"sizeGiB": 100})), InstanceState::Running, "0.36"),
        ] {
            let said = told(&spec, &[(10, vec![in_state(state, machine("m0", "t3.medium", 0))])]).unwrap();
            assert_eq!(said.hourly, Some(usd(hourly)), "{spec:?}");
        }
    }

    #[test]
    fn another_table_counts_from_when_it_is_there() {
        let cheap: Prices = TABLE.parse().unwrap();
        let dear: Prices = TABLE.replace("0.36\"", "3.60\"").parse().unwrap();
        let machines = [machine("m0", "t3.medium", 0)];
        let first = cost(&plain(), Some(&machines), Some(&cheap), None, at(0));
        let then = cost(&plain(), Some(&machines), Some(&dear), first.as_ref(), at(100)).unwrap();
        assert_eq!((then.hourly, then.accrued), (Some(usd("3.6")), Some(usd("0.01"))));
    }
}
