//! How long the bounded waits of a case took: by name, those of one name together.
//!
//! A name is the same in every run, so that runs can be compared: what a run makes up, as names and ports, is not in it.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::until::{self, Never};

/// The length of a run's id, which is in the names of what it makes.
const UUID: usize = 36;

/// Numbers of so many digits are ports, times or ids; those of tasks and nodes have fewer.
const LONG_NUMBER: usize = 5;

/// A word of small letters and digits that is at least so long is an id.
const ID: usize = 12;

/// All waits of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) count: u32,
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
    /// How long it was allowed to take.
    pub(crate) limit: Duration,
}

impl Wait {
    fn once(took: Duration, limit: Duration) -> Self {
        Self { count: 1, total: took, longest: took, limit }
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
        self.limit = self.limit.max(other.limit);
    }

    /// The longest took more than half of what it may.
    pub(crate) fn was_close(&self) -> bool {
        self.longest > self.limit / 2
    }
}

/// `LONGEST of LIMIT` in seconds, and for several `, COUNT times, TOTAL in all`.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} of {}", self.longest.as_secs_f64(), self.limit.as_secs_f64())?;
        match self.count {
            1 => Ok(()),
            count => write!(f, ", {count} times, {:.3} in all", self.total.as_secs_f64()),
        }
    }
}

impl FromStr for Wait {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let seconds = |text: &str| Duration::try_from_secs_f64(text.parse().ok()?).ok();
        let read = || {
            let mut parts = text.split(", ");
            let (longest, limit) = parts.next()?.split_once(" of ")?;
            let wait = Self::once(seconds(longest)?, seconds(limit)?);
            let Some(times) = parts.next() else { return Some(wait) };
            let count = times.strip_suffix(" times")?.parse().ok()?;
            let total = seconds(parts.next()?.strip_suffix(" in all")?)?;
            Some(Self { count, total, ..wait })
        };
        read().with_context(|| format!("{text:?} is no time of a wait"))
    }
}

/// What a case waited for.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// Names of the nodes, of which a wait may be about any.
    nodes: Vec<String>,
    by_name: Mutex<BTreeMap<String, Wait>>,
}

impl Waits {
    pub(crate) fn new(nodes: Vec<String>) -> Self {
        Self { nodes, by_name: Mutex::default() }
    }

    /// As [`until::until`], and remembers how long that took, also when it was in vain; but not of what could not come
    /// true, which says nothing about time.
    pub(crate) async fn until<T, F>(
        &self,
        what: &str,
        within: Duration,
        on_error: impl FnMut(&anyhow::Error),
        look: impl FnMut() -> F,
    ) -> Result<(T, Duration)>
    where
        F: Future<Output = Result<T>>,
    {
        let start = Instant::now();
        let end = until::until(what, within, on_error, look).await;
        if !end.as_ref().is_err_and(|error| error.is::<Never>()) {
            self.add(what, within, start.elapsed());
        }
        end
    }

    pub(crate) fn add(&self, what: &str, limit: Duration, took: Duration) {
        let wait = Wait::once(took, limit);
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.entry(steady(what, &self.nodes)).and_modify(|before| before.add(wait)).or_insert(wait);
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Wait> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a wait is called in every run: a word stands for each thing that the next run calls otherwise.
fn steady(what: &str, nodes: &[String]) -> String {
    let what = without_runs(what);
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let mut text = String::new();
    let mut rest = &*what;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| part_of_word(c) != part_of_word(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        text.push_str(match word {
            _ if nodes.iter().any(|node| node == word) => "NODE",
            _ if word.parse::<IpAddr>().is_ok() => "ADDRESS",
            _ if word.len() >= LONG_NUMBER && word.bytes().all(|it| it.is_ascii_digit()) => "N",
            _ if is_id(word) => "ID",
            _ => word,
        });
        rest = after;
    }
    text
}

/// Without `e2e-RUN-NUMBER-` before what a name is for, and without what follows in a node label's name.
fn without_runs(what: &str) -> String {
    let mut text = String::new();
    let mut rest = what;
    while let Some((before, after)) = rest.split_once("e2e-") {
        let name = after.get(UUID..).and_then(|it| it.strip_prefix('-')).and_then(|it| it.split_once('-'));
        match name {
            Some((number, name)) if number.bytes().all(|it| it.is_ascii_digit()) => {
                text.push_str(before);
                rest = name;
            }
            _ => {
                text.push_str(before);
                text.push_str("e2e-");
                rest = after;
            }
        }
    }
    text + rest
}

fn is_id(word: &str) -> bool {
    let small = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    word.len() >= ID
        && word.bytes().all(small)
        && word.bytes().any(|it| it.is_ascii_digit())
        && word.bytes().any(|it| it.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_wait_has_the_same_name_in_every_run() {
        let run = uuid::Uuid::new_v4();
        let nodes = ["ip-10-0-0-4".to_owned()];
        for (said, name) in [
            (format!("3 tasks of e2e-{run}-17-web run"), "3 tasks of web run"),
            (format!("tasks.e2e-{run}-17-web has 3 addresses"), "tasks.web has 3 addresses"),
            (format!("network e2e-{run}-4-net is removed"), "network net is removed"),
            ("http://10.0.0.4:30017/ reaches all 4 containers".into(), "http://ADDRESS:N/ reaches all 4 containers"),
            ("ip-10-0-0-4 is a worker".into(), "NODE is a worker"),
            ("port 30001 answers".into(), "port N answers"),
            ("task q0a1b2c3d4e5f6g7h8i9j0k1l runs".into(), "task ID runs"),
            ("the e2e-suite is as it was found".into(), "the e2e-suite is as it was found"),
            ("the task's äußeres".into(), "the task's äußeres"),
        ] {
            assert_eq!(steady(&said, &nodes), name);
        }
    }

    #[test]
    fn waits_of_one_name_are_told_together() {
        let waits = Waits::default();
        waits.add("it runs", seconds(60.0), seconds(1.25));
        assert_eq!(waits.all()["it runs"].to_string(), "1.250 of 60");
        waits.add("it runs", seconds(60.0), seconds(3.5));
        waits.add("it runs", seconds(60.0), seconds(0.25));
        assert_eq!(waits.all()["it runs"].to_string(), "3.500 of 60, 3 times, 5.000 in all");
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["1.250 of 60", "3.500 of 0.5, 3 times, 5.000 in all"] {
            assert_eq!(text.parse::<Wait>().unwrap().to_string(), text);
        }
        for text in ["", "1.0", "x of 60", "1 of -1", "1 of 60, 3", "1 of 60, 3 times"] {
            assert!(text.parse::<Wait>().is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_wait_in_vain_is_remembered_too() {
        let waits = Waits::default();
        let within = Duration::from_millis(100);
        let never = waits.until("it runs", within, |_| (), || async { Err::<(), _>(anyhow::anyhow!("no")) });
        assert!(never.await.is_err() && waits.all()["it runs"].was_close());
        let hopeless = || async { Err::<(), _>(Never("no such image".into()).into()) };
        assert!(waits.until("it ends", within, |_| (), hopeless).await.is_err() && waits.all().len() == 1);
    }
}
