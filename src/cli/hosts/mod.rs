//! The hosts of a cluster as a person names them, and the way there: through [`jump`] hosts, as their [`ssh_config`]
//! knows them.

mod detour;
mod jump;
pub mod nodes;
mod reach;
mod remedy;
mod route;
mod ssh_command;
mod ssh_config;

#[cfg(test)]
pub use self::detour::Detour;
pub use self::{
    jump::HostArgs,
    reach::Reach,
    remedy::{REACHABLE, THROUGH},
    ssh_config::SshConfigs,
};
