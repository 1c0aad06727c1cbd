//! The tags every cloud object of ours carries, and how they are read back.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use crate::{api::label, cloud::Owner};

/// The tags of an object that belongs to a cluster.
pub(super) fn of_cluster(installation: &str, owner: &Owner, name: &str) -> Vec<Tag> {
    vec![
        tag("Name", name),
        tag(label::INSTALLATION, installation),
        tag(label::CLUSTER, &owner.name),
        tag(label::CLUSTER_UID, &owner.uid),
    ]
}

/// A tag.
pub(super) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// The same tags for an object a call makes.
pub(super) fn on(resource: ResourceType, tags: &[Tag]) -> TagSpecification {
    TagSpecification::builder().resource_type(resource).set_tags(Some(tags.to_vec())).build()
}

/// The value of a tag.
pub(super) fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|t| t.key() == Some(key)).and_then(Tag::value)
}

/// Whom an object belongs to.
pub(super) fn owner(tags: &[Tag]) -> Option<Owner> {
    Some(Owner {
        uid: value(tags, label::CLUSTER_UID)?.to_owned(),
        name: value(tags, label::CLUSTER).unwrap_or_default().to_owned(),
    })
}

/// A filter for one value.
pub(super) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// A filter for any of several values.
pub(super) fn filter_any(name: &str, values: Vec<String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// A filter for the value of a tag.
pub(super) fn tagged(key: &str, value: &str) -> Filter {
    filter(&format!("tag:{key}"), value)
}
