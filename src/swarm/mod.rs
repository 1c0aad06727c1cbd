//! Docker Engine and Swarm, spoken to over a host's Docker socket.
//!
//! What the controllers ask of an engine: look, init, join, label, promote, demote, drain,
//! remove; images and containers for the runs. No type of the Docker client leaves this room.
