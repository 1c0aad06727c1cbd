//! A run that another object makes, as the status of that one tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Phase, schema::integer};

/// A run that an object makes, and how it stands.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MadeRun {
    /// Its name.
    pub run: String,
    /// Its UID, once it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its phase; `Pending` before it is made, and `Failed` where it is not made any more.
    pub phase: Phase,
    /// Why it ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words, where it did not pass, at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Cases that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub passed: Option<u32>,
    /// Cases that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub failed: Option<u32>,
    /// Cases that failed, and passed when they were tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub flaky: Option<u32>,
    /// Cases that were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub skipped: Option<u32>,
}
