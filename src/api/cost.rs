//! What machines cost: exact amounts, and how they add up over time.

use std::{borrow::Cow, fmt};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The currency of all prices: that of AWS's own lists.
pub const CURRENCY: &str = "USD";

/// How many parts a dollar has: a millionth is the smallest that AWS's lists have in the price of an hour.
const PARTS: u64 = 1_000_000;
/// The most digits that are written before the point, and after it.
const DIGITS: (usize, usize) = (12, 6);
/// The largest amount that has so many digits.
const MOST: u64 = 999_999_999_999 * PARTS + (PARTS - 1);
const HOUR: u128 = 3600;

/// An amount of US dollars that is not negative, in whole millionths, written as a decimal such as `0.0416`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many millionths of a dollar. What is too much to be written is the largest amount that can be.
    #[must_use]
    pub fn from_millionths(parts: u128) -> Self {
        Self(u64::try_from(parts).unwrap_or(MOST).min(MOST))
    }

    /// In millionths of a dollar.
    #[must_use]
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// The two together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::from_millionths(u128::from(self.0) + u128::from(other.0))
    }

    /// By how much it is more than another amount; nothing where it is less.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// What this much an hour comes to from one time to another, rounded to the nearest millionth; nothing where the
    /// second is not the later one.
    #[must_use]
    pub fn an_hour_between(self, from: Timestamp, to: Timestamp) -> Self {
        let seconds = u128::try_from(to.as_second().saturating_sub(from.as_second())).unwrap_or(0);
        Self::from_millionths((u128::from(self.0) * seconds + HOUR / 2) / HOUR)
    }
}

impl std::iter::Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Self::plus)
    }
}

impl std::str::FromStr for Usd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "{text:?} is no price: write US dollars as a decimal with at most six digits after the point, such as \"0.0416\""
            )
        };
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let number = |digits: &str, most: usize| {
            let good = (1..=most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            if good { digits.parse::<u64>().ok() } else { None }
        };
        let dollars = number(whole, DIGITS.0).ok_or_else(wrong)?;
        let rest = number(part, DIGITS.1).ok_or_else(wrong)?;
        let missing = u32::try_from(DIGITS.1 - part.len()).map_err(|_| wrong())?;
        Ok(Self(dollars * PARTS + rest * 10u64.pow(missing)))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / PARTS, self.0 % PARTS);
        let short = text.trim_end_matches('0');
        // Cents are always there, as people write them.
        let least = text.len() - (DIGITS.1 - 2);
        f.write_str(&text[..short.len().max(least)])
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Decimal;

        impl de::Visitor<'_> for Decimal {
            type Value = Usd;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a price in quotes, such as \"0.0416\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Usd, E> {
                text.parse().map_err(E::custom)
            }
        }

        d.deserialize_str(Decimal)
    }
}

impl JsonSchema for Usd {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Usd".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 19, "pattern": r"^[0-9]{1,12}(\.[0-9]{1,6})?$"})
    }
}

/// What a cluster costs, by the price table that the operator was given. All or nothing: where one price is missing, neither amount is there.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCost {
    /// `USD`.
    #[schemars(length(max = 3))]
    pub currency: String,
    /// What its machines cost an hour, with their root volumes where the table has a price for these and the spec says their size and type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<Usd>,
    /// What its machines had cost at `accruedAt`, from each one's launch to when its end was seen. From then on `hourly` an hour is added: it is written anew only when `hourly` changes or a machine takes another's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accrued: Option<Usd>,
    /// By when `accrued` is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accrued_at: Option<Time>,
    /// Since when it is counted. Machines that had ended before are not in `accrued`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What it has that the table has no price for, such as `m7i.large (spot)`. What it costs is not known, then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpriced: Vec<String>,
}

impl ClusterCost {
    /// What its machines have cost by now, where that is known.
    #[must_use]
    pub fn accrued_by(&self, now: Timestamp) -> Option<Usd> {
        let (hourly, accrued, at) = (self.hourly?, self.accrued?, self.accrued_at.as_ref()?);
        Some(accrued.plus(hourly.an_hour_between(at.0, now)))
    }
}

/// What a run cost.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunCost {
    /// `USD`.
    #[schemars(length(max = 3))]
    pub currency: String,
    /// How much.
    pub amount: Usd,
}

impl RunCost {
    /// What a cluster of this price an hour cost from one time to another.
    #[must_use]
    pub fn of(hourly: Usd, from: Timestamp, to: Timestamp) -> Self {
        Self { currency: CURRENCY.to_owned(), amount: hourly.an_hour_between(from, to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    #[test]
    fn an_amount_is_read_and_written_exactly() {
        for (text, parts, shown) in [
            ("0.0416", 41_600, "0.0416"),
            ("0.041600", 41_600, "0.0416"),
            ("0.000001", 1, "0.000001"),
            ("1", 1_000_000, "1.00"),
            ("1.2", 1_200_000, "1.20"),
            ("24.480", 24_480_000, "24.48"),
            ("0", 0, "0.00"),
            ("999999999999.999999", MOST, "999999999999.999999"),
        ] {
            assert_eq!((usd(text).millionths(), usd(text).to_string().as_str()), (parts, shown), "{text}");
            assert_eq!(usd(&usd(text).to_string()), usd(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_with_what_to_write() {
        for text in
            ["", ".", ".5", "1.", "-1", "+1", "1e-3", "0.0000001", "1,5", "1 USD", "0x1", "1000000000000", "1.2.3"]
        {
            let error = text.parse::<Usd>().unwrap_err();
            assert!(error.contains("such as \"0.0416\""), "{text}: {error}");
        }
        let error = serde_json::from_str::<Usd>("0.0416").unwrap_err().to_string();
        assert!(error.contains("a price in quotes"), "{error}");
        assert_eq!(serde_json::from_str::<Usd>("\"0.0416\"").unwrap(), usd("0.0416"));
    }

    #[test]
    fn what_is_too_much_to_be_written_is_the_most() {
        let most = Usd::from_millionths(u128::MAX);
        assert_eq!(most.plus(most), most);
        assert_eq!(usd(&most.to_string()), most);
        assert_eq!(usd("1").beyond(usd("2")), Usd::ZERO);
    }

    #[test]
    fn an_hour_is_divided_by_seconds_and_rounded() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (hourly, seconds, amount) in [
            ("0.0416", 3600, "0.0416"),
            ("0.0416", 1800, "0.0208"),
            ("0.0416", 1, "0.000012"),
            ("0.0018", 1, "0.000001"),
            ("0.001799", 1, "0.00"),
            ("0.0416", 0, "0"),
            ("0.0416", -5, "0"),
            ("12.24", 86_400, "293.76"),
        ] {
            assert_eq!(usd(hourly).an_hour_between(at(100), at(100 + seconds)), usd(amount), "{hourly} {seconds}");
        }
    }

    #[test]
    fn what_it_has_cost_grows_where_it_is_known() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let known = ClusterCost {
            hourly: Some(usd("0.36")),
            accrued: Some(usd("1.5")),
            accrued_at: Some(Time(at(1000))),
            ..ClusterCost::default()
        };
        assert_eq!(known.accrued_by(at(1100)), Some(usd("1.51")));
        assert_eq!(known.accrued_by(at(900)), Some(usd("1.5")), "a clock that is behind");
        assert_eq!(ClusterCost { hourly: None, ..known }.accrued_by(at(1100)), None);
    }
}
