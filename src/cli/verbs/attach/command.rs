//! A command that has the attached socket in its environment, and decides what a signal means.

use std::process::ExitStatus;

use crate::{
    cli::{
        failure::{Failure, exit},
        terminal::person,
    },
    platform::{Signal, process, signals::Signals},
};

/// Runs the person's command. A signal is the command's to answer: this ends when it does.
pub async fn run(words: &[String], variables: &[(&str, String)]) -> Result<u8, Failure> {
    let [program, arguments @ ..] = words else { return Ok(0) };
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        // These would win over DOCKER_HOST or change what it means.
        .env_remove("DOCKER_CONTEXT")
        .env_remove("DOCKER_TLS_VERIFY")
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|e| {
        Failure::new(format!("{program:?} cannot be run: {e}")).exit(match e.kind() {
            std::io::ErrorKind::NotFound => 127,
            _ => 126,
        })
    })?;
    let id = child.id();
    let ended = tokio::select! {
        ended = child.wait() => ended,
        failure = pass_signals_on(id) => return Err(failure),
    };
    ended.map(code).map_err(|e| Failure::new(format!("{program:?} was lost: {e}")))
}

/// What ends a program is for the command to answer. Ctrl-C at a terminal reaches it by itself.
async fn pass_signals_on(child: Option<u32>) -> Failure {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(e) => return Failure::new(format!("signals cannot be received: {e}")),
    };
    loop {
        let signal = signals.next().await;
        if let Some(child) = child.filter(|_| signal != Signal::Interrupt || !person::is_there()) {
            process::pass_on(signal, child);
        }
    }
}

/// As a shell has it.
fn code(status: ExitStatus) -> u8 {
    u8::try_from(process::code(status)).unwrap_or(exit::FAILED)
}
