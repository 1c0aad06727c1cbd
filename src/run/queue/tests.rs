use proptest::prelude::*;

use super::{
    Guest, Place, admit,
    guests::{Change, Guests, changed},
    place,
};
use crate::api::Sharing::{self, Exclusive, Shared};

fn guest(name: &str, sharing: Sharing) -> Guest {
    Guest { name: name.to_owned(), uid: format!("u-{name}"), sharing, of: None }
}

/// `a` is shared, `A` is exclusive.
fn guests(letters: &str) -> Vec<Guest> {
    letters.chars().map(|c| guest(&c.to_string(), if c.is_ascii_uppercase() { Exclusive } else { Shared })).collect()
}

#[test]
fn whoever_comes_first_is_first_and_an_exclusive_run_is_alone() {
    // Who has a place, who waits in which order, how many of those have theirs now.
    let cases = [
        ("", "", 0),
        ("", "A", 1),
        ("", "AB", 1),
        ("X", "A", 0),
        ("x", "A", 0),
        ("X", "a", 0),
        ("", "abc", 3),
        ("x", "abc", 3),
        ("x", "abCd", 2),
        ("x", "Cd", 0),
        ("", "Cd", 1),
        ("xY", "a", 0),
    ];
    for (holders, line, admitted) in cases {
        let line = guests(line);
        assert_eq!(admit(&guests(holders), &line), &line[..admitted], "{holders} {line:?}");
    }
}

#[test]
fn the_shards_of_a_run_are_beside_each_other_and_nobody_else_is() {
    /// `1` to `4` are exclusive shards of one run, `5` to `9` are shared ones of another.
    fn with_shards(letters: &str) -> Vec<Guest> {
        let guest = |c: char| match c {
            '1'..='4' => Guest { of: Some("u-p".to_owned()), ..guest(&c.to_string(), Exclusive) },
            '5'..='9' => Guest { of: Some("u-q".to_owned()), ..guest(&c.to_string(), Shared) },
            _ => guests(&c.to_string()).remove(0),
        };
        letters.chars().map(guest).collect()
    }
    for (holders, line, admitted) in [
        ("", "1234", 4),
        ("12", "34", 2),
        ("12", "34A", 2),
        ("1", "A2", 0),
        ("", "1A2", 1),
        ("1", "a", 0),
        ("a", "12", 0),
        ("A", "12", 0),
        ("", "A12", 1),
        ("1", "5", 0),
        ("a", "56", 2),
        ("5", "6ab1", 3),
        ("1A", "2", 0),
    ] {
        let line = with_shards(line);
        assert_eq!(admit(&with_shards(holders), &line), &line[..admitted], "{holders} {line:?}");
    }
}

#[test]
fn a_run_is_told_who_has_the_cluster_and_its_number_in_line() {
    let since = "2026-11-28T01:02:03.9Z".parse().unwrap();
    let cases = [
        ("X", "AB", "B", "waits behind X; 2nd in line for SwarmCluster foo since 2026-11-28T01:02:03Z"),
        ("X", "AB", "A", "waits behind X; 1st in line for"),
        ("xyz", "A", "A", "waits behind x, y, z; 1st"),
        ("vwxyz", "A", "A", "waits behind v, w, x and 2 more; 1st"),
        ("", "AB", "B", "waits behind A; 2nd"),
        ("X", "ABCDEFGHIJKL", "L", "12th"),
    ];
    for (holders, line, who, words) in cases {
        match place(&format!("u-{who}"), &guests(holders), &guests(line)) {
            Place::Behind(behind) => {
                let said = behind.words("foo", since);
                assert!(said.contains(words), "{said}");
            }
            other => panic!("{holders} {line} {who}: {other:?}"),
        }
    }
    assert_eq!(place("u-A", &guests("A"), &guests("B")), Place::Held);
    assert!(matches!(place("u-B", &guests("A"), &guests("AB")), Place::Behind(b) if b.number == 1));
    assert_eq!(place("u-A", &guests(""), &guests("A")), Place::Free);
    // A watch has not told of it yet: then it has not told of those before it either.
    assert_eq!(place("u-A", &guests(""), &guests("B")), Place::Unknown);
}

#[test]
fn ordinals_are_english() {
    for (number, words) in
        [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (13, "13th"), (21, "21st"), (112, "112th")]
    {
        assert_eq!(super::ordinal(number), words);
    }
}

/// What an API server and two operators have: the second one sees late, and either reads long before it writes.
#[derive(Debug, Default)]
struct World {
    /// In the order in which they were created.
    runs: Vec<Run>,
    written: Vec<Guest>,
    version: usize,
    /// What happened, in order; an operator's watch has told so much of it.
    log: Vec<(usize, bool)>,
    told: [usize; 2],
    /// What a pass has read and not written yet, by operator and run.
    passes: Vec<(usize, usize, usize, Guests)>,
}

#[derive(Clone, Debug)]
struct Run {
    guest: Guest,
    /// There is an object.
    there: bool,
    /// It has ended, and given up nothing yet.
    ended: bool,
    began: u32,
}

impl World {
    fn create(&mut self, (sharing, of): (Sharing, Option<&str>)) {
        let run = self.runs.len();
        let guest = Guest { of: of.map(str::to_owned), ..guest(&format!("{run:03}"), sharing) };
        self.runs.push(Run { guest, there: true, ended: false, began: 0 });
        self.log.push((run, true));
    }

    /// Those in line as far as this operator was told; who has a place is told of when it ends.
    fn line(&self, operator: usize) -> Vec<Guest> {
        let told = &self.log[..self.told[operator]];
        let over = |run| told.contains(&(run, false));
        told.iter().filter(|(run, came)| *came && !over(*run)).map(|(run, _)| self.runs[*run].guest.clone()).collect()
    }

    fn holds(&self, run: usize) -> bool {
        self.written.iter().any(|w| w.uid == self.runs[run].guest.uid)
    }

    /// The same without those that have a place.
    fn waiting(&self, operator: usize) -> Vec<Guest> {
        let mut line = self.line(operator);
        line.retain(|w| self.written.iter().all(|h| h.uid != w.uid));
        line
    }

    fn read(&mut self, operator: usize, run: usize) {
        let there = |guest: &&Guest| self.runs.iter().any(|r| r.there && r.guest.uid == guest.uid);
        let written = self.written.iter().filter(there).cloned().collect();
        self.passes.push((operator, run, self.version, Guests { written, ..Guests::default() }));
    }

    /// Writes what a pass wanted, if nobody came before; whether a run began.
    fn write(&mut self, pass: usize) -> Option<usize> {
        let (operator, run, version, read) = self.passes.swap_remove(pass);
        let it = self.runs[run].clone();
        let wants = if it.ended || !it.there { Change::Leave } else { Change::Take };
        let wanted = changed(&read, &self.line(operator), &it.guest, wants)?;
        if version != self.version || wanted == self.written {
            return None;
        }
        let had = self.holds(run);
        self.written = wanted;
        self.version += 1;
        (wants == Change::Take && !had).then_some(run)
    }

    fn check(&self, began: usize) {
        let beside: Vec<_> = self.runs.iter().enumerate().filter(|(n, r)| r.there && self.holds(*n)).collect();
        let alone = |run: &Run| run.guest.sharing == Exclusive;
        let same = |run: &Run| run.guest.of.is_some() && run.guest.of == beside[0].1.guest.of;
        let fine = beside.len() < 2 || beside.iter().all(|(_, r)| !alone(r)) || beside.iter().all(|(_, r)| same(r));
        assert!(fine, "an exclusive run is not alone, nor with its own shards: {beside:?}");
        let overtaken = (0..began).find(|n| {
            let run = &self.runs[*n];
            // Those that may be beside each other have their turn together.
            let together = run.guest.is_fine_beside(&self.runs[began].guest);
            run.there && !run.ended && run.began == 0 && !together
        });
        assert_eq!(overtaken, None, "run {began} came before it");
    }

    fn begin(&mut self, run: usize) {
        self.runs[run].began += 1;
        assert_eq!(self.runs[run].began, 1, "run {run} began twice");
        self.check(run);
    }

    fn end(&mut self, run: usize) {
        if self.runs[run].there && !self.runs[run].ended {
            self.runs[run].ended = true;
            self.log.push((run, false));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn each_has_its_turn_once_in_order_and_no_exclusive_one_beside_another(
        sharing in prop::collection::vec(0..3u8, 1..12),
        acts in prop::collection::vec((0..8u8, any::<prop::sample::Index>(), 0..2usize), 0..200),
    ) {
        let mut world = World::default();
        let mut to_come = sharing.iter().map(|s| match s {
            0 => (Shared, None),
            1 => (Exclusive, None),
            _ => (Exclusive, Some("u-p")),
        });
        let total = sharing.len();
        for (act, which, operator) in acts {
            let many = world.runs.len();
            match act {
                0 => if let Some(sharing) = to_come.next() { world.create(sharing); },
                1 if world.told[operator] < world.log.len() => world.told[operator] += 1,
                2 | 3 if many > 0 => world.read(operator, which.index(many)),
                4 | 5 if !world.passes.is_empty() => {
                    let pass = which.index(world.passes.len());
                    if let Some(run) = world.write(pass) { world.begin(run); }
                }
                // It ends, as a container does or because it was cancelled in line.
                6 if many > 0 => world.end(which.index(many)),
                // It is torn away, with all that was to be done for it.
                7 if many > 0 => {
                    let run = which.index(many);
                    world.end(run);
                    world.runs[run].there = false;
                }
                // An operator ends, and the next one begins with what is written.
                _ => { world.passes.retain(|(o, ..)| *o != operator); world.told[operator] = world.log.len(); }
            }
        }
        for sharing in to_come { world.create(sharing); }
        // From here on everybody sees everything, and whoever has a place ends: then all have had their turn.
        for _ in 0..2 * total {
            world.told = [world.log.len(); 2];
            world.passes.clear();
            for run in 0..total {
                world.read(0, run);
                if let Some(run) = world.write(0) { world.begin(run); }
            }
            let holding: Vec<usize> = (0..total).filter(|run| world.holds(*run)).collect();
            prop_assert!(!holding.is_empty() || world.waiting(0).is_empty(), "nobody goes on: {world:?}");
            for run in holding {
                world.end(run);
                world.read(0, run);
                let last = world.passes.len() - 1;
                world.write(last);
            }
        }
        for run in &world.runs {
            prop_assert!(run.ended && run.began <= 1, "{run:?}");
        }
    }
}
