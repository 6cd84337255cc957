//! The command line: CoreDNS's flags, and commands that need no Corefile.

mod check;
mod diff;
mod explain;
mod source;
mod top;

use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};

pub use check::Check;
pub use clap_complete::Shell;
pub use diff::{Diff, ReportFormat};
pub use explain::{Explain, Output, Query};
pub use source::SourceFlags;
pub use top::Top;

use crate::{
    corefile::quoted,
    plugin::{self, Directive},
    server::{Listen, Scheme},
};

/// A DNS server for Kubernetes clusters that replaces CoreDNS.
///
/// Without a command it reads a Corefile and serves it. It takes CoreDNS's flags (`-conf FILE` and
/// `--conf FILE` mean the same).
#[derive(Debug, Parser)]
#[command(
    name = "ndots",
    version,
    disable_version_flag = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub server: ServerFlags,
}

#[derive(Args, Debug)]
pub struct ServerFlags {
    /// The Corefile, or `stdin` for standard input [default: the file `Corefile` in this directory,
    /// if it exists]
    #[arg(long, value_name = "FILE")]
    pub conf: Option<String>,
    /// The port of server blocks that do not name one
    #[arg(long = "dns.port", short = 'p', value_name = "PORT", default_value_t = 53)]
    pub port: u16,
    /// Do not print the banner
    #[arg(long)]
    pub quiet: bool,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// The format of log lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Write log lines of this level and above [default: info, or debug with the plugin `debug`];
    /// the variable RUST_LOG, such as `hyper=debug`, adds lines of libraries
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<LogLevel>,
    /// Serve the first server block of this scheme (`dns` or `tls`) at one more address, through
    /// hickory-server's listeners instead of ours: a second implementation for comparisons
    #[arg(long, value_name = "[SCHEME://]ADDR:PORT", value_parser = compat)]
    pub compat_listener: Vec<Listen>,
    /// Print the version and exit
    #[arg(long)]
    pub version: bool,
    /// Print the available plugins and exit
    #[arg(long)]
    pub plugins: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `[INFO] plugin/reload: …`
    #[default]
    Text,
    /// One JSON object a line, with `time`, `level` and `msg`
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    Debug,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a cluster's names without a Corefile
    ///
    /// The flags become a Corefile, which `ndots config` prints.
    #[command(
        after_help = "Example:\n  ndots serve --manifests examples/cafe\n  dig @127.0.0.1 -p 1053 kubernetes.default.svc.cluster.local"
    )]
    Serve(Serve),
    /// Print the Corefile that `ndots serve` uses with the same flags
    Config(Serve),
    /// Report all errors and warnings in Corefiles, or in the DNS server of a cluster
    ///
    /// A file can be the YAML of a ConfigMap: then the other keys of the ConfigMap, and those of a
    /// ConfigMap `coredns-custom` in the same file, are the files that the Corefile imports.
    ///
    /// With --cluster it reads the Corefile, the permissions, the Deployment and the objects around
    /// it, and says what a change of the image to ndots would change and break. It changes nothing.
    /// Exit code: 0 no mistakes, 1 mistakes, 2 some files or objects could not be read, or a
    /// mistake depends on a file or a variable that only the Pod has.
    #[command(
        after_help = "Examples:\n  ndots check Corefile\n  kubectl get configmap coredns -n kube-system -o yaml | ndots check -\n  ndots check --cluster\n  ndots check --cluster -o json"
    )]
    Check(Check),
    /// Find out why a name does not resolve or a Service does not answer
    ///
    /// It checks DNS, the Service and its endpoints, kube-proxy's rules, and the path from outside
    /// the cluster. It changes nothing. Exit code: 0 healthy, 1 broken, 2 not known.
    #[command(
        after_help = "Examples:\n  ndots explain my-service\n  ndots explain grafana.monitoring --pod default/client\n  ndots explain https://cafe.example.com/tea -o json\n  ndots explain my-nginx --manifests examples/cafe\n  ndots explain          checks the cluster's DNS itself\n\nIf the binary is on the PATH as `kubectl-ndots`, `kubectl ndots explain` works too."
    )]
    Explain(Box<Explain>),
    /// Compare the answers of the DNS server that runs now with those of ndots
    ///
    /// It asks both the same questions, and explains each difference: by a documented reason, or by
    /// its probable cause. It changes nothing. Exit code: 0 nothing would change except documented
    /// differences, 1 answers would change, 2 the servers cannot be compared.
    #[command(
        after_help = "Examples:\n  ndots diff --against 10.96.0.10\n  kubectl logs -n kube-system -l k8s-app=kube-dns --tail=-1 | ndots diff --against 10.96.0.10 --names -\n  ndots diff --against 127.0.0.1:1053 --manifests examples/cafe\n  ndots diff --against 10.96.0.10 --with 10.244.0.9 --names names.txt --duration 10m"
    )]
    Diff(Box<Diff>),
    /// Query a DNS server with the search list
    ///
    /// Exit code: 0 found, 1 not found, 2 no answer.
    #[command(
        after_help = "Examples:\n  ndots query my-service -n default @10.96.0.10\n  ndots query _web._tcp.prometheus.monitoring.svc.cluster.local. SRV\n  ndots query example.com. AAAA --server tls://1.1.1.1"
    )]
    Query(Box<Query>),
    /// Watch what DNS servers do now: rates, codes, times, cache, upstreams
    ///
    /// It reads the metrics of ndots or CoreDNS. The most frequent names, clients and namespaces
    /// are shown if the Corefile has `prometheus :9153 { top }`. Without addresses it reads the DNS
    /// Pods through the API server, for which it needs the verb `get` on `pods/proxy`. q ends it.
    #[command(
        after_help = "Examples:\n  ndots top\n  ndots top 10.244.0.9 10.244.1.4\n  ndots top localhost:9153 --once"
    )]
    Top(Top),
    /// List the plugins, or show the arguments, options and an example of one
    #[command(after_help = "Example:\n  ndots plugins forward")]
    Plugins {
        /// The plugin [default: a list of all plugins]
        #[arg(value_name = "NAME", value_parser = plugin_name)]
        name: Option<&'static Directive>,
    },
    /// Print the version, the commit, and the version of CoreDNS that ndots follows
    Version,
    /// Print a script that completes commands and flags in a shell
    #[command(after_help = "Example:\n  source <(ndots completion bash)")]
    Completion {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub struct Serve {
    /// Read Services, EndpointSlices, Pods and other objects from the YAML files in this directory,
    /// and watch the files
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    pub manifests: Option<PathBuf>,
    /// Read objects from the API server of this kubeconfig [default: the service account of the
    /// Pod]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,
    /// Keep the objects in this file, and answer from it after a start while the API server is away
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub snapshot: Option<PathBuf>,
    /// The cluster's zone
    #[arg(long, default_value = "cluster.local", value_parser = zone)]
    pub zone: String,
    /// A zone for clients outside the cluster: Services as NAME.NAMESPACE.ZONE, and the hosts of
    /// Ingresses and routes
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub outside: Option<String>,
    /// Listen at this address, over UDP and TCP
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:1053")]
    pub listen: Vec<SocketAddr>,
    /// Forward other names to these servers: addresses, or a file with `nameserver` lines
    #[arg(long, value_name = "ADDR|FILE", default_value = "/etc/resolv.conf", num_args = 1.., value_parser = word)]
    pub upstream: Vec<String>,
}

/// Reads a value of `--compat-listener`. In this build, hickory-server supports DNS and TLS only.
fn compat(text: &str) -> Result<Listen, String> {
    let (scheme, address) = text.split_once("://").unwrap_or(("dns", text));
    let known = [Scheme::Dns, Scheme::Tls].into_iter().find(|known| known.name() == scheme);
    let scheme = known
        .ok_or_else(|| format!("`{scheme}` is not a scheme for this flag: use `dns` or `tls`"))?;
    let address = address.parse().map_err(|_| format!("`{address}` is not ADDR:PORT"))?;
    Ok(Listen { scheme, address })
}

/// The descriptor of a plugin, by its name in a Corefile.
fn plugin_name(name: &str) -> Result<&'static Directive, String> {
    plugin::find(name).ok_or_else(|| plugin::missing(name))
}

/// A zone that is one word in a Corefile.
fn zone(text: &str) -> Result<String, String> {
    text.parse::<crate::wire::Name>().map_err(|reason| reason.to_string())?;
    word(text)
}

fn word(text: &str) -> Result<String, String> {
    let plain =
        !text.is_empty() && !text.contains(|ch: char| ch.is_whitespace() || "\"#{}".contains(ch));
    if plain {
        Ok(text.to_owned())
    } else {
        Err("it must be one word without quotes, `#` or braces".to_owned())
    }
}

/// The script of `ndots completion`.
pub fn completion(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ndots", &mut script);
    script
}

impl Cli {
    /// Reads the command line. Long flags may have one dash, as in Go programs.
    ///
    /// # Errors
    /// The error is printed. The exit code is CoreDNS's: 2 for a flag, 1 for an unknown command.
    pub fn from_args(args: impl Iterator<Item = OsString>) -> Result<Self, u8> {
        const GO: [&str; 9] = [
            "conf",
            "dns.port",
            "quiet",
            "pidfile",
            "log-format",
            "log-level",
            "version",
            "plugins",
            "help",
        ];
        let doubled =
            |argument: OsString| match argument.to_str().and_then(|text| text.strip_prefix('-')) {
                Some(flag) if GO.contains(&flag.split('=').next().unwrap_or(flag)) => {
                    format!("--{flag}").into()
                }
                _ => argument,
            };
        let args: Vec<OsString> = args.map(doubled).collect();
        let program = args.first().map(Path::new).and_then(Path::file_stem).and_then(OsStr::to_str);
        let read = if program == Some("kubectl-ndots") {
            // kubectl runs its plugins by this name; a server is not started this way.
            let command = Self::command()
                .bin_name("kubectl ndots")
                .subcommand_required(true)
                .arg_required_else_help(true);
            command.try_get_matches_from(args).and_then(|matches| Self::from_arg_matches(&matches))
        } else {
            Self::try_parse_from(args)
        };
        read.map_err(|error| {
            // If standard error is closed, the message is lost.
            let _ = error.print();
            if error.kind() == ErrorKind::InvalidSubcommand {
                1
            } else {
                error.exit_code().try_into().unwrap_or(2)
            }
        })
    }
}

impl Serve {
    /// The Corefile of these flags.
    pub fn corefile(&self) -> String {
        let mut text = String::new();
        for listen in &self.listen {
            // Writing to a String does not fail.
            let _ = self.write_block(&mut text, *listen);
        }
        text
    }

    fn write_block(&self, text: &mut String, listen: SocketAddr) -> std::fmt::Result {
        if !text.is_empty() {
            writeln!(text)?;
        }
        writeln!(text, ".:{} {{\n    bind {}\n    errors", listen.port(), listen.ip())?;
        writeln!(text, "    kubernetes {} in-addr.arpa ip6.arpa {{", self.zone)?;
        if let Some(directory) = &self.manifests {
            writeln!(text, "        manifests {}", quoted(&directory.to_string_lossy()))?;
        } else if let Some(file) = &self.kubeconfig {
            let context = self
                .context
                .as_deref()
                .map_or(String::new(), |context| format!(" {}", quoted(context)));
            writeln!(text, "        kubeconfig {}{context}", quoted(&file.to_string_lossy()))?;
        }
        if let Some(file) = &self.snapshot {
            writeln!(text, "        snapshot {}", quoted(&file.to_string_lossy()))?;
        }
        writeln!(text, "        pods insecure\n        fallthrough in-addr.arpa ip6.arpa\n    }}")?;
        if let Some(zone) = &self.outside {
            writeln!(
                text,
                "    k8s_gateway {zone} {{\n        resources HTTPRoute TLSRoute GRPCRoute Ingress Service"
            )?;
            writeln!(
                text,
                "        nodeAddressType ExternalIP InternalIP\n        ttl 5\n        fallthrough\n    }}"
            )?;
        }
        writeln!(text, "    forward . {}", self.upstream.join(" "))?;
        writeln!(text, "    cache 30\n    loadbalance\n}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::{Diagnostics, parse, tests::Memory};

    #[test]
    fn a_path_is_read_as_it_was_given() {
        for path in ["a b", "a\\", "a \"b\\", "a \"b\"", "import", "}"] {
            let args = ["ndots", "serve", "--manifests", path].map(OsString::from);
            let cli = Cli::try_parse_from(args).unwrap();
            let Some(Command::Serve(serve)) = cli.command else { panic!("{path}") };
            let mut diagnostics = Diagnostics::default();
            let corefile = parse("flags", &serve.corefile(), &Memory::default(), &mut diagnostics);
            let directives = &corefile.blocks[0].directives;
            let kubernetes = directives.iter().find(|it| it.name.text == "kubernetes").unwrap();
            assert_eq!(kubernetes.body[0].arguments[0].text, path);
        }
    }
}
