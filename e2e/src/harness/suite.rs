//! A run: from the arguments to the exit code. The harness library schedules and prints; what it does not
//! keep (times, output, reasons) is recorded around each case.

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::FutureExt as _;
use libtest_mimic::{Arguments, Completion, Failed, FormatSetting, Trial};
use tokio::runtime::{Handle, Runtime};

use super::{
    case::{self, Case},
    cleanup, diagnosis, exit,
    found::{self, Found},
    hosts::Hosts,
    interrupt::Interrupt,
    junit,
    life::Sign,
    record::{Outcome, Record},
    sweep::{self, Which, sweep},
    test::{Run, Test},
    waits::Wait,
};
use crate::{
    cases,
    cli::{Disruptive, Format, RunArgs},
    cluster::{Cluster, Unfit},
    swarm::node,
};

/// How long the engine may take to say what went wrong: it may be what went wrong.
const DIAGNOSIS_WITHIN: Duration = Duration::from_secs(15);

/// How many of the slowest cases are named at the end.
const SLOWEST: usize = 10;

/// How many of the waits that took more than half of their time are named at the end.
const CLOSEST: usize = 20;

thread_local! {
    /// Where the panic was that is being unwound on this thread.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What all cases of a run share.
#[derive(Clone)]
struct Suite {
    runtime: Handle,
    run: Arc<Run>,
    interrupt: Interrupt,
    records: Arc<Mutex<Vec<Record>>>,
    /// Held for reading by ordinary cases and for writing by a disruptive one, which so runs alone.
    alone: Arc<tokio::sync::RwLock<()>>,
}

/// Runs the cases that were asked for.
pub(crate) fn run(runtime: &Runtime, args: &RunArgs) -> ExitCode {
    let mut arguments =
        Arguments { test_threads: Some(args.test_threads.into()), list: args.list, ..Default::default() };
    arguments.format = Some(match args.format {
        Format::Pretty => FormatSetting::Pretty,
        Format::Terse => FormatSetting::Terse,
        Format::Json => FormatSetting::Json,
    });
    let all = cases::all(args.selftest);
    let disruptive = match args.disruptive {
        Disruptive::None if args.list => Disruptive::Also,
        asked => asked,
    };
    let shard = match args.part() {
        Ok(shard) => shard,
        Err(why) => return refuse(exit::COULD_NOT_RUN, &why),
    };
    let asked = case::select(all, &args.filters, &args.skip, args.exact, disruptive);
    let unknown = asked.is_empty();
    let durations = args.durations.clone().unwrap_or_default();
    let chosen = shard.choose(asked, &durations, args.test_threads);
    if args.list {
        let trials = chosen.into_iter().map(|case| Trial::test(case.name, || Ok(()))).collect();
        let _ = libtest_mimic::run(&arguments, trials);
        return ExitCode::SUCCESS;
    }
    if unknown {
        return refuse(exit::COULD_NOT_RUN, "no case has such a name; `e2e --list` names them");
    }
    for path in result_files(args) {
        if let Err(error) = junit::writable(&path) {
            return refuse(exit::COULD_NOT_RUN, &format!("results cannot be written to {}: {error}", path.display()));
        }
    }
    let interrupt = match Interrupt::listen(runtime) {
        Ok(interrupt) => interrupt,
        Err(error) => return refuse(exit::COULD_NOT_RUN, &format!("cannot listen for signals: {error}")),
    };
    let cluster = match runtime.block_on(Cluster::connect(&args.engine)) {
        Ok(cluster) => cluster,
        Err(Unfit::NoEngine(why)) => return refuse(exit::COULD_NOT_RUN, &why),
        Err(Unfit::NoManager(why)) => return refuse(exit::NO_SWARM, &why),
    };
    let hosts = args.hosts.as_deref().filter(|command| !command.trim().is_empty()).map(Hosts::new);
    let mut run = Run::new(cluster, hosts, args.nocapture);
    let disruptive = chosen.iter().any(|case| case.disruptive);
    let sign = match runtime.block_on(begin(&mut run, disruptive, &interrupt)) {
        Ok(sign) => sign,
        Err(error) => return refuse(exit::COULD_NOT_RUN, &format!("{error:#}")),
    };
    let run = Arc::new(run);
    announce(&run);
    std::panic::set_hook(Box::new(|info| {
        PANICKED_AT.set(info.location().map(|at| format!("{}:{}", at.file(), at.line())));
    }));
    let suite = Suite {
        runtime: runtime.handle().clone(),
        run: run.clone(),
        interrupt: interrupt.clone(),
        records: Arc::default(),
        alone: Arc::default(),
    };
    let start = Instant::now();
    let trials = chosen.into_iter().map(|case| suite.clone().trial(case)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);

    let records = std::mem::take(&mut *suite.records.lock().unwrap_or_else(PoisonError::into_inner));
    runtime.block_on(end(&run, sign));
    if matches!(args.format, Format::Pretty) {
        tell_slowest(&records);
        tell_close(&records);
    }
    if let Err(why) = write_results(args, &run, &records, start.elapsed()) {
        return refuse(exit::COULD_NOT_RUN, &why);
    }
    if interrupt.came().is_some() {
        ExitCode::from(exit::INTERRUPTED)
    } else if conclusion.has_failed() {
        ExitCode::from(exit::CASES_FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

fn refuse(code: u8, why: &str) -> ExitCode {
    eprintln!("e2e: {why}");
    ExitCode::from(code)
}

fn announce(run: &Run) {
    let cluster = &run.cluster;
    eprintln!(
        "e2e: run {} on a swarm of {} ({} usable), engine {}, image {}",
        run.id,
        cluster.nodes.len(),
        cluster.usable().count(),
        cluster.engine_version,
        cluster.image
    );
}

/// Shows that the run lives, and removes what runs left that do not. An error is why no case can run.
async fn begin(run: &mut Run, disruptive: bool, interrupt: &Interrupt) -> Result<Sign> {
    let docker = run.cluster.docker.clone();
    let sign = Sign::show(run, disruptive).await?;
    let which = Which::Over { own: Some(&run.id) };
    let swept = tokio::select! {
        swept = sweep(&run.cluster, which, |line| eprintln!("e2e: {line}")) => swept,
        // No case begins, and what is left of others stays for the next run.
        _ = interrupt.clone().wait() => return Ok(sign),
    };
    let swept = swept.unwrap_or_else(|error| sweep::Swept {
        left: vec![format!("what other runs left cannot be found: {error:#}")],
        ..Default::default()
    });
    for line in &swept.left {
        eprintln!("e2e: {line}");
    }
    let Some(other) = swept.living.iter().find(|other| disruptive || other.disruptive) else {
        // Nodes may have been brought back.
        run.cluster.nodes = node::list(&docker).await?;
        return Ok(sign);
    };
    sign.take_away(&docker).await?;
    let which = if other.disruptive { "which disturbs the cluster" } else { "which this one would disturb" };
    bail!("run {} goes on, {which}: begin when it has ended", other.run)
}

/// Takes the sign away that the run lives, unless something is left that the next run is to remove.
async fn end(run: &Run, sign: Sign) {
    let docker = &run.cluster.docker;
    let left = cleanup::find(docker, &cleanup::Selection::of_run(&run.id)).await;
    let ended = match left.map(|left| left.iter().filter(|it| !sign.is(it)).map(ToString::to_string).collect()) {
        Ok(left) if Vec::is_empty(&left) => sign.take_away(docker).await,
        Ok(left) => Err(anyhow!("left to the next run to remove: {}", left.join(", "))),
        Err(error) => Err(error.context("whether anything of this run is left cannot be told")),
    };
    if let Err(error) = ended {
        eprintln!("e2e: {error:#}");
    }
}

/// Tells a person which waits nearly were too long.
fn tell_close(records: &[Record]) {
    let mut close: Vec<_> = records
        .iter()
        .flat_map(|record| record.waits.iter().map(move |(name, wait)| (&record.name, name, wait)))
        .filter(|(_, _, wait)| wait.was_close())
        .collect();
    if close.is_empty() {
        return;
    }
    let part = |wait: &Wait| wait.longest.as_secs_f64() / wait.limit.as_secs_f64();
    close.sort_by(|(_, _, one), (_, _, other)| part(other).total_cmp(&part(one)));
    eprintln!("waits that took more than half of the time they may:");
    for (case, name, wait) in close.iter().take(CLOSEST) {
        let (took, limit) = (wait.longest.as_secs_f64(), wait.limit.as_secs_f64());
        eprintln!("{took:8.1} of {limit} s  {case}: {name}");
    }
    if let Some(more) = close.len().checked_sub(CLOSEST).filter(|&more| more > 0) {
        eprintln!("         and {more} more");
    }
}

/// Tells a person where the time went. A run of one case has nothing to compare.
fn tell_slowest(records: &[Record]) {
    let slowest = slowest(records);
    if slowest.len() < 2 {
        return;
    }
    eprintln!("the slowest:");
    for record in slowest {
        eprintln!("{:8.1} s  {}", record.took.as_secs_f64(), record.name);
    }
}

/// The cases that took longest, the slowest first. Those that were skipped took no time.
fn slowest(records: &[Record]) -> Vec<&Record> {
    let mut ran: Vec<_> = records.iter().filter(|it| !matches!(it.outcome, Outcome::Skipped { .. })).collect();
    ran.sort_by_key(|record| std::cmp::Reverse(record.took));
    ran.truncate(SLOWEST);
    ran
}

fn write_results(args: &RunArgs, run: &Run, records: &[Record], took: Duration) -> Result<(), String> {
    let cluster = &run.cluster;
    let properties = [
        ("engine", cluster.engine_version.clone()),
        ("api", format!("{}.{}", cluster.api.0, cluster.api.1)),
        ("nodes", cluster.nodes.len().to_string()),
        ("image", cluster.image.clone()),
    ];
    let results = junit::Run { id: &run.id, started: run.started, took, properties: &properties, records };
    for path in result_files(args) {
        junit::write(&path, &results)
            .map_err(|error| format!("cannot write the results to {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Where results go. An empty variable is none.
fn result_files(args: &RunArgs) -> Vec<PathBuf> {
    let folder = args.results.iter().filter(|folder| !folder.as_os_str().is_empty());
    args.junit.iter().cloned().chain(folder.map(|folder| folder.join("junit.xml"))).collect()
}

impl Suite {
    fn trial(self, case: Case) -> Trial {
        Trial::ignorable_test(case.name, move || {
            let record = self.record(&case);
            let outcome = record.outcome.clone();
            let output = record.output.clone();
            self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            match outcome {
                Outcome::Passed => Ok(Completion::Completed),
                Outcome::Skipped { reason } => Ok(Completion::ignored_with(reason)),
                Outcome::Failed { message, details } => {
                    Err(Failed::from(format!("{message}\n\n{}", section(&[&output, &details]))))
                }
            }
        })
    }

    fn record(&self, case: &Case) -> Record {
        let skipped = |reason: String| Record {
            name: case.name.into(),
            took: Duration::ZERO,
            outcome: Outcome::Skipped { reason },
            output: String::new(),
            waits: BTreeMap::new(),
        };
        if let Some(signal) = self.interrupt.came() {
            return skipped(format!("not run: {signal} came before"));
        }
        if let Some(reason) = case.missing(&self.run) {
            return skipped(reason);
        }
        self.runtime.block_on(async {
            let (_shared, _exclusive);
            if case.disruptive {
                _exclusive = self.alone.write().await;
            } else {
                _shared = self.alone.read().await;
            }
            let test = Test::new(self.run.clone(), case.name);
            let outcome = self.conduct(case, &test).await;
            let (took, output, waits) = (test.elapsed(), test.output(), test.waits().all());
            Record { name: case.name.into(), took, outcome, output, waits }
        })
    }

    /// How the cluster is, and the config in the swarm that remembers it.
    async fn remember(&self, test: &Test) -> Result<(Found, String)> {
        let found = Found::look(test.docker()).await?;
        let kept = found.keep(&self.run).await?;
        Ok((found, kept))
    }

    async fn conduct(&self, case: &Case, test: &Test) -> Outcome {
        let found = match case.disruptive {
            true => self.remember(test).await.map(Some),
            false => Ok(None),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Outcome::Failed { message: format!("{error:#}"), details: String::new() },
        };
        let body = AssertUnwindSafe((case.body)(test.clone())).catch_unwind().map(|end| end.unwrap_or_else(panicked));
        let mut task = tokio::spawn(body);
        let end = tokio::select! {
            end = &mut task => end.unwrap_or_else(|error| Err(anyhow!("{error}"))),
            () = tokio::time::sleep(case.timeout) => Err(late(case, test)),
            signal = self.interrupt.clone().wait() => Err(anyhow!("interrupted by {signal}")),
        };
        task.abort();
        test.stop_making().await;
        let skip = end.as_ref().err().and_then(|error| error.downcast_ref::<Skip>()).map(|skip| skip.0.clone());
        let mut details = String::new();
        if end.is_err() && skip.is_none() && self.interrupt.came().is_none() {
            let gathered = tokio::time::timeout(DIAGNOSIS_WITHIN, diagnosis::gather(test)).await;
            details = gathered.unwrap_or_else(|_| "the engine did not answer when asked about its state".into());
        }
        let ours = cleanup::Selection::of_case(test.ours());
        let mended = match &self.run.hosts {
            Some(hosts) => hosts.mend().await.context("hosts stay hurt"),
            None => Ok(()),
        };
        let mut removed = cleanup::remove(test.docker(), &ours, test.waits()).await.map(|_| ());
        if let Some((found, kept)) = found {
            // First the cluster: what is left on a node that is gone cannot be removed.
            removed = match found.restore(test.docker(), test.waits()).await {
                Ok(took) => {
                    test.note(format_args!("the cluster is as it was found (after {:.2}s)", took.as_secs_f64()));
                    let removed = cleanup::remove(test.docker(), &ours, test.waits()).await.map(|_| ());
                    removed.and(found::forget(test.docker(), &kept).await)
                }
                Err(error) => Err(error),
            };
        }
        let removed = mended.and(removed).map_err(|error| format!("clean-up: {error:#}"));
        match (end, skip, removed) {
            (_, Some(reason), Ok(_)) => Outcome::Skipped { reason },
            (Ok(()), _, Ok(_)) => Outcome::Passed,
            (Ok(()), _, Err(left)) | (Err(_), Some(_), Err(left)) => Outcome::Failed { message: left, details },
            (Err(error), _, removed) => {
                let left = removed.err().unwrap_or_default();
                Outcome::Failed { message: format!("{error:#}"), details: section(&[&left, &details]) }
            }
        }
    }
}

/// An end of a case that is neither good nor bad: it found that it cannot tell.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

fn late(case: &Case, test: &Test) -> anyhow::Error {
    let waiting = test.waiting().map_or_else(String::new, |waiting| format!("; it was waiting for: {waiting}"));
    anyhow!("not done after {:?}{waiting}", case.timeout)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what a caught panic comes as")]
fn panicked(payload: Box<dyn Any + Send>) -> Result<()> {
    let said = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    let at = PANICKED_AT.take().map_or_else(String::new, |at| format!(" at {at}"));
    Err(anyhow!("panicked{at}: {}", said.unwrap_or("without a message")))
}

fn section(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_ten_are_named_and_what_was_skipped_is_not() {
        let record = |seconds: u64, outcome: Outcome| Record {
            name: seconds.to_string(),
            took: Duration::from_secs(seconds),
            outcome,
            output: String::new(),
            waits: BTreeMap::new(),
        };
        let mut records: Vec<_> = (1..=12).map(|seconds| record(seconds, Outcome::Passed)).collect();
        records.push(record(99, Outcome::Skipped { reason: "no".into() }));
        let named: Vec<_> = slowest(&records).into_iter().map(|it| &*it.name).collect();
        assert_eq!(named, ["12", "11", "10", "9", "8", "7", "6", "5", "4", "3"]);
    }
}
