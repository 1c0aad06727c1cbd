//! Text that nobody vouches for, made fit for status and Events: what a container, an engine or a
//! cloud wrote reaches the terminal of whoever looks at the object.

/// One line of at most `most` characters: no control character, no escape sequence, no line's end.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    shortened(plain(text, false), most)
}

/// The same with its lines.
#[must_use]
pub fn lines(text: &str, most: usize) -> String {
    shortened(plain(text, true), most)
}

/// One line of at most `most` bytes.
#[must_use]
pub fn line_of_bytes(text: &str, most: usize) -> String {
    let text = plain(text, false);
    if text.len() <= most {
        return text;
    }
    let room = most.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &text[..end])
}

fn shortened(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Without escape sequences, control characters and those that turn the direction of writing.
fn plain(text: &str, keep_lines: bool) -> String {
    let mut plain = String::with_capacity(text.len().min(4096));
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\n' if keep_lines => plain.push('\n'),
            '\n' | '\t' => plain.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// What follows ESC (ECMA-48).
fn skip_sequence(rest: &mut Rest<'_>) {
    match rest.next_if(|c| ('\u{20}'..='\u{7e}').contains(c)) {
        Some('[') => skip_control_sequence(rest),
        // A string, such as a window's title: to BEL or ESC \, and no further than its line.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = rest.next_if(|c| *c != '\n') {
                if c == '\u{7}' || c == '\u{1b}' && rest.next_if_eq(&'\\').is_some() {
                    break;
                }
            }
        }
        Some('\u{20}'..='\u{2f}') => {
            rest.next_if(|c| ('\u{30}'..='\u{7e}').contains(c));
        }
        _ => {}
    }
}

/// Parameters, and the character that ends them.
fn skip_control_sequence(rest: &mut Rest<'_>) {
    while rest.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
    rest.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_left_out() {
        let cases = [
            ("plain", "plain"),
            ("a\u{1b}[31mred\u{1b}[0m b", "ared b"),
            ("a\u{9b}31mred", "ared"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://e\u{1b}\\link", "link"),
            ("\u{1b}(Bx\u{1b}cy", "xy"),
            ("a\tb\r\nc", "a b c"),
            ("cut \u{1b}[", "cut "),
            ("\u{202e}gpj.exe", "gpj.exe"),
            ("bell\u{7}\u{8}", "bell"),
            ("Grüße", "Grüße"),
        ];
        for (text, plain) in cases {
            assert_eq!(line(text, 100), plain, "{text:?}");
        }
        assert_eq!(lines("a\r\n\u{1b}[1mb", 100), "a\nb");
        assert_eq!(lines("\u{1b}]0;no end\nnext", 100), "\nnext");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(line("four", 4), "four");
        assert_eq!(line("Grüße!", 5), "Grüß…");
        assert_eq!(line_of_bytes(&"é".repeat(600), 1024).len(), 1023);
        assert_eq!(line_of_bytes("four", 4), "four");
    }

    proptest! {
        #[test]
        fn no_text_is_too_long_or_steers_anything(text in "(?s).{0,60}", most in 3..50usize) {
            for made in [line(&text, most), lines(&text, most), line_of_bytes(&text, most)] {
                prop_assert!(made.chars().count() <= most);
                prop_assert!(made.chars().all(|c| !c.is_control() || c == '\n'));
            }
            prop_assert!(line_of_bytes(&text, most).len() <= most);
            prop_assert!(!line(&text, most).contains('\n'));
        }
    }
}
