use super::*;

mod server;

fn taken(by: Option<&str>, transitions: i32) -> Record {
    Record { holder: by.map(str::to_owned), duration: Duration::from_secs(15), transitions, version: "5".to_owned() }
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut first = object(None, "lease", &Record { version: String::new(), ..taken(Some("a"), 0) });
    assert_eq!((first.metadata.name.as_deref(), first.metadata.resource_version.as_deref()), (Some("lease"), None));
    first.metadata.resource_version = Some("5".to_owned());
    first.metadata.annotations = Some([("theirs".to_owned(), "1".to_owned())].into());
    assert_eq!(record(&first), taken(Some("a"), 0));
    let next = object(Some(first.clone()), "lease", &taken(Some("b"), 1));
    assert_eq!(record(&next), taken(Some("b"), 1));
    assert_eq!(next.metadata.annotations, first.metadata.annotations, "what is not ours stays");
    let released = object(Some(next), "lease", &taken(None, 1));
    assert_eq!(record(&released), taken(None, 1));
    assert_eq!(released.spec.unwrap().holder_identity.as_deref(), Some(""), "as client-go writes it");
}

#[test]
fn a_renewal_does_not_say_that_the_lease_was_acquired() {
    let mut first = object(None, "lease", &Record { version: String::new(), ..taken(Some("a"), 0) });
    let long_ago = MicroTime(Timestamp::UNIX_EPOCH);
    first.spec.as_mut().unwrap().acquire_time = Some(long_ago.clone());
    let when =
        |by, transitions| object(Some(first.clone()), "lease", &taken(by, transitions)).spec.unwrap().acquire_time;
    assert_eq!(when(Some("a"), 0), Some(long_ago.clone()));
    assert_ne!(when(Some("b"), 1), Some(long_ago));
}

#[test]
fn a_name_is_never_given_twice() {
    let (one, two) = (identity(), identity());
    assert_ne!(one, two);
    assert!(format!("{MANAGER}_{one}").len() <= 128, "a field manager has 128 characters at most");
}
