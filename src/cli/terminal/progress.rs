//! Progress of one thing that may take a while.
//!
//! On a terminal it becomes a bar once it has taken a second; elsewhere each change of what
//! it waits for is a line. What it ends with is a line in both.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use super::{Printer, Style, escape, seconds};

/// What is over sooner than this needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// One thing that may take a while. Dropped unfinished, it leaves nothing on the screen.
#[derive(Debug)]
pub struct Task<'a> {
    printer: &'a Printer,
    name: String,
    started: Instant,
    bar: Option<Bar>,
    said: String,
}

#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    appears: JoinHandle<()>,
}

impl Printer {
    /// Something that may take a while.
    #[must_use]
    pub fn task(&self, name: impl Into<String>) -> Task<'_> {
        Task::new(self, name.into())
    }
}

impl<'a> Task<'a> {
    fn new(printer: &'a Printer, name: String) -> Self {
        let bar = printer.bars().cloned().map(|bars| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            bar.set_style(style("{spinner} {prefix}  {wide_msg}"));
            bar.set_prefix(escape::text(&name));
            let shown = bar.clone();
            let appears = tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                bars.add(shown.clone());
                shown.enable_steady_tick(Duration::from_millis(120));
            });
            Bar { bar, appears }
        });
        Self { printer, name, started: Instant::now(), bar, said: String::new() }
    }

    /// What it does now or waits for.
    pub fn say(&mut self, message: &str) {
        if message == self.said {
            return;
        }
        message.clone_into(&mut self.said);
        match &self.bar {
            Some(bar) => bar.bar.set_message(escape::text(&self.said)),
            None => self.printer.note(format_args!("{}: {message}", self.name)),
        }
    }

    /// From now on it counts bytes, of so many.
    pub fn bytes(&self, total: u64) {
        if let Some(Bar { bar, .. }) = &self.bar {
            bar.set_style(style(
                "{spinner} {prefix}  {bar:24} {bytes:>10} of {total_bytes}, {bytes_per_sec}, {eta} left",
            ));
            bar.set_length(total);
            bar.reset_eta();
        }
    }

    /// What is called with so many bytes more, by whoever sees them pass.
    pub fn counter(&self) -> impl Fn(u64) + Send + Sync + 'static {
        let bar = self.bar.as_ref().map(|bar| bar.bar.clone());
        move |bytes| bar.iter().for_each(|bar| bar.inc(bytes))
    }

    /// It is done; `result` says how it ended.
    pub fn done(self, result: &str) {
        self.end(Style::Good, "✓", result);
    }

    /// It failed; `why` says what happened.
    pub fn failed(self, why: &str) {
        self.end(Style::Bad, "✗", why);
    }

    /// How long it has taken, as people say it.
    #[must_use]
    pub fn elapsed(&self) -> String {
        seconds(self.started.elapsed())
    }

    fn end(mut self, style: Style, mark: &str, result: &str) {
        let on_terminal = self.bar.take().is_some_and(|bar| {
            bar.remove();
            true
        });
        if on_terminal {
            self.printer.note(format_args!("{} {}: {result}", self.printer.paint_err(style, mark), self.name));
        } else {
            self.printer.note(format_args!("{}: {result}", self.name));
        }
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.remove();
        }
    }
}

impl Bar {
    fn remove(self) {
        self.appears.abort();
        self.bar.finish_and_clear();
    }
}

/// The templates are constants of this file; a wrong one is shown plain, and `templates_are_right` fails.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressStyle;

    #[test]
    fn templates_are_right() {
        for template in include_str!("progress.rs").lines().filter_map(|l| l.split_once('"')) {
            if template.1.starts_with("{spinner}") {
                let text = template.1.rsplit_once('"').unwrap().0;
                ProgressStyle::with_template(text).unwrap();
            }
        }
    }
}
