//! A run whose cases are divided among several containers.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    E2ERun, EnvVar, EnvVarSource, KeySelector,
    schema::{integer, required_by_rule},
};

/// The variable with the number of the shard, and that with how many there are.
const NAMES: (&str, &str) = ("TESTKIT_SHARD_INDEX", "TESTKIT_SHARD_TOTAL");

/// The variable of a shard with how long the cases took before: seconds by name, as JSON.
pub const DURATIONS: &str = "TESTKIT_DURATIONS";
/// The key of the ConfigMap that it comes from.
pub const DURATIONS_KEY: &str = "durations.json";

/// By what the shards of a run divide its cases, where their image takes it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BalancedBy {
    /// Of how many cases the shards are told how long they took (`TESTKIT_DURATIONS`); 0 where they are told of none.
    #[schemars(schema_with = "integer")]
    pub cases: u32,
    /// The earlier runs of the suite in which they took so long, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
}

impl E2ERun {
    /// The name of the ConfigMap with how long the cases took before that its shards run.
    #[must_use]
    pub fn durations_name(&self) -> String {
        format!("{}-durations", self.metadata.name.as_deref().unwrap_or_default())
    }

    /// The variable that tells a shard of it.
    #[must_use]
    pub fn durations(&self) -> EnvVar {
        let key = KeySelector { name: self.durations_name(), key: DURATIONS_KEY.to_owned(), optional: None };
        let from = EnvVarSource { config_map_key_ref: Some(key), secret_key_ref: None };
        EnvVar { name: DURATIONS.to_owned(), value: None, value_from: Some(from) }
    }
}

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
