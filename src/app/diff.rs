//! Runs `ndots diff`: sends the same queries to the current server and to ndots, and compares the
//! replies.

use std::{io::Read, net::SocketAddr, process::ExitCode, time::Instant};

use anyhow::{Context, bail};

use crate::{
    cli::{Diff, ReportFormat, SourceFlags},
    corefile::quoted,
    diff::{
        self, Asked, Comparison, Delta, Pair, Reply, Report, Rule, as_cut, may_be_cut, of_zone,
        own_records,
    },
    explain::{self, LiveKubernetes},
    limits,
    net::bulk::{self, Packet, Rate},
    printable::printable_lines,
    source::api::ClusterConfig,
    wire::{Name, Type},
};

use super::{config::Text, explain::place, loopback::Loopback, print_line};

/// The exit code if the servers cannot be compared.
const UNKNOWN: u8 = 2;

pub(super) fn diff(flags: &Diff) -> ExitCode {
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| {
            let done = runtime.block_on(compared(flags));
            runtime.shutdown_background();
            done
        });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ndots: {}", printable_lines(&format!("{error:#}")));
            ExitCode::from(UNKNOWN)
        }
    }
}

/// The two servers, and how they are asked.
struct Servers {
    theirs: SocketAddr,
    ours: SocketAddr,
    rate: Rate,
    comparison: Comparison,
    end: Option<Instant>,
}

/// Prints the report. False if answers would change.
async fn compared(flags: &Diff) -> anyhow::Result<bool> {
    let begun = Instant::now();
    // The file is read first, because mistakes in it can be found without a server.
    let listed = flags.names.as_deref().map(read_names).transpose()?;
    let mut zone = flags.zone.clone().unwrap_or_else(|| "cluster.local".to_owned());
    let mut own = None;
    let ours = match flags.with {
        Some(address) => address.0,
        None => {
            let OwnCorefile { text, zone: found, cluster } = own_corefile(flags).await?;
            zone = found;
            own.insert(Loopback::start(&text, cluster).await?).address
        }
    };
    let questions = match listed {
        Some(listed) => listed,
        None => all_names(ours, &zone).await?,
    };
    let asked = questions.len();
    let is_own = |asked: &Asked| own.is_none() || is_within(asked, &zone);
    let questions: Vec<Asked> = questions
        .into_iter()
        .filter(|asked| is_own(asked) && !asked.is_about_the_server())
        .collect();
    let mut report = Report {
        against: flags.against.to_string(),
        not_compared: asked - questions.len(),
        ..Report::default()
    };
    if questions.is_empty() {
        bail!("there is nothing to ask: no name is in the zone {zone} or a reverse zone");
    }
    let servers = Servers {
        theirs: flags.against.0,
        ours,
        rate: Rate(Some(flags.rate).filter(|rate| *rate > 0)),
        comparison: Comparison::new(Rule::all()?, &zone),
        end: flags.duration.map(|duration| begun + duration),
    };
    servers.check_reachable().await?;
    loop {
        for batch in questions.chunks(limits::DIFF_BATCH) {
            servers.batch(batch, &mut report).await;
            if servers.is_over() {
                break;
            }
        }
        // Without a duration each question is asked once.
        if servers.end.is_none() || servers.is_over() {
            break;
        }
        tokio::time::sleep(limits::DIFF_ROUND).await;
    }
    report.seconds = begun.elapsed().as_secs_f64();
    match flags.output {
        ReportFormat::Text => print_line!("{}", report.text().trim_end()),
        ReportFormat::Json => print_line!("{}", super::json(&report)?),
    }
    Ok(report.is_same())
}

impl Servers {
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// # Errors
    /// If the server that runs now does not reply at all.
    async fn check_reachable(&self) -> anyhow::Result<()> {
        let probe = [Asked::new(".", Type::SOA)];
        for (server, name) in [(self.theirs, "the server that runs now"), (self.ours, "ndots")] {
            if ask(server, &probe, self.rate).await.iter().all(Option::is_none) {
                bail!("{name}, {server}, does not reply");
            }
        }
        Ok(())
    }

    /// Asks both servers and compares the replies. Asks again about each reply that would change.
    async fn batch(&self, questions: &[Asked], report: &mut Report) {
        let (mut changed, first) = (Vec::new(), self.pairs(questions).await);
        for (asked, (replies, deltas)) in questions.iter().zip(first) {
            let pair = Pair { asked, theirs: replies[0].as_ref(), ours: replies[1].as_ref() };
            if self.comparison.would_change(pair, &deltas) {
                changed.push(asked.clone());
            } else {
                self.comparison.take(pair, &deltas, report);
            }
        }
        if changed.is_empty() {
            return;
        }
        tokio::time::sleep(limits::DIFF_SETTLE).await;
        for (asked, (replies, deltas)) in changed.iter().zip(self.pairs(&changed).await) {
            let pair = Pair { asked, theirs: replies[0].as_ref(), ours: replies[1].as_ref() };
            report.settled += usize::from(!self.comparison.would_change(pair, &deltas));
            self.comparison.take(pair, &deltas, report);
        }
    }

    /// The replies to each question, with their differences.
    async fn pairs(&self, questions: &[Asked]) -> Vec<([Option<Reply>; 2], Vec<Delta>)> {
        let mut pairs: Vec<_> = self
            .replies(questions)
            .await
            .zip(questions)
            .map(|(replies, asked)| {
                let [theirs, ours] = replies.each_ref().map(Option::as_ref);
                let deltas = Pair { asked, theirs, ours }.differences();
                (replies, deltas)
            })
            .collect();
        let cut: Vec<usize> = (0..questions.len())
            .filter(|at| {
                let (replies, deltas) = &pairs[*at];
                may_be_cut(replies.each_ref().map(Option::as_ref), deltas)
            })
            .collect();
        let wholes: Vec<Asked> = cut.iter().map(|at| questions[*at].whole()).collect();
        for (at, whole) in cut.into_iter().zip(self.replies(&wholes).await) {
            let (replies, deltas) = &mut pairs[at];
            *deltas = as_cut(
                &questions[at],
                replies.each_ref().map(Option::as_ref),
                whole.each_ref().map(Option::as_ref),
                std::mem::take(deltas),
            );
        }
        pairs
    }

    async fn replies(
        &self,
        questions: &[Asked],
    ) -> impl Iterator<Item = [Option<Reply>; 2]> + use<> {
        let (theirs, ours) = tokio::join!(
            ask(self.theirs, questions, self.rate),
            ask(self.ours, questions, self.rate)
        );
        theirs.into_iter().zip(ours).map(|(theirs, ours)| [theirs, ours])
    }
}

async fn ask(server: SocketAddr, questions: &[Asked], rate: Rate) -> Vec<Option<Reply>> {
    let packets: Vec<Packet> = questions
        .iter()
        .map(|asked| Packet { octets: asked.packet(0), tcp: asked.how.tcp })
        .collect();
    let replies = bulk::exchange(server, &packets, rate).await;
    Report::read(questions, replies, server)
}

/// Whether ndots alone decides about the answer.
fn is_within(asked: &Asked, zone: &str) -> bool {
    let Ok(name) = asked.name.parse::<Name>() else { return false };
    [zone, "in-addr.arpa", "ip6.arpa"]
        .iter()
        .filter_map(|zone| zone.parse::<Name>().ok())
        .any(|zone| name.is_within(&zone))
}

/// The questions in a file, or in standard input for `-`.
fn read_names(file: &str) -> anyhow::Result<Vec<Asked>> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    }
    let is_log = text.lines().any(|line| line.contains(" IN ") && line.contains("\" "));
    let mut questions = Vec::new();
    for (at, line) in text.lines().enumerate() {
        match diff::read_line(line) {
            Ok(found) => questions.extend(found),
            // A log has other lines, too.
            Err(_) if is_log => {}
            Err(error) => bail!("{file}:{}: {error}", at + 1),
        }
    }
    if questions.is_empty() {
        bail!("{file} has no question");
    }
    Ok(questions)
}

/// Every name of the cluster, and names that do not exist.
async fn all_names(ours: SocketAddr, zone: &str) -> anyhow::Result<Vec<Asked>> {
    let mut records = std::collections::BTreeSet::new();
    for zone in [zone, "in-addr.arpa", "ip6.arpa"] {
        let query = Asked::new(zone, Type::AXFR).packet(1);
        let messages = bulk::transfer(ours, &query, diff::is_last()).await;
        records.extend(own_records(&messages.with_context(|| format!("transfer of {zone}"))?));
    }
    if records.is_empty() {
        bail!("{ours} does not transfer the zone {zone}: give the names with --names FILE");
    }
    Ok(of_zone(&records, zone))
}

/// The configuration of the ndots that this command starts.
struct OwnCorefile {
    text: Text,
    zone: String,
    /// The cluster that the plugin `kubernetes` reads if the Corefile names none.
    cluster: ClusterConfig,
}

/// The Corefile of the ndots that this command starts, and the cluster's zone. If the cluster has a
/// Corefile, the options of its `kubernetes` are used. This ndots forwards other names to the
/// server that runs now, so that `fallthrough` causes no differences.
async fn own_corefile(flags: &Diff) -> anyhow::Result<OwnCorefile> {
    let SourceFlags { manifests, kubeconfig, context } = &flags.source;
    let (source, live, cluster) = match manifests.as_slice() {
        [] => {
            let place = place(kubeconfig.as_deref(), context.as_deref())?;
            (String::new(), explain::live_kubernetes(&place).await?, place)
        }
        [directory] => {
            let source = format!("manifests {}", quoted(&directory.to_string_lossy()));
            (source, None, ClusterConfig::InCluster)
        }
        _ => bail!("`ndots diff` reads one directory: give --manifests once"),
    };
    let usual = || LiveKubernetes {
        zone: "cluster.local".to_owned(),
        options: "pods insecure\nfallthrough in-addr.arpa ip6.arpa\n".to_owned(),
    };
    let LiveKubernetes { zone, options } = live.unwrap_or_else(usual);
    let zone = flags.zone.clone().unwrap_or(zone);
    let against = flags.against.0;
    let text = format!(
        ". {{\nbind 127.0.0.1\nready\nkubernetes {zone} in-addr.arpa ip6.arpa {{\n{source}\n{options}}}\ntransfer {{\nto 127.0.0.1\n}}\nforward . {against}\n}}\n"
    );
    Ok(OwnCorefile { text: Text::of_command("the Corefile of `ndots diff`", text), zone, cluster })
}
