//! Launching an instance exactly once.
//!
//! The ClientToken is made of what fixes the instance (whose, which slot, which incarnation,
//! of which type and where), so that a second try after a crash finds the first one's
//! instance, and nothing else does. What may differ between the tries (an image that was
//! published in between, user data of a newer version, whether a public address is asked for)
//! is not part of it: AWS then answers IdempotentParameterMismatch, and the instance of the
//! first try is looked up and kept. What that one lacks, the cluster sees when it runs.

use std::{
    collections::BTreeMap,
    sync::PoisonError,
    time::{Duration, Instant},
};

use aws_sdk_ec2::{
    operation::run_instances::RunInstancesError,
    types::{
        BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification, Instance as Described,
        InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
        InstanceMetadataOptionsRequest, InstanceMetadataTagsState, InstanceNetworkInterfaceSpecification, MarketType,
        ResourceType, ShutdownBehavior, SpotInstanceType, SpotMarketOptions, builders::EbsBlockDeviceBuilder,
    },
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::{
    Ec2, describe,
    error::{Failure, OnlyThrottled},
    image::Image,
    network::not_there,
    tags,
};
use crate::{
    api::{Volume, label},
    cloud::{CloudError, Instance, Launch},
};

/// How long the instance of an earlier try may take to be listed before it is taken for one that never was.
const SETTLES: Duration = Duration::from_secs(60);

impl Ec2 {
    pub(super) async fn run_instance(&self, launch: &Launch) -> Result<Instance, CloudError> {
        let token = token(&self.installation, launch);
        let image = self.image(&launch.image).await.map_err(CloudError::before_a_launch)?;
        let disks = disks(launch.volume.as_ref(), &image)?;
        let made = match self.request(launch, &image.id, disks, &token).await {
            Ok(made) => made,
            Err(e) if e.is("IdempotentParameterMismatch") => self.earlier(&token, e).await?,
            Err(e) if e.is_of_image() => {
                // A corrected one is to be seen at the next try.
                self.images.forget(|_, known| known.id == image.id);
                return Err(e.into());
            }
            Err(e) if e.architectures().is_some() => return Err(mismatch(launch, &image, &e)),
            Err(e) if self.is_own_group(&e) => {
                // Not known yet, or removed by somebody: the next try makes sure of it.
                self.groups.forget(|_, (_, network)| e.message().contains(&network.security_group));
                return Err(not_there(&e));
            }
            Err(e) => return Err(e.into()),
        };
        self.settled(&token);
        let instance = describe::launched(&made, launch);
        let instance = instance.ok_or_else(|| CloudError::Unavailable("AWS named no instance it made".to_owned()))?;
        if instance.state.is_ended() { Err(CloudError::Ended) } else { Ok(instance) }
    }

    async fn request(
        &self,
        launch: &Launch,
        image: &str,
        disks: Vec<BlockDeviceMapping>,
        token: &str,
    ) -> Result<Described, Failure> {
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
            .image_id(image)
            .instance_type(launch.instance_type.as_str().into())
            .network_interfaces(
                // Subnet and groups stand here, since a public address can be asked for only here.
                InstanceNetworkInterfaceSpecification::builder()
                    .device_index(0)
                    .set_subnet_id(launch.subnet.clone())
                    .set_groups(Some(launch.security_groups.clone()))
                    .set_associate_public_ip_address(launch.public_address.then_some(true))
                    .delete_on_termination(true)
                    .build(),
            )
            .set_block_device_mappings(Some(disks))
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
                    // Where an account has it otherwise by default, tags whose keys are no paths are refused.
                    .instance_metadata_tags(InstanceMetadataTagsState::Disabled)
                    .build(),
            )
            .set_instance_initiated_shutdown_behavior(
                // A host that powers itself off is not started again: it must not go on costing its disk.
                (!launch.spot).then_some(ShutdownBehavior::Terminate),
            )
            .set_tag_specifications(Some(specifications.to_vec()));
        // After an attempt without an answer, a refusal would not tell that nothing was made.
        let settings =
            aws_sdk_ec2::config::Config::builder().retry_classifier(OnlyThrottled::<RunInstancesError>::new());
        let request = request.customize().config_override(settings);
        // Never closed: acquiring cannot fail.
        let _turn = self.launches.acquire().await;
        let run = request.send().await.map_err(Failure::of("RunInstances"))?;
        self.learn(run.owner_id());
        let first = run.instances.unwrap_or_default().into_iter().next();
        Ok(first.unwrap_or_else(|| Described::builder().build()))
    }

    /// The instance an earlier try with other parameters made.
    async fn earlier(&self, token: &str, mismatch: Failure) -> Result<Described, CloudError> {
        // Whatever keeps it from being looked up: there may be one.
        let found = self.find_by_token(token).await.map_err(|e| CloudError::Unavailable(e.to_string()))?;
        if let Some(found) = found {
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

/// What differs from the image's own disks: the root volume as it is asked for, and that every
/// volume ends with its instance, whatever the image says. What is not given stays the image's.
fn disks(volume: Option<&Volume>, image: &Image) -> Result<Vec<BlockDeviceMapping>, CloudError> {
    let ends = || EbsBlockDevice::builder().delete_on_termination(true);
    let mut disks: BTreeMap<&str, EbsBlockDeviceBuilder> =
        image.staying.iter().map(|disk| (disk.device.as_str(), ends().set_volume_size(disk.size))).collect();
    disks.extend(image.root_device.as_deref().map(|device| (device, ends())));
    if let Some(volume) = volume {
        let device = volume.device_name.as_deref().or(image.root_device.as_deref()).ok_or_else(|| {
            let remedy = "name it in spec.provider.ec2.volume.deviceName";
            CloudError::Invalid(format!("image {} does not tell its root device: {remedy}", image.id))
        })?;
        let root = ends()
            .volume_size(i32::try_from(volume.size_gib).unwrap_or(i32::MAX))
            .set_volume_type(volume.type_.as_deref().map(Into::into));
        disks.insert(device, root);
    }
    let mapping = |(device, disk): (&str, EbsBlockDeviceBuilder)| {
        BlockDeviceMapping::builder().device_name(device).ebs(disk.build()).build()
    };
    Ok(disks.into_iter().map(mapping).collect())
}

/// AWS says that type and image do not go together, but not which they were.
fn mismatch(launch: &Launch, image: &Image, refusal: &Failure) -> CloudError {
    let (types, images) = refusal.architectures().unwrap_or_default();
    let (wanted, id) = (&launch.instance_type, &image.id);
    CloudError::Invalid(format!(
        "instance type {wanted} is {types} and image {id} is {images}: name types and an image of one architecture in \
         spec.provider.ec2.instanceTypes and spec.provider.ec2.ami ({refusal})"
    ))
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
    use super::{BlockDeviceMapping, CloudError, Image, Launch, Volume, disks, mismatch, token};
    use crate::{
        api::AmiSelector,
        cloud::{
            Owner,
            ec2::{error::failure, image::Disk},
        },
    };

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

    fn image(root: Option<&str>, staying: &[(&str, Option<i32>)]) -> Image {
        let disk = |&(device, size): &(&str, Option<i32>)| Disk { device: device.to_owned(), size };
        Image {
            id: "ami-1".to_owned(),
            root_device: root.map(str::to_owned),
            staying: staying.iter().map(disk).collect(),
        }
    }

    #[test]
    fn no_volume_outlives_its_instance() {
        let volume = |device: Option<&str>| Volume {
            size_gib: 12,
            type_: Some("gp3".to_owned()),
            device_name: device.map(str::to_owned),
        };
        let told = |disks: &[BlockDeviceMapping]| -> Vec<(String, Option<i32>)> {
            let one = |d: &BlockDeviceMapping| {
                assert_eq!(d.ebs().and_then(|e| e.delete_on_termination()), Some(true), "{d:?}");
                (d.device_name().unwrap_or_default().to_owned(), d.ebs().and_then(|e| e.volume_size()))
            };
            disks.iter().map(one).collect()
        };
        let plain = image(Some("/dev/xvda"), &[]);
        let all = image(Some("/dev/sda1"), &[("/dev/sdb", None), ("/dev/sdc", Some(20))]);
        let kept = |device: &str, size| (device.to_owned(), size);
        let disks_of = |volume: Option<Volume>, image| told(&disks(volume.as_ref(), image).unwrap());
        assert_eq!(disks_of(None, &plain), [kept("/dev/xvda", None)]);
        assert_eq!(disks_of(Some(volume(None)), &plain), [kept("/dev/xvda", Some(12))]);
        let three = [kept("/dev/sda1", None), kept("/dev/sdb", None), kept("/dev/sdc", Some(20))];
        assert_eq!(disks_of(None, &all), three);
        let other = disks_of(Some(volume(Some("/dev/sdz"))), &plain);
        assert_eq!(other, [kept("/dev/sdz", Some(12)), kept("/dev/xvda", None)]);

        let silent = image(None, &[]);
        assert_eq!(disks_of(None, &silent), []);
        assert_eq!(disks_of(Some(volume(Some("/dev/sda1"))), &silent), [kept("/dev/sda1", Some(12))]);
        let e = disks(Some(&volume(None)), &silent).unwrap_err();
        assert!(matches!(&e, CloudError::Invalid(m) if m.contains("volume.deviceName")), "{e:?}");
    }

    #[test]
    fn type_and_image_of_two_architectures_are_named_with_both() {
        for words in [
            "The architecture 'arm64' of the specified instance type does not match the architecture 'x86_64' of the \
             specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You can \
             use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.",
            "The requested instance type's architecture (arm64) does not match the architecture in the manifest for \
             ami-1 (x86_64)",
        ] {
            for code in ["InvalidParameterValue", "Unsupported"] {
                let refusal = failure("RunInstances", code, words);
                let wanted = Launch { instance_type: "m6g.medium".to_owned(), ..launch() };
                let e = mismatch(&wanted, &image(None, &[]), &refusal);
                let begin = "instance type m6g.medium is arm64 and image ami-1 is x86_64: name types and an image of one \
                             architecture in spec.provider.ec2.instanceTypes and spec.provider.ec2.ami (RunInstances: The";
                assert!(matches!(&e, CloudError::Invalid(m) if m.starts_with(begin)), "{e:?}");
            }
        }
        let other = failure("RunInstances", "InvalidParameterValue", "Invalid value 'm6g.mediun' for InstanceType.");
        assert_eq!(other.architectures(), None);
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
        again.public_address = true;
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
