//! What a case is told by.

/// The names of a case, as its JUnit has them and as it is listed.
#[derive(Clone, Copy, Debug)]
pub struct CaseNames<'a> {
    /// Its suite.
    pub suite: &'a str,
    /// Its class.
    pub class: &'a str,
    /// Its own name, without that of its class.
    pub own: &'a str,
    /// As it is listed.
    pub listed: &'a str,
}
