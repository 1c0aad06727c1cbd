//! The price table that the operator is given: what an instance type costs an hour, and a volume a month. `docs/cost.md` has its format.
//!
//! There is none in the program: prices change, and whoever pays knows them. Without a table, and for what it does not
//! have, the answer is that the price is not known.

use std::{collections::BTreeMap, fmt, fs, marker::PhantomData, path::Path, str::FromStr};

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Deserializer, de};

use crate::api::{Usd, Volume};

/// The region of a table that stands for all those which have no entry for the same thing.
const ANYWHERE: &str = "*";

/// The hours of a month, as AWS's own calculator has them: 365 days, 24 hours, 12 months.
const MONTH: u128 = 730;

/// What things cost, by region.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    #[serde(deserialize_with = "regions")]
    regions: BTreeMap<String, Regional>,
}

/// What things cost in a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Regional {
    /// By type.
    #[serde(deserialize_with = "instances")]
    instances: BTreeMap<String, Hourly>,
    /// By type, a GiB for a month.
    #[serde(deserialize_with = "volumes")]
    volumes: BTreeMap<String, Usd>,
}

/// What an instance costs an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "prices, such as {onDemand: \"0.0416\"}")]
struct Hourly {
    on_demand: Usd,
    #[serde(default)]
    spot: Option<Usd>,
}

impl Prices {
    /// Reads a table.
    ///
    /// # Errors
    /// Where it cannot be read, or is none: the place in it, and what to write.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("the price table {} (--prices) cannot be read", file.display()))?;
        text.parse::<Self>().map_err(|error| anyhow!("the price table {} (--prices): {error}", file.display()))
    }

    /// What an instance of a type costs an hour, where that is known. A region's own entry for a type is taken whole.
    #[must_use]
    pub fn instance(&self, region: &str, instance_type: &str, spot: bool) -> Option<Usd> {
        let hourly = self.tables(region).find_map(|table| table.instances.get(instance_type))?;
        if spot { hourly.spot } else { Some(hourly.on_demand) }
    }

    /// What a root volume costs an hour, rounded to the nearest millionth of a dollar, where size, type and price are known.
    #[must_use]
    pub fn volume(&self, region: &str, volume: &Volume) -> Option<Usd> {
        let of = volume.type_.as_ref()?;
        let month = self.tables(region).find_map(|table| table.volumes.get(of))?;
        let parts = u128::from(month.millionths()) * u128::from(volume.size_gib);
        Some(Usd::from_millionths((parts + MONTH / 2) / MONTH))
    }

    /// The tables to look in, one after the other.
    fn tables<'a>(&'a self, region: &'a str) -> impl Iterator<Item = &'a Regional> {
        [region, ANYWHERE].into_iter().filter_map(move |name| self.regions.get(name))
    }
}

impl FromStr for Prices {
    type Err = String;

    /// As YAML, of which JSON is a part.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_yaml_ng::from_str(text).map_err(|error| error.to_string())
    }
}

fn regions<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Regional>, D::Error> {
    d.deserialize_map(Named {
        good: |name| {
            let words = name.split('-');
            name == ANYWHERE || words.clone().count() > 2 && words.clone().all(word) && name.ends_with(number)
        },
        remedy: "write a region such as us-east-1, or \"*\" for all others",
        of: PhantomData,
    })
}

fn instances<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Hourly>, D::Error> {
    d.deserialize_map(Named {
        good: |name| {
            let of = |part: &str| word(&part.replace('-', ""));
            name.split_once('.').is_some_and(|(family, size)| of(family) && of(size))
        },
        remedy: "write an instance type such as t3.medium",
        of: PhantomData,
    })
}

fn volumes<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Usd>, D::Error> {
    d.deserialize_map(Named {
        good: |name| ["gp2", "gp3", "standard"].contains(&name),
        remedy: "write a volume type that spec.provider.ec2.volume can have: gp3, gp2 or standard",
        of: PhantomData,
    })
}

/// Whether it is of small letters and digits.
fn word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || number(c))
}

const fn number(c: char) -> bool {
    c.is_ascii_digit()
}

/// A map of which each name is one of its kind, and is there once: YAML's own reading takes the last of two.
struct Named<V> {
    good: fn(&str) -> bool,
    remedy: &'static str,
    of: PhantomData<V>,
}

impl<'de, V: Deserialize<'de>> de::Visitor<'de> for Named<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map ({})", self.remedy)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if !(self.good)(&name) {
                return Err(de::Error::custom(format!("{name:?} is none that can be: {}", self.remedy)));
            }
            if all.contains_key(&name) {
                return Err(de::Error::custom(format!("{name:?} is there twice: leave one of them out")));
            }
            let value = map.next_value()?;
            all.insert(name, value);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
regions:
  us-east-1:
    instances:
      t3.medium: {onDemand: "0.0416", spot: "0.0125"}
      m7i.metal-24xl: {onDemand: 4.8384}
    volumes: {gp3: "0.08"}
  "*":
    instances:
      t3.medium: {onDemand: "0.05", spot: "0.02"}
      c7g.large: {onDemand: "0.08"}
    volumes: {gp3: "0.1", gp2: "0.12"}
"#;

    fn usd(text: &str) -> Option<Usd> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_instance_costs_what_its_region_says_or_else_all_regions() {
        let prices: Prices = TABLE.parse().unwrap();
        for (region, instance_type, spot, price) in [
            ("us-east-1", "t3.medium", false, usd("0.0416")),
            ("us-east-1", "t3.medium", true, usd("0.0125")),
            // Without quotes it is read as it is written, too.
            ("us-east-1", "m7i.metal-24xl", false, usd("4.8384")),
            ("us-east-1", "m7i.metal-24xl", true, None),
            ("us-east-1", "c7g.large", false, usd("0.08")),
            ("eu-west-1", "t3.medium", false, usd("0.05")),
            ("eu-west-1", "t3.medium", true, usd("0.02")),
            ("eu-west-1", "m7i.metal-24xl", false, None),
            ("us-east-1", "t3.large", false, None),
            ("*", "t3.large", false, None),
        ] {
            assert_eq!(prices.instance(region, instance_type, spot), price, "{region} {instance_type} {spot}");
        }
    }

    #[test]
    fn a_volume_costs_its_part_of_a_month() {
        let prices: Prices = TABLE.parse().unwrap();
        let volume =
            |size_gib, type_: Option<&str>| Volume { size_gib, type_: type_.map(str::to_owned), device_name: None };
        for (region, volume, price) in [
            ("us-east-1", volume(8, Some("gp3")), usd("0.000877")),
            ("us-east-1", volume(730, Some("gp3")), usd("0.08")),
            ("eu-west-1", volume(730, Some("gp3")), usd("0.1")),
            ("us-east-1", volume(730, Some("gp2")), usd("0.12")),
            ("us-east-1", volume(8, Some("standard")), None),
            ("us-east-1", volume(8, None), None),
        ] {
            assert_eq!(prices.volume(region, &volume), price, "{region} {volume:?}");
        }
    }

    #[test]
    fn a_table_that_is_none_is_refused_with_the_place_and_what_to_write() {
        let of = |types: &str| format!("regions:\n  us-east-1:\n    instances:\n      {types}\n");
        for (text, words) in [
            (String::new(), vec![]),
            ("{}".to_owned(), vec!["missing field `regions`"]),
            ("region: {}".to_owned(), vec!["unknown field `region`"]),
            ("regions: [us-east-1]".to_owned(), vec!["regions", "write a region such as us-east-1"]),
            ("regions: {useast1: {}}".to_owned(), vec!["\"useast1\"", "write a region such as us-east-1"]),
            ("regions: {us-east-1: {instance: {}}}".to_owned(), vec!["regions.us-east-1", "unknown field `instance`"]),
            (of("medium: {onDemand: \"1\"}"), vec!["\"medium\"", "us-east-1", "such as t3.medium", "line 4"]),
            (of("t3.medium: {onDemand: \"cheap\"}"), vec!["t3.medium.onDemand", "\"cheap\" is no price", "line 4"]),
            (of("t3.medium: {onDemand: -1}"), vec!["t3.medium.onDemand", "\"-1\" is no price", "line 4"]),
            (of("t3.medium: {onDemand: 1e-3}"), vec!["t3.medium.onDemand", "\"1e-3\" is no price"]),
            (of("t3.medium: {spot: \"0.01\"}"), vec!["t3.medium", "missing field `onDemand`", "line 4"]),
            (of("t3.medium: {ondemand: \"1\"}"), vec!["t3.medium", "unknown field `ondemand`", "line 4"]),
            (of("t3.medium: \"0.0416\""), vec!["t3.medium", "such as {onDemand: \"0.0416\"}", "line 4"]),
            (
                of("t3.medium: {onDemand: \"1\"}\n      t3.medium: {onDemand: \"2\"}"),
                vec!["\"t3.medium\" is there twice"],
            ),
            ("regions: {us-east-1: {volumes: {io2: \"1\"}}}".to_owned(), vec!["\"io2\"", "gp3, gp2 or standard"]),
        ] {
            let error = text.parse::<Prices>().unwrap_err();
            for word in words {
                assert!(error.contains(word), "{text}: {word:?} is not in: {error}");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Prices::read(Path::new("/nowhere/prices.yaml")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/prices.yaml (--prices)"), "{error:#}");
    }
}
