//! Instances that came to nothing: why, how many in a row, and when the next one is due.
//!
//! Written down in the [`Journal`](super::Journal) before anything is done about it, so that a
//! slot that fails for ever is launched no faster because the operator restarts.

use std::fmt;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    api::{Duration, reason},
    cloud::StateReason,
};

/// So many in a row, and a person is asked to look. The slot is tried on, slowly.
pub const STALLS: u32 = 3;

/// The pause after the first loss in a row, the second, the third, and every other.
const PAUSES: [SignedDuration; 4] =
    [SignedDuration::ZERO, SignedDuration::from_secs(30), SignedDuration::from_mins(2), SignedDuration::from_mins(10)];

/// What EC2 says of an instance that somebody ended by a call, which may be a person.
const BY_CALL: &str = "Client.UserInitiatedShutdown";

/// What EC2 says of a spot instance that it took back.
const TAKEN_BACK: &str = "Server.SpotInstanceTermination";

/// Instances of one slot that came to nothing, in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Losses {
    /// How many.
    pub count: u32,
    /// The last of them, by its incarnation.
    pub incarnation: u32,
    /// The same by the cloud's id; empty where the cloud never listed it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// What became of it.
    pub cause: Cause,
    /// When that was seen, by the operator's clock.
    pub at: Timestamp,
    /// The spec it was so with: a changed one deserves a try of its own.
    pub spec: String,
}

/// Why an instance came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Cause {
    /// Its engine never answered.
    NotBooted {
        /// Within this time.
        within: Duration,
        /// What was heard of it last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// What its console says, as a clause.
        console: String,
    },
    /// It ended, and not by us.
    Ended {
        /// Its engine had answered before.
        booted: bool,
        /// The cloud's code.
        code: String,
        /// The cloud's words.
        message: String,
    },
    /// Its engine had answered, and it was not well any more.
    Unhealthy {
        /// For this time.
        after: Duration,
        /// What ailed it, as the end of a sentence.
        what: String,
    },
    /// It was not as the spec asks for any more, and made room for one that is.
    Outdated,
}

impl Cause {
    /// An instance that ended, for the reason the cloud gives.
    #[must_use]
    pub fn ended(booted: bool, why: Option<&StateReason>) -> Self {
        let (code, message) = match why {
            Some(StateReason { code, message }) => (code.as_str(), message.as_str()),
            None => ("", "the cloud gives no reason"),
        };
        Self::Ended { booted, code: short(code), message: short(message) }
    }

    /// A spot instance that ended when EC2 had said it would.
    #[must_use]
    pub fn taken_back(booted: bool) -> Self {
        Self::Ended { booted, code: TAKEN_BACK.to_owned(), message: "EC2 took the spot instance back".to_owned() }
    }

    /// Whether EC2 took a spot instance back: no fault of what was launched.
    #[must_use]
    pub fn is_taken_back(&self) -> bool {
        matches!(self, Self::Ended { code, .. } if code == TAKEN_BACK)
    }

    /// An instance whose engine never answered, with what was heard of it last and what its console says.
    #[must_use]
    pub fn not_booted(within: Duration, error: Option<&str>, console: &str) -> Self {
        Self::NotBooted { within, error: error.map(short), console: console.to_owned() }
    }

    /// An instance that was an engine and has ailed for too long.
    #[must_use]
    pub fn unhealthy(after: Duration, what: &str) -> Self {
        Self::Unhealthy { after, what: short(what) }
    }

    /// The reason of the object's conditions.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotBooted { .. } => reason::BOOT_FAILED,
            Self::Ended { .. } => reason::INSTANCE_ENDED,
            Self::Unhealthy { .. } => reason::HOST_UNHEALTHY,
            Self::Outdated => reason::UPDATING,
        }
    }

    /// How long the next instance must have been an engine for the row to end. One that boots
    /// disproves that none does. That none dies takes longer, unless a person ended it: who
    /// does that once in a while wants another one at once.
    #[must_use]
    pub fn disproved_after(&self) -> SignedDuration {
        match self {
            Self::NotBooted { .. } | Self::Ended { booted: false, .. } | Self::Outdated => SignedDuration::ZERO,
            Self::Ended { code, .. } if code == BY_CALL => SignedDuration::from_mins(1),
            Self::Ended { .. } | Self::Unhealthy { .. } => SignedDuration::from_mins(10),
        }
    }
}

/// What is written down is bounded, whatever was said: two lines of a terminal.
fn short(text: &str) -> String {
    text.chars().take(160).collect()
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBooted { within, error, console } => {
                write!(f, "was no engine within {within}")?;
                if let Some(error) = error {
                    write!(f, " ({error})")?;
                }
                write!(f, ", and {console}")
            }
            Self::Ended { code, message, .. } => {
                write!(f, "ended: {}", StateReason { code: code.clone(), message: message.clone() })
            }
            Self::Unhealthy { after, what } => write!(f, "{what}, and was given up after {after}"),
            Self::Outdated => f.write_str("was launched by a spec that was changed since"),
        }
    }
}

impl Losses {
    /// When the next instance is due. Never later than a pause from now: clocks are set back.
    #[must_use]
    pub fn next(&self, spec: &str, now: Timestamp) -> Timestamp {
        if self.spec != spec {
            return now;
        }
        let nth = usize::try_from(self.count.saturating_sub(1)).unwrap_or(usize::MAX);
        let growing = PAUSES[nth.min(PAUSES.len() - 1)];
        // Where EC2 takes back what never came up, it has none to give now.
        let scarce = self.cause.is_taken_back() && matches!(self.cause, Cause::Ended { booted: false, .. });
        let pause = if scarce { growing.max(PAUSES[1]) } else { growing };
        let after = |at: Timestamp| at.checked_add(pause).unwrap_or(at);
        after(self.at).min(after(now))
    }

    /// The row with one more. A changed spec begins another. What we or EC2 took away blames nobody, and does not count.
    #[must_use]
    pub fn more(before: Option<&Self>, loss: Self) -> Self {
        let row = before.filter(|b| b.spec == loss.spec).map_or(0, |b| b.count);
        let blames = loss.cause != Cause::Outdated && !loss.cause.is_taken_back();
        let count = row.saturating_add(u32::from(blames));
        Self { count, ..loss }
    }

    /// Whether a person has to look: nothing that was tried with this spec has worked.
    #[must_use]
    pub fn stalls(&self, spec: &str) -> bool {
        self.count >= STALLS && self.spec == spec
    }
}
