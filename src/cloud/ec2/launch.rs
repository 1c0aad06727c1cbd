//! Launching an instance exactly once.
//!
//! The ClientToken is made of what fixes the instance (whose, which slot, which incarnation,
//! of which type and where), so that a second try after a crash finds the first one's
//! instance, and nothing else does. What may differ between the tries (an image that was
//! published in between, user data of a newer version) is not part of it: AWS then answers
//! IdempotentParameterMismatch, and the instance of the first try is looked up and kept.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification, Instance as Described,
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, MarketType, ResourceType, ShutdownBehavior, SpotInstanceType, SpotMarketOptions,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::{Ec2, describe, error::Failure, image::Image, tags};
use crate::{
    api::label,
    cloud::{CloudError, Instance, Launch},
};

/// How long the instance of an earlier try may take to be listed before it is taken for one that never was.
const SETTLES: Duration = Duration::from_secs(60);

impl Ec2 {
    pub(super) async fn run_instance(&self, launch: &Launch) -> Result<Instance, CloudError> {
        let token = token(&self.installation, launch);
        let needs_device = launch.volume.as_ref().is_some_and(|v| v.device_name.is_none());
        let image = self.image(&launch.image, needs_device).await?;
        let made = match self.request(launch, image, &token).await {
            Ok(made) => made,
            Err(e) if e.is("IdempotentParameterMismatch") => self.earlier(&token, e).await?,
            Err(e) if self.is_own_group(&e) => {
                // Not known yet, or removed by somebody: the next try makes sure of it.
                self.groups.forget(|_, (_, network)| e.message().contains(&network.security_group));
                return Err(CloudError::Unavailable(format!(
                    "the cluster's security group is not there: {}",
                    e.message()
                )));
            }
            Err(e) => return Err(e.into()),
        };
        self.settled(&token);
        let instance = describe::launched(&made, launch);
        let instance = instance.ok_or_else(|| CloudError::Unavailable("AWS named no instance it made".to_owned()))?;
        if instance.state.is_ended() { Err(CloudError::Ended) } else { Ok(instance) }
    }

    async fn request(&self, launch: &Launch, image: Image, token: &str) -> Result<Described, Failure> {
        let mut all = tags::of_cluster(&self.installation, &launch.owner, &launch.name);
        all.push(tags::tag(label::SLOT, &launch.slot));
        all.push(tags::tag(label::INCARNATION, &launch.incarnation.to_string()));
        let tagged = [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
        let specifications = tagged.map(|resource| tags::on(resource, &all));

        let request = self
            .client
            .run_instances()
            .client_token(token)
            .min_count(1)
            .max_count(1)
            .image_id(image.id)
            .instance_type(launch.instance_type.as_str().into())
            .set_subnet_id(launch.subnet.clone())
            .set_security_group_ids(Some(launch.security_groups.clone()))
            .set_block_device_mappings(launch.volume.as_ref().map(|v| vec![root_volume(v, &image.root_device)]))
            .set_iam_instance_profile(
                launch
                    .instance_profile
                    .as_ref()
                    .map(|name| IamInstanceProfileSpecification::builder().name(name).build()),
            )
            .set_instance_market_options(launch.spot.then(spot))
            .user_data(BASE64_STANDARD.encode(&launch.user_data))
            .metadata_options(
                // IMDSv2 only, and no container behind a bridge gets at it.
                InstanceMetadataOptionsRequest::builder()
                    .http_endpoint(InstanceMetadataEndpointState::Enabled)
                    .http_tokens(HttpTokensState::Required)
                    .http_put_response_hop_limit(1)
                    .build(),
            )
            .set_instance_initiated_shutdown_behavior(
                // A host that powers itself off is not started again: it must not go on costing its disk.
                (!launch.spot).then_some(ShutdownBehavior::Terminate),
            )
            .set_tag_specifications(Some(specifications.to_vec()));
        // Never closed: acquiring cannot fail.
        let _turn = self.launches.acquire().await;
        let run = request.send().await.map_err(Failure::of("RunInstances"))?;
        let first = run.instances.unwrap_or_default().into_iter().next();
        Ok(first.unwrap_or_else(|| Described::builder().build()))
    }

    /// The instance an earlier try with other parameters made.
    async fn earlier(&self, token: &str, mismatch: Failure) -> Result<Described, CloudError> {
        if let Some(found) = self.find_by_token(token).await? {
            return Ok(found);
        }
        // Listed a moment later, or the earlier try made none. AWS never says which; with the
        // token used up, only another incarnation gets on.
        let since = {
            let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
            *unsettled.entry(token.to_owned()).or_insert_with(Instant::now)
        };
        if since.elapsed() < SETTLES {
            let words = mismatch.message();
            return Err(CloudError::Unavailable(format!("an earlier try's instance is not listed yet: {words}")));
        }
        self.settled(token);
        Err(CloudError::Ended)
    }

    fn settled(&self, token: &str) {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).remove(token);
    }

    /// Whether an error says that a group we made is not there.
    fn is_own_group(&self, error: &Failure) -> bool {
        (error.is("InvalidGroup.NotFound") || error.is("InvalidSecurityGroupID.NotFound"))
            && self.groups.any(|(_, network)| error.message().contains(&network.security_group))
    }
}

/// What fixes an instance, as at most 64 ASCII characters. Each part is preceded by its
/// length, so that no two sets of parts read the same.
fn token(installation: &str, launch: &Launch) -> String {
    let incarnation = launch.incarnation.to_string();
    let parts = [
        "testkit",
        installation,
        &launch.owner.uid,
        &launch.slot,
        &incarnation,
        &launch.instance_type,
        launch.subnet.as_deref().unwrap_or_default(),
    ];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn root_volume(volume: &crate::api::Volume, root_device: &str) -> BlockDeviceMapping {
    let disk = EbsBlockDevice::builder()
        .volume_size(i32::try_from(volume.size_gib).unwrap_or(i32::MAX))
        .set_volume_type(volume.type_.as_deref().map(Into::into))
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder().device_name(volume.device_name.as_deref().unwrap_or(root_device)).ebs(disk).build()
}

fn spot() -> InstanceMarketOptionsRequest {
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(
            SpotMarketOptions::builder()
                .spot_instance_type(SpotInstanceType::OneTime)
                .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
                .build(),
        )
        .build()
}

#[cfg(test)]
mod tests {
    use super::{Launch, token};
    use crate::{api::AmiSelector, cloud::Owner};

    fn launch() -> Launch {
        Launch {
            owner: Owner { uid: "6f1c".to_owned(), name: "default/foo".to_owned() },
            slot: "m0".to_owned(),
            name: "foo-m0".to_owned(),
            incarnation: 0,
            image: AmiSelector { id: Some("ami-0123456789abcdef0".to_owned()), ..AmiSelector::default() },
            instance_type: "t3.medium".to_owned(),
            subnet: None,
            public_address: false,
            security_groups: vec!["sg-1".to_owned()],
            spot: false,
            volume: None,
            instance_profile: None,
            user_data: "#!/bin/sh\n".to_owned(),
        }
    }

    #[test]
    fn the_token_fits_what_aws_takes() {
        let token = token("testkit", &launch());
        assert_eq!(token.len(), 64);
        assert!(token.bytes().all(|b| b.is_ascii_hexdigit()));
    }

    #[test]
    fn a_second_try_has_the_same_token_whatever_changed_that_does_not_fix_the_instance() {
        let first = token("a", &launch());
        let mut again = launch();
        again.image = AmiSelector::default();
        again.user_data = "other".to_owned();
        again.security_groups.clear();
        again.spot = true;
        assert_eq!(token("a", &again), first);
    }

    #[test]
    fn another_instance_has_another_token() {
        let first = token("a", &launch());
        type Change = fn(&mut Launch);
        let changes: [(&str, Change); 5] = [
            ("owner", |l| l.owner.uid.push('0')),
            ("slot", |l| l.slot = "m1".to_owned()),
            ("incarnation", |l| l.incarnation = 1),
            ("type", |l| l.instance_type = "t3a.medium".to_owned()),
            ("subnet", |l| l.subnet = Some("subnet-1".to_owned())),
        ];
        for (what, change) in changes {
            let mut other = launch();
            change(&mut other);
            assert_ne!(token("a", &other), first, "{what}");
        }
        assert_ne!(token("b", &launch()), first, "installation");
        let mut shifted = launch();
        shifted.owner.uid = "6f1cm".to_owned();
        shifted.slot = "0".to_owned();
        assert_ne!(token("a", &shifted), first, "parts run together");
    }
}
