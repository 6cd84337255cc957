//! `ndots check`.

use std::path::PathBuf;

use clap::Args;

use super::ReportFormat;

#[derive(Args, Debug)]
pub struct Check {
    /// Corefiles, or YAML with ConfigMaps that hold one; `-` is standard input
    #[arg(required_unless_present = "cluster", conflicts_with = "cluster", value_name = "FILE")]
    pub files: Vec<String>,
    /// Check the DNS server of a cluster before its image is replaced
    #[arg(long)]
    pub cluster: bool,
    /// The format of the report
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "text")]
    pub output: ReportFormat,
    /// The kubeconfig of the cluster [default: the Pod's service account, $KUBECONFIG,
    /// ~/.kube/config]
    #[arg(long, value_name = "FILE", requires = "cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub context: Option<String>,
}
