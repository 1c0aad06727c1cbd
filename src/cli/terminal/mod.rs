//! The terminal: the one place that writes to it, and how text looks there.
//!
//! Each of these uses those before it and none after: [`escape`], [`style`], [`words`], [`printer`], then [`progress`]
//! and [`table`]. [`person`] is the terminal somebody types at.

pub mod escape;
pub mod person;
mod printer;
mod progress;
mod style;
mod table;
mod words;

pub use printer::{Printer, Structured, Verbosity};
pub use progress::Task;
pub use style::Style;
pub use table::{Cell, Table};
pub use words::{age, counted, seconds, size};
