//! TLS between services, with certificates that the swarm delivers.

use anyhow::{Result, ensure};
use bollard::models::{
    TaskSpecRestartPolicy as RestartPolicy, TaskSpecRestartPolicyConditionEnum as Condition, TaskState,
};

use crate::{
    harness::{case::Case, test::Test},
    swarm::{
        network::Network,
        service::{TASKS_WITHIN, task_of},
        stored::{Kind, Stored, give},
        task,
    },
    tls::certificates::Authority,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("TlsEndToEnd", end_to_end)]
}

const SERVER: [&str; 8] = [
    "test-tls-server",
    "--cert",
    "/run/secrets/pem",
    "--key",
    "/run/secrets/pem",
    "--client-auth",
    "--client-ca",
    "/ca",
];

/// A server answers who has a certificate of its authority and knows that authority, and nobody else.
async fn end_to_end(t: Test) -> Result<()> {
    let (authority, network) = (Authority::new()?, t.network("net").await?);
    let server = t.service("server");
    let name = server.spec().name.clone().unwrap_or_default();
    let own = t.store(Kind::Secret, &t.name("server"), &authority.issue(&[&name])?.pem()?).await?;
    let client = t.store(Kind::Secret, &t.name("client"), &authority.issue(&["client"])?.pem()?).await?;
    let ca = t.store(Kind::Config, &t.name("ca"), &authority.pem()).await?;
    let other = t.store(Kind::Config, &t.name("other"), &Authority::new()?.pem()).await?;
    let server = server.on(&network).args(&SERVER).with(|spec| {
        give(spec, Kind::Secret, &own, "pem");
        give(spec, Kind::Config, &ca, "ca");
    });
    server.create().await?.running(1).await?;
    let url = format!("https://{name}/");
    ask(&t, &network, &url, &ca, Some(&client), TaskState::COMPLETE, "").await?;
    ask(&t, &network, &url, &ca, None, TaskState::FAILED, "CertificateRequired").await?;
    ask(&t, &network, &url, &other, Some(&client), TaskState::FAILED, "UnknownIssuer").await
}

/// Asks from a task that has what it trusts and shows from the swarm; it ends so, and says that.
async fn ask(
    t: &Test,
    network: &Network,
    url: &str,
    ca: &Stored,
    shows: Option<&Stored>,
    end: TaskState,
    words: &str,
) -> Result<()> {
    let shown = ["--cert", "/run/secrets/pem", "--key", "/run/secrets/pem"];
    let args = [&["get", url, "--ca", "/ca"][..], if shows.is_some() { &shown[..] } else { &[] }].concat();
    let never = RestartPolicy { condition: Some(Condition::NONE), ..Default::default() };
    let service = t.service("client").on(network).args(&args).with(|spec| {
        task_of(spec).restart_policy = Some(never);
        give(spec, Kind::Config, ca, "ca");
        if let Some(shows) = shows {
            give(spec, Kind::Secret, shows, "pem");
        }
    });
    let service = service.create().await?;
    t.until(&format!("the client is {end} and says {words:?}"), TASKS_WITHIN, || async {
        let tasks = service.tasks().await?;
        let told: Vec<_> = tasks.iter().map(|it| task::describe(t.cluster(), it)).collect();
        let said = service.log().await?;
        ensure!(tasks.iter().any(|it| task::state(it) == Some(end)), "{}: {said}", told.join("; "));
        ensure!(said.contains(words), "it says: {said}");
        Ok(())
    })
    .await
}
