//! `ndots explain` and `ndots query`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{net::client::Nameserver, wire::Type};

#[derive(Args, Debug)]
pub struct Explain {
    /// What does not answer: my-service, my-service.ns:8080, cafe.example.com/tea, 10.96.0.10
    /// [default: the cluster's DNS itself]
    pub name: Option<String>,
    /// The namespace from which the name is asked [default: that of the Pod, or of the kubeconfig's
    /// context]
    #[arg(long, short = 'n', value_name = "NS", conflicts_with = "pod")]
    pub namespace: Option<String>,
    /// The Pod that asks: its dnsPolicy, its dnsConfig, its search list
    #[arg(long, value_name = "NS/NAME", value_parser = pod)]
    pub pod: Option<(String, String)>,
    /// The DNS server that is asked [default: the one that the Pod asks]
    #[arg(long, value_name = "ADDR")]
    pub server: Option<Nameserver>,
    /// Whose rules these are, and which Pods are near [default: the node this runs on]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// What `iptables-save`, `nft list ruleset`, `ipvsadm -Sn` or `bridge -d link` wrote on a node;
    /// may be repeated
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// For a person, or for a program
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "text")]
    pub output: Output,
    /// Look at the objects of this directory, as they are written for `kubectl apply`
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    pub manifests: Option<PathBuf>,
    /// Look at them through the API server of this kubeconfig [default: the Pod's own, $KUBECONFIG,
    /// ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Args, Debug)]
pub struct Query {
    /// The name; with a final dot it is asked as it is
    pub name: String,
    /// A type such as SRV [default: A and AAAA], and @SERVER as dig has it
    #[arg(value_name = "TYPE|@SERVER", num_args = 0..=2)]
    pub words: Vec<String>,
    /// The server: ADDR or ADDR:PORT, tcp://ADDR, tls://HOST, https://HOST/dns-query [default: the
    /// first of /etc/resolv.conf]
    #[arg(long, value_name = "SERVER")]
    pub server: Option<Nameserver>,
    /// Ask over TCP
    #[arg(long)]
    pub tcp: bool,
    /// The namespace whose search list is tried, with ndots:5
    #[arg(long, short = 'n', value_name = "NS", conflicts_with = "search")]
    pub namespace: Option<String>,
    /// The cluster's zone, for --namespace
    #[arg(long, value_name = "ZONE", default_value = "cluster.local")]
    pub zone: String,
    /// The search list [default: that of /etc/resolv.conf]
    #[arg(long, value_name = "DOMAIN", num_args = 1.., value_delimiter = ',')]
    pub search: Option<Vec<String>>,
    /// With as many dots a name is asked as it is first [default: that of /etc/resolv.conf]
    #[arg(long, value_name = "N")]
    pub ndots: Option<usize>,
    /// Print only the data of what is found
    #[arg(long)]
    pub short: bool,
    /// Who may sign the server's certificate, in PEM form [default: the machine's authorities]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// The name that the server's certificate must have [default: the server's host]
    #[arg(long, value_name = "NAME")]
    pub tls_name: Option<String>,
}

fn pod(text: &str) -> Result<(String, String), String> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    if namespace.is_empty() || name.is_empty() {
        Err("it is NAMESPACE/NAME".to_owned())
    } else {
        Ok((namespace.to_owned(), name.to_owned()))
    }
}

impl Query {
    /// Types and the server among the words.
    ///
    /// # Errors
    /// A word that is neither.
    pub fn read_words(&self) -> Result<(Vec<Type>, Option<Nameserver>), String> {
        let (mut types, mut server) = (Vec::new(), self.server.clone());
        for word in &self.words {
            match word.strip_prefix('@') {
                Some(text) => {
                    server = Some(text.parse().map_err(|reason| format!("{word}: {reason}"))?)
                }
                None => types
                    .push(word.parse().map_err(|()| {
                        format!("`{word}` is no type of a record, and no @SERVER")
                    })?),
            }
        }
        if types.is_empty() {
            types = vec![Type::A, Type::AAAA];
        }
        Ok((types, server))
    }
}
