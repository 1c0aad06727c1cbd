//! What the API server says, as a person reads it.

/// An error of the API server in its own words: never the structure it came in.
#[must_use]
pub fn of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("the API server answers {} {}", status.code, status.reason),
        other => other.to_string(),
    }
}
