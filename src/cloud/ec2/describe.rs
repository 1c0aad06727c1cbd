//! What EC2 tells of instances, their end and their consoles.

use aws_sdk_ec2::{
    Config,
    operation::start_instances::StartInstancesError,
    types::{Instance as Described, InstanceLifecycleType, InstanceStateName},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::jiff::Timestamp;

use super::{
    Ec2,
    error::{Failure, OnlyThrottled},
    tags,
};
use crate::{
    api::label,
    cloud::{Instance, InstanceState, Launch, Owner, StateReason},
};

/// The most DescribeInstances gives at a time and TerminateInstances takes.
const PAGE: usize = 1000;

impl Ec2 {
    /// Every instance with the installation's tag.
    pub(super) async fn list_instances(&self) -> Result<Vec<Instance>, Failure> {
        let mut pages = self
            .client
            .describe_instances()
            .filters(tags::tagged(label::INSTALLATION, &self.installation))
            .max_results(1000)
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Failure::of("DescribeInstances"))?;
            self.learn(page.reservations().iter().find_map(|r| r.owner_id()));
            let instances = page.reservations().iter().flat_map(|r| r.instances());
            found.extend(instances.filter_map(owned));
        }
        Ok(found)
    }

    /// The instance an earlier RunInstances with this token made.
    pub(super) async fn find_by_token(&self, token: &str) -> Result<Option<Described>, Failure> {
        let found = self.client.describe_instances().filters(tags::filter("client-token", token)).send().await;
        let found = found.map_err(Failure::of("DescribeInstances"))?;
        // Exactly, whatever a filter takes for a match.
        let mut instances =
            found.reservations.unwrap_or_default().into_iter().flat_map(|r| r.instances.unwrap_or_default());
        Ok(instances.find(|i| i.client_token() == Some(token)))
    }

    /// Ends instances. One that is unknown, or protected by somebody, fails a call for all of them: those AWS names are
    /// left out of the next try.
    pub(super) async fn terminate_instances(&self, ids: &[String]) -> Result<(), Failure> {
        let mut protected = None;
        for batch in ids.chunks(PAGE) {
            let mut left = batch.to_vec();
            while !left.is_empty() {
                let done = self.client.terminate_instances().set_instance_ids(Some(left.clone())).send().await;
                let Err(error) = done.map_err(Failure::of("TerminateInstances")) else { break };
                let known = left.len();
                let is_protected = error.is("OperationNotPermitted");
                if is_protected || error.is("InvalidInstanceID.NotFound") {
                    left.retain(|id| !names(error.message(), id));
                }
                if left.len() == known {
                    return Err(error);
                }
                protected = if is_protected { Some(error) } else { protected };
            }
        }
        protected.map_or(Ok(()), Err)
    }

    /// Starts an instance that is stopped: by itself, since EC2 starts all that are named or none.
    pub(super) async fn start_instance(&self, id: &str) -> Result<(), Failure> {
        let settings = Config::builder().retry_classifier(OnlyThrottled::<StartInstancesError>::new());
        let call = self.client.start_instances().instance_ids(id).customize().config_override(settings);
        call.send().await.map_err(Failure::of("StartInstances")).map(drop)
    }

    /// The console of an instance: as it is now where the type can tell, else as AWS kept it.
    pub(super) async fn console_output(&self, id: &str) -> Result<String, Failure> {
        let now = self.client.get_console_output().instance_id(id).latest(true).send().await;
        let output = match now.map_err(Failure::of("GetConsoleOutput")) {
            Err(e) if e.is("UnsupportedOperation") || e.is("InvalidParameterCombination") => {
                let kept = self.client.get_console_output().instance_id(id).send().await;
                kept.map_err(Failure::of("GetConsoleOutput"))?
            }
            other => other?,
        };
        let encoded: String = output.output().unwrap_or_default().split_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(&encoded).unwrap_or_else(|_| encoded.into_bytes());
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Whether a message names an id: as a whole word, for ids may be prefixes of others.
fn names(message: &str, id: &str) -> bool {
    message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == id)
}

/// An instance as its own tags tell it; `None` if they do not say whose it is.
fn owned(instance: &Described) -> Option<Instance> {
    let tags = instance.tags();
    let slot = tags::value(tags, label::SLOT)?.to_owned();
    let incarnation = tags::value(tags, label::INCARNATION)?.parse().ok()?;
    instance_of(instance, tags::owner(tags)?, slot, incarnation)
}

/// An instance that was just launched: what it is for is known.
pub(super) fn launched(instance: &Described, launch: &Launch) -> Option<Instance> {
    instance_of(instance, launch.owner.clone(), launch.slot.clone(), launch.incarnation)
}

fn instance_of(instance: &Described, owner: Owner, slot: String, incarnation: u32) -> Option<Instance> {
    let text = |s: Option<&str>| s.filter(|s| !s.is_empty()).map(str::to_owned);
    Some(Instance {
        id: instance.instance_id()?.to_owned(),
        owner,
        slot,
        incarnation,
        state: state(instance.state()?.name()?)?,
        state_reason: reason(instance),
        instance_type: instance.instance_type().map(|t| t.as_str().to_owned()).unwrap_or_default(),
        spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        private_address: text(instance.private_ip_address()),
        public_address: text(instance.public_ip_address()),
        zone: text(instance.placement().and_then(|p| p.availability_zone())),
        subnet: text(instance.subnet_id()),
        launched_at: instance.launch_time().and_then(|t| Timestamp::from_second(t.secs()).ok()),
        login: None,
    })
}

/// Why an instance is in its state: of the message, only the words that are not the code.
fn reason(instance: &Described) -> Option<StateReason> {
    let told = instance.state_reason();
    let code = told.and_then(|r| r.code()).unwrap_or_default();
    let words = told.and_then(|r| r.message()).or(instance.state_transition_reason()).unwrap_or_default();
    let message = words.strip_prefix(code).map_or(words, |rest| rest.trim_start_matches([':', ' ']));
    let something = !(code.is_empty() && message.is_empty());
    something.then(|| StateReason { code: code.to_owned(), message: message.to_owned() })
}

fn state(name: &InstanceStateName) -> Option<InstanceState> {
    Some(match name {
        InstanceStateName::Pending => InstanceState::Pending,
        InstanceStateName::Running => InstanceState::Running,
        InstanceStateName::Stopping => InstanceState::Stopping,
        InstanceStateName::Stopped => InstanceState::Stopped,
        InstanceStateName::ShuttingDown => InstanceState::ShuttingDown,
        InstanceStateName::Terminated => InstanceState::Terminated,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::StateReason as Told;

    use super::{Described, names, reason};

    #[test]
    fn a_reason_has_its_code_apart_from_its_words() {
        for (code, message, shown) in [
            (
                "Client.UserInitiatedShutdown",
                "Client.UserInitiatedShutdown: User initiated shutdown",
                "User initiated shutdown (Client.UserInitiatedShutdown)",
            ),
            ("Server.InternalError", "Server.InternalError", "Server.InternalError"),
            ("pending", "pending", "pending"),
        ] {
            let told = Told::builder().code(code).message(message).build();
            let found = reason(&Described::builder().state_reason(told).build()).unwrap();
            assert_eq!((found.code.as_str(), found.to_string().as_str()), (code, shown));
        }
        let words = Described::builder().state_transition_reason("User initiated (2026-11-27 13:00:00 GMT)").build();
        assert_eq!(reason(&words).unwrap().to_string(), "User initiated (2026-11-27 13:00:00 GMT)");
        assert_eq!(reason(&Described::builder().state_transition_reason("").build()), None);
    }

    #[test]
    fn ids_are_found_in_messages_as_whole_words() {
        let one = "The instance ID 'i-0123456789abcdef0' does not exist";
        assert!(names(one, "i-0123456789abcdef0"));
        assert!(!names(one, "i-0123456"));
        let two = "The instance IDs 'i-01234567, i-89abcdef' do not exist";
        assert!(names(two, "i-01234567") && names(two, "i-89abcdef"));
        assert!(!names(two, "i-00000000"));
    }
}
