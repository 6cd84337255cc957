//! `ndots diff`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::SourceFlags;
use crate::{corefile, limits};

#[derive(Args, Debug)]
pub struct Diff {
    /// The server that runs now: the cluster IP of kube-dns. If NodeLocal DNSCache runs, use the
    /// address of a DNS Pod instead; otherwise the cache answers
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub against: DnsAddress,
    /// Ask these questions: NAME, NAME TYPE, or lines of CoreDNS's log; `-` is standard input
    /// [default: every name of the cluster]
    #[arg(long, value_name = "FILE")]
    pub names: Option<String>,
    /// Ask about every name of the cluster, and about names that do not exist (the default)
    #[arg(long, conflicts_with = "names")]
    pub from_cluster: bool,
    /// Repeat the questions for this time, such as 10m [default: ask once]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Send each server at most this many queries a second; 0 means without a limit
    #[arg(long, value_name = "QUERIES", default_value_t = limits::DIFF_RATE)]
    pub rate: u32,
    /// Compare with an ndots that runs at this address, instead of one that this command starts
    #[arg(long, value_name = "ADDR[:PORT]", conflicts_with_all = ["manifests", "kubeconfig", "context"])]
    pub with: Option<DnsAddress>,
    /// The cluster's zone [default: that of the cluster's Corefile, or cluster.local]
    #[arg(long, value_name = "ZONE", value_parser = super::zone)]
    pub zone: Option<String>,
    /// The format of the report
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "text")]
    pub output: ReportFormat,
    #[command(flatten)]
    pub source: SourceFlags,
}

/// The format of the report of `ndots diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
}

/// The address of a DNS server; the port is 53 unless another one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsAddress(pub SocketAddr);

impl FromStr for DnsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('@').unwrap_or(text);
        let with_port = bare.parse().ok();
        with_port
            .or_else(|| Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, 53)))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not ADDR or ADDR:PORT"))
    }
}

impl fmt::Display for DnsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    corefile::duration(text)
}
