//! The environment of a run's container, in the form that Kubernetes has for a pod's: values, and
//! keys of Secrets and ConfigMaps.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema::required_by_rule;

/// A variable of the container's environment.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.valueFrom) || !has(self.value) || size(self.value) == 0").message("write value or valueFrom, and not both"))]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z_][A-Za-z0-9_]*$')").message("write a variable name such as LOG_LEVEL"))]
    pub name: String,
    /// Its value. `$(TESTKIT_SHARD_INDEX)` and `$(TESTKIT_SHARD_TOTAL)` are replaced, and nothing else. By default empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value comes from, in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// People put tokens into variables: only the name is shown, and where the value comes from.
impl std::fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("EnvVar");
        shown.field("name", &self.name).field("value_from", &self.value_from).finish_non_exhaustive()
    }
}

/// Where a variable's value comes from: exactly one of the two.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)").message("write one of secretKeyRef and configMapKeyRef, such as secretKeyRef: {name: registry, key: token}"))]
pub struct EnvVarSource {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeySelector>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeySelector>,
}

/// A key of a Secret or a ConfigMap in the run's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.name) && has(self.key)").message("write the name of the object and the key in it, such as {name: registry, key: token}"))]
pub struct KeySelector {
    /// The object's name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("write the name of an object in the same namespace, such as registry"))]
    pub name: String,
    /// The key.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9]+$')").message("write a key of the object, such as token"))]
    pub key: String,
    /// Go without the variable where the object or the key is not there, and do not wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// All keys of a Secret or a ConfigMap as variables.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.configMapRef)").message("write one of secretRef and configMapRef, such as secretRef: {name: registry}"))]
pub struct EnvFromSource {
    /// What stands before each name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^([A-Za-z_][A-Za-z0-9_]*)?$')").message("write the beginning of a variable's name, such as CI_"))]
    pub prefix: Option<String>,
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ObjectSelector>,
    /// A ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ObjectSelector>,
}

/// A Secret or a ConfigMap in the run's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.name)").message("write the name of the object, such as {name: registry}"))]
pub struct ObjectSelector {
    /// The object's name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("write the name of an object in the same namespace, such as registry"))]
    pub name: String,
    /// Go without its variables where the object is not there, and do not wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// A Secret in the run's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = required_by_rule)]
#[x_kube(validation = Rule::new("has(self.name)").message("write the name of a Secret in the same namespace, such as {name: registry}"))]
pub struct LocalObjectReference {
    /// Its name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("write the name of a Secret in the same namespace, such as registry"))]
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_by_no_debug() {
        let variable = EnvVar { name: "TOKEN".into(), value: Some("hunter2".into()), value_from: None };
        let shown = format!("{variable:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}
