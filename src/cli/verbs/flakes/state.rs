//! Whether a case is flaky, broken or mended, by what became of it in each run. Pure.

use super::history::{Mark, Seen};

/// So many failures in a row, up to the last run, are no accident of a case that passes at times.
const BROKEN: usize = 3;

/// What there is to say of a case that was not always green.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It fails in each run since the one at this place.
    Broken(usize),
    /// The same image has passed and failed, or it was flaky within one run.
    Flaky,
    /// It passes in each run since the one at this place, and had failed with other images only.
    Fixed(usize),
}

impl State {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Broken(_) => "broken",
            Self::Flaky => "flaky",
            Self::Fixed(_) => "fixed",
        }
    }

    /// Since which run, by its place.
    pub const fn since(self) -> Option<usize> {
        match self {
            Self::Broken(run) | Self::Fixed(run) => Some(run),
            Self::Flaky => None,
        }
    }

    /// How bad it is: the worst is 0.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Broken(_) => 0,
            Self::Flaky => 1,
            Self::Fixed(_) => 2,
        }
    }
}

/// What there is to say of a case; nothing where it neither failed nor was flaky. `image` is that of a run.
pub fn state<'a>(seen: &[Seen], image: impl Fn(usize) -> Option<&'a str>) -> Option<State> {
    let ran: Vec<Seen> = seen.iter().filter(|seen| seen.mark != Mark::Skipped).copied().collect();
    let failed = ran.iter().rposition(|seen| seen.mark != Mark::Passed)?;
    let trailing = ran.iter().rev().take_while(|seen| seen.mark == Mark::Failed).count();
    let before = ran.len() - trailing;
    let earlier = ran[..before].iter().any(|seen| seen.mark != Mark::Passed);
    let both = |seen: &Seen| {
        let of = image(seen.run).filter(|_| seen.mark == Mark::Failed);
        of.is_some_and(|of| ran.iter().any(|other| other.mark == Mark::Passed && image(other.run) == Some(of)))
    };
    let unsteady = ran.iter().any(|seen| seen.mark == Mark::Flaky || both(seen));
    let broken = trailing >= BROKEN || trailing >= 2 && !earlier || trailing >= 1 && !unsteady;
    Some(match ran.get(before).filter(|_| broken) {
        Some(first) => State::Broken(first.run),
        None if unsteady => State::Flaky,
        None => State::Fixed(ran.get(failed + 1)?.run),
    })
}
