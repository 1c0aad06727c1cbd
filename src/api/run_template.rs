//! What an E2ERun is made from by the kinds that only make E2ERuns.

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{E2ERunSpec, TemplateMetadata, schema::required_by_rule};

/// An E2ERun that is made by another object, under a name of its own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.spec)").message("write the spec of the E2ERuns to make, such as spec: {clusterRef: {name: foo}, image: dockerswarm/e2e:latest}"))]
pub struct RunTemplate {
    /// What it is labelled with.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// Its spec: all of an E2ERun's but `cancel`.
    #[schemars(schema_with = "spec")]
    pub spec: E2ERunSpec,
}

/// The spec of a run that is not made yet: nothing of it is fixed, and there is nothing to cancel.
fn spec(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<E2ERunSpec>().to_value();
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        fields.remove("cancel");
    }
    without_transitions(&mut schema);
    Schema::try_from(schema).unwrap_or_default()
}

/// Takes away the rules that compare an object with what it was before: they are of the object that is made.
fn without_transitions(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(rules)) = fields.get_mut("x-kubernetes-validations") {
                let compares = |rule: &Value| rule["rule"].as_str().is_some_and(|rule| rule.contains("oldSelf"));
                rules.retain(|rule| !compares(rule));
                if rules.is_empty() {
                    fields.remove("x-kubernetes-validations");
                }
            }
            fields.values_mut().for_each(without_transitions);
        }
        Value::Array(items) => items.iter_mut().for_each(without_transitions),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::Value;

    use crate::api::{E2ERun, E2ESchedule};

    /// The schema of the spec of a kind.
    fn spec_of(crd: impl serde::Serialize) -> Value {
        let crd = serde_json::to_value(crd).unwrap();
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
    }

    #[test]
    fn a_template_takes_what_a_run_takes_and_can_be_changed() {
        let run = spec_of(E2ERun::crd());
        let template = &spec_of(E2ESchedule::crd())["properties"]["runTemplate"]["properties"]["spec"];
        let fields = |schema: &Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut wanted = fields(&run);
        wanted.retain(|field| field != "cancel");
        assert_eq!(fields(template), wanted);
        assert!(run.to_string().contains("oldSelf") && !template.to_string().contains("oldSelf"));
        let rules = |schema: &Value| schema["x-kubernetes-validations"].as_array().unwrap().len();
        assert_eq!(rules(template) + 1, rules(&run), "all others hold for the template, too");
        assert!(template["properties"]["image"]["x-kubernetes-validations"].is_array());
    }
}
