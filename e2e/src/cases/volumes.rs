//! What tasks keep: volumes, and memory that they do not keep.

use anyhow::{Result, ensure};
use bollard::models::{Mount, MountTmpfsOptions, MountType, MountVolumeOptions, ServiceUpdateStatusStateEnum as State};

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::service::{Service, container_of},
};

pub(crate) fn cases() -> Vec<Case> {
    // Both have their tasks on one node. A volume stays there when its service is gone, and only on the engine
    // that is talked to can it be removed.
    vec![
        Case::new("VolumeKept", volume_kept).needs(Need::Here),
        Case::new("TmpfsNotKept", tmpfs_not_kept).needs(Need::Here),
    ]
}

/// A task finds in the volume what the task before it wrote there, on an overlay as elsewhere.
async fn volume_kept(t: Test) -> Result<()> {
    let volume = MountVolumeOptions { labels: Some(t.labels()), ..Default::default() };
    let mount = Mount {
        typ: Some(MountType::VOLUME),
        source: Some(t.name("volume")),
        target: Some("/kept".into()),
        volume_options: Some(volume),
        ..Default::default()
    };
    let (service, here) = (with(&t, mount).await?, t.name("text"));
    service.ask(&format!("/write?path=/kept/file&content={here}")).await?;
    replace(&service).await?;
    let found = service.ask("/file?path=/kept/file").await?;
    ensure!(found == here, "the next task found {found:?}, written was {here:?}");
    Ok(())
}

/// A file in memory has the size and the end that were asked for: it goes with its task.
async fn tmpfs_not_kept(t: Test) -> Result<()> {
    let options = MountTmpfsOptions { size_bytes: Some(1 << 20), ..Default::default() };
    let mount = Mount {
        typ: Some(MountType::TMPFS),
        target: Some("/kept".into()),
        tmpfs_options: Some(options),
        ..Default::default()
    };
    let service = with(&t, mount).await?;
    let mounts = service.ask("/file?path=/proc/self/mounts").await?;
    let on = mounts.lines().find(|line| line.contains(" /kept ")).unwrap_or_default();
    ensure!(on.starts_with("tmpfs ") && on.contains("size=1024k"), "it is mounted as {on:?}");
    service.ask("/write?path=/kept/file&content=some").await?;
    replace(&service).await?;
    let found = service.ask("/file?path=/kept/file&or=nothing").await?;
    ensure!(found == "nothing", "the next task found {found:?}");
    Ok(())
}

async fn with(t: &Test, mount: Mount) -> Result<Service> {
    let network = t.network("net").await?;
    let here = format!("node.id=={}", t.cluster().node);
    let service = t.service("keeper").on(&network).askable().constraint(&here);
    let service = service.with(|spec| container_of(spec).mounts = Some(vec![mount])).create().await?;
    service.running(1).await?;
    Ok(service)
}

async fn replace(service: &Service) -> Result<()> {
    service.renew().await?;
    service.updated(State::COMPLETED).await?;
    service.running(1).await.map(|_| ())
}
