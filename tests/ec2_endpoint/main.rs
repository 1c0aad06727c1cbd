//! What the EC2 provider does over the wire, against the test bed's endpoint.
//!
//! Each test has an endpoint of its own: faults turned on for one do not meet another. They
//! need `TESTBED_PYTHON`, a Python with `testbed/requirements.txt` installed, and are skipped without.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

mod bed;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bed::{Bed, launch, network, owner, until};
use serde_json::json;
use testkit::{
    api::{AmiSelector, label},
    cloud::{CloudError, CloudProvider, InstanceState, Inventory, Launch, NetworkSpec, Owner},
};

macro_rules! bed {
    () => {
        match Bed::start() {
            Some(bed) => bed,
            None => return,
        }
    };
}

mod groups;

#[tokio::test]
async fn a_second_try_after_a_crash_finds_the_first_ones_instance() {
    let bed = bed!();
    let first = bed.ec2().await;
    let wanted = launch(&first, "m0").await;
    let instance = first.launch(&wanted).await.unwrap();
    drop(first);

    let again = bed.ec2().await;
    assert_eq!(again.account(), None);
    let same = again.launch(&launch(&again, "m0").await).await.unwrap();
    assert_eq!(again.account().as_deref(), Some("123456789012"), "as what it met tells");
    assert_eq!(same.id, instance.id);
    let other = again.launch(&launch(&again, "m1").await).await.unwrap();
    assert_ne!(other.id, instance.id);
    assert_eq!(bed.instances().len(), 2);
}

#[tokio::test]
async fn a_second_try_that_says_something_else_finds_it_too() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    bed.knobs(&json!({"visible_after_s": 3600}));
    let mut wanted = launch(&ec2, "m0").await;
    let instance = ec2.launch(&wanted).await.unwrap();
    "#!/bin/sh\n# of a newer version\n".clone_into(&mut wanted.user_data);

    let e = ec2.launch(&wanted).await.unwrap_err();
    assert!(matches!(&e, CloudError::Unavailable(m) if m.contains("not listed yet")), "{e:?}");
    bed.knobs(&json!({"visible_after_s": 0}));
    assert_eq!(ec2.launch(&wanted).await.unwrap().id, instance.id);

    ec2.terminate(&[instance.id]).await.unwrap();
    assert_eq!(ec2.launch(&wanted).await.unwrap_err(), CloudError::Ended);
    assert_eq!(bed.instances().len(), 1);
}

#[tokio::test]
async fn an_ended_instance_makes_way_for_the_next_incarnation() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let mut wanted = launch(&ec2, "m0").await;
    let first = ec2.launch(&wanted).await.unwrap();
    ec2.terminate(std::slice::from_ref(&first.id)).await.unwrap();
    assert_eq!(ec2.launch(&wanted).await.unwrap_err(), CloudError::Ended, "while it is shutting down");
    until(&ec2, &first.id, InstanceState::Terminated).await;
    assert_eq!(ec2.launch(&wanted).await.unwrap_err(), CloudError::Ended, "when it is gone");
    wanted.incarnation = 1;
    let second = ec2.launch(&wanted).await.unwrap();
    assert_eq!((second.slot.as_str(), second.incarnation), ("m0", 1));
    assert_ne!(second.id, first.id);
}

#[tokio::test]
async fn without_capacity_the_next_type_can_be_tried_at_once() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let mut wanted = launch(&ec2, "m0").await;
    bed.knobs(&json!({"capacity": [{"type": "t3.medium"}]}));
    let started = Instant::now();
    let e = ec2.launch(&wanted).await.unwrap_err();
    assert!(matches!(&e, CloudError::Capacity(m) if m.contains("InsufficientInstanceCapacity")), "{e:?}");
    assert_eq!(bed.calls("RunInstances"), 1, "not tried again by the SDK");
    assert!(started.elapsed() < Duration::from_secs(10));

    "t3a.medium".clone_into(&mut wanted.instance_type);
    assert_eq!(ec2.launch(&wanted).await.unwrap().instance_type, "t3a.medium");
    bed.knobs(&json!({"vcpu_limit": 2}));
    let e = ec2.launch(&launch(&ec2, "m1").await).await.unwrap_err();
    // The type of that one has no capacity either.
    assert!(matches!(e, CloudError::Capacity(_)), "{e:?}");
    bed.knobs(&json!({"capacity": []}));
    let e = ec2.launch(&launch(&ec2, "m1").await).await.unwrap_err();
    assert!(matches!(&e, CloudError::Quota(m) if m.contains("VcpuLimitExceeded")), "{e:?}");
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let wanted = launch(&ec2, "m0").await;
    let other = ec2.launch(&launch(&ec2, "w0").await).await.unwrap();
    bed.knobs(&json!({"unauthorized": ["RunInstances", "DescribeInstances", "GetConsoleOutput"]}));
    for (e, expected) in [
        (ec2.launch(&wanted).await.unwrap_err(), "ec2:RunInstances"),
        (ec2.list().await.unwrap_err(), "ec2:DescribeInstances"),
        (ec2.console(&other.id).await.unwrap_err(), "ec2:GetConsoleOutput"),
    ] {
        let CloudError::Unauthorized { permission, message } = e else { panic!("{e:?}") };
        assert_eq!(permission.as_deref(), Some(expected));
        assert!(message.contains("no identity-based policy allows"), "{message}");
    }
    bed.knobs(&json!({"unauthorized": []}));
    ec2.launch(&wanted).await.unwrap();
}

#[tokio::test]
async fn throttling_makes_no_instance_more_and_none_less() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let wanted = [launch(&ec2, "m0").await, launch(&ec2, "m1").await, launch(&ec2, "w0").await];
    bed.knobs(&json!({"throttle": 0.5}));
    for one in &wanted {
        while let Err(e) = ec2.launch(one).await {
            assert!(matches!(e, CloudError::Throttled(_)), "{e:?}");
        }
    }
    assert_eq!(bed.instances().len(), 3);
}

#[tokio::test]
async fn what_does_not_exist_is_said_with_what_to_do() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let by = |change: fn(&mut AmiSelector)| {
        let mut ami = AmiSelector::default();
        change(&mut ami);
        ami
    };
    let base = launch(&ec2, "m0").await;
    let with = |image: AmiSelector| Launch { image, ..base.clone() };
    let wrong = [
        (with(by(|a| a.id = Some("ami-0123456789abcdef0".to_owned()))), "spec.provider.ec2.ami"),
        (with(by(|a| a.ssm_parameter = Some("/aws/service/no/such".to_owned()))), "spec.provider.ec2.ami"),
        (with(by(|a| a.name = Some("no-such-*".to_owned()))), "spec.provider.ec2.ami"),
        (Launch { subnet: Some("subnet-0123456789abcdef0".to_owned()), ..base.clone() }, "spec.provider.ec2.subnets"),
    ];
    for (launch, remedy) in wrong {
        let e = ec2.launch(&launch).await.unwrap_err();
        assert!(matches!(&e, CloudError::Invalid(m) if m.contains(remedy)), "{:?}: {e:?}", launch.image);
    }
    let subnets = NetworkSpec { subnets: vec!["subnet-0123456789abcdef0".to_owned()], ..network() };
    let other = testkit::cloud::Owner { uid: "other".to_owned(), name: "default/other".to_owned() };
    let e = ec2.ensure_network(&other, &subnets).await.unwrap_err();
    assert!(matches!(&e, CloudError::Invalid(m) if m.contains("spec.provider.ec2.subnets")), "{e:?}");

    let named = by(|a| (a.name, a.owner) = (Some("testkit-docker-28.5-*".to_owned()), Some("210987654321".to_owned())));
    ec2.launch(&with(named)).await.unwrap();
    assert_eq!(bed.instances().len(), 1);
}

#[tokio::test]
async fn instances_are_tagged_hardened_and_read_back() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let mut wanted = launch(&ec2, "w3").await;
    wanted.volume = Some(testkit::api::Volume { size_gib: 12, type_: None, device_name: None });
    let made = ec2.launch(&wanted).await.unwrap();
    assert_eq!(made.state, InstanceState::Pending);
    assert!(made.private_address.is_some());
    let listed = until(&ec2, &made.id, InstanceState::Running).await;
    assert_eq!((&listed.owner, listed.slot.as_str(), listed.incarnation), (&owner(), "w3", 0));

    let sdk = bed.sdk().await;
    let found = sdk.describe_instances().instance_ids(&made.id).send().await.unwrap();
    let instance = &found.reservations()[0].instances()[0];
    let metadata = instance.metadata_options().unwrap();
    assert_eq!(metadata.http_tokens().unwrap().as_str(), "required");
    assert_eq!(metadata.http_put_response_hop_limit(), Some(1));
    assert!(instance.iam_instance_profile().is_none(), "whoever asks the metadata is given no role");
    let tag = |key: &str| instance.tags().iter().find(|t| t.key() == Some(key)).and_then(|t| t.value());
    assert_eq!(tag("Name"), Some("foo-w3"));
    assert_eq!(tag(label::INSTALLATION), Some("test"));

    let volumes = sdk.describe_volumes().send().await.unwrap();
    let [volume] = volumes.volumes() else { panic!("{volumes:?}") };
    assert_eq!(volume.size(), Some(12), "the root volume, by the device that the image names");
    let [disk] = instance.block_device_mappings() else { panic!("{instance:?}") };
    assert_eq!(disk.device_name(), instance.root_device_name());
    assert_eq!(disk.ebs().and_then(|e| e.delete_on_termination()), Some(true));
    let [interface] = instance.network_interfaces() else { panic!("{instance:?}") };
    assert_eq!(interface.attachment().and_then(|a| a.delete_on_termination()), Some(true));
    let groups: Vec<_> = interface.groups().iter().filter_map(|g| g.group_id()).collect();
    assert_eq!(groups, wanted.security_groups);
    assert_eq!(listed.subnet.as_deref(), instance.subnet_id());
    assert!(volume.tags().iter().any(|t| t.key() == Some(label::CLUSTER_UID) && t.value() == Some(&owner().uid)));
}

#[tokio::test]
async fn the_root_volume_is_the_images_own_and_no_disk_of_it_stays() {
    let bed = bed!();
    let (ec2, sdk) = (bed.ec2().await, bed.sdk().await);
    let base = launch(&ec2, "m0").await;
    let canonical = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id";
    // An image's parameter, the size that is asked for, and each disk that it comes with, in GiB.
    type Row = (&'static str, Option<u32>, &'static [(&'static str, i32)]);
    let images: [Row; 4] = [
        (canonical, Some(12), &[("/dev/sda1", 12)]),
        ("/aws/service/testkit/debian/14/ami-id", None, &[("/dev/sda1", 8)]),
        ("/aws/service/testkit/docker/26.1/ami-id", Some(12), &[("/dev/xvda", 12)]),
        ("/aws/service/testkit/docker/20.10/ami-id", Some(12), &[("/dev/sdb", 1), ("/dev/xvda", 12)]),
    ];
    let mut ids = Vec::new();
    for (n, (parameter, size, disks)) in images.into_iter().enumerate() {
        let image = AmiSelector { ssm_parameter: Some(parameter.to_owned()), ..AmiSelector::default() };
        let volume = size.map(|size_gib| testkit::api::Volume { size_gib, type_: None, device_name: None });
        let made = ec2.launch(&Launch { slot: format!("m{n}"), image, volume, ..base.clone() }).await.unwrap();
        let of_it = aws_sdk_ec2::types::Filter::builder().name("attachment.instance-id").values(&made.id).build();
        let volumes = sdk.describe_volumes().filters(of_it).send().await.unwrap();
        let mut found: Vec<(&str, i32)> = Vec::new();
        for volume in volumes.volumes() {
            let [attachment] = volume.attachments() else { panic!("{volume:?}") };
            assert_eq!(attachment.delete_on_termination(), Some(true), "{parameter}: {attachment:?}");
            found.push((attachment.device().unwrap(), volume.size().unwrap()));
        }
        found.sort_unstable();
        assert_eq!(found, disks, "{parameter}");
        ids.push(made.id);
    }
    assert_eq!(bed.calls("DescribeImages"), 4, "one for each image");
    ec2.terminate(&ids).await.unwrap();
    for id in &ids {
        until(&ec2, id, InstanceState::Terminated).await;
    }
    assert_eq!(sdk.describe_volumes().send().await.unwrap().volumes(), []);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_not_started_and_says_so_at_once() {
    let bed = bed!();
    let (ec2, sdk) = (bed.ec2().await, bed.sdk().await);
    let made = ec2.launch(&launch(&ec2, "m0").await).await.unwrap();
    until(&ec2, &made.id, InstanceState::Running).await;
    sdk.stop_instances().instance_ids(&made.id).send().await.unwrap();
    until(&ec2, &made.id, InstanceState::Stopped).await;
    bed.knobs(&json!({"capacity": [{"type": "t3.medium"}]}));
    let e = ec2.start(&made.id).await.unwrap_err();
    assert!(matches!(&e, CloudError::Capacity(m) if m.contains("InsufficientInstanceCapacity")), "{e:?}");
    assert_eq!(bed.calls("StartInstances"), 1, "not tried again by the SDK");
    bed.knobs(&json!({"capacity": [], "vcpu_limit": 0}));
    let e = ec2.start(&made.id).await.unwrap_err();
    assert!(matches!(&e, CloudError::Quota(m) if m.contains("VcpuLimitExceeded")), "{e:?}");
    bed.knobs(&json!({"vcpu_limit": null}));
    ec2.start(&made.id).await.unwrap();
    until(&ec2, &made.id, InstanceState::Running).await;
}

#[tokio::test]
async fn tags_in_metadata_by_default_of_the_account_are_not_in_the_way() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let enabled = aws_sdk_ec2::types::DefaultInstanceMetadataTagsState::Enabled;
    let call = bed.sdk().await.modify_instance_metadata_defaults().instance_metadata_tags(enabled);
    call.send().await.unwrap();
    ec2.launch(&launch(&ec2, "m0").await).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_somebody_protects_is_named_and_the_others_end() {
    let bed = bed!();
    let (ec2, sdk) = (bed.ec2().await, bed.sdk().await);
    let base = launch(&ec2, "m0").await;
    let kept = ec2.launch(&base).await.unwrap().id;
    let other = ec2.launch(&Launch { slot: "m1".to_owned(), ..base }).await.unwrap().id;
    let protected = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
    let call = sdk.modify_instance_attribute().instance_id(&kept).disable_api_termination(protected);
    call.send().await.unwrap();
    let e = ec2.terminate(&[kept.clone(), other.clone()]).await.unwrap_err();
    assert!(matches!(&e, CloudError::Invalid(m) if m.contains(&kept) && m.contains("disableApiTermination")), "{e:?}");
    until(&ec2, &other, InstanceState::Terminated).await;
    until(&ec2, &kept, InstanceState::Running).await;
}

#[tokio::test]
async fn an_image_is_looked_up_once_for_all_its_launches() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let base = launch(&ec2, "m0").await;
    let slots = ["m0", "m1", "m2", "w0"].map(|slot| Launch { slot: slot.to_owned(), ..base.clone() });
    futures::future::try_join_all(slots.iter().map(|launch| ec2.launch(launch))).await.unwrap();
    assert_eq!((bed.calls("GetParameters"), bed.calls("DescribeImages")), (1, 1));
    bed.knobs(&json!({"unauthorized": ["ssm:GetParameters"]}));
    let other = AmiSelector { ssm_parameter: Some("/aws/service/other".to_owned()), ..AmiSelector::default() };
    let e = ec2.launch(&Launch { image: other, ..base }).await.unwrap_err();
    assert!(matches!(&e, CloudError::Unauthorized { permission: Some(p), .. } if p == "ssm:GetParameters"), "{e:?}");
}

#[tokio::test]
async fn a_public_address_is_had_where_the_subnet_gives_none() {
    let bed = bed!();
    let (ec2, sdk) = (bed.ec2().await, bed.sdk().await);
    let base = launch(&ec2, "m0").await;
    let vpcs = sdk.describe_vpcs().send().await.unwrap();
    let subnet = sdk
        .create_subnet()
        .vpc_id(vpcs.vpcs()[0].vpc_id().unwrap())
        .cidr_block("172.31.200.0/24")
        .availability_zone("us-east-1a");
    let subnet = subnet.send().await.unwrap().subnet.unwrap().subnet_id;
    let plain = Launch { subnet: subnet.clone(), ..base };
    let without = ec2.launch(&plain).await.unwrap();
    let with = ec2.launch(&Launch { slot: "m1".to_owned(), public_address: true, ..plain }).await.unwrap();
    let (without, with) =
        (until(&ec2, &without.id, InstanceState::Running).await, until(&ec2, &with.id, InstanceState::Running).await);
    assert_eq!((&without.subnet, &with.subnet), (&subnet, &subnet));
    assert_eq!(without.public_address, None);
    assert!(with.public_address.is_some(), "{with:?}");
}

#[tokio::test]
async fn an_instance_that_ended_says_why_with_its_code() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let instance = ec2.launch(&launch(&ec2, "m0").await).await.unwrap();
    ec2.terminate(std::slice::from_ref(&instance.id)).await.unwrap();
    let reason = until(&ec2, &instance.id, InstanceState::Terminated).await.state_reason.unwrap();
    assert_eq!(reason.code, "Client.UserInitiatedShutdown");
    assert_eq!(reason.to_string(), "User initiated shutdown (Client.UserInitiatedShutdown)");
}

#[tokio::test]
async fn a_launch_that_is_refused_says_what_to_correct_and_made_nothing() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    let base = launch(&ec2, "m0").await;
    let typo = Launch { instance_type: "t3.mediun".to_owned(), ..base.clone() };
    let e = ec2.launch(&typo).await.unwrap_err();
    assert!(e.made_nothing());
    let said = |m: &str| m.contains("t3.mediun") && m.contains("spec.provider.ec2.instanceTypes");
    assert!(matches!(&e, CloudError::Invalid(m) if said(m)), "{e:?}");

    // Without an answer on the image nobody has asked for an instance.
    bed.knobs(&json!({"fail": [{"action": "DescribeImages", "code": "Slow", "message": "slow", "status": 408}]}));
    let e = bed.ec2().await.launch(&base).await.unwrap_err();
    assert!(e.made_nothing() && matches!(&e, CloudError::Refused(m) if m.contains("DescribeImages")), "{e:?}");
    bed.knobs(&json!({"fail": []}));

    // The same with other words when the token is known: what the lookup is refused for is no word on the launch.
    let made = ec2.launch(&base).await.unwrap();
    bed.knobs(&json!({"unauthorized": ["DescribeInstances"]}));
    let again = Launch { user_data: "#!/bin/sh\n".to_owned(), ..base };
    let e = ec2.launch(&again).await.unwrap_err();
    assert!(!e.made_nothing(), "there is {}: {e:?}", made.id);
    assert_eq!(bed.instances(), [made.id]);
}

#[tokio::test]
async fn the_inventory_sees_instances_before_and_after_ec2_lists_them() {
    let bed = bed!();
    bed.knobs(&json!({"visible_after_s": 3, "pending_s": 4}));
    let ec2 = Arc::new(bed.ec2().await);
    let (sender, mut wakes) = tokio::sync::mpsc::unbounded_channel();
    let inventory = Inventory::new(ec2.clone(), Arc::new(move |owner| drop(sender.send(owner.clone()))));
    inventory.synced().await;
    assert_eq!(inventory.snapshot(&owner()), Some(vec![]));
    let made = ec2.launch(&launch(&ec2, "m0").await).await.unwrap();
    inventory.note(made.clone());

    let began = Instant::now();
    let states = Mutex::new(Vec::new());
    let look = || {
        let now = inventory.snapshot(&owner()).unwrap();
        assert_eq!(now.iter().map(|i| &i.id).collect::<Vec<_>>(), [&made.id], "never out of sight");
        states.lock().unwrap().push(now[0].state);
        now[0].state
    };
    let all = async {
        look();
        loop {
            assert_eq!(wakes.recv().await.unwrap(), owner());
            if look() == InstanceState::Running {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(90), all).await.expect("woken when it runs");
    assert_eq!(states.lock().unwrap()[0], InstanceState::Pending);
    let sweeps = bed.calls("DescribeInstances");
    let seconds = began.elapsed().as_secs();
    assert!(sweeps <= 6 + seconds, "{sweeps} sweeps in the {seconds} s it took");
}

#[tokio::test]
async fn an_instance_told_to_end_before_ec2_knows_it_is_told_again() {
    let bed = bed!();
    bed.knobs(&json!({"visible_after_s": 3600}));
    let ec2 = Arc::new(bed.ec2().await);
    let inventory = Inventory::new(ec2.clone(), Arc::new(|_: &Owner| {}));
    inventory.synced().await;
    let made = ec2.launch(&launch(&ec2, "m0").await).await.unwrap();
    inventory.note(made.clone());
    let ids = [made.id.clone()];
    // As the operator does: there is no such instance, says EC2.
    ec2.terminate(&ids).await.unwrap();
    inventory.note_terminating(&ids);
    assert!(ec2.console(&made.id).await.is_err());
    let state = || inventory.snapshot(&owner()).unwrap().iter().map(|i| i.state).next();
    assert_eq!(state(), Some(InstanceState::ShuttingDown));
    bed.knobs(&json!({"visible_after_s": 0}));
    let alive = async {
        while state() != Some(InstanceState::Running) {
            assert!(state().is_some(), "never taken for gone");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), alive).await.expect("it is seen to be alive");
    ec2.terminate(&ids).await.unwrap();
    until(&ec2, &made.id, InstanceState::Terminated).await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_unavailable() {
    let bed = bed!();
    let ec2 = bed.ec2().await;
    drop(bed);
    let e = ec2.list().await.unwrap_err();
    assert!(matches!(&e, CloudError::Unavailable(m) if m.contains("Connection refused")), "{e:?}");
}
