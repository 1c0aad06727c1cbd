//! The hosts of a cluster as a person names them, and the way there.

pub mod nodes;
mod reach;

pub use reach::Reach;
