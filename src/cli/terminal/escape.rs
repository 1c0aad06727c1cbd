//! What others wrote is shown on a terminal, and does nothing there: control characters become visible.
//!
//! Our own styles travel as marks that no text has (Unicode's noncharacters), and become escape sequences here,
//! where everything else is made harmless. So there is no way around it.

/// The first of the marks: U+FDD0 to U+FDEF mean nothing to anybody (Unicode, 23.7). In UTF-8: EF B7 90.
const MARKS: [u8; 2] = [0xEF, 0xB7];
/// What the marks stand for, in their order: SGR codes.
const CODES: [&str; 6] = ["0", "1", "2", "32", "33", "31"];

/// The mark that ends a style.
pub const PLAIN: char = '\u{FDD0}';

/// The mark that begins a style, by its SGR code.
pub fn mark(code: &str) -> Option<char> {
    let at = CODES.iter().position(|c| *c == code)?;
    char::from_u32(0xFDD0 + u32::try_from(at).ok()?)
}

/// Makes a stream of bytes harmless; characters may be cut in two between pieces.
#[derive(Debug, Default)]
pub struct Escaper {
    /// How many bytes of a character are still to come.
    rest: u8,
    /// It may be one of the C1 controls, which terminals take for escape sequences: U+0080 to U+009F.
    maybe_c1: bool,
}

impl Escaper {
    /// The piece as a terminal may have it.
    pub fn escape(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len());
        let mut at = 0;
        while at < piece.len() {
            let here = &piece[at..];
            at += match here {
                [a, b, code, ..] if self.rest == 0 && [*a, *b] == MARKS && style(*code).is_some() => {
                    out.extend_from_slice(format!("\x1b[{}m", style(*code).unwrap_or("0")).as_bytes());
                    3
                }
                [b'\r', b'\n', ..] => {
                    out.push(b'\n');
                    2
                }
                _ => {
                    self.byte(here[0], &mut out);
                    1
                }
            };
        }
        out
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.rest > 0 && (0x80..=0xBF).contains(&byte) {
            self.rest -= 1;
            // The first half is out already: with this one it is U+00BF, an upside-down question mark.
            out.push(if std::mem::take(&mut self.maybe_c1) && byte <= 0x9F { 0xBF } else { byte });
            return;
        }
        (self.rest, self.maybe_c1) = match byte {
            0xC2 => (1, true),
            0xC3..=0xDF => (1, false),
            0xE0..=0xEF => (2, false),
            0xF0..=0xF4 => (3, false),
            _ => (0, false),
        };
        match byte {
            b'\n' | b'\t' | b' '..=b'~' | 0xC2..=0xF4 => out.push(byte),
            0..b' ' | 0x7F => out.extend([b'^', byte ^ 0x40]),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
}

fn style(code: u8) -> Option<&'static str> {
    CODES.get(usize::from(code.checked_sub(0x90)?)).copied()
}

/// A text as a terminal may have it.
pub fn text(text: &str) -> String {
    String::from_utf8_lossy(&Escaper::default().escape(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_a_terminal_is_shown_and_text_stays() {
        for (wrote, shown) in [
            ("plain, ümläut, 漢字, 🦀\n\ttab", "plain, ümläut, 漢字, 🦀\n\ttab"),
            ("\x1b[31mred\x1b]0;title\x07", "^[[31mred^[]0;title^G"),
            ("line\r\nover\rwritten\x08\x7f", "line\nover^Mwritten^H^?"),
            ("\u{9b}31m and \u{85}", "\u{bf}31m and \u{bf}"),
            ("’ has 0x80 in it", "’ has 0x80 in it"),
        ] {
            assert_eq!(text(wrote), shown);
        }
        let latin = Escaper::default().escape(b"\x9b31m \xff");
        assert_eq!(latin, b"\\x9b31m \\xff");
    }

    #[test]
    fn our_own_styles_are_styles() {
        let painted = format!("{}error:{PLAIN} x", mark("31").unwrap());
        assert_eq!(text(&painted), "\x1b[31merror:\x1b[0m x");
        assert_eq!(mark("7"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_in_any_pieces_reach_a_terminal(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x1b_u8), Just(0xC2), Just(0x9b)], 0..80), cuts in prop::collection::vec(0..80_usize, 0..6)) {
            let (mut escaper, mut out, mut at) = (Escaper::default(), Vec::new(), 0);
            let mut cuts = cuts;
            cuts.sort_unstable();
            for end in cuts.into_iter().chain([bytes.len()]) {
                let end = end.clamp(at, bytes.len());
                out.extend(escaper.escape(&bytes[at..end]));
                at = end;
            }
            let styles = CODES.map(|code| format!("\x1b[{code}m"));
            let mut shown = String::from_utf8_lossy(&out).into_owned();
            for style in &styles {
                shown = shown.replace(style, "");
            }
            prop_assert!(shown.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{shown:?}");
        }
    }
}
