//! The operator's process: parse, log, run.

use clap::Parser;
use testkit::operator::{Config, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    config.start_log();
    run(config).await
}
