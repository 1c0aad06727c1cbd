//! The sub-commands: what the suite's containers run, and `clean`.
//!
//! They know nothing of cases.

pub(crate) mod alone;
mod capture;
pub(crate) mod membership;
mod tell;
pub(crate) mod test_server;

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use bollard::Docker;
use tokio::sync::oneshot;

use crate::{
    cli::{Command, MannerArgs},
    cluster::{Cluster, Unfit},
    compare,
    harness::{
        cleanup, exit,
        sweep::{self, Which},
        until,
    },
    probe,
    tls::ClientArgs,
};

/// Where a task finds the engine of its node.
const SOCKET: &str = "/var/run/docker.sock";

/// The engine of this task's node, whether it manages a swarm or not.
async fn engine() -> Result<Docker> {
    Ok(Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION)?.negotiate_version().await?)
}

/// Runs a sub-command to its end.
pub(crate) async fn command(command: Command) -> ExitCode {
    let result = match command {
        Command::Clean { older_than, engine } => match Cluster::connect(&engine).await {
            Ok(cluster) => clean(&cluster, older_than).await,
            Err(unfit) => return refuse(&unfit),
        },
        Command::CleanEngine { run } => clean_engine(&run).await,
        Command::Compare(args) => return ExitCode::from(compare::run(&args)),
        Command::TestServer { listen, tls, manner } => match serve(listen, tls, manner).await {
            Ok(code) => return ExitCode::from(code),
            Err(error) => Err(error),
        },
        Command::TestTlsServer { listen, manner } => match serve(listen, true, manner).await {
            Ok(code) => return ExitCode::from(code),
            Err(error) => Err(error),
        },
        Command::TestServiceDiscovery { name, expect, within } => discover(&name, expect, within).await,
        Command::Get { url, count, tls } => get(&url, count, &tls).await,
        Command::Ask { url, at_once } => ask(&url, at_once).await,
        Command::Health { url, tls } => probe::get_with(&url, &tls).await.map(|_| ()),
        Command::Capture { texts } => match tokio::task::spawn_blocking(move || capture::capture(&texts)).await {
            Ok(end) => end,
            Err(error) => Err(error.into()),
        },
        Command::ShowSwarm => tell::swarm().await,
        Command::ShowEvents { kind, name } => tell::events(&kind, &name).await,
        Command::MakeService { spec, label } => tell::services(&spec, &label).await,
        Command::DemoteAndPromote { node } => match membership::demote_and_promote(&node).await {
            Ok(done) => {
                say(&done);
                std::future::pending().await
            }
            Err(error) => Err(error),
        },
        Command::RejoinFromTask(args) => match membership::rejoin_from_task(&args).await {
            Ok(()) => std::future::pending().await,
            Err(error) => Err(error),
        },
        Command::Rejoin(args) => membership::rejoin(&args).await,
        Command::ShowLog { name } => match membership::show_log(&name).await {
            Ok(()) => std::future::pending().await,
            Err(error) => Err(error),
        },
        Command::Noop => Ok(()),
        Command::Exit { code } => return ExitCode::from(code),
        Command::Hang => std::future::pending().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::from(exit::CASES_FAILED)
        }
    }
}

async fn serve(listen: SocketAddr, tls: bool, manner: MannerArgs) -> Result<u8> {
    ensure!(tls || !manner.tls.is_given(), "certificates are for TLS: give --tls too");
    let tls = tls.then_some(manner.tls);
    let manner = test_server::Manner { request_time: manner.request_time.unwrap_or_default(), ill: manner.ill, tls };
    test_server::serve(listen, manner).await
}

fn refuse(unfit: &Unfit) -> ExitCode {
    let (why, code) = match unfit {
        Unfit::NoEngine(why) => (why, exit::COULD_NOT_RUN),
        Unfit::NoManager(why) => (why, exit::NO_SWARM),
    };
    eprintln!("e2e: {why}");
    ExitCode::from(code)
}

async fn clean(cluster: &Cluster, older_than: Option<Duration>) -> Result<()> {
    let which = match older_than {
        None => Which::Over { own: None },
        // The second that has begun counts as past: `--older-than 0s` takes everything.
        Some(age) => Which::StartedBefore(
            (jiff::Timestamp::now().as_second() + 1).saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)),
        ),
    };
    let said = AtomicBool::new(false);
    let swept = sweep::sweep(cluster, which, |line| {
        said.store(true, Ordering::Relaxed);
        say(line);
    });
    let swept = swept.await?;
    ensure!(swept.left.is_empty(), "{}", swept.left.join("; "));
    for run in &swept.living {
        say(&format!("run {} goes on: what it made is left alone", run.run));
    }
    match older_than {
        _ if said.into_inner() => {}
        None => say("nothing is left of runs that are over"),
        Some(age) => say(&format!("nothing is left of runs that started more than {age:?} ago")),
    }
    Ok(())
}

/// Removes what this engine has of a run, and the swarm has not.
async fn clean_engine(run: &str) -> Result<()> {
    let docker = engine().await?;
    for object in cleanup::remove_from_engine(&docker, &cleanup::Selection::of_run(run)).await? {
        say(&format!("removed {object}"));
    }
    Ok(())
}

async fn get(url: &str, count: Option<usize>, tls: &ClientArgs) -> Result<()> {
    match count {
        None => say(&probe::get_with(url, tls).await?),
        Some(count) => say(&serde_json::to_string(&probe::count_with(url, count, tls).await?)?),
    }
    Ok(())
}

/// Asks until standard input ends; requests that are under way then are still answered.
async fn ask(url: &str, at_once: usize) -> Result<()> {
    let (ended, ends) = oneshot::channel::<()>();
    // No thread of the runtime, which would not end before this one does.
    std::thread::spawn(move || {
        // Whatever ends it, nobody is there any more who could say more.
        let _ = std::io::stdin().read_line(&mut String::new());
        drop(ended);
    });
    let over = async {
        let _ = ends.await;
    };
    probe::keep_asking(url, at_once, over, |answer| say(&answer)).await
}

async fn discover(name: &str, expect: Option<usize>, within: Duration) -> Result<()> {
    let start = Instant::now();
    let what = format!("{name} has {} addresses", expect.map_or_else(|| "some".to_owned(), |n| n.to_string()));
    let (found, _) = until::until(
        &what,
        within,
        |_| (),
        || async {
            let found = probe::resolve(name).await?;
            match expect {
                Some(wanted) if wanted != found.len() => bail!("it has {}: {found:?}", found.len()),
                _ => Ok(found),
            }
        },
    )
    .await?;
    for address in found {
        say(&address.to_string());
    }
    eprintln!("after {:.3}s", start.elapsed().as_secs_f64());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the sub-commands are for")]
fn say(line: &str) {
    println!("{line}");
}
