//! What says which API server is asked, and as whom.

use std::path::PathBuf;

/// kubectl's own options.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kubernetes options")]
pub struct ConnectionArgs {
    /// The namespace to work in [default: the context's]
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig to use [default: the current one]
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// The kubeconfig file to use [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
}
