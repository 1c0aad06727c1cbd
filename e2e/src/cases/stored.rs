//! Secrets and configs: what is stored in the swarm and handed to tasks as files. Each case is one for both.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bollard::models::ServiceUpdateStatusStateEnum as State;

use super::catalog::refusal;
use crate::{
    harness::{case::Case, test::Test},
    swarm::stored::{Kind, give},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("SecretDelivered", |t| delivered(t, Kind::Secret)),
        Case::new("ConfigDelivered", |t| delivered(t, Kind::Config)),
        Case::new("SecretRotation", |t| rotation(t, Kind::Secret)),
        Case::new("ConfigRotation", |t| rotation(t, Kind::Config)),
        Case::new("SecretTemplate", |t| template(t, Kind::Secret)),
        Case::new("ConfigTemplate", |t| template(t, Kind::Config)),
        Case::new("SecretObjects", |t| objects(t, Kind::Secret)),
        Case::new("ConfigObjects", |t| objects(t, Kind::Config)),
    ]
}

const FILE: &str = "the-file";

/// What was stored is in the task's file, for whom it is meant. A secret is in memory, and not given away.
async fn delivered(t: Test, kind: Kind) -> Result<()> {
    let (name, content) = (t.name("stored"), t.name("content"));
    let stored = t.store(kind, &name, &content).await?;
    let told = t.stored(kind, &stored.id).await?.data;
    let public = (kind == Kind::Config).then(|| BASE64_STANDARD.encode(&content));
    ensure!(told == public, "the API says {told:?} of the content, wanted {public:?}");
    let service = t.service("web").askable().with(|spec| give(spec, kind, &stored, FILE)).create().await?;
    service.running(1).await?;
    let path = kind.path(FILE);
    let found = service.ask(&format!("/file?path={path}")).await?;
    ensure!(found == content, "{path} holds {found:?}, stored was {content:?}");
    let mode = service.ask(&format!("/stat?path={path}")).await?;
    ensure!(mode == "0440 1000 1001", "{path} is {mode}, wanted 0440 1000 1001");
    if kind == Kind::Secret {
        let mounts = service.ask("/file?path=/proc/self/mounts").await?;
        let on = mounts.lines().find(|line| line.contains(" /run/secrets")).context("secrets are no mount")?;
        ensure!(on.starts_with("tmpfs "), "the secret is on a disk: {on}");
    }
    Ok(())
}

/// A service that is updated to another has its content, and the first can be removed then, and not before.
async fn rotation(t: Test, kind: Kind) -> Result<()> {
    let first = t.store(kind, &t.name("first"), "one").await?;
    let second = t.store(kind, &t.name("second"), "two").await?;
    let service = t.service("web").askable().with(|spec| give(spec, kind, &first, FILE)).create().await?;
    service.running(1).await?;
    refusal(t.remove_stored(kind, &first).await, 400, "is in use by the following service")?;
    service.update(|spec| give(spec, kind, &second, FILE)).await?;
    service.updated(State::COMPLETED).await?;
    service.running(1).await?;
    let found = service.ask(&format!("/file?path={}", kind.path(FILE))).await?;
    ensure!(found == "two", "after the update its file holds {found:?}");
    t.remove_stored(kind, &first).await.context("what no service uses any more cannot be removed")
}

/// What a template says of the task is filled in for each.
async fn template(t: Test, kind: Kind) -> Result<()> {
    let text = r#"{{.Service.Name}} {{.Task.Slot}} {{env "COLOUR"}}"#;
    let stored = t.store_as(kind, &t.name("stored"), text, true).await?;
    let service = t.service("web").askable().with(|spec| {
        give(spec, kind, &stored, FILE);
        crate::swarm::service::container_of(spec).env = Some(vec!["COLOUR=red".into()]);
    });
    let service = service.create().await?;
    service.running(1).await?;
    let found = service.ask(&format!("/file?path={}", kind.path(FILE))).await?;
    let wanted = format!("{} 1 red", service.name);
    ensure!(found == wanted, "the file holds {found:?}, wanted {wanted:?}");
    Ok(())
}

/// What is stored is found by name, id and label; its labels can change, its content and name cannot; it is gone
/// when it is removed.
async fn objects(t: Test, kind: Kind) -> Result<()> {
    let name = t.name("stored");
    let stored = t.store(kind, &name, "content").await?;
    refusal(t.store(kind, &name, "other").await.map(|_| ()), 409, "already exists")?;
    ensure!(t.stored(kind, &name).await?.id == stored.id, "by its name another is found");
    let mut labels = t.labels();
    labels.insert("colour".into(), "red".into());
    t.change_stored(kind, &stored, labels.clone(), None).await.context("its labels cannot be changed")?;
    ensure!(t.stored(kind, &stored.id).await?.labels == labels, "its labels are not those it was given");
    refusal(t.change_stored(kind, &stored, labels, Some("other")).await, 400, "only updates to Labels are allowed")?;
    for (filter, value) in [("name", &name), ("id", &stored.id), ("label", &t.ours()[0])] {
        let found = t.all_stored(kind, filter, value).await?;
        ensure!(found.iter().any(|it| it.name == name), "{filter}={value} does not find it");
    }
    t.remove_stored(kind, &stored).await?;
    refusal(t.stored(kind, &stored.id).await.map(|_| ()), 404, "not found")
}
