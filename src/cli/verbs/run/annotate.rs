//! What failed, as CI systems show it. What tests wrote gives them no commands.

use crate::{api::CaseFailure, cli::terminal::escape};

/// A CI system.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotate {
    /// GitHub Actions: an error beside the run for each case that failed
    Github,
    /// GitLab CI: a folded section of the job's log for each case that failed
    Gitlab,
}

/// Around the log of a run: what makes a system take nothing in it for a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// Before it.
    pub begin: String,
    /// After it.
    pub end: String,
}

impl Annotate {
    /// What to print around the log; `token` is nobody's to guess.
    pub fn fence(self, token: &str) -> Fence {
        match self {
            // https://docs.github.com/actions/reference/workflow-commands-for-github-actions, "Stopping and starting"
            // A log need not end its last line, and a command begins one.
            Self::Github => Fence { begin: format!("::stop-commands::{token}\n"), end: format!("\n::{token}::\n") },
            // Sections are a matter of looks: nothing is done by them.
            Self::Gitlab => Fence::default(),
        }
    }

    /// What to print for the cases that failed.
    pub fn failures(self, run: &str, failures: &[CaseFailure], now: jiff::Timestamp) -> String {
        let one = |(at, failure): (usize, &CaseFailure)| match self {
            Self::Github => github(&format!("{} ({run})", failure.name), &failure.message),
            Self::Gitlab => gitlab(at, failure, now.as_second()),
        };
        failures.iter().enumerate().map(one).collect()
    }

    /// What to print where there is no verdict.
    pub fn no_verdict(self, run: &str, why: &str) -> String {
        match self {
            Self::Github => github(&format!("{run} has no verdict"), why),
            Self::Gitlab => String::new(),
        }
    }
}

fn github(title: &str, message: &str) -> String {
    let message = if message.trim().is_empty() { "it does not say why" } else { message };
    format!("::error title={}::{}\n", property(title), data(message))
}

/// As `@actions/core` writes what comes after `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As `@actions/core` writes the value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A folded section: https://docs.gitlab.com/ci/jobs/job_logs, "Custom collapsible sections".
fn gitlab(at: usize, failure: &CaseFailure, second: i64) -> String {
    let name = escape::text(&failure.name).replace('\n', " ");
    let message = escape::text(&failure.message);
    format!(
        "\x1b[0Ksection_start:{second}:testkit_failed_{at}[collapsed=true]\r\x1b[0K\x1b[31mfailed\x1b[0m {name}\n{}\n\x1b[0Ksection_end:{second}:testkit_failed_{at}\r\x1b[0K\n",
        message.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(name: &str, message: &str) -> CaseFailure {
        serde_json::from_value(serde_json::json!({"name": name, "message": message})).unwrap()
    }

    #[test]
    fn github_is_told_a_line_for_each_whatever_is_in_it() {
        for (name, message, line) in [
            ("A", "no", "::error title=A (r)::no\n"),
            ("a::b,c", "50% off\nat x:1\r\n", "::error title=a%3A%3Ab%2Cc (r)::50%25 off%0Aat x:1%0D%0A\n"),
            ("A", "x\n::error::forged", "::error title=A (r)::x%0A::error::forged\n"),
            ("n\n::warning::", " ", "::error title=n%0A%3A%3Awarning%3A%3A (r)::it does not say why\n"),
        ] {
            let text = Annotate::Github.failures("r", &[failure(name, message)], jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(text, line, "{name:?}");
        }
        let fence = Annotate::Github.fence("t0ken");
        assert_eq!((fence.begin.as_str(), fence.end.as_str()), ("::stop-commands::t0ken\n", "\n::t0ken::\n"));
    }

    #[test]
    fn gitlab_folds_each_case_and_nobody_elses_sections() {
        let failures = [failure("A\n", "one\r\x1b[0Ksection_end:1:testkit_failed_0\r"), failure("B", "two\n")];
        let text = Annotate::Gitlab.failures("r", &failures, jiff::Timestamp::UNIX_EPOCH);
        assert!(
            text.starts_with(
                "\x1b[0Ksection_start:0:testkit_failed_0[collapsed=true]\r\x1b[0K\x1b[31mfailed\x1b[0m A \n"
            )
        );
        assert!(text.contains("\none^M^[[0Ksection_end:1:testkit_failed_0^M\n"), "{text:?}");
        assert_eq!(text.matches("\x1b[0Ksection_end").count(), 2);
        assert!(text.ends_with("\ntwo\n\x1b[0Ksection_end:0:testkit_failed_1\r\x1b[0K\n"), "{text:?}");
    }
}
