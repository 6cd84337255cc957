//! The flags that say which objects a command reads.

use std::path::PathBuf;

use clap::Args;

/// The objects of a cluster, or of manifests.
#[derive(Args, Debug)]
pub struct SourceFlags {
    /// Read the manifests in this directory or file instead of a cluster. For `explain` it may be
    /// repeated, and `-` is standard input
    #[arg(long, short = 'f', visible_alias = "filename", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub manifests: Vec<PathBuf>,
    /// The kubeconfig of the cluster [default: the Pod's service account, $KUBECONFIG,
    /// ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}
