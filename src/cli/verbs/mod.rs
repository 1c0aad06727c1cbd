//! The verbs: a file or a folder each, with its arguments and a `run`.

mod attach;
mod completion;
mod cp;
mod create;
mod describe;
mod diagnose;
mod env;
mod events;
mod exec;
mod flakes;
mod load;
mod logs;
mod ls;
mod port_forward;
mod purge;
mod rerun;
mod results;
mod rm;
mod run;
mod ssh;
mod top;
mod version;

use clap::Subcommand;

use super::{Context, failure::Failure};

/// What is to be done.
#[derive(Subcommand, Debug)]
pub enum Verb {
    Create(create::Args),
    Ls(ls::Args),
    Describe(describe::Args),
    Diagnose(diagnose::Args),
    Events(events::Args),
    Rm(rm::Args),
    Purge(purge::Args),
    Attach(attach::Args),
    Env(env::Args),
    PortForward(port_forward::Args),
    Top(top::Args),
    Ssh(ssh::Args),
    Exec(exec::Args),
    Cp(cp::Args),
    Load(load::Args),
    Run(run::Args),
    Rerun(rerun::Args),
    Logs(logs::Args),
    Results(results::Args),
    Flakes(flakes::Args),
    Completion(completion::Args),
    Version(version::Args),
}

impl Verb {
    /// Whether it decides itself what a signal means.
    pub fn answers_signals(&self) -> bool {
        match self {
            Self::Attach(args) => args.leaves_signals_to_a_command(),
            Self::Run(_) | Self::Rerun(_) => true,
            _ => false,
        }
    }

    /// Does it; gives the exit code.
    pub async fn perform(self, context: &Context) -> Result<u8, Failure> {
        match self {
            Self::Create(args) => create::run(context, &args).await?,
            Self::Describe(args) => describe::run(context, &args).await?,
            Self::Attach(args) => return attach::run(context, &args).await,
            Self::Env(args) => env::run(context, &args).await?,
            Self::PortForward(args) => port_forward::run(context, &args).await?,
            Self::Events(args) => events::run(context, &args).await?,
            Self::Diagnose(args) => diagnose::run(context, &args).await?,
            Self::Top(args) => top::run(context, &args).await?,
            Self::Ssh(args) => return ssh::run(context, &args).await,
            Self::Exec(args) => return exec::run(context, &args).await,
            Self::Cp(args) => cp::run(context, &args).await?,
            Self::Load(args) => load::run(context, &args).await?,
            Self::Run(args) => return run::run(context, &args).await,
            Self::Rerun(args) => return rerun::run(context, &args).await,
            Self::Logs(args) => logs::run(context, &args).await?,
            Self::Results(args) => results::run(context, &args).await?,
            Self::Flakes(args) => flakes::run(context, &args).await?,
            Self::Rm(args) => rm::run(context, &args).await?,
            Self::Purge(args) => purge::run(context, &args).await?,
            Self::Ls(args) => ls::run(context, &args).await?,
            Self::Completion(args) => completion::run(context, &args)?,
            Self::Version(args) => version::run(context, &args).await?,
        }
        Ok(0)
    }
}
