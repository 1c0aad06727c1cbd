//! Words as a shell takes them.

/// The words as a line for a shell: one word is a line already, several are taken as they are.
pub fn line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

/// A word as a shell takes it as it is.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn words_reach_the_command_as_they_are() {
        let words = |w: &[&str]| line(&w.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(words(&["docker ps | wc -l"]), "docker ps | wc -l");
        assert_eq!(words(&["echo", "a b", "it's", "", "$HOME"]), r"echo 'a b' 'it'\''s' '' '$HOME'");
        // The shell's own view of it.
        let output = std::process::Command::new("sh")
            .args(["-c", &words(&["printf", "<%s>", "a b", "it's", "", "$HOME"])])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"<a b><it's><><$HOME>");
    }
}
