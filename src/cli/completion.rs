//! `completion`: scripts for shells, and the answers they ask for while a person types.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::Path,
    process::ExitCode,
};

use clap_complete::{
    engine::complete,
    env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh},
};

use super::{Context, failure::Failure};

/// How kubectl finds the completion of a plugin: an executable of this name on the PATH.
const FOR_KUBECTL: &str = "kubectl_complete-testkit";
/// What the scripts set when they ask for answers.
const VARIABLE: &str = "COMPLETE";
const PROGRAM: &str = "kubectl-testkit";

/// Print the script that completes verbs, options and names in a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "For `kubectl testkit` itself, kubectl's own completion asks a program beside the plugin:
  ln -s \"$(command -v kubectl-testkit)\" /usr/local/bin/kubectl_complete-testkit

The script printed here completes `kubectl-testkit`:
  bash   source <(kubectl testkit completion bash)        in ~/.bashrc
  zsh    source <(kubectl testkit completion zsh)         in ~/.zshrc, after compinit
  fish   kubectl testkit completion fish | source         in ~/.config/fish/config.fish")]
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
}

/// Prints it.
pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .map_err(|e| Failure::new(format!("the script cannot be written: {e}")))?;
    context.printer.bytes(&script)
}

/// Answers a shell or kubectl, if it is one that asks; then there is nothing else to do.
pub(super) fn answer(args: &[OsString]) -> Option<ExitCode> {
    let name = args.first().map(Path::new).and_then(Path::file_name);
    if name == Some(OsStr::new(FOR_KUBECTL)) {
        return Some(for_kubectl(args));
    }
    let here = std::env::current_dir().ok();
    match CompleteEnv::with_factory(super::command).bin(PROGRAM).try_complete(args.to_vec(), here.as_deref()) {
        Ok(false) => None,
        // An error aloud would be typed over what the person types.
        Ok(true) | Err(_) => Some(ExitCode::SUCCESS),
    }
}

/// kubectl is given what cobra's programs give: a line each with a tab before what it means,
/// then a line with `:` and bits (2: no space after it, 4: no file names beside it).
fn for_kubectl(args: &[OsString]) -> ExitCode {
    let mut words: Vec<OsString> = args.to_vec();
    if words.len() < 2 {
        words.push(OsString::new());
    }
    let last = words.len() - 1;
    let here = std::env::current_dir().ok();
    let found = complete(&mut super::command(), words, last, here.as_deref()).unwrap_or_default();
    let mut text = String::new();
    // A directory or a node's name is only the beginning of a word.
    let mut unfinished = !found.is_empty();
    for candidate in found.iter().filter(|c| !c.is_hide_set()) {
        let value = candidate.get_value().to_string_lossy();
        unfinished &= value.ends_with(['/', ':']);
        text.push_str(&value);
        if let Some(help) = candidate.get_help() {
            text.push('\t');
            text.push_str(help.to_string().lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    text.push_str(if unfinished { ":6\n" } else { ":4\n" });
    // kubectl is gone when this fails.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
