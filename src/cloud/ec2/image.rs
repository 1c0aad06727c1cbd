//! Which image an instance boots, and what disks it brings.

use aws_sdk_ec2::types::Image as Described;

use super::{Ec2, error::Failure, tags};
use crate::{api::AmiSelector, cloud::CloudError};

/// An image, as far as a launch has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub id: String,
    /// What the root volume is attached as.
    pub root_device: Option<String>,
    /// The other volumes that would stay when their instance ends.
    pub staying: Vec<Disk>,
}

/// A volume that an image brings beside the root volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub device: String,
    /// In GiB.
    pub size: Option<i32>,
}

impl Ec2 {
    /// Finds an image: with one call for all that ask for it at once, and for a while after.
    pub(super) async fn image(&self, ami: &AmiSelector) -> Result<Image, CloudError> {
        let _turn = self.looking.lock().await;
        if let Some(known) = self.images.get(ami) {
            return Ok(known);
        }
        let found = self.find_image(ami).await?;
        self.images.put(ami.clone(), found.clone());
        Ok(found)
    }

    async fn find_image(&self, ami: &AmiSelector) -> Result<Image, CloudError> {
        let all = self.client.describe_images();
        let (request, what) = match ami {
            AmiSelector { id: Some(id), .. } => (all.image_ids(id), format!("image {id}")),
            AmiSelector { ssm_parameter: Some(parameter), .. } => {
                // RunInstances would look it up by itself, but not tell what disks the image has.
                let id = self.parameter(parameter).await?;
                (all.image_ids(&id), format!("image {id}, which SSM parameter {parameter} names,"))
            }
            AmiSelector { name: Some(name), .. } => {
                // Anybody may publish an image of any name: without an owner, only our own and Amazon's are looked at.
                let owners =
                    ami.owner.clone().map_or_else(|| vec!["self".to_owned(), "amazon".to_owned()], |o| vec![o]);
                let what = format!("available image named {name:?} of owner {}", owners.join(" or "));
                let request = all.filters(tags::filter("name", name)).filters(tags::filter("state", "available"));
                (request.set_owners(Some(owners)), what)
            }
            _ => return Err(CloudError::Invalid("spec.provider.ec2.ami names no image".to_owned())),
        };
        // What is named by its id may be old; by a name, only what is offered is found.
        let request = if ami.name.is_none() { request.include_deprecated(true) } else { request };
        let found = request.send().await.map_err(Failure::of("DescribeImages"))?;
        newest(found.images()).ok_or_else(|| self.no_image(&what))
    }

    /// The id of the image that a parameter names.
    async fn parameter(&self, name: &str) -> Result<String, CloudError> {
        let found = self.parameters.get(name).await.map_err(Failure::of("ssm:GetParameters"))?;
        id_of(name, found.ok_or_else(|| self.no_image(&format!("SSM parameter {name}")))?)
    }

    fn no_image(&self, what: &str) -> CloudError {
        CloudError::Invalid(format!("there is no {what} in {}: correct spec.provider.ec2.ami", self.region))
    }
}

/// The image's id that a parameter holds. What else it holds is not for whoever may write a spec: the operator's
/// credentials may read more than theirs.
fn id_of(parameter: &str, value: String) -> Result<String, CloudError> {
    let id = value.strip_prefix("ami-").filter(|id| id.len() <= 17 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    if id.is_none() {
        let remedy = "correct spec.provider.ec2.ami.ssmParameter";
        return Err(CloudError::Invalid(format!("SSM parameter {parameter} holds no image's id: {remedy}")));
    }
    Ok(value)
}

/// The image that was made last. AWS writes the dates so that they sort as text.
fn newest(images: &[Described]) -> Option<Image> {
    let newest = images.iter().max_by_key(|i| (i.creation_date().unwrap_or_default(), i.image_id()))?;
    let root = newest.root_device_name().filter(|d| !d.is_empty());
    let staying = newest.block_device_mappings().iter().filter_map(|mapping| {
        let (device, disk) = (mapping.device_name()?, mapping.ebs()?);
        let stays = Some(device) != root && disk.delete_on_termination() != Some(true);
        stays.then(|| Disk { device: device.to_owned(), size: disk.volume_size() })
    });
    Some(Image { id: newest.image_id()?.to_owned(), root_device: root.map(str::to_owned), staying: staying.collect() })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{BlockDeviceMapping, EbsBlockDevice};

    use super::{CloudError, Described, Disk, id_of, newest};

    #[test]
    fn the_newest_image_is_used() {
        let image = |id: &str, date: &str| {
            Described::builder().image_id(id).creation_date(date).root_device_name("/dev/xvda").build()
        };
        let images = [
            image("ami-2", "2026-02-01T00:00:00.000Z"),
            image("ami-3", "2026-03-01T00:00:00.000Z"),
            image("ami-1", "2025-12-31T23:59:59.000Z"),
        ];
        let found = newest(&images).unwrap();
        assert_eq!((found.id.as_str(), found.root_device.as_deref()), ("ami-3", Some("/dev/xvda")));
        assert_eq!(newest(&[]), None);
    }

    #[test]
    fn what_a_parameter_holds_that_is_no_image_is_told_to_nobody() {
        let id = "ami-0123456789abcdef0".to_owned();
        assert_eq!(id_of("/ours", id.clone()), Ok(id));
        for value in ["hunter2", "ami-hunter2", "ami-hunter2hunter2hunter2hunter2"] {
            let refused = id_of("/theirs", value.to_owned()).unwrap_err();
            let told = |words: &str| words.contains("/theirs") && !words.contains("hunter2");
            assert!(matches!(&refused, CloudError::Invalid(words) if told(words)), "{refused:?}");
        }
    }

    #[test]
    fn volumes_that_would_stay_are_known() {
        let disk = |device: &str, snapshot: Option<&str>, goes: Option<bool>| {
            let ebs = EbsBlockDevice::builder().volume_size(20).set_snapshot_id(snapshot.map(str::to_owned));
            let ebs = ebs.set_delete_on_termination(goes).build();
            BlockDeviceMapping::builder().device_name(device).ebs(ebs).build()
        };
        let image = Described::builder()
            .image_id("ami-1")
            .root_device_name("/dev/sda1")
            .block_device_mappings(disk("/dev/sda1", Some("snap-1"), Some(false)))
            .block_device_mappings(disk("/dev/sdb", Some("snap-2"), Some(true)))
            .block_device_mappings(disk("/dev/sdc", Some("snap-3"), Some(false)))
            .block_device_mappings(disk("/dev/sdd", None, None))
            // An instance's own disk, which ends with it.
            .block_device_mappings(
                BlockDeviceMapping::builder().device_name("/dev/sde").virtual_name("ephemeral0").build(),
            )
            .build();
        let staying = |device: &str, size| Disk { device: device.to_owned(), size };
        assert_eq!(newest(&[image]).unwrap().staying, [staying("/dev/sdc", Some(20)), staying("/dev/sdd", Some(20))]);
    }
}
