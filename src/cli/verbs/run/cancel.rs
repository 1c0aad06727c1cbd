//! A person or a job that follows a run and is interrupted: the run is cancelled, or left running.

use std::time::Duration;

use kube::api::{Patch, PatchParams, ValidationDirective};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    cli::{
        Context,
        failure::{Failure, exit},
        kubernetes::{Kubernetes, RUNS},
    },
    platform::{Signal, signals::Signals},
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
    let mut signals = Signals::listen().map_err(|e| Failure::new(format!("signals cannot be received: {e}")))?;
    let mut ended = std::pin::pin!(ended);
    let printer = &context.printer;
    let signal = tokio::select! {
        ended = &mut ended => return ended,
        signal = signals.next() => signal,
    };
    if signal == Signal::Interrupt {
        printer.warn(format_args!("{name} is cancelled; Ctrl-C once more leaves it running"));
        tokio::select! {
            ended = &mut ended => return ended,
            () = sleep(SECOND_THOUGHTS) => {}
            signal = signals.next() => {
                printer.note(format_args!("{name} goes on: kubectl testkit logs {name} -f, kubectl testkit rm run/{name}"));
                return Err(Failure::silent(exit::of_signal(signal)));
            }
        }
    }
    let code = exit::of_signal(signal);
    cancel(kubernetes, name)
        .await
        .map_err(|failure| failure.help(format!("it goes on; end it with kubectl testkit rm run/{name}")).exit(code))?;
    printer.note(format_args!("waiting for the end of {name}; Ctrl-C waits no longer"));
    tokio::select! {
        ended = &mut ended => {
            ended?;
            Err(Failure::silent(code))
        }
        signal = signals.next() => Err(Failure::silent(exit::of_signal(signal))),
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
