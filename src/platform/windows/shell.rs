//! What a person's shell is given to evaluate: PowerShell.

/// Sets a variable for the programs that the shell starts, whatever is in its value.
#[must_use]
pub fn set(name: &str, value: &str) -> String {
    format!("$Env:{name} = '{}'", value.replace('\'', "''"))
}

/// Takes variables back.
#[must_use]
pub fn unset(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("Env:{name}")).collect();
    format!("Remove-Item {} -ErrorAction SilentlyContinue", names.join(", "))
}
