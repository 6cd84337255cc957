//! Starts a server, runs it until a signal ends it, and stops it in order.

mod reload;

use std::{
    backtrace::Backtrace,
    panic::{set_hook, take_hook},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::Context;
use tokio::task::JoinSet;

use crate::{
    cli::{LogFormat, ServerFlags},
    corefile::go_duration,
    dnstap::TapMessage,
    limits,
    metrics::{Family, GaugeFamily, Metrics},
    net::{
        Dispatcher,
        admin::Admin,
        dnstap,
        listeners::Listeners,
        log::{self, DebugPlugin, Format, Log},
        memory, otlp, parallelism,
    },
    plugin::{self, Event, Readiness, ReloadState, Timed, ZoneNotice},
    server::Listen,
    trace::Span,
    wire::{CookieSecret, Question},
};

use super::{
    banner,
    commands::Commands,
    compose::{self, Built},
    config::{self, Configuration, Text},
    etcd::Etcds,
    facts::Needed,
    listen_config, log_levels, notify, print_line, process,
    secondaries::Secondaries,
    senders::Senders,
    signals::{Order, Signals},
    signers::Signers,
    sources::Sources,
    updates::Updates,
    waiting::Waiting,
    watch::{self, Watched},
    web_config,
};

static BUILD_INFO: GaugeFamily<3> = Family::new(
    "build_info",
    "A metric with a constant '1' value labelled by version, revision, and goversion.",
    ["version", "revision", "goversion"],
);

/// CoreDNS's exit code after a second signal that did not let it end in order.
const FORCED: u8 = 2;

/// Serves a Corefile until a signal ends it. `example_zone` is set for `ndots serve`, which prints
/// queries to try in that zone.
pub(super) fn run(
    text: &Text,
    flags: &ServerFlags,
    example_zone: Option<&str>,
) -> anyhow::Result<ExitCode> {
    // Mistakes in the Corefile are reported before a thread starts.
    let printed = config::print(text);
    let configuration = config::check(text, flags.port)?;
    let watched = Watched::new(printed, &configuration);
    configuration.print_diagnostics();
    #[cfg(target_os = "linux")]
    super::capability::raise_bind_service();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(parallelism(limits::WORKERS))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        let metrics = new_metrics()?;
        let format = if flags.log_format == LogFormat::Json { Format::Json } else { Format::Text };
        let log = Log::install(&metrics, format, log_levels::levels(flags.log_level))?;
        // Signals are handled before the banner, because a reader of the banner may send one.
        let mut signals = Signals::new().context("cannot listen to signals")?;
        let basis = Basis { metrics, log: log.clone(), format, watched };
        let started = signals.during(Process::start(basis, configuration, flags, example_zone));
        let Ok((started, meanwhile)) = started.await else {
            // No query was answered yet.
            log.flush();
            return Ok(ExitCode::SUCCESS);
        };
        let (mut process, dispatch) = started?;
        let mut tasks = JoinSet::new();
        tasks.spawn(dispatch);
        process.tasks.spawn(process.commands.run(Event::Startup));
        let pidfile = Pidfile::write(flags.pidfile.as_deref())?;
        let order = process.until_stopped(&mut signals, meanwhile, text, flags).await;
        let code = process.stop(order, signals).await;
        log.flush();
        drop(pidfile);
        anyhow::Ok(code)
    });
    // Remaining tasks have had their grace period, or the signal asked for none.
    runtime.shutdown_background();
    code
}

/// What exists before the first server.
struct Basis {
    metrics: Arc<Metrics>,
    log: Log,
    format: Format,
    watched: Watched,
}

/// The file with the process id, which is removed at the end.
struct Pidfile(PathBuf);

impl Pidfile {
    fn write(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = path else { return Ok(None) };
        std::fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(Self(path.to_owned())))
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Process {
    dispatcher: Arc<Dispatcher>,
    metrics: Arc<Metrics>,
    log: Log,
    listeners: Listeners,
    admin: Admin,
    sources: Sources,
    /// What the configuration in force needs of the sources.
    needed: Needed,
    readiness: Arc<Readiness>,
    lameduck: std::time::Duration,
    timed: Vec<Arc<dyn Timed>>,
    reload_state: ReloadState,
    cookies: CookieSecret,
    hashes: reload::Hashes,
    /// `None` if the configuration in force does not ask for reloads.
    watched: Option<Watched>,
    waiting: Waiting,
    secondaries: Secondaries,
    signers: Signers,
    updates: Updates,
    etcds: Etcds,
    dnstaps: Senders<TapMessage>,
    traces: Senders<Span>,
    commands: Commands,
    tasks: JoinSet<()>,
}

impl Process {
    async fn start(
        basis: Basis,
        configuration: Configuration,
        flags: &ServerFlags,
        example_zone: Option<&str>,
    ) -> anyhow::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let Basis { metrics, log, format, watched } = basis;
        let mut sources = Sources::new(Arc::clone(&metrics));
        let needed = compose::sources(&configuration);
        let started = sources.start(&needed).await?;
        let commands = Commands::of(&configuration);
        let cookies = compose::cookie_secret();
        let Built { assembled, mut listen_configs, awaited } = compose::compose(
            configuration,
            &metrics,
            &sources.stores(),
            &ReloadState::default(),
            cookies,
        )
        .await?;
        listen_config::add_compat(&mut listen_configs, &flags.compat_listener)?;
        assembled.count_enabled(&metrics);
        let outputs = assembled.outputs;
        log.set_debug(DebugPlugin::present_if(assembled.server.debug));
        print_backtraces(assembled.stacktrace);
        outputs.warnings.iter().for_each(log::emit);
        let mut listeners = Listeners::new(descriptors());
        listeners.open(&listen_configs)?;
        let mut admin = Admin::new(Arc::clone(&metrics), web_config::read);
        for unserved in admin.serve(outputs.pages).await {
            if unserved.essential {
                return Err(unserved.error);
            }
            unserved.log();
        }
        let etcds = Etcds::run_new(outputs.etcd).await;
        let zones = assembled.server.zones();
        let (dispatcher, dispatch) = Dispatcher::new(assembled.server, Arc::clone(&metrics));
        let missing = listeners.serve(&dispatcher, &listen_configs);
        missing.into_iter().next().map_or(Ok(()), Err)?;
        if let Some(zone) = example_zone {
            banner::print_examples(&started, &listeners, zone);
        } else if !flags.quiet {
            match format {
                Format::Text => print_line!("{}", banner::banner(&zones)),
                Format::Json => tracing::info!("{}", banner::banner(&zones)),
            }
            banner::print_chosen_ports(&listeners, &admin);
        }
        let hashes = reload::Hashes::first(&metrics, watched.corefile());
        let watched = watched.only(assembled.watch_corefile, assembled.watch_files);
        watched.as_ref().and_then(Watched::hash).iter().for_each(|hash| reload::log_hash(hash));
        let tasks = first_tasks(&dispatcher, &listeners, assembled.probes, outputs.notices);
        let process = Self {
            dispatcher,
            hashes,
            metrics,
            log,
            listeners,
            admin,
            sources,
            needed,
            readiness: outputs.readiness,
            lameduck: assembled.lameduck,
            timed: outputs.timed,
            reload_state: outputs.reload_state,
            cookies,
            watched,
            waiting: Waiting::start(awaited),
            secondaries: Secondaries::run_new(outputs.secondaries),
            signers: Signers::run_new(outputs.signers),
            updates: Updates::run_new(outputs.updated),
            etcds,
            dnstaps: Senders::run_new(outputs.dnstap, dnstap::run),
            traces: Senders::run_new(outputs.traces, otlp::run),
            commands,
            tasks,
        };
        Ok((process, dispatch))
    }

    /// Stops in this order: `/ready` fails so that no new queries come, the programs of the plugin
    /// `on` run, the lameduck time passes while queries are still answered, the listeners close,
    /// and the pending queries are answered.
    async fn stop(self, order: Order, signals: Signals) -> ExitCode {
        let Self {
            readiness,
            lameduck,
            listeners,
            dispatcher,
            timed,
            admin,
            commands,
            dnstaps,
            traces,
            ..
        } = self;
        if order == Order::Quit {
            return ExitCode::SUCCESS;
        }
        let (mut forced, mut impatience) = signals.at_end();
        let in_order = async {
            readiness.stop();
            tokio::select! {
                () = commands.run(Event::Shutdown) => {}
                () = impatience.next() => {}
            }
            dispatcher.announce_close();
            if order == Order::Terminate && !lameduck.is_zero() {
                let time = go_duration(lameduck);
                tracing::info!(plugin = "health", "Going into lameduck mode for {time}");
                tokio::time::sleep(lameduck).await;
            }
            listeners.close().await;
            dispatcher.finish().await;
            log_due(&timed, None);
            dnstaps.finish().await;
            traces.finish().await;
            drop(admin);
        };
        tokio::select! {
            () = in_order => ExitCode::SUCCESS,
            () = forced.next() => match order {
                Order::Interrupt => FORCED.into(),
                _ => ExitCode::SUCCESS,
            },
        }
    }
}

/// The number of descriptors that the process may have. Container runtimes set a soft limit of
/// 1024, and the bounds of limits.rs need more. If the limit cannot be raised, connections wait.
fn descriptors() -> u64 {
    rlimit::increase_nofile_limit(limits::DESCRIPTORS).unwrap_or(1024)
}

/// A registry with the metrics that exist from the start.
fn new_metrics() -> anyhow::Result<Arc<Metrics>> {
    let metrics = Arc::new(Metrics::default());
    BUILD_INFO.with(&metrics, [env!("CARGO_PKG_VERSION"), banner::REVISION, ""]).set(1);
    reload::declare_metrics(&metrics);
    plugin::declare_metrics(&metrics);
    metrics.register(Box::new(process::Process::new()?));
    Ok(metrics)
}

/// Logs the lines of plugins that are due at this time. `None` means the end: all lines are due.
fn log_due(timed: &[Arc<dyn Timed>], now: Option<Instant>) {
    timed.iter().flat_map(|timed| timed.due(now)).for_each(|line| log::emit(&line));
}

/// Whether a panic is printed with its backtrace; its message is printed anyway.
fn print_backtraces(wanted: bool) {
    drop(take_hook());
    if wanted {
        set_hook(Box::new(|panic| eprintln!("{panic}\n{}", Backtrace::force_capture())));
    }
}

fn first_tasks(
    dispatcher: &Arc<Dispatcher>,
    listeners: &Listeners,
    probes: Vec<(Listen, Question)>,
    notices: Vec<ZoneNotice>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    spawn_probes(&mut tasks, listeners, probes);
    notify::send(&mut tasks, notices);
    tasks.spawn(memory::give_back(Arc::clone(dispatcher)));
    tasks
}

fn spawn_probes(tasks: &mut JoinSet<()>, listeners: &Listeners, probes: Vec<(Listen, Question)>) {
    while tasks.try_join_next().is_some() {}
    for (listen, question) in probes {
        if let Some((_, bound)) = listeners.bound().find(|(open, _)| *open == listen) {
            tasks.spawn(watch::probe(bound, question));
        }
    }
}
