//! SIGINT and SIGTERM. The first ends the running cases, whose clean-up then runs; the second ends the process.

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::exit;

/// Tells whether the run was asked to stop, and by what.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(watch::Receiver<Option<&'static str>>);

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen(runtime: &Runtime) -> std::io::Result<Self> {
        let (tell, told) = watch::channel(None);
        let _context = runtime.enter();
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        runtime.spawn(async move {
            loop {
                let name = tokio::select! { _ = int.recv() => "SIGINT", _ = term.recv() => "SIGTERM" };
                if tell.borrow().is_some() {
                    eprintln!("e2e: {name} again: leaving; the next run removes what is left, and so does `e2e clean`");
                    std::process::exit(exit::INTERRUPTED.into());
                }
                eprintln!("e2e: {name}: removing what the cases made (once more: leave at once)");
                let _ = tell.send(Some(name));
            }
        });
        Ok(Self(told))
    }

    /// The signal, if one came.
    pub(crate) fn came(&self) -> Option<&'static str> {
        *self.0.borrow()
    }

    /// Waits for a signal.
    pub(crate) async fn wait(mut self) -> &'static str {
        match self.0.wait_for(Option::is_some).await.map(|name| *name) {
            Ok(Some(name)) => name,
            _ => std::future::pending().await,
        }
    }
}
