//! Text that others wrote, on its way to a terminal, to status and to Events: nothing in it steers anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit_fuzz::{
    api::text,
    cli::terminal::escape::{Escaper, mark},
    pieces::Pieces,
};

fuzz_target!(|bytes: &[u8]| {
    let mut escaper = Escaper::default();
    let shown: Vec<u8> = Pieces::of(bytes).flat_map(|piece| escaper.escape(piece)).collect();
    let mut shown = String::from_utf8_lossy(&shown).into_owned();
    // Our own styles, and none but these.
    for code in ["0", "1", "2", "32", "33", "31"] {
        assert!(mark(code).is_some());
        shown = shown.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert!(!shown.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{shown:?}");

    let plain = String::from_utf8_lossy(bytes);
    for most in [3, 40, 1024] {
        let (line, lines, short) =
            (text::line(&plain, most), text::lines(&plain, most), text::line_of_bytes(&plain, most));
        assert!(line.chars().count() <= most && lines.chars().count() <= most && short.len() <= most);
        let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!line.contains(steers) && !short.contains(steers), "{line:?}");
        assert!(!lines.contains(|c| steers(c) && c != '\n'), "{lines:?}");
    }
});
