//! Text from outside made harmless and small: no escape sequence, nothing that XML cannot
//! hold, and no more of it than its place has room for.

use std::borrow::Cow;

use quick_xml::escape::resolve_predefined_entity;

/// An escape sequence that is longer than this is none.
const SEQUENCE: u16 = 256;

/// Takes escape sequences and what XML cannot hold out of a text that comes in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Cleaner {
    state: State,
    length: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Plain,
    /// After a carriage return, which is a line's end unless one follows.
    Return,
    /// After ESC.
    Escape,
    /// In a control sequence: until its final byte.
    Sequence,
    /// In a string for the terminal (its title, a link): until BEL, or ESC and a backslash.
    Words,
}

impl Cleaner {
    /// The next piece of the text, cleaned.
    pub(super) fn clean<'a>(&mut self, piece: &'a str) -> Cow<'a, str> {
        if self.state == State::Plain && piece.bytes().all(plain) {
            return Cow::Borrowed(piece);
        }
        let mut clean = String::with_capacity(piece.len());
        for c in piece.chars() {
            self.next(c, &mut clean);
        }
        Cow::Owned(clean)
    }

    fn next(&mut self, c: char, clean: &mut String) {
        self.length = self.length.saturating_add(1);
        // A sequence that is never ended must not hide what comes after its line.
        let over = self.length > SEQUENCE || c == '\n';
        self.state = match self.state {
            State::Return => {
                clean.push('\n');
                if c != '\n' {
                    self.state = State::Plain;
                    return self.next(c, clean);
                }
                State::Plain
            }
            State::Escape if c == '[' => State::Sequence,
            State::Escape if matches!(c, ']' | 'P' | 'X' | '^' | '_') => State::Words,
            // Two bytes, such as the one that chooses a character set, may be followed by a third.
            State::Escape if matches!(c, ' '..='/') && !over => State::Escape,
            State::Escape if !over && c.is_ascii_graphic() => State::Plain,
            State::Sequence if !over && matches!(c, ' '..='?') => State::Sequence,
            State::Sequence if !over && matches!(c, '@'..='~') => State::Plain,
            State::Words if !over && c == '\u{1b}' => State::Escape,
            State::Words if !over && c != '\u{7}' && c != '\u{9c}' => State::Words,
            State::Words if !over => State::Plain,
            State::Plain | State::Escape | State::Sequence | State::Words => self.plain(c, clean),
        };
    }

    fn plain(&mut self, c: char, clean: &mut String) -> State {
        self.length = 0;
        match c {
            '\u{1b}' => return State::Escape,
            '\u{9b}' => return State::Sequence,
            '\r' => return State::Return,
            '\n' | '\t' => clean.push(c),
            _ if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => clean.push(char::REPLACEMENT_CHARACTER),
            _ => clean.push(c),
        }
        State::Plain
    }
}

/// Certainly nothing to take out: C1 and the two that are no characters begin with 0xc2 and 0xef.
const fn plain(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\t' | b' '..=b'~' | 0x80..=0xc1 | 0xc3..=0xee | 0xf0..)
}

/// A whole text, cleaned.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let mut cleaner = Cleaner::default();
    let clean = cleaner.clean(text);
    if cleaner.state == State::Return { Cow::Owned(clean.into_owned() + "\n") } else { clean }
}

/// A name: cleaned, in one line, of at most `most` bytes.
pub(super) fn name(text: &str, most: usize) -> String {
    let clean = clean(text);
    let line = if clean.contains(['\n', '\t']) { Cow::Owned(clean.replace(['\n', '\t'], " ")) } else { clean };
    bounded(line.trim(), most).to_owned()
}

/// The beginning of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    text: String,
    most: usize,
    cleaner: Cleaner,
}

impl Head {
    /// Holds at most so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Appends.
    pub(super) fn push(&mut self, piece: &str) {
        if self.text.len() < self.most {
            push_bounded(&mut self.text, &self.cleaner.clean(piece), self.most);
        }
    }

    /// The text, and lets go of it.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// Both ends of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    head: String,
    tail: String,
    half: usize,
    left_out: usize,
    cleaner: Cleaner,
}

impl Ends {
    /// Holds at most so many bytes, half of them the last ones.
    pub(super) fn new(most: usize) -> Self {
        Self { half: most / 2, ..Self::default() }
    }

    /// Appends.
    pub(super) fn push(&mut self, piece: &str) {
        let piece = self.cleaner.clean(piece);
        let mut rest = &*piece;
        if self.tail.is_empty() {
            let first = bounded(rest, self.half.saturating_sub(self.head.len()));
            self.head.push_str(first);
            rest = &rest[first.len()..];
        }
        if rest.len() > self.half {
            // Of a long piece only the end can stay.
            let over = rest.len() - self.half;
            let at = (over..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
            self.left_out += self.tail.len() + at;
            self.tail.clear();
            rest = &rest[at..];
        }
        // A small piece is moved only once for each half that comes after it.
        self.tail.push_str(rest);
        if self.tail.len() > 2 * self.half {
            self.cut();
        }
    }

    /// Counts what comes next, and does not hold it.
    pub(super) fn leave_out(&mut self, piece: &str) {
        self.left_out += self.tail.len() + piece.len();
        self.tail.clear();
    }

    /// How many bytes it holds.
    pub(super) fn held(&self) -> usize {
        self.head.capacity() + self.tail.capacity()
    }

    fn cut(&mut self) {
        let over = self.tail.len().saturating_sub(self.half);
        let at = (over..=self.tail.len()).find(|at| self.tail.is_char_boundary(*at)).unwrap_or(0);
        self.left_out += at;
        self.tail.drain(..at);
    }

    /// The text, with a line on what is left out.
    pub(super) fn finish(mut self) -> String {
        if self.tail.len() > self.half {
            self.cut();
        }
        if self.left_out > 0 {
            self.head.push_str(&format!("\n[testkit: {} bytes are left out here]\n", self.left_out));
        }
        self.head.push_str(&self.tail);
        self.head
    }
}

/// Appends as much as there is room for.
pub(super) fn push_bounded(to: &mut String, more: &str, most: usize) {
    to.push_str(bounded(more, most.saturating_sub(to.len())));
}

/// At most `most` bytes of a text, whole characters.
pub(super) fn bounded(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// A text with its references resolved. One that stands for nothing stays as it is written, and is told of.
pub(super) fn unescape<'a>(text: &'a str, unknown: &mut Option<String>) -> Cow<'a, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut all = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        all.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest.get(1..).and_then(|after| {
            let end = after.bytes().take(64).position(|b| b == b';')?;
            Some(&after[..end])
        });
        let Some(reference) = reference else {
            unknown.get_or_insert_with(|| "&".to_owned());
            all.push('&');
            rest = &rest[1..];
            continue;
        };
        match character(reference) {
            Some(known) => all.push_str(&known),
            None => {
                unknown.get_or_insert_with(|| format!("&{reference};"));
                all.push_str(&rest[..reference.len() + 2]);
            }
        }
        rest = &rest[reference.len() + 2..];
    }
    all.push_str(rest);
    Cow::Owned(all)
}

/// What a reference stands for. A number that is no character's gives the replacement character.
fn character(reference: &str) -> Option<Cow<'static, str>> {
    let Some(number) = reference.strip_prefix('#') else {
        return resolve_predefined_entity(reference).map(Cow::Borrowed);
    };
    let value = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    let c = value.ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    Some(Cow::Owned(c.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_go_and_the_words_stay() {
        let cases = [
            ("plain ü", "plain ü"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;owned\u{7}\u{1b}[2Jred", "red"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{9b}31mred", "red"),
            ("\u{1b}(Bset", "set"),
            ("\u{1b}]never ended\nFAIL", "\nFAIL"),
            ("a\r\nb\rc\n", "a\nb\nc\n"),
            ("nul \0 del \u{7f} c1 \u{85} end \u{ffff}", "nul \u{fffd} del \u{fffd} c1 \u{fffd} end \u{fffd}"),
        ];
        for (raw, expected) in cases {
            assert_eq!(clean(raw), expected, "{raw:?}");
            let mut cleaner = Cleaner::default();
            let pieces: String = raw.chars().map(|c| cleaner.clean(&c.to_string()).into_owned()).collect();
            assert_eq!(pieces, expected, "{raw:?} in pieces");
        }
    }

    #[test]
    fn of_a_long_text_both_ends_are_held() {
        let mut ends = Ends::new(20);
        for n in 0..1000 {
            ends.push(&format!("{n} "));
            assert!(ends.head.len() + ends.tail.len() <= 34);
        }
        let text = ends.finish();
        assert!(text.starts_with("0 1 2 3 4 ") && text.ends_with("7 998 999 "), "{text}");
        assert!(text.contains("bytes are left out here"), "{text}");
    }

    #[test]
    fn a_long_piece_is_held_as_short_as_many_short_ones() {
        let whole: String = (0..20_000).map(|n| format!("{n} ü ")).collect();
        for size in [3, 70, 20_000, whole.len()] {
            let (mut ends, mut rest) = (Ends::new(100), whole.as_str());
            while !rest.is_empty() {
                let piece = bounded(rest, size);
                ends.push(piece);
                rest = &rest[piece.len()..];
            }
            assert!(ends.held() < 1000, "{size}: {}", ends.held());
            let text = ends.finish();
            assert!(text.starts_with("0 ü 1 ü") && text.ends_with("19998 ü 19999 ü "), "{size}: {text}");
            let said = text.split("[testkit: ").nth(1).unwrap().split(' ').next().unwrap();
            let kept = text.len() - "\n[testkit:  bytes are left out here]\n".len() - said.len();
            assert_eq!(said.parse::<usize>().unwrap() + kept, whole.len(), "{size}: {text}");
        }
    }

    #[test]
    fn references_are_resolved_and_unknown_ones_are_told_of() {
        let cases = [
            ("a &lt;&#65;&#x42;", "a <AB", None),
            ("&who; &amp;", "&who; &", Some("&who;")),
            ("R&D", "R&D", Some("&")),
            ("&#xD800;&#0;", "\u{fffd}\0", None),
        ];
        for (raw, expected, wanted) in cases {
            let mut unknown = None;
            assert_eq!(unescape(raw, &mut unknown), expected);
            assert_eq!(unknown.as_deref(), wanted, "{raw}");
        }
    }
}
