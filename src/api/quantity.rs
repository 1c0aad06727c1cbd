//! A quantity as Kubernetes writes it: `500m`, `1.5`, `512Mi`, `2G`, `1e9`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A quantity that is not negative, as it was written. One that cannot be read is read as text all the same: an object
/// that no rule has seen must not keep all others from being listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quantity(String);

impl Quantity {
    /// In billionths, rounded up; `None` where it is no quantity.
    #[must_use]
    pub fn nanos(&self) -> Option<u128> {
        let unit = self.0.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.0.len());
        let (number, suffix) = self.0.split_at(unit);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits: u128 = format!("{whole}{part}").parse().ok()?;
        let (times, by) = multiplier(suffix)?;
        let by = by.checked_mul(10u128.checked_pow(u32::try_from(part.len()).ok()?)?)?;
        Some(digits.checked_mul(times)?.div_ceil(by))
    }

    /// As a whole number, rounded up, such as of bytes.
    #[must_use]
    pub fn whole(&self) -> Option<u128> {
        Some(self.nanos()?.div_ceil(NANO))
    }
}

const NANO: u128 = 1_000_000_000;

/// What a suffix makes of a number, in billionths: a product and a quotient.
fn multiplier(suffix: &str) -> Option<(u128, u128)> {
    let thousands = |power: u32| Some((1000u128.checked_pow(power)?, 1));
    let binary = |power: u32| Some((1024u128.checked_pow(power)?.checked_mul(NANO)?, 1));
    match suffix {
        "n" => thousands(0),
        "u" => thousands(1),
        "m" => thousands(2),
        "" => thousands(3),
        "k" => thousands(4),
        "M" => thousands(5),
        "G" => thousands(6),
        "T" => thousands(7),
        "P" => thousands(8),
        "E" => thousands(9),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10u128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { Some((NANO, power)) } else { Some((NANO.checked_mul(power)?, 1)) }
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// People write `cpu: 2` without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self(match Written::deserialize(d)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let cases = [
            (json!(2), 2 * NANO),
            (json!("2"), 2 * NANO),
            (json!("1.5"), 1_500_000_000),
            (json!("500m"), 500_000_000),
            (json!("0.5m"), 500_000),
            (json!(".5"), 500_000_000),
            (json!("1n"), 1),
            (json!("0.1n"), 1),
            (json!("100u"), 100_000),
            (json!("64Mi"), 64 * 1024 * 1024 * NANO),
            (json!("1.5Gi"), 1_610_612_736 * NANO),
            (json!("2G"), 2_000_000_000 * NANO),
            (json!("1E"), 1_000_000_000_000_000_000 * NANO),
            (json!("1e3"), 1000 * NANO),
            (json!("1E3"), 1000 * NANO),
            (json!("25e-1"), 2_500_000_000),
            (json!("1Ki"), 1024 * NANO),
        ];
        for (written, nanos) in cases {
            let quantity: Quantity = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(quantity.nanos(), Some(nanos), "{written}");
        }
        let quantity: Quantity = serde_json::from_value(json!("1025m")).unwrap();
        assert_eq!(quantity.whole(), Some(2));
    }

    #[test]
    fn what_is_none_has_no_number_and_is_read_all_the_same() {
        for written in [
            json!("two"),
            json!(""),
            json!("."),
            json!("1.2.3"),
            json!("1 Gi"),
            json!("-1"),
            json!("1KiB"),
            json!("1e99"),
            json!("+2"),
            json!(-2),
            json!("1.000000000000000000000000000000"),
        ] {
            let quantity: Quantity = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(quantity.nanos(), None, "{written}");
        }
    }
}
