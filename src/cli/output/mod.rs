//! Objects for programs, in kubectl's forms.

mod columns;
mod order;
mod path;
mod template;

use std::str::FromStr;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use kube::Resource;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::order::Order;
use self::{columns::Columns, template::Template};
use super::{
    failure::Failure,
    terminal::{Printer, Structured},
};

/// The forms that need nothing after them, and those that do.
const WORDS: [(&str, &str); 6] = [
    ("wide", "A table with more columns"),
    ("name", "Only kind/name, a line each"),
    ("json", "The objects as JSON"),
    ("yaml", "The objects as YAML"),
    ("jsonpath=", "A text with paths in braces, such as {.items[*].metadata.name}"),
    ("custom-columns=", "A table of your own, such as NAME:.metadata.name,IMAGE:.spec.image"),
];

/// A form of objects for programs.
#[derive(Clone, Debug)]
pub enum Format {
    /// Kind and name.
    Name,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// A text with paths.
    JsonPath(Template),
    /// A table of chosen columns.
    Columns(Columns),
}

/// A form for lists, of which there are tables too.
#[derive(Clone, Debug)]
pub enum ListFormat {
    /// A table with more columns.
    Wide,
    /// As for programs.
    As(Format),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=').map_or((text, None), |(word, rest)| (word, Some(rest))) {
            ("name", None) => Ok(Self::Name),
            ("json", None) => Ok(Self::Json),
            ("yaml", None) => Ok(Self::Yaml),
            ("jsonpath", Some(template)) => Template::parse(template).map(Self::JsonPath),
            ("custom-columns", Some(columns)) => Columns::parse(columns).map(Self::Columns),
            ("jsonpath" | "custom-columns", None) => {
                Err(format!("what comes after {text}=? For example {text}={}", example(text)))
            }
            ("go-template" | "go-template-file" | "jsonpath-file" | "jsonpath-as-json" | "custom-columns-file", _) => {
                Err("kubectl has that form, this plugin has not: write jsonpath=… or custom-columns=…, or json for jq"
                    .to_owned())
            }
            _ => Err("write name, json, yaml, jsonpath=TEMPLATE or custom-columns=HEADING:PATH,…".to_owned()),
        }
    }
}

impl FromStr for ListFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "wide" { Ok(Self::Wide) } else { text.parse().map(Self::As) }
    }
}

fn example(word: &str) -> &'static str {
    if word == "jsonpath" { "'{.items[*].metadata.name}'" } else { "NAME:.metadata.name,IMAGE:.spec.image" }
}

/// What a shell offers for a form.
pub fn forms() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        WORDS.iter().map(|(word, help)| CompletionCandidate::new(word).help(Some((*help).into()))).collect()
    })
}

impl Format {
    /// Prints an object, or the objects of a List.
    pub fn print(&self, printer: &Printer, object: &Value, headless: bool) -> Result<(), Failure> {
        match self {
            Self::Json => printer.object(Structured::Json, object),
            Self::Yaml => printer.object(Structured::Yaml, object),
            Self::Name => each(object).iter().try_for_each(|one| printer.line(name(one))),
            Self::JsonPath(template) => printer.bytes(template.render(object).as_bytes()),
            Self::Columns(columns) => {
                printer.bytes(columns.table(each(object)).headless(headless).render(printer).as_bytes())
            }
        }
    }

    /// Prints one more object of a watch.
    pub fn print_next(&self, printer: &Printer, object: &Value) -> Result<(), Failure> {
        if matches!(self, Self::Yaml) {
            printer.line("---")?;
        }
        self.print(printer, object, true)
    }
}

/// An object as kubectl shows it.
pub fn value<K: Resource + Serialize + Clone>(object: &K) -> Result<Value, Failure> {
    let mut object = object.clone();
    object.meta_mut().managed_fields = None;
    serde_json::to_value(&object)
        .map_err(|e| Failure::new(format!("{} cannot be written: {e}", object.meta().name.as_deref().unwrap_or("it"))))
}

/// What `kubectl get` makes of several objects.
pub fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
}

fn each(object: &Value) -> Vec<&Value> {
    match object["items"].as_array() {
        Some(items) if object["kind"] == "List" => items.iter().collect(),
        _ => vec![object],
    }
}

/// As `kubectl -o name` has it: `swarmcluster.testkit.dev/nightly`.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&object["kind"]).to_lowercase();
    let name = text(&object["metadata"]["name"]);
    match text(&object["apiVersion"]).split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_and_what_is_none_is_answered_with_what_to_write() {
        for right in ["name", "json", "yaml", "jsonpath={.x}", "jsonpath=", "custom-columns=A:.x"] {
            assert!(right.parse::<Format>().is_ok(), "{right}");
        }
        for (wrong, words) in [
            ("jsn", "write name, json"),
            ("wide", "write name, json"),
            ("jsonpath", "jsonpath='{.items"),
            ("custom-columns", "custom-columns=NAME:"),
            ("go-template={{.x}}", "jsonpath=…"),
            ("json=", "write name, json"),
            ("jsonpath={.x", "a } is missing"),
        ] {
            let why = wrong.parse::<Format>().map(|_| ()).unwrap_err();
            assert!(why.contains(words), "{wrong}: {why}");
        }
        assert!(matches!("wide".parse(), Ok(ListFormat::Wide)));
    }

    #[test]
    fn names_are_those_of_kubectl() {
        let cluster = json!({"apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster", "metadata": {"name": "x"}});
        assert_eq!(name(&cluster), "swarmcluster.testkit.dev/x");
        assert_eq!(name(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})), "secret/x");
        let both = list(&[cluster.clone(), cluster]);
        assert_eq!(each(&both).len(), 2);
    }
}
