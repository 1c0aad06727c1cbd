//! `version`: which plugin this is.

use crate::cli::{Context, failure::Failure};

/// Print the version of the plugin
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Prints it.
pub fn run(context: &Context, _: &Args) -> Result<(), Failure> {
    context.printer.line(format_args!("kubectl-testkit {}", env!("CARGO_PKG_VERSION")))
}
