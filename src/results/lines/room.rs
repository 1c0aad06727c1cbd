//! What tests are called and say until they end. A file decides how many of them are under way at once, and not what is
//! held of them: names and words of all together have so much room.

use std::collections::HashMap;

use crate::results::{case::MESSAGE, text::Ends};

/// How many bytes all of them hold at most, and from how many on words are not held any more: there is always room for
/// names.
const MOST: usize = 12 << 20;
const WORDS: usize = 6 << 20;
/// What one costs beside its name and words: its place in a table, which is not full.
const EACH: usize = 320;

/// Tests that are under way, by name.
pub(super) type Tests = HashMap<String, Ends>;

/// How much is held.
#[derive(Default)]
pub(super) struct Room {
    held: usize,
}

impl Room {
    /// Takes in a name that is held from now on. False where there is no room for it.
    pub(super) fn take(&mut self, name: &str) -> bool {
        let has_room = self.held + EACH + name.len() <= MOST;
        self.held += if has_room { EACH + name.len() } else { 0 };
        has_room
    }

    /// A test begins. False where there is no room for it.
    pub(super) fn begin(&mut self, tests: &mut Tests, name: &str) -> bool {
        self.end(tests, name);
        let has_room = self.take(name);
        if has_room {
            tests.insert(name.to_owned(), Ends::new(MESSAGE));
        }
        has_room
    }

    /// It says something, which is counted where there is no room for it.
    pub(super) fn say(&mut self, said: &mut Ends, text: &str) {
        if self.held > WORDS {
            return said.leave_out(text);
        }
        let before = said.held();
        said.push(text);
        self.held += said.held().saturating_sub(before);
    }

    /// A test ends: what it said.
    pub(super) fn end(&mut self, tests: &mut Tests, name: &str) -> Option<Ends> {
        let said = tests.remove(name)?;
        self.give(name, &said);
        Some(said)
    }

    /// All of them end, in the order of their names.
    pub(super) fn drain(&mut self, tests: &mut Tests) -> Vec<(String, Ends)> {
        let mut all: Vec<_> = std::mem::take(tests).into_iter().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.iter().for_each(|(name, said)| self.give(name, said));
        all
    }

    /// What was said is held no more.
    pub(super) fn forget(&mut self, said: &Ends) {
        self.held = self.held.saturating_sub(said.held());
    }

    fn give(&mut self, name: &str, said: &Ends) {
        self.forget(said);
        self.held = self.held.saturating_sub(EACH + name.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_is_given_back() {
        let (mut room, mut tests) = (Room::default(), Tests::new());
        let names: Vec<String> = (0..40_000).map(|n| format!("test {n} {}", "x".repeat(100))).collect();
        let begun = names.iter().filter(|name| room.begin(&mut tests, name)).count();
        assert!((20_000..40_000).contains(&begun) && room.held <= MOST, "{begun} {}", room.held);
        room.drain(&mut tests);
        assert_eq!(room.held, 0);
        for name in &names[..2000] {
            assert!(room.begin(&mut tests, name));
            let said = tests.get_mut(name).unwrap();
            room.say(said, &"a line\n".repeat(1000));
            room.say(said, &"a line\n".repeat(1000));
        }
        assert!(room.held < WORDS + (3 << 20), "{}", room.held);
        let last = room.end(&mut tests, &names[1999]).unwrap().finish();
        assert!(last.contains("14000 bytes are left out here"), "{last}");
        room.drain(&mut tests);
        assert_eq!(room.held, 0);
    }
}
