//! The order of objects, as `kubectl get --sort-by=` takes it.

use std::{cmp::Ordering, str::FromStr};

use serde::Serialize;
use serde_json::Value;

use super::path::{Path, shown};

/// By what objects are ordered: numbers by size, all else as text; objects that have no such value come first.
#[derive(Clone, Debug)]
pub struct Order(Path);

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Path::relaxed(text).map(Self)
    }
}

impl Order {
    /// Puts them in order; those that are alike stay as they are.
    pub fn sort<K: Serialize>(&self, objects: Vec<K>) -> Vec<K> {
        // What cannot be written has no values.
        let value = |object: &K| serde_json::to_value(object).unwrap_or_default();
        let mut objects: Vec<(Value, K)> = objects.into_iter().map(|object| (value(&object), object)).collect();
        objects.sort_by(|(a, _), (b, _)| self.compare(a, b));
        objects.into_iter().map(|(_, object)| object).collect()
    }

    fn compare(&self, a: &Value, b: &Value) -> Ordering {
        let key = |object| self.0.find(object, object).into_iter().next();
        match (key(a), key(b)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => natural(&shown(a), &shown(b)),
            },
        }
    }
}

/// As people order names: `run-9` before `run-10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (x, y) = match (a.chars().next(), b.chars().next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
            let ((m, rest_a), (n, rest_b)) = (a.split_at(digits(a)), b.split_at(digits(b)));
            let (m, n) = (m.trim_start_matches('0'), n.trim_start_matches('0'));
            let order = m.len().cmp(&n.len()).then_with(|| m.cmp(n));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else if x == y {
            (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
        } else {
            return x.cmp(&y);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_ordered_by_what_is_at_the_path() {
        let sorted = |by: &str, values: &[Value]| {
            let objects: Vec<Value> = values.iter().map(|v| json!({"k": v})).collect();
            let objects = by.parse::<Order>().unwrap().sort(objects);
            objects.iter().map(|o| o["k"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(".k", &[json!(10), json!(9), json!(1.5)]), [json!(1.5), json!(9), json!(10)]);
        assert_eq!(
            sorted("{.k}", &[json!("run-10"), json!("run-9"), json!("a"), json!("run-9b")]),
            [json!("a"), json!("run-9"), json!("run-9b"), json!("run-10")]
        );
        assert_eq!(
            sorted("k", &[json!("2026-01-02T00:00:00Z"), json!("2025-12-31T00:00:00Z")]),
            [json!("2025-12-31T00:00:00Z"), json!("2026-01-02T00:00:00Z")]
        );
        let some = vec![json!({"k": 1}), json!({})];
        assert_eq!(".k".parse::<Order>().unwrap().sort(some), [json!({}), json!({"k": 1})]);
    }
}
