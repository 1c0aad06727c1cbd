//! Who may reach a cluster's hosts: by its spec, by the operator's default, or as it was. Pure.
//!
//! There is no default that opens anything: where nobody says it, nothing is launched.

use super::journal::Journal;
use crate::api::SwarmClusterSpec;

/// What a person has to write.
const REMEDY: &str = "write spec.accessCIDRs, such as [203.0.113.0/24], the operator's network and yours; or have an administrator give the operator a default for all clusters, --access-cidrs, which is the chart's value accessCIDRs";

/// Who may reach the hosts over SSH, as CIDR blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Whoever the machines' owner lets in: none of them is made.
    #[default]
    Theirs,
    /// These, as the spec says or, where that does not, the operator's default.
    Said(Vec<String>),
    /// These, as was said last: nobody says it any more, and what a cluster has is not taken from it.
    Kept(Vec<String>),
    /// Nobody says it, and it is not known that anybody ever did.
    Unsaid,
}

impl Access {
    /// Of a cluster, where clusters that do not say it have this default.
    #[must_use]
    pub fn of(spec: &SwarmClusterSpec, default: &[String], journal: Option<&Journal>) -> Self {
        if spec.provider.hosts.is_some() {
            return Self::Theirs;
        }
        let said = [spec.access_cidrs.as_slice(), default].into_iter().find(|cidrs| !cidrs.is_empty());
        let kept = journal.map(|j| &j.access).filter(|cidrs| !cidrs.is_empty());
        match (said, kept) {
            (Some(cidrs), _) => Self::Said(cidrs.to_vec()),
            (None, Some(cidrs)) => Self::Kept(cidrs.clone()),
            (None, None) => Self::Unsaid,
        }
    }

    /// The blocks; `None` where they are not known, and whatever is open has to stay as it is.
    #[must_use]
    pub fn cidrs(&self) -> Option<Vec<String>> {
        match self {
            Self::Theirs => Some(Vec::new()),
            Self::Said(cidrs) | Self::Kept(cidrs) => Some(cidrs.clone()),
            Self::Unsaid => None,
        }
    }

    /// In one sentence, that nothing is launched for want of it.
    #[must_use]
    pub fn unsaid(&self) -> Option<String> {
        let words = || format!("nobody says who may reach the hosts over SSH, so nothing is launched: {REMEDY}");
        (*self == Self::Unsaid).then(words)
    }

    /// As a clause, that it is as it was.
    #[must_use]
    pub fn kept(&self) -> Option<String> {
        let Self::Kept(cidrs) = self else { return None };
        let cidrs = cidrs.join(", ");
        Some(format!(
            "nobody says any more who may reach the hosts over SSH, so that it stays as it was ({cidrs}): {REMEDY}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cidrs(all: &[&str]) -> Vec<String> {
        all.iter().map(|&c| c.to_owned()).collect()
    }

    fn spec(access: &[&str]) -> SwarmClusterSpec {
        let mut spec = json!({"provider": {"ec2": {"region": "us-east-1"}}});
        if !access.is_empty() {
            spec["accessCIDRs"] = json!(access);
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_spec_says_it_before_the_operator_and_nobody_opens_what_was_not_said() {
        let (one, two, three) = (cidrs(&["192.0.2.0/24"]), cidrs(&["198.51.100.0/24"]), cidrs(&["203.0.113.0/24"]));
        // What the spec, the operator and the journal say.
        type Row<'a> = (&'a [&'a str], &'a [String], &'a [String], Access);
        let table: [Row<'_>; 5] = [
            (&["192.0.2.0/24"], &two, &three, Access::Said(one)),
            (&[], &two, &three, Access::Said(two.clone())),
            (&[], &two, &[], Access::Said(two.clone())),
            (&[], &[], &three, Access::Kept(three.clone())),
            (&[], &[], &[], Access::Unsaid),
        ];
        for (spec_has, default, kept, access) in table {
            let journal = Journal { access: kept.to_vec(), ..Journal::default() };
            assert_eq!(Access::of(&spec(spec_has), default, Some(&journal)), access);
        }
        assert_eq!(Access::of(&spec(&[]), &[], None), Access::Unsaid);
    }

    #[test]
    fn machines_that_exist_need_nobody_to_say_it() {
        let machines = json!([{"name": "a", "address": "10.0.0.1", "role": "Manager"}]);
        let hosts = json!({"provider": {"hosts": {"secretRef": {"name": "lab"}, "machines": machines}}});
        let hosts: SwarmClusterSpec = serde_json::from_value(hosts).unwrap();
        assert_eq!(Access::of(&hosts, &[], None), Access::Theirs);
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        assert!(serde_json::to_value(spec(&[])).unwrap().get("accessCIDRs").is_none());
        assert_eq!(serde_json::to_value(spec(&["::/0"])).unwrap()["accessCIDRs"], json!(["::/0"]));
        assert!(serde_json::to_value(Journal::default()).unwrap().get("access").is_none());
    }
}
