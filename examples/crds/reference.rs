//! The page of every field of the custom resources, from their definitions. A field is told once: what a template has is
//! told with the resource it is a template of.

use serde_json::Value;

const HEAD: &str = "\
# API reference

Every field of the custom resources, as `kubectl explain` has them. Generated from `src/api` by `make crds`; changes are made
there. What is refused is refused at the API server, with the words that stand under a field.
";

/// The page, from the definitions in the order they are told.
pub fn page(crds: &[Value]) -> String {
    let kinds: Vec<Kind<'_>> = crds.iter().map(Kind::of).collect();
    let mut page = HEAD.to_owned();
    for kind in &kinds {
        page.push_str(&kind.section(&kinds));
    }
    page
}

/// A custom resource.
struct Kind<'a> {
    name: &'a str,
    head: String,
    schema: &'a Value,
}

impl<'a> Kind<'a> {
    fn of(crd: &'a Value) -> Self {
        let (names, version) = (&crd["spec"]["names"], &crd["spec"]["versions"][0]);
        let short: Vec<String> = words(&names["shortNames"]).map(|name| format!("`{name}`")).collect();
        let group = format!("{}/{}", text(&crd["spec"]["group"]), text(&version["name"]));
        let schema = &version["schema"]["openAPIV3Schema"];
        let head = format!("`{group}`, short name {}. {}.", short.join(", "), cell(text(&schema["description"])));
        Self { name: text(&names["kind"]), head, schema }
    }

    fn section(&self, kinds: &[Kind<'_>]) -> String {
        let mut section = format!("\n## {}\n\n{}\n", self.name, self.head);
        for part in ["spec", "status"] {
            let schema = &self.schema["properties"][part];
            let mut rows = Vec::new();
            // What a kind is told itself is no template of it.
            let others: Vec<&Kind<'_>> = kinds.iter().filter(|kind| kind.name != self.name).collect();
            fields("", schema, &others, &mut rows);
            section.push_str(&format!("\n### {}.{part}\n", self.name));
            let rules: Vec<String> = rules(schema).collect();
            if !rules.is_empty() {
                section.push('\n');
            }
            rules.iter().for_each(|rule| section.push_str(&format!("- {rule}\n")));
            section.push_str("\n| Field | Type | Meaning |\n|---|---|---|\n");
            rows.iter().for_each(|row| section.push_str(row));
        }
        section
    }

    /// Whether this is a template of it: it has the fields of its spec.
    fn is_made_by(&self, schema: &Value) -> bool {
        let spec = &self.schema["properties"]["spec"]["properties"];
        spec.is_object() && names(spec).eq(names(&schema["properties"]))
    }
}

/// A row for each field of an object, and for those of the objects in it.
fn fields(path: &str, schema: &Value, kinds: &[&Kind<'_>], rows: &mut Vec<String>) {
    let required: Vec<&str> = words(&schema["required"]).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let template = kinds.iter().find(|kind| kind.is_made_by(field));
        let mut meaning = cell(text(&field["description"]));
        if let Some(kind) = template {
            meaning = format!("{meaning} As [{0}.spec](#{1}spec).", kind.name, kind.name.to_lowercase());
        }
        let mut notes: Vec<String> = Vec::new();
        notes.extend(required.contains(&name.as_str()).then(|| "required".to_owned()));
        notes.extend(field.get("default").map(|value| format!("default `{}`", cell(&value.to_string()))));
        let notes: String = notes.iter().map(|note| format!("<br>{note}")).collect();
        let told: String = rules(field).chain(rules(&field["items"])).map(|rule| format!("<br>• {rule}")).collect();
        rows.push(format!("| `{path}` | {}{notes} | {meaning}{told} |\n", kind_of(field)));
        if template.is_none() {
            let (inner, ending) = held(field);
            fields(&format!("{path}{ending}"), inner, kinds, rows);
        }
    }
}

/// What a field holds one or many of, and how the path says so.
fn held(field: &Value) -> (&Value, &'static str) {
    if field["items"].is_object() {
        return (&field["items"], "[]");
    }
    if field["additionalProperties"].is_object() {
        return (&field["additionalProperties"], ".*");
    }
    (field, "")
}

/// The type in words.
fn kind_of(field: &Value) -> String {
    let values: Vec<String> = words(&field["enum"]).map(|value| format!("`{value}`")).collect();
    if !values.is_empty() {
        return values.join(", ");
    }
    if field["items"].is_object() {
        return format!("list of {}", kind_of(&field["items"]));
    }
    if field["additionalProperties"].is_object() {
        return format!("map to {}", kind_of(&field["additionalProperties"]));
    }
    if field["x-kubernetes-int-or-string"] == true {
        return "quantity".to_owned();
    }
    let name = match (text(&field["type"]), text(&field["format"])) {
        ("string", "date-time") => "time",
        (name, _) => name,
    };
    let bounds = match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    format!("{name}{bounds}")
}

/// What the API server says where a rule is not kept.
fn rules(schema: &Value) -> impl Iterator<Item = String> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.map(|rule| cell(text(&rule["message"])))
}

fn names(properties: &Value) -> impl Iterator<Item = &String> {
    properties.as_object().into_iter().flat_map(|all| all.keys())
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().map(text)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Words as they may stand in a cell of a table.
fn cell(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "&lt;")
}
