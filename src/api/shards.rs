//! A run whose cases are divided among several containers.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema::{integer, required_by_rule};

/// The variable with the number of the shard, and that with how many there are.
const NAMES: (&str, &str) = ("TESTKIT_SHARD_INDEX", "TESTKIT_SHARD_TOTAL");

/// Which part of the cases a container runs: one of so many.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.index) && has(self.total) && self.index >= 1 && self.index <= self.total && self.total <= 32").message("write which of how many shards it is, from 1, and 32 at most, such as shard: {index: 2, total: 4}"))]
pub struct Shard {
    /// Its number, from 1: `TESTKIT_SHARD_INDEX`.
    #[schemars(schema_with = "integer")]
    pub index: u32,
    /// How many there are: `TESTKIT_SHARD_TOTAL`.
    #[schemars(schema_with = "integer")]
    pub total: u32,
}

impl Shard {
    /// All of the cases.
    pub const WHOLE: Self = Self { index: 1, total: 1 };

    /// It as variables of a container.
    #[must_use]
    pub fn variables(self) -> [(&'static str, String); 2] {
        [(NAMES.0, self.index.to_string()), (NAMES.1, self.total.to_string())]
    }

    /// A text with the values in place of `$(TESTKIT_SHARD_INDEX)` and `$(TESTKIT_SHARD_TOTAL)`, as Kubernetes writes
    /// variables in `args` and `env`; with another `$` before it, it is text. Nothing else in it is looked at.
    #[must_use]
    pub fn expanded(self, text: &str) -> String {
        let mut all = String::with_capacity(text.len());
        let mut rest = text;
        'text: while let Some(at) = rest.find('$') {
            all.push_str(&rest[..at]);
            rest = &rest[at..];
            for (name, value) in self.variables() {
                let reference = format!("$({name})");
                if let Some(after) = rest.strip_prefix('$').and_then(|rest| rest.strip_prefix(&*reference)) {
                    all.push_str(&reference);
                    rest = after;
                    continue 'text;
                }
                if let Some(after) = rest.strip_prefix(&*reference) {
                    all.push_str(&value);
                    rest = after;
                    continue 'text;
                }
            }
            all.push('$');
            rest = &rest[1..];
        }
        all.push_str(rest);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_variables_are_replaced_and_nothing_else() {
        let shard = Shard { index: 2, total: 4 };
        for (text, wanted) in [
            ("", ""),
            ("--shard=$(TESTKIT_SHARD_INDEX)/$(TESTKIT_SHARD_TOTAL)", "--shard=2/4"),
            ("count:$(TESTKIT_SHARD_INDEX)/$(TESTKIT_SHARD_TOTAL)é", "count:2/4é"),
            ("$$(TESTKIT_SHARD_INDEX)", "$(TESTKIT_SHARD_INDEX)"),
            ("$$$(TESTKIT_SHARD_INDEX)", "$$(TESTKIT_SHARD_INDEX)"),
            (
                "$(HOME) $$ $x ${TESTKIT_SHARD_INDEX} $TESTKIT_SHARD_INDEX $",
                "$(HOME) $$ $x ${TESTKIT_SHARD_INDEX} $TESTKIT_SHARD_INDEX $",
            ),
            ("$(TESTKIT_SHARD_INDEX", "$(TESTKIT_SHARD_INDEX"),
            ("$($(TESTKIT_SHARD_TOTAL)", "$(4"),
        ] {
            assert_eq!(shard.expanded(text), wanted);
        }
        assert_eq!(Shard::WHOLE.expanded("$(TESTKIT_SHARD_INDEX)/$(TESTKIT_SHARD_TOTAL)"), "1/1");
    }
}
