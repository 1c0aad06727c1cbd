//! Answers what a shell or kubectl asks while a person types.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::Path,
    process::ExitCode,
};

use clap_complete::{engine::complete, env::CompleteEnv};

/// How kubectl finds the completion of a plugin: an executable of this name on the PATH.
const FOR_KUBECTL: &str = "kubectl_complete-testkit";
/// What the scripts set when they ask for answers.
pub const VARIABLE: &str = "COMPLETE";
/// The name the scripts complete.
pub const PROGRAM: &str = "kubectl-testkit";

/// Answers a shell or kubectl, if it is one that asks; then there is nothing else to do.
pub fn answer(args: &[OsString], command: fn() -> clap::Command) -> Option<ExitCode> {
    // Windows has `.exe` after it.
    let name = args.first().map(Path::new).and_then(Path::file_stem);
    if name == Some(OsStr::new(FOR_KUBECTL)) {
        return Some(for_kubectl(args, command()));
    }
    let here = std::env::current_dir().ok();
    match CompleteEnv::with_factory(command).bin(PROGRAM).try_complete(args.to_vec(), here.as_deref()) {
        Ok(false) => None,
        // An error aloud would be typed over what the person types.
        Ok(true) | Err(_) => Some(ExitCode::SUCCESS),
    }
}

/// kubectl is given what cobra's programs give: a line each with a tab before what it means,
/// then a line with `:` and bits (2: no space after it, 4: no file names beside it).
fn for_kubectl(args: &[OsString], mut command: clap::Command) -> ExitCode {
    let mut words: Vec<OsString> = args.to_vec();
    if words.len() < 2 {
        words.push(OsString::new());
    }
    let last = words.len() - 1;
    let here = std::env::current_dir().ok();
    let found = complete(&mut command, words, last, here.as_deref()).unwrap_or_default();
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
