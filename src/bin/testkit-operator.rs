//! The operator's process: parse and run.

use clap::Parser;
use testkit::operator::{Config, run};

fn main() -> anyhow::Result<()> {
    run(&Config::parse())
}
