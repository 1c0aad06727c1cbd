//! What a person's shell is given to evaluate.

/// Sets a variable for the programs that the shell starts, whatever is in its value.
#[must_use]
pub fn set(name: &str, value: &str) -> String {
    format!("export {name}='{}'", value.replace('\'', r"'\''"))
}

/// Takes variables back.
#[must_use]
pub fn unset(names: &[&str]) -> String {
    format!("unset {}", names.join(" "))
}
