//! `ndots top`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::Args;

#[derive(Args, Debug)]
pub struct Top {
    /// The addresses where the plugin `prometheus` of servers listens; the port is 9153 unless
    /// another one is given [default: all DNS Pods of the cluster, through the API server]
    #[arg(value_name = "ADDR[:PORT]")]
    pub servers: Vec<MetricsAddress>,
    /// Read the servers this often
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    pub interval: Duration,
    /// Print one summary of one interval and exit; this is the default if standard input or output
    /// is not a terminal
    #[arg(long)]
    pub once: bool,
    /// The namespace of the DNS Pods
    #[arg(
        long,
        short = 'n',
        value_name = "NS",
        default_value = "kube-system",
        conflicts_with = "servers"
    )]
    pub namespace: String,
    /// The labels of the DNS Pods
    #[arg(
        long,
        short = 'l',
        value_name = "LABELS",
        default_value = "k8s-app=kube-dns",
        conflicts_with = "servers"
    )]
    pub selector: String,
    /// The port of the plugin `prometheus` in the DNS Pods
    #[arg(long, value_name = "PORT", default_value_t = METRICS_PORT, conflicts_with = "servers")]
    pub port: u16,
    /// The kubeconfig of the cluster [default: the Pod's service account, $KUBECONFIG,
    /// ~/.kube/config]
    #[arg(long, value_name = "FILE", conflicts_with = "servers")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", conflicts_with = "servers")]
    pub context: Option<String>,
}

/// The port of `prometheus :9153`, as in kubeadm's Corefile.
const METRICS_PORT: u16 = 9153;

/// Where a server has its page `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAddress(pub SocketAddr);

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix("/metrics").unwrap_or(text).trim_end_matches('/');
        let address = match text.strip_prefix("localhost") {
            Some(port) if port.is_empty() || port.starts_with(':') => format!("127.0.0.1{port}"),
            _ => text.to_owned(),
        };
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let with_default = || Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, METRICS_PORT));
        let read = address.parse().ok().or_else(with_default);
        read.filter(|address| address.port() > 0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not ADDR or ADDR:PORT"))
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = crate::corefile::duration(text)?;
    let allowed = crate::limits::TOP_INTERVALS;
    if allowed.contains(&time) {
        Ok(time)
    } else {
        let [first, last] =
            [allowed.start(), allowed.end()].map(|it| crate::corefile::go_duration(*it));
        Err(format!("it must be from {first} to {last}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_with_or_without_a_port() {
        let read = |text: &str| text.parse::<MetricsAddress>().map(|it| it.0.to_string());
        for (text, expected) in [
            ("10.0.0.2", "10.0.0.2:9153"),
            ("10.0.0.2:80", "10.0.0.2:80"),
            ("fd00::2", "[fd00::2]:9153"),
            ("[fd00::2]", "[fd00::2]:9153"),
            ("[fd00::2]:80", "[fd00::2]:80"),
            ("localhost", "127.0.0.1:9153"),
            ("localhost:80", "127.0.0.1:80"),
            ("http://10.0.0.2:9153/metrics", "10.0.0.2:9153"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected));
        }
        for text in
            ["dns.example.org", "localhost:x", "localhost:0", "localhosts", "10.0.0.2:port", ""]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
