//! The Kubernetes side of a bundle: objects and events as texts, without what may be secret in them. Pure.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Event, Secret};
use serde::Serialize;
use serde_json::Value;

use super::redact::{CUT, is_secret_name};
use crate::cli::kubernetes::events::when;

/// An object as YAML: without the values of variables and without what repeats them.
pub fn yaml(object: &impl Serialize) -> String {
    let mut value = match serde_json::to_value(object) {
        Ok(value) => value,
        Err(e) => return format!("[testkit: it cannot be written: {e}]\n"),
    };
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    clean(&mut value);
    serde_yaml_ng::to_string(&value).unwrap_or_else(|e| format!("[testkit: it cannot be written: {e}]\n"))
}

fn clean(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    // People put tokens into variables.
                    Value::Array(variables) if name == "env" => {
                        for variable in variables.iter_mut().filter_map(|v| v.get_mut("value")) {
                            *variable = CUT.into();
                        }
                    }
                    Value::Array(words) if name == "args" => clean_words(words),
                    Value::String(text) if is_secret_name(name) => CUT.clone_into(text),
                    other => clean(other),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        _ => {}
    }
}

/// `--token x` as two words.
fn clean_words(words: &mut [Value]) {
    let mut secret = false;
    for word in words {
        let Value::String(text) = word else { continue };
        if secret {
            CUT.clone_into(text);
        }
        secret = !secret && text.starts_with('-') && is_secret_name(text);
    }
}

/// What the Secret has, and nothing of it.
pub fn secret(secret: &Secret) -> String {
    let mut text = "The keys of the cluster's Secret; their values are not in this bundle.\n".to_owned();
    for (key, value) in secret.data.iter().flatten() {
        let _ = writeln!(text, "{key}  {} bytes", value.0.len());
    }
    text
}

/// A line an event, the latest last.
pub fn events(events: &[Event]) -> String {
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by_key(|event| when(event));
    let mut text = String::new();
    for event in sorted {
        let about = &event.involved_object;
        let _ = writeln!(
            text,
            "{}  {}  {}/{}  {}  {}",
            when(event).map_or_else(|| "-".to_owned(), |t| t.to_string()),
            event.type_.as_deref().unwrap_or("-"),
            about.kind.as_deref().unwrap_or("-"),
            about.name.as_deref().unwrap_or("-"),
            event.reason.as_deref().unwrap_or("-"),
            event.message.as_deref().unwrap_or("-").replace('\n', " "),
        );
    }
    if text.is_empty() { "There are no events.\n".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_shows_names_of_variables_and_no_values() {
        let text = yaml(&json!({
            "metadata": {"name": "x", "managedFields": [{}], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "hunter2", "other": "kept"}},
            "spec": {"env": [{"name": "LEVEL", "value": "hunter2"}], "args": ["--token", "hunter2", "Services"],
                     "engine": {"daemonJson": {"proxy-password": "hunter2", "debug": true}}},
        }));
        assert!(!text.contains("hunter2"), "{text}");
        for kept in ["LEVEL", "other: kept", "Services", "debug: true"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
