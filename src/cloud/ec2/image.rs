//! Which image an instance boots.

use aws_sdk_ec2::types::Image as Described;

use super::{Ec2, error::Failure, tags};
use crate::{api::AmiSelector, cloud::CloudError};

/// The root device where the image does not tell: that of Ubuntu's and Debian's images.
const ROOT_DEVICE: &str = "/dev/sda1";

/// An image as RunInstances takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// An id, or `resolve:ssm:` and a parameter.
    pub id: String,
    /// The device a root volume is attached as.
    pub root_device: String,
}

impl Ec2 {
    /// Finds an image. `root_device` says whether the caller needs to know that too.
    pub(super) async fn image(&self, ami: &AmiSelector, root_device: bool) -> Result<Image, CloudError> {
        let plain = |id: String| Image { id, root_device: ROOT_DEVICE.to_owned() };
        match ami {
            // RunInstances looks parameters up by itself.
            AmiSelector { ssm_parameter: Some(parameter), .. } => Ok(plain(format!("resolve:ssm:{parameter}"))),
            AmiSelector { id: Some(id), .. } if !root_device => Ok(plain(id.clone())),
            _ => {
                if let Some(known) = self.images.get(ami) {
                    return Ok(known);
                }
                let found = self.find_image(ami).await?;
                self.images.put(ami.clone(), found.clone());
                Ok(found)
            }
        }
    }

    async fn find_image(&self, ami: &AmiSelector) -> Result<Image, CloudError> {
        let request = self.client.describe_images();
        let (request, what) = match (&ami.id, &ami.name) {
            (Some(id), _) => (request.image_ids(id), format!("image {id}")),
            (None, Some(name)) => {
                // Anybody may publish an image of any name: without an owner, only our own and Amazon's are looked at.
                let owners =
                    ami.owner.clone().map_or_else(|| vec!["self".to_owned(), "amazon".to_owned()], |o| vec![o]);
                let what = format!("available image named {name:?} of owner {}", owners.join(" or "));
                let request = request.filters(tags::filter("name", name)).filters(tags::filter("state", "available"));
                (request.set_owners(Some(owners)), what)
            }
            (None, None) => return Err(CloudError::Invalid("spec.provider.ec2.ami names no image".to_owned())),
        };
        let found = request.send().await.map_err(Failure::of("DescribeImages"))?;
        newest(found.images()).ok_or_else(|| {
            let region = &self.region;
            CloudError::Invalid(format!("there is no {what} in {region}: correct spec.provider.ec2.ami"))
        })
    }
}

/// The image that was made last. AWS writes the dates so that they sort as text.
fn newest(images: &[Described]) -> Option<Image> {
    let newest = images.iter().max_by_key(|i| (i.creation_date().unwrap_or_default(), i.image_id()))?;
    Some(Image {
        id: newest.image_id()?.to_owned(),
        root_device: newest.root_device_name().unwrap_or(ROOT_DEVICE).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Described, newest};

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
        assert_eq!((found.id.as_str(), found.root_device.as_str()), ("ami-3", "/dev/xvda"));
        assert_eq!(newest(&[]), None);
    }
}
