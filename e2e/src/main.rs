//! End-to-end tests of Docker Swarm: the test runner, and the programs its services run.
//!
//! Here is only the way from the command line to the part that does the work.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cases;
mod cli;
mod cluster;
mod compare;
mod harness;
mod probe;
mod serve;
mod swarm;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("e2e: cannot start its threads: {error}");
            return ExitCode::from(harness::exit::COULD_NOT_RUN);
        }
    };
    let code = match cli.command {
        None => harness::suite::run(&runtime, &cli.run),
        Some(command) => runtime.block_on(serve::command(command)),
    };
    // A blocked name lookup must not hold up the end of the process.
    runtime.shutdown_background();
    code
}
