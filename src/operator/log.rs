//! The log: how it is written, and what may be in it.
//!
//! Libraries write what they send and are sent, join tokens and keys among it, when they may say more than `info`. So it is
//! not listed which of them must not: whatever is not ours is capped, whatever RUST_LOG says.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use super::config::{Config, LogFormat};

/// What SIGUSR1 has logged, in place of what the process was told at its start.
const MORE: &str = "info,testkit=debug,testkit_operator=debug";

/// Our own crates: what they log is looked at for secrets.
const OURS: [&str; 2] = ["testkit", "testkit_operator"];

/// The log, whose level can be changed.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    usual: String,
    signals: (Signal, Signal),
}

impl Config {
    /// Starts the log.
    ///
    /// # Errors
    /// There is one already, or no signal can be had.
    pub fn start_log(&self) -> anyhow::Result<Log> {
        let (filter, wrong) = match EnvFilter::try_new(&self.log) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new("info"), Some(error)),
        };
        let (filter, handle) = reload::Layer::new(filter);
        let layer = match self.log_format {
            LogFormat::Text => plain(std::io::stderr),
            LogFormat::Json => json(std::io::stderr),
        };
        let cap = filter_fn(cap(self.unsafe_log_libraries));
        Registry::default().with(layer.with_filter(filter.and(cap))).try_init().context("the log")?;
        if let Some(error) = wrong {
            tracing::warn!("what to log is not understood ({error}): info, in place of {:?}", self.log);
        }
        if self.unsafe_log_libraries {
            tracing::warn!("libraries may log below info: this log can have keys and join tokens in it");
        }
        let signals = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        Ok(Log { filter: handle, usual: self.log.clone(), signals })
    }
}

impl Log {
    /// SIGUSR1 has more logged of what this operator does, SIGUSR2 as much as at the start.
    pub async fn follow_signals(mut self) {
        loop {
            let filter = tokio::select! {
                _ = self.signals.0.recv() => MORE,
                _ = self.signals.1.recv() => &self.usual,
            };
            match self.filter.reload(EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"))) {
                Ok(()) => tracing::info!(filter, "what is logged was changed by a signal"),
                Err(error) => tracing::warn!(%error, "what is logged could not be changed"),
            }
        }
    }
}

type Written<S> = Box<dyn Layer<S> + Send + Sync>;

fn plain<S>(to: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) -> Written<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // A file or another program does not want colours.
    tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(to).boxed()
}

fn json<S>(to: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) -> Written<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer().json().with_writer(to).boxed()
}

/// Whether something may be logged, whatever was asked for.
fn cap(everything: bool) -> impl Fn(&Metadata<'_>) -> bool + Clone {
    move |of| everything || *of.level() <= LevelFilter::INFO || OURS.iter().any(|ours| is_of(of.target(), ours))
}

/// Whether a target is a crate, or a module of it.
fn is_of(target: &str, krate: &str) -> bool {
    target.strip_prefix(krate).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of one line of each of these.
    fn logged(asked: &str, everything: bool) -> Vec<&'static str> {
        let page = Page::default();
        let to = page.clone();
        let filter = EnvFilter::try_new(asked).unwrap().and(filter_fn(cap(everything)));
        let subscriber = Registry::default().with(plain(move || to.clone()).with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("our own");
            tracing::debug!(target: "testkit_operator", "of the program");
            tracing::info!(target: "bollard::docker", "a word of a library");
            tracing::debug!(target: "bollard::docker", "a token");
            tracing::trace!(target: "kube_client::client", "a header");
            tracing::debug!(target: "a_library_of_tomorrow", "a key");
            tracing::debug!(target: "testkit_of_others", "another key");
            tracing::debug_span!(target: "russh::client", "session", password = "a password").in_scope(|| {
                tracing::info!(target: "russh", "in a span");
            });
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let all = [
            "our own",
            "of the program",
            "a word of a library",
            "a token",
            "a header",
            "a key",
            "another key",
            "a password",
        ];
        all.into_iter().filter(|words| text.contains(words)).collect()
    }

    #[test]
    fn libraries_never_say_more_than_info() {
        let (ours, info) = (vec!["our own", "of the program"], "a word of a library");
        for (asked, expected) in [
            ("info", vec![info]),
            ("debug", vec!["our own", "of the program", info]),
            ("trace", vec!["our own", "of the program", info]),
            ("bollard::docker=debug", vec![info]),
            ("info,bollard::docker=trace,kube_client=trace,russh::client=trace", vec![info]),
            ("off,testkit=debug,testkit_operator=debug", ours),
            ("[session]=trace", vec![info]),
            ("bollard=off,a_library_of_tomorrow=debug", vec![]),
        ] {
            let said = logged(asked, false);
            assert!(!said.iter().any(|words| words.starts_with("a ") && *words != info), "{asked}: {said:?}");
            if !asked.starts_with('[') {
                assert_eq!(said, expected, "{asked}");
            }
        }
        let all = logged("trace", true);
        assert!(all.contains(&"a token") && all.contains(&"a password"), "the flag does what it says: {all:?}");
    }
}
