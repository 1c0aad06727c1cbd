//! Secrets and configs: what is stored in the swarm and handed to tasks as files. Each case is one for both.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bollard::models::ServiceUpdateStatusStateEnum as State;

use super::catalog::refusal;
use crate::{
    harness::{case::Case, test::Test},
    swarm::{
        service::container_of,
        stored::{File, Kind, Stored, give, give_as, give_too},
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("SecretDelivered", |t| delivered(t, Kind::Secret)),
        Case::new("ConfigDelivered", |t| delivered(t, Kind::Config)),
        Case::new("SecretRotation", |t| rotation(t, Kind::Secret)).timeout(Duration::from_secs(300)),
        Case::new("ConfigRotation", |t| rotation(t, Kind::Config)).timeout(Duration::from_secs(300)),
        Case::new("SecretTemplate", |t| template(t, Kind::Secret)),
        Case::new("ConfigTemplate", |t| template(t, Kind::Config)),
        Case::new("SecretObjects", |t| objects(t, Kind::Secret)),
        Case::new("ConfigObjects", |t| objects(t, Kind::Config)),
        Case::new("SecretNamedAsAnother", |t| resolved(t, Kind::Secret)),
        Case::new("ConfigNamedAsAnother", |t| resolved(t, Kind::Config)),
    ]
}

const FILE: &str = "the-file";

/// A file that is where it says, and that everybody may do everything with.
const OPEN: File<'_> = File { name: "/etc/the-open-file", uid: "0", gid: "0", mode: 0o777 };

/// What was stored is in the task's file, for whom and where it is meant. A secret is in memory, and not given away.
async fn delivered(t: Test, kind: Kind) -> Result<()> {
    let (name, content) = (t.name("stored"), t.name("content"));
    let stored = t.store(kind, &name, &content).await?;
    let told = t.stored(kind, &stored.id).await?.data;
    let public = (kind == Kind::Config).then(|| BASE64_STANDARD.encode(&content));
    ensure!(told == public, "the API says {told:?} of the content, wanted {public:?}");
    // Another one: a container has what is stored once, and files of two modes would be one file.
    let open_content = t.name("open-content");
    let open = t.store(kind, &t.name("open"), &open_content).await?;
    let service = t.service("web").askable().with(|spec| {
        give(spec, kind, &stored, FILE);
        give_as(spec, kind, &open, OPEN);
    });
    let service = service.create().await?;
    service.running(1).await?;
    for (path, content, wanted) in
        [(&*kind.path(FILE), &content, "0440 1000 1001"), (OPEN.name, &open_content, "0777 0 0")]
    {
        let found = service.ask(&format!("/file?path={path}")).await?;
        ensure!(found == *content, "{path} holds {found:?}, stored was {content:?}");
        let mode = service.ask(&format!("/stat?path={path}")).await?;
        ensure!(mode == wanted, "{path} is {mode}, wanted {wanted}");
    }
    if kind == Kind::Secret {
        let mounts = service.ask("/file?path=/proc/self/mounts").await?;
        for at in ["/run/secrets", OPEN.name] {
            let on = mounts.lines().find(|line| line.contains(&format!(" {at}")));
            let on = on.with_context(|| format!("{at} is no mount: {mounts}"))?;
            ensure!(on.starts_with("tmpfs "), "the secret is on a disk: {on}");
        }
    }
    service.remove().await?;
    t.remove_stored(kind, &stored.name).await.context("it is not removed by its name")
}

/// A service that has none is given one by an update, and after another update another: it has the content of that, and
/// the first can be removed then, and not before. Updated to none, it has none.
async fn rotation(t: Test, kind: Kind) -> Result<()> {
    let first = t.store(kind, &t.name("first"), "one").await?;
    let second = t.store(kind, &t.name("second"), "two").await?;
    let service = t.service("web").askable().create().await?;
    service.running(1).await?;
    // What the service says that it has: its id, its name, and that of the file.
    let has = async |wanted: Option<&Stored>| {
        let container = service.inspect().await?.spec.and_then(|spec| spec.task_template?.container_spec);
        let container = container.context("it has no containers")?;
        let secrets = container.secrets.into_iter().flatten();
        let secrets = secrets.filter_map(|it| Some((it.secret_id?, it.secret_name?, it.file?.name?)));
        let configs = container.configs.into_iter().flatten();
        let configs = configs.filter_map(|it| Some((it.config_id?, it.config_name?, it.file?.name?)));
        let told: Vec<_> = secrets.chain(configs).collect();
        let wanted: Vec<_> = wanted.map(|it| (it.id.clone(), it.name.clone(), FILE.to_owned())).into_iter().collect();
        ensure!(told == wanted, "it says that it has {told:?}, wanted {wanted:?}");
        Ok(())
    };
    has(None).await?;
    for (stored, content) in [(&first, "one"), (&second, "two")] {
        service.update(|spec| give(spec, kind, stored, FILE)).await?;
        service.updated(State::COMPLETED).await?;
        service.running(1).await?;
        let found = service.ask(&format!("/file?path={}", kind.path(FILE))).await?;
        ensure!(found == content, "after the update its file holds {found:?}");
        has(Some(stored)).await?;
        refusal(t.remove_stored(kind, &stored.id).await, 400, "is in use by the following service")?;
    }
    t.remove_stored(kind, &first.id).await.context("what no service uses any more cannot be removed")?;
    service.update(|spec| (container_of(spec).secrets, container_of(spec).configs) = (None, None)).await?;
    service.updated(State::COMPLETED).await?;
    has(None).await?;
    t.remove_stored(kind, &second.id).await.context("what no service uses any more cannot be removed")
}

/// What a template says of the task, and of secrets and configs that the task has, is filled in for each. As it may hold
/// secrets, it is in memory.
async fn template(t: Test, kind: Kind) -> Result<()> {
    let text = r#"{{.Service.Name}} {{.Task.Slot}} {{env "COLOUR"}} {{secret "its-secret"}} {{config "its-config"}}"#;
    let stored = t.store_as(kind, &t.name("stored"), text, true).await?;
    let secret = t.store(Kind::Secret, &t.name("secret"), "a secret").await?;
    let config = t.store(Kind::Config, &t.name("config"), "a config").await?;
    let service = t.service("web").askable().with(|spec| {
        give(spec, kind, &stored, FILE);
        give_too(spec, Kind::Secret, &secret, "its-secret");
        give_too(spec, Kind::Config, &config, "its-config");
        container_of(spec).env = Some(vec!["COLOUR=red".into()]);
    });
    let service = service.create().await?;
    service.running(1).await?;
    let path = kind.path(FILE);
    let found = service.ask(&format!("/file?path={path}")).await?;
    let wanted = format!("{} 1 red a secret a config", service.name);
    ensure!(found == wanted, "the file holds {found:?}, wanted {wanted:?}");
    let mounts = service.ask("/file?path=/proc/self/mounts").await?;
    // Secrets are in memory all together where no one of them is a mount of its own.
    let folder = if kind == Kind::Secret { "/run/secrets" } else { &path };
    let on = mounts.lines().filter(|line| line.split(' ').nth(1).is_some_and(|at| at == path || at == folder));
    ensure!(on.clone().any(|line| line.starts_with("tmpfs ")), "{path} is not in memory: {mounts}");
    Ok(())
}

/// How much of an id stands for it: so much that no other begins so.
const SHORT: usize = 12;

/// What is stored is found by name, id and label; its labels can change, its content and name cannot; it is gone
/// when it is removed.
async fn objects(t: Test, kind: Kind) -> Result<()> {
    let (name, label) = (t.name("stored"), t.name("label"));
    let stored = t.store(kind, &name, "content").await?;
    refusal(t.store(kind, &name, "other").await.map(|_| ()), 409, &format!("{name} already exists"))?;
    let other = t.store(kind, &t.name("other"), "content").await?;
    let labelled = |value: &str| {
        let mut labels = t.labels();
        labels.insert(label.clone(), value.to_owned());
        labels
    };
    t.change_stored(kind, &other.id, labelled("other"), None).await.context("its labels cannot be changed")?;
    // By its id, by the beginning of its id, and by its name.
    for (which, value) in [(&*stored.id, "1"), (&stored.id[..SHORT], "2"), (&name, "red")] {
        t.change_stored(kind, which, labelled(value), None).await.context("its labels cannot be changed")?;
        let told = t.stored(kind, &stored.id).await?;
        ensure!(told.labels == labelled(value), "its labels are not those it was given as {which}: {:?}", told.labels);
        ensure!(told.name == name && t.stored(kind, which).await?.id == stored.id, "as {which} another is found");
    }
    let again = t.change_stored(kind, &stored.id, labelled("red"), Some("other")).await;
    refusal(again, 400, "only updates to Labels are allowed")?;
    let both = [&name, &other.name];
    for (filter, value, wanted) in [
        ("name", name.clone(), &both[..1]),
        ("id", other.id.clone(), &both[1..]),
        ("label", label.clone(), &both[..]),
        ("label", format!("{label}=red"), &both[..1]),
        ("label", format!("{label}=other"), &both[1..]),
        ("label", format!("{label}=none"), &[]),
    ] {
        let found = t.all_stored(kind, filter, &value).await?;
        let found: BTreeSet<_> = found.iter().map(|it| &it.name).collect();
        let wanted: BTreeSet<_> = wanted.iter().copied().collect();
        ensure!(found == wanted, "{filter}={value} finds {found:?}, wanted {wanted:?}");
    }
    t.remove_stored(kind, &stored.id).await?;
    let gone = t.stored(kind, &stored.id).await.map(|_| ());
    refusal(gone, 404, &format!("{} not found", stored.id))?;
    let nobody = t.name("nobody");
    refusal(t.remove_stored(kind, &nobody).await, 404, &format!("{nobody} not found"))
}

/// The id of one can be the name of another: it means the one, and its beginning means neither once that is gone.
async fn resolved(t: Test, kind: Kind) -> Result<()> {
    let first = t.store(kind, &t.name("stored"), "content").await?;
    let named = t.store(kind, &first.id, "other").await?;
    ensure!(t.stored(kind, &first.id).await?.id == first.id, "as an id the name of another is found");
    t.remove_stored(kind, &first.id).await?;
    ensure!(t.stored(kind, &named.id).await?.name == first.id, "the one of that name is gone too");
    let begin = &first.id[..SHORT];
    refusal(t.remove_stored(kind, begin).await, 404, &format!("{begin} not found"))?;
    t.remove_stored(kind, &named.id[..SHORT]).await.context("the beginning of its id does not find it")?;
    refusal(t.stored(kind, &named.id).await.map(|_| ()), 404, "not found")
}
