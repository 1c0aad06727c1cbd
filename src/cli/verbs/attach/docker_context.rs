//! A docker context for as long as an attach lasts.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::cli::failure::Failure;

/// A docker context that is there as long as this value.
pub struct DockerContext {
    /// Its name.
    pub name: String,
}

impl DockerContext {
    /// Makes it, or takes over one that a killed attach left.
    pub fn make(name: &str, cluster: &str, full_name: &str, socket: &Path) -> Result<Self, Failure> {
        let name = if name.is_empty() { format!("testkit-{cluster}") } else { name.to_owned() };
        let host = format!("host=unix://{}", socket.display());
        let description = format!("kubectl testkit attach: {full_name}");
        let docker = |verb: &str| {
            let words = ["context", verb, &name, "--description", &description, "--docker", &host];
            Command::new("docker").args(words).stdin(Stdio::null()).output()
        };
        let failed = |why: String| {
            Failure::new(format!("docker context {name:?} was not made: {why}"))
                .help("without it: leave out --docker-context and use DOCKER_HOST")
        };
        let mut output = docker("create").map_err(|e| failed(format!("docker cannot be run: {e}")))?;
        // One that an attach left that was killed.
        if !output.status.success() && Self::is_ours(&name) {
            output = docker("update").map_err(|e| failed(format!("docker cannot be run: {e}")))?;
        }
        match output.status.success() {
            true => Ok(Self { name }),
            false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    fn is_ours(name: &str) -> bool {
        let inspect = Command::new("docker").args(["context", "inspect", name]).stdin(Stdio::null()).output();
        inspect.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("kubectl testkit attach"))
    }
}

impl Drop for DockerContext {
    fn drop(&mut self) {
        let words = ["context", "rm", "--force", &self.name];
        let _ = Command::new("docker")
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
