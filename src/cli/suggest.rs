//! Which of the names that exist a person may have meant.

use crate::cli::failure::Failure;

/// How many names a message lists at most.
const MOST: usize = 8;

/// Adds to a failure the name that was probably meant, or those there are.
#[must_use]
pub fn among(failure: Failure, wrong: &str, kind: &str, known: Option<&[String]>) -> Failure {
    let Some(known) = known else { return failure };
    let closest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match (closest, known) {
        (Some((_, name)), _) => failure.help(format!("did you mean {name:?}?")),
        (None, []) => failure.help(format!("there is no {kind} at all")),
        (None, known) => {
            let shown: Vec<&str> = known.iter().take(MOST).map(String::as_str).collect();
            let more = if known.len() > MOST { format!(" and {} more", known.len() - MOST) } else { String::new() };
            failure.help(format!("there is {}{more}", shown.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(wrong: &str, known: &[&str]) -> String {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        among(Failure::new("x"), wrong, "cluster", Some(&known)).remedies().join("|")
    }

    #[test]
    fn a_typo_is_answered_with_the_name_meant() {
        assert_eq!(help("nigthly", &["nightly", "foo"]), "did you mean \"nightly\"?");
    }

    #[test]
    fn something_else_is_answered_with_what_there_is() {
        assert_eq!(help("zzz", &["nightly", "foo"]), "there is nightly, foo");
        assert_eq!(help("zzz", &[]), "there is no cluster at all");
        assert!(help("zzz", &["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b1"]).ends_with("and 2 more"));
    }
}
