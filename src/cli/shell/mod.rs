//! What a person's shell asks, and what it is told.

mod answer;
pub mod complete;
mod quote;

pub use answer::{PROGRAM, VARIABLE, answer};
pub use quote::{line, quoted};
