//! A command that has the attached socket in its environment, and decides what a signal means.

use std::process::ExitStatus;

use crate::cli::{
    failure::{Failure, exit},
    terminal::person,
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
    use rustix::process::{Pid, Signal, kill_process};
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Failure::new(format!("signals cannot be received: {e}")));
    let (mut interrupts, mut ends, mut hangups) =
        match (listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup())) {
            (Ok(interrupts), Ok(ends), Ok(hangups)) => (interrupts, ends, hangups),
            (Err(failure), ..) | (_, Err(failure), _) | (.., Err(failure)) => return failure,
        };
    let child = child.and_then(|id| Pid::from_raw(id.try_into().ok()?));
    loop {
        let signal = tokio::select! {
            _ = interrupts.recv() => (!person::is_there()).then_some(Signal::INT),
            _ = ends.recv() => Some(Signal::TERM),
            _ = hangups.recv() => Some(Signal::HUP),
        };
        if let (Some(child), Some(signal)) = (child, signal) {
            // It may have ended by now.
            let _ = kill_process(child, signal);
        }
    }
}

/// As a shell has it.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(exit::FAILED)
}
