//! Windows.

pub mod files;
pub mod local;
pub mod network;
pub mod process;
pub mod shell;
pub mod signals;
pub mod terminal;
