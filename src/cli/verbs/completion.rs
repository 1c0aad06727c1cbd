//! `completion`: scripts for shells.

use clap_complete::env::{Bash, EnvCompleter, Fish, Powershell, Zsh};

use crate::cli::{
    Context,
    failure::Failure,
    shell::{PROGRAM, VARIABLE},
};

/// Print the script that completes verbs, options and names in a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "For `kubectl testkit` itself, kubectl's own completion asks a program beside the plugin:
  ln -s \"$(command -v kubectl-testkit)\" /usr/local/bin/kubectl_complete-testkit

The script printed here completes `kubectl-testkit`:
  bash   source <(kubectl testkit completion bash)        in ~/.bashrc
  zsh    source <(kubectl testkit completion zsh)         in ~/.zshrc, after compinit
  fish   kubectl testkit completion fish | source         in ~/.config/fish/config.fish
  powershell  kubectl testkit completion powershell | Out-String | Invoke-Expression    in $PROFILE")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

/// Prints it.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
        Shell::Powershell => &Powershell,
    };
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .map_err(|e| Failure::new(format!("the script cannot be written: {e}")))?;
    context.printer.bytes(&script)
}
