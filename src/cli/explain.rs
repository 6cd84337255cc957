//! `ndots explain` and `ndots query`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::SourceFlags;
use crate::{net::client::Nameserver, wire::Type};

#[derive(Args, Debug)]
pub struct Explain {
    /// The name or address to check: my-service, my-service.ns:8080, cafe.example.com/tea,
    /// 10.96.0.10 [default: the cluster's DNS itself]
    pub name: Option<String>,
    /// The namespace of the client [default: that of --pod, or of the kubeconfig's context]
    #[arg(long, short = 'n', value_name = "NS")]
    pub namespace: Option<String>,
    /// The Pod that is the client: its dnsPolicy, dnsConfig and search list are used. Without NS/
    /// it is in the namespace of -n [default: default]
    #[arg(long, value_name = "[NS/]NAME", value_parser = pod)]
    pub pod: Option<PodName>,
    /// Check every Service, Ingress and route, and print those with a finding; with -n only those
    /// of one namespace
    #[arg(long = "all", visible_alias = "all-namespaces", short = 'A', conflicts_with_all = ["name", "pod", "server", "node", "rules"])]
    pub all: bool,
    /// Print all checks, or one with its cause, an example and its cure
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["name", "all"])]
    pub checks: Option<String>,
    /// The DNS server to query [default: that of the client]
    #[arg(long, value_name = "ADDR")]
    pub server: Option<Nameserver>,
    /// The node whose rules and local Pods are checked [default: the node this runs on]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// A file with the output of `iptables-save`, `nft list ruleset`, `ipvsadm -Sn` or
    /// `bridge -d link` on a node; may be repeated
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// Try TCP connections to the endpoints, the cluster IP and the node ports of the Service. On a
    /// machine that is neither a node nor a Pod, ask the Pods of the DNS server, and connect to the
    /// Pods of the Service, through the API server (port-forward). Without this flag only the API
    /// server, the DNS server and, on a node, kube-proxy's health port are contacted
    #[arg(long, conflicts_with = "all")]
    pub probe: bool,
    /// The format of the report
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "text")]
    pub output: Output,
    #[command(flatten)]
    pub source: SourceFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
    /// One page that needs no other file: the chain as a picture, and the findings
    Html,
    /// With --all: one test case for each object, for CI
    Junit,
}

#[derive(Args, Debug)]
pub struct Query {
    /// The name; a final dot means that the search list is not used
    pub name: String,
    /// A record type such as SRV [default: A and AAAA], and @SERVER as in dig
    #[arg(value_name = "TYPE|@SERVER", num_args = 0..=2)]
    pub words: Vec<String>,
    /// The server: ADDR, ADDR:PORT, tcp://ADDR, tls://HOST, https://HOST/dns-query, quic://HOST or
    /// grpc://ADDR [default: the first in /etc/resolv.conf]
    #[arg(long, value_name = "SERVER")]
    pub server: Option<Nameserver>,
    /// Use TCP
    #[arg(long)]
    pub tcp: bool,
    /// Use the search list of a Pod in this namespace, with ndots:5
    #[arg(long, short = 'n', value_name = "NS", conflicts_with = "search")]
    pub namespace: Option<String>,
    /// The cluster's zone, for --namespace
    #[arg(long, value_name = "ZONE", default_value = "cluster.local")]
    pub zone: String,
    /// The search list [default: that of /etc/resolv.conf]
    #[arg(long, value_name = "DOMAIN", num_args = 1.., value_delimiter = ',')]
    pub search: Option<Vec<String>>,
    /// A name with at least N dots is tried without the search list first [default: that of
    /// /etc/resolv.conf]
    #[arg(long, value_name = "N")]
    pub ndots: Option<usize>,
    /// Print only the record data
    #[arg(long)]
    pub short: bool,
    /// A PEM file with the CA certificates for the server [default: those of the machine]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// The name in the server's certificate [default: the host of --server]
    #[arg(long, value_name = "NAME")]
    pub tls_name: Option<String>,
}

/// A Pod as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    pub namespace: Option<String>,
    pub name: String,
}

/// `NAMESPACE/NAME`, or `NAME` or `pod/NAME` as in kubectl.
fn pod(text: &str) -> Result<PodName, String> {
    let (namespace, name) = match text.split_once('/') {
        None => (None, text),
        Some(("po" | "pod" | "pods", name)) => (None, name),
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
    };
    if namespace.as_deref() == Some("") || name.is_empty() || name.contains('/') {
        return Err("expected NAME or NAMESPACE/NAME".to_owned());
    }
    Ok(PodName { namespace, name: name.to_owned() })
}

impl Query {
    /// The record types and the server among the words.
    ///
    /// # Errors
    /// A word is neither a record type nor @SERVER.
    pub fn read_words(&self) -> Result<(Vec<Type>, Option<Nameserver>), String> {
        let (mut types, mut server) = (Vec::new(), self.server.clone());
        for word in &self.words {
            match word.strip_prefix('@') {
                Some(text) => {
                    server = Some(text.parse().map_err(|reason| format!("{word}: {reason}"))?);
                }
                None => types.push(
                    word.parse()
                        .map_err(|_| format!("`{word}` is not a record type, and not @SERVER"))?,
                ),
            }
        }
        if types.is_empty() {
            types = vec![Type::A, Type::AAAA];
        }
        Ok((types, server))
    }
}
