//! Who leads: the decisions of an election by a Lease, apart from the API server and from clocks.
//!
//! The rules are those of client-go's leaderelection. Clocks are not compared: a Lease of somebody else has run out when
//! it was not seen to change for as long as it is held for, by the clock of who looks. The holder counts from before it
//! sent its last write that was confirmed, and stops earlier than that. So at most one leads while the clocks of any two
//! run at rates that differ by less than [`Timing::DEFAULT`] leaves room for: 15 to 10 seconds and the end of the work.

use std::time::Duration;

/// A time by the own clock, from whenever it began.
pub type Moment = Duration;

/// How long things hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long the others leave a Lease alone that does not change.
    pub duration: Duration,
    /// How long after its last renewal a leader stops by itself.
    pub renew_deadline: Duration,
    /// How often a leader renews, and how often the others look.
    pub retry: Duration,
    /// How long an answer is waited for.
    pub request: Duration,
}

impl Timing {
    /// client-go's defaults, and what is left of them for three requests without an answer.
    pub const DEFAULT: Self = Self {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
        request: Duration::from_secs(3),
    };
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; nobody where it was released.
    pub holder: Option<String>,
    /// For how long, from when it changed last.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// Its resourceVersion: it differs whenever anything does.
    pub version: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read the Lease.
    Read,
    /// Write it as one's own: over this version, or anew.
    Write(Option<Record>),
    /// Nothing until then, or until the Lease changes.
    Wait(Moment),
    /// This process led and does not any more.
    Lost(&'static str),
}

/// What the API server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The Lease, where there is one.
    Read(Option<Record>),
    /// It is ours, as written.
    Written(Record),
    /// Somebody else wrote first.
    Conflict,
    /// None came, or an error that does not tell.
    Unknown,
}

/// One process in an election.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    timing: Timing,
    /// What was seen last, and since when it has not changed.
    seen: Option<(Record, Moment)>,
    /// Whether the Lease was not there when it was looked for last.
    absent: bool,
    /// When to look the next time, or to renew.
    at: Moment,
    /// What is known may be old.
    stale: bool,
    /// Until when this process leads.
    leads_until: Option<Moment>,
}

impl Election {
    /// `me` is a name that no other process ever has.
    #[must_use]
    pub fn new(me: String, timing: Timing) -> Self {
        let at = Moment::ZERO;
        Self { me, timing, seen: None, absent: false, at, stale: true, leads_until: None }
    }

    /// Who this is.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Until when this process may act as the leader, where it is.
    #[must_use]
    pub fn leads_until(&self) -> Option<Moment> {
        self.leads_until
    }

    /// What to do now.
    #[must_use]
    pub fn next(&self, now: Moment) -> Next {
        match self.leads_until {
            Some(until) => self.next_of_leader(until, now),
            None => self.next_of_waiting(now),
        }
    }

    fn next_of_leader(&self, until: Moment, now: Moment) -> Next {
        if now >= until {
            return Next::Lost("it could not be renewed in time");
        }
        if now < self.at {
            return Next::Wait(self.at.min(until));
        }
        match &self.seen {
            _ if self.stale => Next::Read,
            // Whoever took it off knows best why; to write it again could be too late already.
            _ if self.absent => Next::Lost("somebody deleted it"),
            Some((record, _)) if record.holder.as_ref() == Some(&self.me) => Next::Write(Some(record.clone())),
            _ => Next::Lost("somebody else took it, or took it away"),
        }
    }

    fn next_of_waiting(&self, now: Moment) -> Next {
        if self.stale {
            return if now >= self.at { Next::Read } else { Next::Wait(self.at) };
        }
        let over = self.seen.as_ref().map_or(now, |(record, since)| self.over(record, *since));
        if now >= over {
            let known = self.seen.as_ref().filter(|_| !self.absent);
            return Next::Write(known.map(|(record, _)| record.clone()));
        }
        if now >= self.at { Next::Read } else { Next::Wait(self.at.min(over)) }
    }

    /// When a Lease may be taken that was seen so, and not to change since then. One that was deleted counts as it was
    /// seen last: its holder does not know yet.
    fn over(&self, record: &Record, since: Moment) -> Moment {
        match &record.holder {
            Some(holder) if *holder != self.me => {
                let held = if record.duration.is_zero() { self.timing.duration } else { record.duration };
                since.saturating_add(held)
            }
            _ => since,
        }
    }

    /// Takes in an answer to a request that was sent at `sent`.
    pub fn answered(&mut self, answer: Answer, sent: Moment, now: Moment) {
        self.at = now + self.timing.retry;
        match answer {
            Answer::Read(record) => {
                self.stale = false;
                self.absent = record.is_none();
                if let Some(record) = record
                    && self.seen.as_ref().is_none_or(|(seen, _)| *seen != record)
                {
                    self.seen = Some((record, now));
                }
                if self.leads_until.is_some() {
                    // It was read because a write failed: try again at once.
                    self.at = now;
                }
            }
            Answer::Written(record) => {
                (self.stale, self.absent) = (false, false);
                self.seen = Some((record, now));
                self.at = sent + self.timing.retry;
                self.leads_until = Some(sent + self.timing.renew_deadline);
            }
            Answer::Conflict => {
                (self.stale, self.at) = (true, now + self.timing.retry / 20);
            }
            // What was written may be there all the same.
            Answer::Unknown => {
                self.stale = true;
                if self.leads_until.is_some() {
                    self.at = now + self.timing.retry / 4;
                }
            }
        }
    }

    /// Something may have changed: look now, where this process waits.
    pub fn woken(&mut self, now: Moment) {
        if self.leads_until.is_none() {
            (self.stale, self.at) = (true, now);
        }
    }

    /// The Lease as it is written by this process over what it was.
    #[must_use]
    pub fn mine(&self, over: Option<&Record>) -> Record {
        let before = over.map_or(0, |record| record.transitions);
        let same = over.is_none_or(|record| record.holder.as_ref() == Some(&self.me));
        Record {
            holder: Some(self.me.clone()),
            duration: self.timing.duration,
            transitions: if same { before } else { before.saturating_add(1) },
            version: over.map(|record| record.version.clone()).unwrap_or_default(),
        }
    }

    /// The Lease as it is left to the others; `None` where it is not this process's.
    #[must_use]
    pub fn released(&self) -> Option<Record> {
        let (record, _) = self.seen.as_ref().filter(|_| !self.absent)?;
        let mine = record.holder.as_ref() == Some(&self.me);
        // The API server takes no less than a second.
        mine.then(|| Record { holder: None, duration: Duration::from_secs(1), ..record.clone() })
    }
}

#[cfg(test)]
mod tests;
