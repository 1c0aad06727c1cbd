//! What it means when the API server does not make an object: to be tried again, or refused for good.

use kube::core::Status;

/// Why an object is refused for good, in the API server's words; `None` where it may be taken later: too many requests,
/// a quota that something else frees, a token that is being renewed, an API server that is not well.
#[must_use]
pub fn for_good(status: &Status) -> Option<&str> {
    match status.code {
        401 | 404 | 408 | 409 | 429 => None,
        _ if for_want_of_room(status).is_some() => None,
        400..500 => Some(&status.message),
        _ => None,
    }
}

/// Why an object is refused until something that a quota counts is gone, in the API server's words: the object is right.
#[must_use]
pub fn for_want_of_room(status: &Status) -> Option<&str> {
    // The second is said of a quota that is so new that nobody has counted yet.
    let quota = ["exceeded quota", "status unknown for quota"].iter().any(|words| status.message.contains(words));
    (status.code == 403 && quota).then_some(&*status.message)
}

/// Whether it is the operator that has no permission: then a person has to give it one, and the object is right.
#[must_use]
pub fn for_want_of_permission(status: &Status) -> bool {
    status.code == 403 && status.message.contains("cannot create resource")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_not_for_good() {
        for (code, message, good) in [
            (422, "spec.image: Invalid value", true),
            (400, "strict decoding error", true),
            (403, "admission webhook denied the request", true),
            (403, "forbidden: exceeded quota: runs", false),
            (403, "forbidden: status unknown for quota: runs, resources: count/e2eruns.testkit.dev", false),
            (401, "Unauthorized", false),
            (404, "namespaces \"x\" not found", false),
            (409, "already exists", false),
            (429, "too many requests", false),
            (500, "internal", false),
            (503, "unavailable", false),
        ] {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            assert_eq!(for_good(&status).is_some(), good, "{code} {message}");
            assert_eq!(for_want_of_room(&status).is_some(), message.contains("quota"), "{code} {message}");
        }
    }
}
