//! Three values, not two: what was not heard is unknown, and no decision takes that for "no".

/// What is known of a thing that may or may not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// It is, and so.
    Yes(T),
    /// It certainly is not.
    No,
    /// Nobody who could tell was heard.
    #[default]
    Unknown,
}

impl<T> Known<T> {
    /// The thing, where it certainly is.
    pub fn yes(self) -> Option<T> {
        match self {
            Self::Yes(thing) => Some(thing),
            Self::No | Self::Unknown => None,
        }
    }

    /// Whether it certainly is.
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Yes(_))
    }

    /// Whether it certainly is not.
    pub const fn is_no(&self) -> bool {
        matches!(self, Self::No)
    }
}
