//! Schema fragments of fields whose Rust types say too much or too little.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The rule that these fields are as they were.
macro_rules! unchanged {
    ($first:literal $(, $more:literal)*) => {
        concat!($crate::api::schema::unchanged!(@ $first) $(, " && ", $crate::api::schema::unchanged!(@ $more))*)
    };
    (@ $field:literal) => {
        concat!(
            "has(self.", $field, ") == has(oldSelf.", $field, ") && ",
            "(!has(self.", $field, ") || self.", $field, " == oldSelf.", $field, ")"
        )
    };
}
pub(crate) use unchanged;

/// A plain integer: its bounds are rules with a message that says what to write.
pub fn integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32"})
}

/// A few integers, likewise.
pub fn integers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 16, "items": {"type": "integer", "format": "int32"}})
}

/// A quantity, of which the API server knows that people write it without quotes where it is whole.
pub fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 32})
}

/// An object whose fields are somebody else's to check.
pub fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Leaves required fields to rules: the API server's own message for one that is missing
/// ("Required value") does not show what to write, and keeps it from looking at any rule.
pub fn required_by_rule(schema: &mut Schema) {
    schema.remove("required");
}
