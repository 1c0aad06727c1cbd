//! What it means when the API server does not make an object.

use kube::core::Status;

/// Why the API server does not make an object, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It never will, unless somebody changes the object, or what speaks against it.
    ForGood(String),
    /// The object is right: it will when a quota has room.
    WantOfRoom(String),
    /// The object is right: it will when the operator has the permission.
    WantOfPermission(String),
}

impl Refusal {
    /// What an answer means for objects of this kind, by its plural. `None` where it passes by itself, and is tried again:
    /// too many requests, a token that is being renewed, an API server that is not well.
    #[must_use]
    pub fn of(status: &Status, kinds: &str) -> Option<Self> {
        let words = status.message.clone();
        // The second is said of a quota that is so new that nobody has counted yet.
        let quota = ["exceeded quota", "status unknown for quota"].iter().any(|said| words.contains(said));
        match status.code {
            401 | 404 | 408 | 409 | 429 => None,
            403 if quota => Some(Self::WantOfRoom(words)),
            403 if words.contains("cannot create resource") => Some(Self::WantOfPermission(format!(
                "{words}. Let testkit-operator create {kinds} (deploy/base/rbac-operator.yaml)"
            ))),
            400..500 => Some(Self::ForGood(words)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_not_for_good() {
        use Refusal::{ForGood, WantOfPermission, WantOfRoom};
        type Means = fn(String) -> Refusal;
        let table: [(u16, &str, Option<Means>); 12] = [
            (422, "spec.image: Invalid value", Some(ForGood)),
            (400, "strict decoding error", Some(ForGood)),
            (403, "admission webhook denied the request", Some(ForGood)),
            (403, "forbidden: exceeded quota: runs", Some(WantOfRoom)),
            (403, "forbidden: status unknown for quota: runs, resources: count/e2eruns.testkit.dev", Some(WantOfRoom)),
            (403, "User \"x\" cannot create resource \"e2eruns\"", Some(WantOfPermission)),
            (401, "Unauthorized", None),
            (404, "namespaces \"x\" not found", None),
            (409, "already exists", None),
            (429, "too many requests", None),
            (500, "internal", None),
            (503, "unavailable", None),
        ];
        for (code, message, means) in table {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            let wanted = means.map(|means| match means(message.to_owned()) {
                WantOfPermission(words) => WantOfPermission(format!(
                    "{words}. Let testkit-operator create E2ERuns (deploy/base/rbac-operator.yaml)"
                )),
                other => other,
            });
            assert_eq!(Refusal::of(&status, "E2ERuns"), wanted, "{code} {message}");
        }
    }
}
