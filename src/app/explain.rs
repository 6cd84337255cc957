//! Runs `ndots explain` and `ndots query`: from flags to an exit code.

use std::{
    io::IsTerminal,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

use crate::{
    cli::{Check, Explain, Output, Query, ReportFormat, SourceFlags},
    explain::{self, Asking, Request, ResolvConf, Source, Style, Verdict},
    limits,
    net::client::{Nameserver, Transport},
    printable::printable_lines,
    source::api::ClusterConfig,
    upstream::Pem,
};

use super::print_line;

/// An error means that the verdict is not known.
fn code(verdict: anyhow::Result<Verdict>) -> ExitCode {
    let verdict = verdict.unwrap_or_else(|error| {
        eprintln!("ndots: {}", printable_lines(&format!("{error:#}")));
        Verdict::Unknown
    });
    ExitCode::from(verdict as u8)
}

/// Runs the future on this thread.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)
}

pub(super) fn explain(flags: &Explain) -> ExitCode {
    code(explained(flags))
}

fn explained(flags: &Explain) -> anyhow::Result<Verdict> {
    if let Some(id) = &flags.checks {
        return checks(id);
    }
    let SourceFlags { manifests, kubeconfig, context } = &flags.source;
    let source = if manifests.is_empty() {
        Source::Cluster(place(kubeconfig.as_deref(), context.as_deref())?)
    } else {
        Source::Manifests(manifests.clone())
    };
    let request = Request {
        name: flags.name.clone().unwrap_or_default(),
        namespace: flags.namespace.clone(),
        pod: flags.pod.as_ref().map(|pod| {
            let namespace = pod.namespace.as_ref().or(flags.namespace.as_ref());
            (namespace.map_or_else(|| "default".to_owned(), Clone::clone), pod.name.clone())
        }),
        server: flags.server.clone(),
        node: flags.node.clone(),
        rules: flags.rules.clone(),
        probe: flags.probe,
        source,
    };
    if flags.all {
        // Freeing hundreds of thousands of small objects would take time, and the process ends soon.
        let mut evidence = ManuallyDrop::new(block_on(explain::gather_all(&request))?);
        let overview = explain::overview(&mut evidence, flags.namespace.as_deref());
        match flags.output {
            Output::Text => print_line!("{}", overview.text(style()).trim_end()),
            Output::Json => print_line!("{}", super::json(&overview)?),
            Output::Html => print_line!("{}", overview.html().trim_end()),
            Output::Junit => print_line!("{}", overview.junit().trim_end()),
        }
        return Ok(overview.verdict);
    }
    let report = explain::explain(&block_on(explain::gather(&request))?);
    match flags.output {
        Output::Text => print_line!("{}", report.text(style()).trim_end()),
        Output::Json => print_line!("{}", super::json(&report)?),
        Output::Html => print_line!("{}", report.html().trim_end()),
        Output::Junit => bail!("-o junit needs --all: it has one test case for each object"),
    }
    Ok(report.verdict)
}

/// Colours and line breaks are for terminals only.
fn style() -> Style {
    let output = std::io::stdout();
    if !output.is_terminal() {
        return Style::default();
    }
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
    let size = rustix::termios::tcgetwinsize(&output).ok();
    Style {
        is_coloured: !is_set("NO_COLOR") && !is_dumb,
        width: size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0),
    }
}

/// Prints the table of checks, or one of them.
fn checks(id: &str) -> anyhow::Result<Verdict> {
    let text = match id {
        "" => explain::checks_table(),
        id => explain::check_text(id).map_err(|reason| anyhow::anyhow!(reason))?,
    };
    print_line!("{}", text.trim_end());
    Ok(Verdict::Healthy)
}

pub(super) fn check_cluster(flags: &Check) -> ExitCode {
    code(checked_cluster(flags))
}

fn checked_cluster(flags: &Check) -> anyhow::Result<Verdict> {
    let place = place(flags.kubeconfig.as_deref(), flags.context.as_deref())?;
    let switch = explain::switch(block_on(explain::switch_evidence(&place))?);
    match flags.output {
        ReportFormat::Text => print_line!("{}", switch.text().trim_end()),
        ReportFormat::Json => print_line!("{}", super::json(&switch)?),
    }
    Ok(switch.verdict)
}

/// The cluster to check: that of --kubeconfig, else the Pod's own, else the one that kubectl uses.
pub(super) fn place(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> anyhow::Result<ClusterConfig> {
    let context = context.map(str::to_owned);
    if let Some(file) = kubeconfig {
        return Ok(ClusterConfig::Kubeconfig {
            file: file.to_owned(),
            others: Vec::new(),
            context,
        });
    }
    if context.is_none()
        && std::env::var_os("KUBECONFIG").is_none()
        && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
    {
        return Ok(ClusterConfig::InCluster);
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    let listed: Vec<PathBuf> = std::env::var_os("KUBECONFIG")
        .map_or_else(|| home.into_iter().collect(), |list| std::env::split_paths(&list).collect());
    let mut existing = listed.into_iter().filter(|file| file.exists());
    match existing.next() {
        Some(file) => Ok(ClusterConfig::Kubeconfig { file, others: existing.collect(), context }),
        None => bail!(
            "there is no cluster to check: no kubeconfig was found, and this is not a Pod; use --kubeconfig FILE or --manifests DIR"
        ),
    }
}

pub(super) fn query(flags: &Query) -> ExitCode {
    code(queried(flags))
}

fn queried(flags: &Query) -> anyhow::Result<Verdict> {
    let (types, server) = flags.read_words().map_err(|reason| anyhow::anyhow!(reason))?;
    let here = ResolvConf::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let mut resolv = match &flags.namespace {
        Some(namespace) => ResolvConf {
            nameservers: here.nameservers,
            ..ResolvConf::of_namespace(namespace, &flags.zone, None)
        },
        None => here,
    };
    if let Some(search) = &flags.search {
        resolv.search.clone_from(search);
    }
    resolv.ndots = flags.ndots.unwrap_or(resolv.ndots);
    let first = || {
        resolv
            .nameservers
            .first()
            .and_then(|text| text.parse().ok())
            .map(|address: std::net::IpAddr| Nameserver::from(address))
    };
    let mut server = server.or_else(first).context(
        "there is no server to query: /etc/resolv.conf has no `nameserver`; add @SERVER",
    )?;
    if flags.tcp && server.transport == Transport::Udp {
        server = server.over_tcp();
    }
    server.tls.server_name.clone_from(&flags.tls_name);
    server.tls.authorities = flags
        .tls_ca
        .as_ref()
        .map(|file| {
            std::fs::read_to_string(file).map(Pem::new).with_context(|| file.display().to_string())
        })
        .transpose()?;
    let asking = Asking {
        name: flags.name.clone(),
        types,
        server,
        resolv,
        timeout: limits::EXPLAIN_ASK_TIME,
        short: flags.short,
    };
    block_on(explain::query(&asking, |line| print_line!("{}", printable_lines(line))))
}
