//! What a piece of text means, and what that looks like.

use super::escape;

/// What a piece of text means; the printer knows what that looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// Beside the point.
    Dim,
    /// As it should be.
    Good,
    /// Not there yet, or worth a look.
    Attention,
    /// Wrong.
    Bad,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Attention => "33",
            Self::Bad => "31",
        }
    }

    /// The text in this style, where there is colour.
    pub(super) fn paint(self, text: &str, colour: bool) -> String {
        match escape::mark(self.code()).filter(|_| colour && self != Self::Plain) {
            Some(mark) => format!("{mark}{text}{}", escape::PLAIN),
            None => text.to_owned(),
        }
    }
}
