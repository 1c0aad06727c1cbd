//! The command line. Only its shape: what a flag does is decided where it is used.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    harness::{durations::Durations, shard::Shard},
    serve::membership::RejoinArgs,
    tls,
};

/// End-to-end tests of Docker Engine's orchestration, through its public API alone.
#[derive(Debug, Parser)]
#[command(name = "e2e", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 no case failed; 1 a case failed; 2 the cases could not run (bad arguments, \
no engine, results not written); 3 the engine is no manager of an active swarm; 130 interrupted.";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Run the cases whose names contain one of these (all when none is given)
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
    /// List the cases and run none
    #[arg(long)]
    pub(crate) list: bool,
    /// Filters are whole names
    #[arg(long)]
    pub(crate) exact: bool,
    /// Leave out the cases whose names contain this (may be given again)
    #[arg(long, value_name = "FILTER")]
    pub(crate) skip: Vec<String>,
    /// Also run the cases that disturb the cluster: alone, one after the other, after all others; or only them
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, require_equals = true)]
    #[arg(default_value = "none", default_missing_value = "also", hide_default_value = true)]
    pub(crate) disruptive: Disruptive,
    /// Run this part of those cases, such as 2/4: each is in one part [default: what TESTKIT_SHARD_INDEX and
    /// TESTKIT_SHARD_TOTAL say, or all]
    #[arg(long, value_name = "INDEX/TOTAL")]
    pub(crate) shard: Option<Shard>,
    #[arg(long, env = "TESTKIT_SHARD_INDEX", hide = true, requires = "shard_total")]
    pub(crate) shard_index: Option<usize>,
    #[arg(long, env = "TESTKIT_SHARD_TOTAL", hide = true, requires = "shard_index")]
    pub(crate) shard_total: Option<usize>,
    /// Divide the cases by how long they took before, so that the parts take about as long as each other: seconds by
    /// their names, as JSON, the same for all parts
    #[arg(long, value_name = "JSON", env = "TESTKIT_DURATIONS", hide_env_values = true)]
    pub(crate) durations: Option<Durations>,
    /// Have cases end, cut off and restart the nodes' hosts (with --disruptive) by this command, which is called with
    /// `kill`, `reboot`, `partition`, `heal`, `restart-engine`, `leave` or `unlock` (the key is its input) and a
    /// node's address
    #[arg(long, value_name = "COMMAND", env = "E2E_HOSTS")]
    pub(crate) hosts: Option<String>,
    /// How many cases run at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) test_threads: u16,
    /// Print what cases say while they run, not only for those that fail
    #[arg(long)]
    pub(crate) nocapture: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    pub(crate) format: Format,
    /// Write the results as JUnit XML to this file
    #[arg(long, value_name = "PATH")]
    pub(crate) junit: Option<PathBuf>,
    /// Write the results as junit.xml into this directory
    #[arg(long, value_name = "DIR", env = "TESTKIT_RESULTS")]
    pub(crate) results: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// A case that tests whoever runs this suite (see the README)
    #[arg(long, value_enum, env = "E2E_SELFTEST", hide = true)]
    pub(crate) selftest: Option<Selftest>,
}

impl RunArgs {
    /// Which part of the cases to run.
    pub(crate) fn part(&self) -> Result<Shard, String> {
        let told = || self.shard_index.zip(self.shard_total).map(|(index, total)| Shard::new(index, total));
        self.shard.map(Ok).or_else(told).unwrap_or(Ok(Shard::WHOLE))
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EngineArgs {
    /// The engine: unix:///PATH or tcp://HOST:PORT
    #[arg(long, value_name = "URL", env = "DOCKER_HOST", default_value = "unix:///var/run/docker.sock")]
    pub(crate) host: String,
    /// The image the suite's services run, present on every node (default: that of the container this runs in,
    /// or dockerswarm/e2e:latest)
    #[arg(long, value_name = "IMAGE", env = "TESTKIT_IMAGE")]
    pub(crate) image: Option<String>,
    /// The nodes' addresses answer from here: ask them directly, and not from a container on the engine's host
    #[arg(long)]
    pub(crate) nodes_answer_here: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Pretty,
    Terse,
    Json,
}

/// Whether the cases that disturb the cluster run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Disruptive {
    None,
    Also,
    Only,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Selftest {
    Fail,
    Panic,
    Skip,
    Slow,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Remove what runs left that are over, and bring back what they changed. Every run begins so too
    Clean {
        /// Of all runs that started longer ago than this by this machine's clock, whether they are over or not
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        older_than: Option<Duration>,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Say what became slower or worse between two runs, from their JUnit files
    #[command(after_help = COMPARE_EXIT_CODES)]
    Compare(CompareArgs),
    /// Serve HTTP: `/` says the host name, `/fanout` asks others, `/resolve` asks the DNS
    TestServer {
        #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:80")]
        listen: SocketAddr,
        /// Serve https:// and not http://
        #[arg(long)]
        tls: bool,
        #[command(flatten)]
        manner: MannerArgs,
    },
    /// Serve HTTPS: `test-server --tls` on the port of https://
    TestTlsServer {
        #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:443")]
        listen: SocketAddr,
        #[command(flatten)]
        manner: MannerArgs,
    },
    /// Look a name up until it has this many addresses, and print them
    TestServiceDiscovery {
        name: String,
        #[arg(long, value_name = "N")]
        expect: Option<usize>,
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
        within: Duration,
    },
    /// Ask a server once and print its answer
    Get {
        url: String,
        /// Ask so often, each time anew, and print as JSON which answer came how often
        #[arg(long, value_name = "N")]
        count: Option<usize>,
        #[command(flatten)]
        tls: tls::ClientArgs,
    },
    /// Ask a server without a pause, so many times at once, print each answer as a line, and end when standard input does
    #[command(hide = true)]
    Ask {
        url: String,
        #[arg(long, value_name = "N", default_value_t = 1)]
        at_once: usize,
    },
    /// End with 0 when a server answers 200: a health check for images without a shell
    Health {
        #[arg(default_value = "http://127.0.0.1:80/")]
        url: String,
        #[command(flatten)]
        tls: tls::ClientArgs,
    },
    /// Look for texts in the plain packets of this host, print in how many they were, and never end
    #[command(hide = true)]
    Capture {
        #[arg(required = true)]
        texts: Vec<String>,
    },
    /// Print what this node's engine tells of the swarm, whenever that changes, and never end
    #[command(hide = true)]
    ShowSwarm,
    /// Print which events of the swarm this node's engine has heard of an object, and never end
    #[command(hide = true)]
    ShowEvents { kind: String, name: String },
    /// Make a service through this node's engine, print which there are with a label, and never end
    #[command(hide = true)]
    MakeService {
        /// The service, as JSON; the beginning of the node's id is added to its name
        spec: String,
        label: String,
    },
    /// Demote a manager, wait, promote it again, and never end
    #[command(hide = true)]
    DemoteAndPromote { node: String },
    /// In a task: remove what the engine there has of a run
    #[command(hide = true)]
    CleanEngine { run: String },
    /// In a task: start a container beside the swarm that has this engine leave it and join again
    #[command(hide = true)]
    RejoinFromTask(RejoinArgs),
    /// Have this engine leave its swarm and join it again
    #[command(hide = true)]
    Rejoin(RejoinArgs),
    /// Print the log of a container of this node that has ended, remove it, and never end
    #[command(hide = true)]
    ShowLog { name: String },
    /// End at once with 0 and without results
    #[command(hide = true)]
    Noop,
    /// End at once with this exit code
    #[command(hide = true)]
    Exit { code: u8 },
    /// Never end
    #[command(hide = true)]
    Hang,
}

/// What is compared, and what counts as slower.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The JUnit files of before; of several rounds, separated by commas, the medians count
    #[arg(value_name = "A.xml[,…]", value_parser = files)]
    pub(crate) before: Files,
    /// Those of now
    #[arg(value_name = "B.xml[,…]", value_parser = files)]
    pub(crate) now: Files,
    /// What takes so many times as long as before is slower
    #[arg(long, value_name = "FACTOR", default_value_t = 3.0, value_parser = factor)]
    pub(crate) factor: f64,
    /// But not what takes less than so much longer
    #[arg(long, value_name = "DURATION", default_value = "0.5s", value_parser = duration)]
    pub(crate) min: Duration,
    /// Look at times alone, and not at how cases ended or which there are
    #[arg(long)]
    pub(crate) slower_only: bool,
    /// How it is said
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Files of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files(pub(crate) Vec<PathBuf>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

const COMPARE_EXIT_CODES: &str = "Exit codes: 0 nothing is slower by the factor or worse; 1 something is; 2 a file \
cannot be read, or bad arguments.";

/// How a test server is to be.
#[derive(Debug, Args)]
pub(crate) struct MannerArgs {
    /// Take this long for every answer
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) request_time: Option<Duration>,
    /// Not be healthy until asked for `/well`
    #[arg(long)]
    pub(crate) ill: bool,
    #[command(flatten)]
    pub(crate) tls: tls::ServerArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|error| format!("{error}; write a duration such as 90s, 30m or 1h"))?;
    Duration::try_from(span).map_err(|_| "a duration cannot be negative".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "it reads an argument")]
fn files(text: &str) -> Result<Files, String> {
    Ok(Files(text.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect()))
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|error| format!("{error}; write a number such as 3 or 1.5"))?;
    if factor > 1.0 { Ok(factor) } else { Err("what takes as long as before is not slower: more than 1".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_flags_are_read() {
        let cli = Cli::parse_from(["e2e", "--exact", "ServicesScale", "ServicesList", "--skip", "Lb"]);
        assert_eq!(cli.run.filters, ["ServicesScale", "ServicesList"]);
        assert!(cli.run.exact && cli.run.skip == ["Lb"] && cli.command.is_none());
    }

    #[test]
    fn a_filter_may_follow_disruptive() {
        let which = |args: &[&str]| Cli::parse_from([&["e2e"], args].concat()).run;
        assert_eq!(which(&["--disruptive", "Leader"]).disruptive, Disruptive::Also);
        assert_eq!(which(&["--disruptive", "Leader"]).filters, ["Leader"]);
        assert_eq!(which(&["--disruptive=only"]).disruptive, Disruptive::Only);
        assert_eq!(which(&[]).disruptive, Disruptive::None);
    }

    #[test]
    fn the_part_is_that_of_the_line_before_that_of_the_environment() {
        let part = |args: &[&str]| Cli::try_parse_from([&["e2e"], args].concat()).map(|cli| cli.run.part());
        // As variables would have it.
        let told = ["--shard-index", "2", "--shard-total", "4"];
        assert_eq!(part(&[]).unwrap(), Ok(Shard::WHOLE));
        assert_eq!(part(&told).unwrap(), Shard::new(2, 4));
        assert_eq!(part(&[&told[..], &["--shard", "1/3"]].concat()).unwrap(), Shard::new(1, 3));
        assert!(part(&["--shard-index", "5", "--shard-total", "4"]).unwrap().is_err());
        for wrong in ["0/4", "5/4", "1", "a/b", "1/4/2", "1/0"] {
            assert!(part(&["--shard", wrong]).is_err(), "{wrong}");
        }
        assert!(part(&told[..2]).is_err(), "how many there are is not told");
    }

    #[test]
    fn how_long_cases_took_is_told_by_their_names() {
        let told = |text: &str| Cli::try_parse_from(["e2e", "--durations", text]).map(|cli| cli.run.durations);
        let known = r#"{"ServicesScale": 12.5}"#;
        assert_eq!(told(known).unwrap(), Some(known.parse().unwrap()));
        let refused = told("soon").unwrap_err().to_string();
        assert!(refused.contains("seconds by the name of the case"), "{refused}");
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert!(duration("-1h").is_err());
        assert!(duration("soon").unwrap_err().contains("1h"));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn several_rounds_of_a_side_are_separated_by_commas() {
        let cli = Cli::try_parse_from(["e2e", "compare", "a.xml,b.xml", "c.xml", "--factor", "1.5"]).unwrap();
        let Some(Command::Compare(args)) = cli.command else { panic!("{cli:?}") };
        assert_eq!(args.before, Files(vec!["a.xml".into(), "b.xml".into()]));
        assert_eq!((args.now, args.factor, args.min), (Files(vec!["c.xml".into()]), 1.5, Duration::from_millis(500)));
        for factor in ["1", "0.5", "NaN", "much"] {
            assert!(Cli::try_parse_from(["e2e", "compare", "a", "b", "--factor", factor]).is_err(), "{factor}");
        }
    }

    #[test]
    fn a_subcommand_is_not_a_filter() {
        assert!(matches!(Cli::parse_from(["e2e", "noop"]).command, Some(Command::Noop)));
    }
}
