//! Asking without a pause, to see what becomes of requests that are under way while something changes.

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    container::LogOutput,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
};
use futures::StreamExt as _;
use tokio::{
    io::AsyncWriteExt as _,
    sync::{mpsc, oneshot},
};

use super::container::Container;
use crate::{harness::test::Test, probe};

/// Requests that are made without a pause.
#[derive(Debug)]
pub(crate) struct Asking {
    answers: mpsc::UnboundedReceiver<Result<String>>,
    over: Option<oneshot::Sender<()>>,
}

impl Test {
    /// Asks a URL from outside the swarm's networks, so many times at once, from now on. From where this process is on no
    /// node all of it is one command there: to begin a command takes a slow machine longer than the server its answer, so
    /// that with one for each request most of the time none would be under way.
    pub(crate) async fn asking(&self, url: &str, at_once: usize) -> Result<Asking> {
        let (answer, answers) = mpsc::unbounded_channel();
        let (over, ends) = oneshot::channel();
        let outside = self.outside().await?;
        let url = url.to_owned();
        tokio::spawn(async move {
            let over = async {
                // Whoever gave it up wants no more either.
                let _ = ends.await;
            };
            // Who listens no more has all that it wanted.
            let tell = |said| drop(answer.send(Ok(said)));
            let end = match outside {
                None => probe::keep_asking(&url, at_once, over, tell).await,
                Some(container) => container.ask(&url, at_once, over, tell).await,
            };
            if let Err(error) = end {
                drop(answer.send(Err(error)));
            }
        });
        Ok(Asking { answers, over: Some(over) })
    }
}

impl Asking {
    /// The next answer; none when it is over and all have come. The first request without one is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<String>> {
        self.answers.recv().await.transpose().context("a request was lost")
    }

    /// Begins no more requests.
    pub(crate) fn end(&mut self) {
        self.over.take();
    }
}

impl Container {
    /// As [`probe::keep_asking`], from inside it.
    async fn ask(
        &self,
        url: &str,
        at_once: usize,
        over: impl Future<Output = ()>,
        answered: impl Fn(String),
    ) -> Result<()> {
        let docker = self.test.docker();
        let what = || format!("e2e ask {url} in container {}", self.name);
        let config = ExecConfig {
            cmd: Some(["/e2e", "ask", url, "--at-once", &at_once.to_string()].map(str::to_owned).into()),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..Default::default()
        };
        let exec = docker.create_exec(&self.id, config).await.with_context(what)?.id;
        let start = docker.start_exec(&exec, None::<StartExecOptions>).await.with_context(what)?;
        let StartExecResults::Attached { mut output, mut input } = start else {
            bail!("{}: the engine does not attach", what());
        };
        let (mut line, mut complaint) = (String::new(), String::new());
        let hear = async {
            while let Some(part) = output.next().await {
                match part? {
                    LogOutput::StdErr { message } => complaint.push_str(&String::from_utf8_lossy(&message)),
                    part => line.push_str(&part.to_string()),
                }
                while let Some((said, rest)) = line.split_once('\n') {
                    answered(said.trim().to_owned());
                    line = rest.to_owned();
                }
            }
            anyhow::Ok(())
        };
        let tell = async {
            over.await;
            // Where nobody listens there any more, the exit code says why.
            let _ = input.write_all(b"over\n").await;
            let _ = input.flush().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            heard = hear => heard.with_context(what)?,
            () = tell => {}
        }
        let code = docker.inspect_exec(&exec).await.with_context(what)?.exit_code;
        ensure!(code == Some(0), "{} ended with {code:?}: {}", what(), complaint.trim());
        Ok(())
    }
}
