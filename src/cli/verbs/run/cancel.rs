//! A person or a job that follows a run and is interrupted: the run is cancelled, or left running.

use std::time::Duration;

use kube::api::{Patch, PatchParams, ValidationDirective};
use serde_json::json;
use tokio::time::sleep;

use crate::cli::{
    Context,
    failure::{Failure, exit},
    kubernetes::{Kubernetes, RUNS},
};

/// A second Ctrl-C within this leaves the run running.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

/// Follows a run to its end. Ctrl-C cancels it and waits for its end, unless it comes twice; SIGTERM cancels it at once.
pub async fn on_signals<T>(
    context: &Context,
    kubernetes: &Kubernetes,
    name: &str,
    ended: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut signals = Signals::listen()?;
    let mut ended = std::pin::pin!(ended);
    let printer = &context.printer;
    let code = tokio::select! {
        ended = &mut ended => return ended,
        code = signals.next() => code,
    };
    if code == exit::INTERRUPTED {
        printer.warn(format_args!("{name} is cancelled; Ctrl-C once more leaves it running"));
        tokio::select! {
            ended = &mut ended => return ended,
            () = sleep(SECOND_THOUGHTS) => {}
            code = signals.next() => {
                printer.note(format_args!("{name} goes on: kubectl testkit logs {name} -f, kubectl testkit rm run/{name}"));
                return Err(Failure::silent(code));
            }
        }
    }
    cancel(kubernetes, name)
        .await
        .map_err(|failure| failure.help(format!("it goes on; end it with kubectl testkit rm run/{name}")).exit(code))?;
    printer.note(format_args!("waiting for the end of {name}; Ctrl-C waits no longer"));
    tokio::select! {
        ended = &mut ended => {
            ended?;
            Err(Failure::silent(code))
        }
        code = signals.next() => Err(Failure::silent(code)),
    }
}

/// Asks the operator to end it.
async fn cancel(kubernetes: &Kubernetes, name: &str) -> Result<(), Failure> {
    // An API server that does not know the field would take the patch and do nothing.
    let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
    match kubernetes.runs().patch(name, &strict, &patch).await {
        Ok(_) => Ok(()),
        Err(e) => Err(kubernetes.explain(&e, &kubernetes.attempt("patch", RUNS, Some(name)))),
    }
}

/// What ends a program, as exit codes.
struct Signals {
    interrupts: tokio::signal::unix::Signal,
    ends: tokio::signal::unix::Signal,
    hangups: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|e| Failure::new(format!("signals cannot be received: {e}")));
        Ok(Self {
            interrupts: listen(SignalKind::interrupt())?,
            ends: listen(SignalKind::terminate())?,
            hangups: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupts.recv() => exit::INTERRUPTED,
            _ = self.ends.recv() => exit::TERMINATED,
            _ = self.hangups.recv() => exit::TERMINATED,
        }
    }
}
