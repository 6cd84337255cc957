//! Starts a server, keeps it running through reloads, and stops it in order.

use std::sync::Arc;

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use crate::{
    chain::Level,
    cli::ServerFlags,
    corefile::go_duration,
    limits,
    metrics::Metrics,
    net::{Shell, admin::Admin, listeners::Listeners, log::Log},
    plugin::{Kept, Readiness, Timed},
    server::{Assembled, Listen},
    wire::Question,
};

use super::{
    build::{self, Built, Secrets},
    config::{self, Configuration, Text},
    process, said, say,
    sources::Sources,
    watch::{self, Seen},
    welcome,
};

/// Serves a Corefile until a signal says otherwise. A newcomer is told what to try in the zone.
pub(super) fn run(text: &Text, flags: &ServerFlags, newcomer: Option<&str>) -> anyhow::Result<()> {
    // A wrong Corefile is told before a thread is made.
    let configuration = config::check(text, flags.port)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let (mut process, shell_task) = Process::start(text, configuration, flags, newcomer).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(shell_task);
        process.until_stopped(text, flags).await?;
        process.stop().await;
        tasks.shutdown().await;
        Ok(())
    })
}

struct Process {
    shell: Arc<Shell>,
    metrics: Arc<Metrics>,
    log: Log,
    listeners: Listeners,
    admin: Admin,
    sources: Sources,
    readiness: Arc<Readiness>,
    lameduck: std::time::Duration,
    timed: Vec<Arc<dyn Timed>>,
    kept: Kept,
    secrets: Secrets,
    /// `None` where no change is to be taken over.
    watched: Option<Watched>,
    tasks: JoinSet<()>,
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Process {
    async fn start(
        text: &Text,
        configuration: Configuration,
        flags: &ServerFlags,
        newcomer: Option<&str>,
    ) -> anyhow::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        // Before anything is said: who reads that it listens may end it in order.
        let [terminate, interrupt, reload] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::user_defined1()].map(signal);
        let (terminate, interrupt, reload) = (terminate?, interrupt?, reload?);
        let metrics = Arc::new(Metrics::default());
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), "", ""]).set(1);
        metrics.register(Box::new(process::Process::new()?));
        let log = Log::start(metrics.log_lost.clone()).context("cannot start the log's thread")?;
        let mut sources = Sources::new(log.clone(), Arc::clone(&metrics));
        let started = sources.start(&build::sources(&configuration)).await?;
        let (banner, files) = (welcome::banner(&configuration), build::files(&configuration));
        let secrets = Secrets::new();
        let Built { assembled, openings } = build::build(configuration, &metrics, &sources.stores(), &Kept::default(), secrets)?;
        let Assembled { server, pages, readiness, lameduck, warnings, timed, stacktrace, watch_corefile, watch_files, probes, kept } =
            assembled;
        log.debug(server.debug);
        said::trace_panics(stacktrace);
        warnings.into_iter().for_each(|warning| log.say(Level::Warning, warning));
        // Container runtimes leave a soft limit of 1024 descriptors; the bounds of limits.rs want more. Without more, connections wait.
        let descriptors = rlimit::increase_nofile_limit(limits::DESCRIPTORS).unwrap_or(1024);
        let mut listeners = Listeners::new(descriptors);
        listeners.open(&openings)?;
        let mut admin = Admin::default();
        admin.serve(pages).await?;
        let (shell, task) = Shell::new(server, Arc::clone(&metrics), log.clone());
        listeners.serve(&shell, &openings)?;
        if let Some(zone) = newcomer {
            welcome::newcomer(&started, &listeners, zone);
        } else if !flags.quiet {
            say!("{banner}");
            welcome::chosen_ports(&listeners, &admin);
        }
        let watched = Watched::new(text, watch_corefile, watch_files, files);
        if let Some(watched) = watched.as_ref().filter(|watched| watched.corefile) {
            log.say(Level::Info, format!("plugin/reload: Running configuration SHA512 = {}", watched.seen.hash()));
        }
        let mut tasks = JoinSet::new();
        spawn_probes(&mut tasks, &listeners, probes);
        let process = Self {
            shell,
            metrics,
            log,
            listeners,
            admin,
            sources,
            readiness,
            lameduck,
            timed,
            kept,
            secrets,
            watched,
            tasks,
            terminate,
            interrupt,
            reload,
        };
        Ok((process, task))
    }

    async fn until_stopped(&mut self, text: &Text, flags: &ServerFlags) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(limits::RELOAD_LOOK);
        loop {
            tokio::select! {
                now = look.tick() => {
                    said::write_due(&self.timed, Some(now.into_std()), &self.log);
                    self.look(text, flags).await;
                }
                _ = self.terminate.recv() => {
                    self.log.say(Level::Info, "SIGTERM: Shutting down servers then terminating");
                    return Ok(());
                }
                _ = self.interrupt.recv() => {
                    self.log.say(Level::Info, "SIGINT: Shutting down");
                    self.lameduck = std::time::Duration::ZERO;
                    return Ok(());
                }
                _ = self.reload.recv() => {
                    self.log.say(Level::Info, "SIGUSR1: Reloading");
                    self.try_reload(text, flags).await;
                }
            }
        }
    }

    /// Takes over what has changed since the last look.
    async fn look(&mut self, text: &Text, flags: &ServerFlags) {
        let Some(watched) = &mut self.watched else { return };
        let now = Seen::now(watched.corefile.then_some(text), &watched.files);
        if watched.seen == now {
            return;
        }
        watched.seen = now;
        let hash = watched.corefile.then(|| watched.seen.hash());
        self.log.say(Level::Info, "Reloading");
        if self.try_reload(text, flags).await
            && let Some(hash) = hash
        {
            self.log.say(Level::Info, format!("plugin/reload: Running configuration SHA512 = {hash}"));
        }
    }

    async fn try_reload(&mut self, text: &Text, flags: &ServerFlags) -> bool {
        let reloaded = self.reload(text, flags).await;
        match &reloaded {
            Ok(()) => self.log.say(Level::Info, "Reloading complete"),
            Err(error) => {
                self.metrics.reload_failures.inc();
                let reason = format!("{error:#}").replace('\n', " | ");
                self.log.say(Level::Error, format!("plugin/reload: Corefile changed but reload failed: {reason}"));
            }
        }
        reloaded.is_ok()
    }

    /// Builds the new server beside the old one and swaps them; with a mistake the old one stays.
    async fn reload(&mut self, text: &Text, flags: &ServerFlags) -> anyhow::Result<()> {
        let configuration = config::check(&text.again()?, flags.port)?;
        let (needed, files) = (build::sources(&configuration), build::files(&configuration));
        self.sources.start(&needed).await?;
        let Built { assembled: built, openings } =
            build::build(configuration, &self.metrics, &self.sources.stores(), &self.kept, self.secrets)?;
        self.listeners.open(&openings)?;
        self.log.debug(built.server.debug);
        said::trace_panics(built.stacktrace);
        built.warnings.into_iter().for_each(|warning| self.log.say(Level::Warning, warning));
        self.shell.server.store(Arc::new(built.server));
        said::write_due(&std::mem::replace(&mut self.timed, built.timed), None, &self.log);
        self.listeners.serve(&self.shell, &openings)?;
        self.sources.keep(&needed).await;
        (self.readiness, self.lameduck, self.kept) = (built.readiness, built.lameduck, built.kept);
        self.watched = Watched::new(text, built.watch_corefile, built.watch_files, files);
        spawn_probes(&mut self.tasks, &self.listeners, built.probes);
        self.admin.serve(built.pages).await
    }

    /// No new questions are invited, those that still come are answered, then what is on its way is finished.
    async fn stop(mut self) {
        self.readiness.stop();
        if !self.lameduck.is_zero() {
            self.log.say(Level::Info, format!("plugin/health: Going into lameduck mode for {}", go_duration(self.lameduck)));
            tokio::select! {
                () = tokio::time::sleep(self.lameduck) => {}
                _ = self.interrupt.recv() => {}
            }
        }
        self.listeners.close().await;
        self.shell.finish().await;
        said::write_due(&self.timed, None, &self.log);
    }
}

/// What is looked at, and what it was.
struct Watched {
    corefile: bool,
    files: Vec<String>,
    seen: Seen,
}

impl Watched {
    fn new(text: &Text, corefile: bool, files: bool, paths: Vec<String>) -> Option<Self> {
        let paths = if files { paths } else { Vec::new() };
        (corefile || files).then(|| Self { corefile, seen: Seen::now(corefile.then_some(text), &paths), files: paths })
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
