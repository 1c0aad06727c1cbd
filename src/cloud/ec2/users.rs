//! Who uses a security group that cannot be deleted: in words, for the person who has to end it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{NetworkInterface, SecurityGroup};

use super::{Ec2, error::Failure, tags};

/// How many users are named: the rest is counted.
const NAMED: usize = 5;
/// The most AWS lists of them at a time.
const PAGE: i32 = 1000;

impl Ec2 {
    /// Who uses a group, after AWS refused to delete it. Where that cannot be told, AWS's own words.
    pub(super) async fn users_of(&self, group: &str, refusal: &Failure) -> Vec<String> {
        match self.find_users(group).await {
            Ok(found) if !found.is_empty() => counted(found),
            Ok(_) => vec![refusal.message().to_owned()],
            Err(e) => vec![format!("{}; what that is cannot be listed: {e}", refusal.message())],
        }
    }

    async fn find_users(&self, group: &str) -> Result<Vec<String>, Failure> {
        let interfaces = self.client.describe_network_interfaces().filters(tags::filter("group-id", group));
        let interfaces = interfaces.max_results(PAGE).send().await.map_err(Failure::of("DescribeNetworkInterfaces"))?;
        let interfaces = interfaces.network_interfaces();
        // Of those alone that are told of: a filter takes 200 values, and a group may have more users.
        let names = self.names(interfaces.iter().take(NAMED).filter_map(instance_of).collect()).await;
        let mut users: Vec<String> = interfaces.iter().map(|i| interface(i, &names)).collect();
        // Rules of either direction count, but not those of the group itself.
        let mut groups = BTreeSet::new();
        for filter in ["ip-permission.group-id", "egress.ip-permission.group-id"] {
            let found = self.client.describe_security_groups().filters(tags::filter(filter, group)).max_results(PAGE);
            let found = found.send().await.map_err(Failure::of("DescribeSecurityGroups"))?;
            groups.extend(found.security_groups().iter().filter(|g| g.group_id() != Some(group)).map(rules));
        }
        users.extend(groups);
        Ok(users)
    }

    /// The names of instances. Only a help to people: without an answer there are none.
    async fn names(&self, ids: BTreeSet<&str>) -> BTreeMap<String, String> {
        if ids.is_empty() {
            return BTreeMap::new();
        }
        let ids = ids.into_iter().map(str::to_owned).collect();
        let found = self.client.describe_instances().filters(tags::filter_any("instance-id", ids)).send().await;
        let found = found.ok().and_then(|f| f.reservations).unwrap_or_default();
        let named = found.iter().flat_map(|r| r.instances()).filter_map(|instance| {
            Some((instance.instance_id()?.to_owned(), tags::value(instance.tags(), "Name")?.to_owned()))
        });
        named.collect()
    }
}

fn instance_of(interface: &NetworkInterface) -> Option<&str> {
    interface.attachment().and_then(|a| a.instance_id())
}

/// An interface is its instance's, or tells in its description what it is there for.
fn interface(interface: &NetworkInterface, names: &BTreeMap<String, String>) -> String {
    let id = interface.network_interface_id().unwrap_or_default();
    let words = interface.description().filter(|d| !d.is_empty());
    match (instance_of(interface), words) {
        (Some(instance), _) => match names.get(instance) {
            Some(name) => format!("network interface {id} of instance {instance} ({name})"),
            None => format!("network interface {id} of instance {instance}"),
        },
        (None, Some(words)) => format!("network interface {id} ({words})"),
        (None, None) => format!("network interface {id}"),
    }
}

fn rules(group: &SecurityGroup) -> String {
    let id = group.group_id().unwrap_or_default();
    format!("the rules of security group {id} ({})", group.group_name().unwrap_or_default())
}

/// The first ones, and how many more there are.
fn counted(mut users: Vec<String>) -> Vec<String> {
    let more = users.len().saturating_sub(NAMED);
    if more > 0 {
        users.truncate(NAMED);
        users.push(format!("and {more} more"));
    }
    users
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::NetworkInterfaceAttachment;

    use super::{BTreeMap, NetworkInterface, counted, interface};

    #[test]
    fn an_interface_is_told_by_what_it_is_there_for() {
        let names = BTreeMap::from([("i-1".to_owned(), "builder".to_owned())]);
        let told = |instance: Option<&str>, words: &str| {
            let attached = instance.map(|id| NetworkInterfaceAttachment::builder().instance_id(id).build());
            let it = NetworkInterface::builder().network_interface_id("eni-1").description(words);
            interface(&it.set_attachment(attached).build(), &names)
        };
        assert_eq!(told(Some("i-1"), "x"), "network interface eni-1 of instance i-1 (builder)");
        assert_eq!(told(Some("i-2"), ""), "network interface eni-1 of instance i-2");
        assert_eq!(told(None, "ELB app/front/1"), "network interface eni-1 (ELB app/front/1)");
        assert_eq!(told(None, ""), "network interface eni-1");
    }

    #[test]
    fn of_many_users_a_few_are_named() {
        let users = |n: u32| counted((0..n).map(|i| i.to_string()).collect());
        assert_eq!(users(5).join(", "), "0, 1, 2, 3, 4");
        assert_eq!(users(8).join(", "), "0, 1, 2, 3, 4, and 3 more");
    }
}
