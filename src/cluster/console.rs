//! What is told of a host's console: its last lines, made fit for a person's terminal.

use anstream::adapter::strip_str;

/// How many lines at most, and how long each and all of them may be, in characters.
const LINES: usize = 5;
const LINE: usize = 160;
const ALL: usize = 480;

/// The last lines of a console as the end of a sentence. Nothing of it can control a terminal.
pub fn told(console: &str) -> String {
    let clean = |line: &str| {
        let text: String = line.chars().filter(|c| !c.is_control()).take(LINE).collect();
        text.trim().to_owned()
    };
    // A line is what stands after the last carriage return: progress bars write over themselves.
    let text = strip_str(console).to_string();
    let seen = text.lines().rev().map(|l| l.trim_end_matches('\r')).map(|l| l.rsplit('\r').next().unwrap_or(l));
    let mut left = ALL;
    let mut lines: Vec<String> = Vec::new();
    for line in seen.map(clean).filter(|l| !l.is_empty()).take(LINES) {
        let length = line.chars().count();
        if length > left {
            break;
        }
        left -= length;
        lines.push(line);
    }
    if lines.is_empty() {
        return "its console says nothing".to_owned();
    }
    lines.reverse();
    format!("its console ends with: {}", lines.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn the_last_lines_are_told_in_their_order() {
        let console = (1..=9).map(|n| format!("line {n}\r\n\r\n")).collect::<String>();
        assert_eq!(told(&console), "its console ends with: line 5 | line 6 | line 7 | line 8 | line 9");
        for nothing in ["", "\n\r\n \n", "\u{1b}[0m\n"] {
            assert_eq!(told(nothing), "its console says nothing", "{nothing:?}");
        }
    }

    #[test]
    fn nothing_controls_a_terminal() {
        let evil =
            "\u{1b}]0;title\u{7}\u{1b}[31mred\u{1b}[0m\u{8}\u{8} 10%\r 99%\r100% done\n\u{1b}[2Jcleared\u{9b}0m\n";
        let told = told(evil);
        assert!(told.chars().all(|c| !c.is_control()), "{told:?}");
        assert_eq!(told, "its console ends with: 100% done | cleared0m");
    }

    #[test]
    fn it_is_short_whatever_was_written() {
        let long = format!("{}\n", "é".repeat(100_000)).repeat(9);
        assert!(told(&long).chars().count() < 600);
        assert!(told(&long).starts_with("its console ends with: éé"));
    }
}
