//! Starts a server, keeps it running through reloads, and stops it in order.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use tokio::task::JoinSet;

use crate::{
    chain::Level,
    cli::{LogFormat, ServerFlags},
    corefile::go_duration,
    limits,
    metrics::{CounterFamily, Family, GaugeFamily, Metrics},
    net::{
        Dispatcher,
        admin::Admin,
        listeners::Listeners,
        log::{Format, Log},
    },
    plugin::{self, Outputs, Readiness, ReloadState, Timed},
    server::{Assembled, Listen},
    wire::{CookieSecret, Question},
};

use super::{
    banner,
    compose::{self, Built},
    config::{self, Configuration, Mistakes, Text},
    listen_config, process, said, say,
    signals::{Order, Signals},
    sources::Sources,
    watch::{self, Watched},
};

static BUILD_INFO: GaugeFamily<3> = Family::new(
    "build_info",
    "A metric with a constant '1' value labelled by version, revision, and goversion.",
    ["version", "revision", "goversion"],
);
static RELOAD_FAILURES: CounterFamily<0> =
    Family::new("reload_failed_total", "Corefiles that were not taken over.", []);
static RELOAD_VERSION: GaugeFamily<2> = Family::new(
    "reload_version_info",
    "The hash of the configuration that was taken over last.",
    ["hash", "value"],
);

/// Where somebody did not want to wait for the end, as in CoreDNS.
const FORCED: u8 = 2;

/// Serves a Corefile until a signal says otherwise. A newcomer is told what to try in the zone.
pub(super) fn run(
    text: &Text,
    flags: &ServerFlags,
    newcomer: Option<&str>,
) -> anyhow::Result<ExitCode> {
    // A wrong Corefile is told before a thread is made.
    let configuration = config::check(text, flags.port)?;
    configuration.print_warnings();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        let (mut process, shell_task) =
            Process::start(text, configuration, flags, newcomer).await?;
        let log = process.log.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(shell_task);
        let pidfile = Pidfile::write(flags.pidfile.as_deref())?;
        let code = match process.until_stopped(text, flags).await {
            Order::Quit => ExitCode::SUCCESS,
            order => process.stop(order).await,
        };
        log.flush();
        drop(pidfile);
        anyhow::Ok(code)
    });
    // Whoever is still busy was given its time, or was not to have any.
    runtime.shutdown_background();
    code
}

/// The file with the process's number, while it runs.
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
    readiness: Arc<Readiness>,
    lameduck: std::time::Duration,
    timed: Vec<Arc<dyn Timed>>,
    reload_state: ReloadState,
    cookies: CookieSecret,
    /// `None` where no change is to be taken over.
    watched: Option<Watched>,
    tasks: JoinSet<()>,
    signals: Signals,
}

impl Process {
    async fn start(
        text: &Text,
        configuration: Configuration,
        flags: &ServerFlags,
        newcomer: Option<&str>,
    ) -> anyhow::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let metrics = Arc::new(Metrics::default());
        BUILD_INFO.with(&metrics, [env!("CARGO_PKG_VERSION"), "", ""]).set(1);
        RELOAD_FAILURES.with(&metrics, []);
        plugin::declare_metrics(&metrics);
        metrics.register(Box::new(process::Process::new()?));
        let format = if flags.log_format == LogFormat::Json { Format::Json } else { Format::Text };
        let log = Log::start(&metrics, format).context("cannot start the log's thread")?;
        // Before anything is said: who reads that it listens may end it in order.
        let signals = Signals::new(log.clone()).context("cannot listen to signals")?;
        let mut sources = Sources::new(log.clone(), Arc::clone(&metrics));
        let started = sources.start(&compose::sources(&configuration)).await?;
        let watched = Watched::new(text, compose::files(&configuration));
        let cookies = compose::cookie_secret();
        let Built { assembled, mut listen_configs } = compose::compose(
            configuration,
            &metrics,
            &sources.stores(),
            &ReloadState::default(),
            cookies,
        )?;
        listen_config::add_compat(&mut listen_configs, &flags.compat_listener)?;
        assembled.count_enabled(&metrics);
        let Assembled {
            server,
            outputs,
            lameduck,
            stacktrace,
            watch_corefile,
            watch_files,
            probes,
            ..
        } = assembled;
        let Outputs { pages, readiness, warnings, timed, reload_state, .. } = outputs;
        log.debug(server.debug);
        said::trace_panics(stacktrace);
        warnings.into_iter().for_each(|warning| log.say(Level::Warning, warning));
        // Container runtimes leave a soft limit of 1024 descriptors; the bounds of limits.rs want
        // more. Without more, connections wait.
        let descriptors = rlimit::increase_nofile_limit(limits::DESCRIPTORS).unwrap_or(1024);
        let mut listeners = Listeners::new(descriptors);
        listeners.open(&listen_configs)?;
        let mut admin = Admin::new(Arc::clone(&metrics), log.clone());
        admin.serve(pages).await?;
        let zones = server.zones();
        let (dispatcher, task) = Dispatcher::new(server, Arc::clone(&metrics), log.clone());
        listeners.serve(&dispatcher, &listen_configs)?;
        if let Some(zone) = newcomer {
            banner::newcomer(&started, &listeners, zone);
        } else if !flags.quiet {
            match format {
                Format::Text => say!("{}", banner::banner(&zones)),
                Format::Json => log.say(Level::Info, banner::banner(&zones)),
            }
            banner::chosen_ports(&listeners, &admin);
        }
        let watched = watched.only(watch_corefile, watch_files);
        if let Some(hash) = watched.as_ref().and_then(Watched::hash) {
            log.say(Level::Info, format!("plugin/reload: Running configuration SHA512 = {hash}"));
        }
        let mut tasks = JoinSet::new();
        spawn_probes(&mut tasks, &listeners, probes);
        let process = Self {
            dispatcher,
            metrics,
            log,
            listeners,
            admin,
            sources,
            readiness,
            lameduck,
            timed,
            reload_state,
            cookies,
            watched,
            tasks,
            signals,
        };
        Ok((process, task))
    }

    async fn until_stopped(&mut self, text: &Text, flags: &ServerFlags) -> Order {
        let mut look = tokio::time::interval(limits::RELOAD_INTERVAL);
        loop {
            tokio::select! {
                now = look.tick() => {
                    said::write_due(&self.timed, Some(now.into_std()), &self.log);
                    self.look(text, flags).await;
                }
                order = self.signals.next() => match order {
                    Order::Reload => {
                        // A mistake that is told now is not to be told again.
                        self.watched.as_mut().map(|watched| watched.look(text));
                        self.try_reload(text, flags).await;
                    }
                    order => return order,
                }
            }
        }
    }

    /// Takes over what has changed since the last look.
    async fn look(&mut self, text: &Text, flags: &ServerFlags) {
        let Some(watched) = &mut self.watched else { return };
        if watched.look(text) {
            self.try_reload(text, flags).await;
        }
    }

    async fn try_reload(&mut self, text: &Text, flags: &ServerFlags) {
        self.log.say(Level::Info, "Reloading");
        if let Err(error) = self.reload(text, flags).await {
            RELOAD_FAILURES.with(&self.metrics, []).inc();
            let reason = error
                .downcast_ref::<Mistakes>()
                .map_or_else(|| format!("{error:#}"), |mistakes| mistakes.lines.join("; "));
            self.log.say(
                Level::Error,
                format!("plugin/reload: Corefile changed but reload failed: {reason}"),
            );
            return;
        }
        if let Some(hash) = self.watched.as_ref().and_then(Watched::hash) {
            RELOAD_VERSION.reset(&self.metrics);
            RELOAD_VERSION.with(&self.metrics, ["sha512", &hash]).set(1);
            self.log
                .say(Level::Info, format!("plugin/reload: Running configuration SHA512 = {hash}"));
        }
        self.log.say(Level::Info, "Reloading complete");
    }

    /// Builds the new server beside the old one and swaps them; with a mistake the old one stays.
    async fn reload(&mut self, text: &Text, flags: &ServerFlags) -> anyhow::Result<()> {
        let text = text.again()?;
        let configuration = config::check(&text, flags.port)?;
        configuration.warnings().for_each(|warning| self.log.say(Level::Warning, warning));
        let needed = compose::sources(&configuration);
        // Before anything takes time: what changes meanwhile is the next reload's.
        let watched = Watched::new(&text, compose::files(&configuration));
        self.sources.start(&needed).await?;
        let Built { assembled: mut built, mut listen_configs } = compose::compose(
            configuration,
            &self.metrics,
            &self.sources.stores(),
            &self.reload_state,
            self.cookies,
        )?;
        listen_config::add_compat(&mut listen_configs, &flags.compat_listener)?;
        self.listeners.open(&listen_configs)?;
        built.count_enabled(&self.metrics);
        self.log.debug(built.server.debug);
        said::trace_panics(built.stacktrace);
        std::mem::take(&mut built.outputs.warnings)
            .into_iter()
            .for_each(|warning| self.log.say(Level::Warning, warning));
        self.dispatcher.server.store(Arc::new(built.server));
        said::write_due(
            &std::mem::replace(&mut self.timed, std::mem::take(&mut built.outputs.timed)),
            None,
            &self.log,
        );
        self.listeners.serve(&self.dispatcher, &listen_configs)?;
        self.sources.keep(&needed).await;
        let Outputs { readiness, reload_state, pages, .. } = built.outputs;
        (self.readiness, self.lameduck, self.reload_state) =
            (readiness, built.lameduck, reload_state);
        self.watched = watched.only(built.watch_corefile, built.watch_files);
        spawn_probes(&mut self.tasks, &self.listeners, built.probes);
        self.admin.serve(pages).await
    }

    /// No new questions are invited, those that still come are answered, then what is on its way is
    /// finished.
    async fn stop(self, order: Order) -> ExitCode {
        let Self {
            mut signals, readiness, lameduck, log, listeners, dispatcher, timed, admin, ..
        } = self;
        let in_order = async {
            readiness.stop();
            if order == Order::Terminate && !lameduck.is_zero() {
                log.say(
                    Level::Info,
                    format!(
                        "plugin/health: Going into lameduck mode for {}",
                        go_duration(lameduck)
                    ),
                );
                tokio::time::sleep(lameduck).await;
            }
            listeners.close().await;
            dispatcher.finish().await;
            said::write_due(&timed, None, &log);
            drop(admin);
        };
        tokio::select! {
            () = in_order => ExitCode::SUCCESS,
            () = signals.forced() => if order == Order::Interrupt { FORCED.into() } else { ExitCode::SUCCESS },
        }
    }
}

fn spawn_probes(tasks: &mut JoinSet<()>, listeners: &Listeners, probes: Vec<(Listen, Question)>) {
    while tasks.try_join_next().is_some() {}
    for (listen, question) in probes {
        if let Some((_, bound)) = listeners.bound().find(|(open, _)| *open == listen) {
            tasks.spawn(watch::probe(bound, question));
        }
    }
}
