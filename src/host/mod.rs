//! Hosts: machines we reach over SSH.
//!
//! A [`Host`] is one multiplexed SSH connection with a pinned host key: commands and streams
//! to unix sockets. [`Hosts`] keeps one control connection to each host that is wanted: one
//! attempt at a time with back-off, rotation of the host key that user-data gave away, a wait
//! for the engine, and a wake-up for whoever asked at every change. No type of the SSH library
//! leaves this room, and nothing here knows of Docker's API.
