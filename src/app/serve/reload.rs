//! Reloads: after a signal, or when the Corefile or a file of its plugins has changed.

use std::{sync::Arc, time::Instant};

use crate::{
    cli::ServerFlags,
    limits,
    metrics::{CounterFamily, Family, GaugeFamily, Metrics},
    net::{
        admin::Unserved,
        dnstap,
        log::{self, DebugPlugin},
        otlp,
    },
    plugin::{Event, Outputs},
};

use super::{
    super::{
        commands::Commands,
        compose::{self, Built},
        config::{self, Mistakes, Text},
        listen_config, notify,
        signals::{Meanwhile, Order, Signals},
        waiting::Waiting,
        watch::{self, Change, Watched},
    },
    Process, log_due, print_backtraces, spawn_probes,
};

static FAILURES: CounterFamily<0> = Family::new("reload_failed_total", "Reloads that failed.", []);
static VERSION: GaugeFamily<2> = Family::new(
    "reload_version_info",
    "The hash of the configuration after the last reload.",
    ["hash", "value"],
);

static COREFILE: GaugeFamily<2> = Family::new(
    "corefile_info",
    "The hash of the Corefile in use (state=running), and of the one that was read last (state=file).",
    ["state", "sha512"],
);

/// The hash of the Corefile in use, as CoreDNS prints it.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    running: String,
}

impl Hashes {
    /// Shows the Corefile of the start, which [`config::print`] printed.
    pub(super) fn first(metrics: &Metrics, printed: &str) -> Self {
        let mut hashes = Self::default();
        hashes.read(metrics, &watch::sha512(printed), Validity::Valid);
        hashes
    }

    /// Shows the Corefile that was read last. If it was valid, it is also the one in use.
    fn read(&mut self, metrics: &Metrics, hash: &str, validity: Validity) {
        if validity == Validity::Valid {
            hash.clone_into(&mut self.running);
        }
        COREFILE.reset(metrics);
        COREFILE.with(metrics, ["running", &self.running]).set(1);
        COREFILE.with(metrics, ["file", hash]).set(1);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Validity {
    Valid,
    Rejected,
}

/// Creates the counter, so that it is shown as 0 before the first failure.
pub(super) fn declare_metrics(metrics: &Metrics) {
    FAILURES.with(metrics, []);
}

pub(super) fn log_hash(hash: &str) {
    tracing::info!(plugin = "reload", "Running configuration SHA512 = {hash}");
}

/// What the process has to do.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// A second has passed.
    Look(Instant),
    /// Something that the Corefile names can be used now.
    Arrived,
    /// A signal orders a reload.
    Reload,
}

impl Process {
    pub(super) async fn until_stopped(
        &mut self,
        signals: &mut Signals,
        mut meanwhile: Meanwhile,
        text: &Text,
        flags: &ServerFlags,
    ) -> Order {
        let mut look = tokio::time::interval(limits::RELOAD_INTERVAL);
        loop {
            let task = if meanwhile == Meanwhile::Reload {
                Task::Reload
            } else {
                tokio::select! {
                    now = look.tick() => Task::Look(now.into_std()),
                    Some(()) = self.waiting.arrived() => Task::Arrived,
                    order = signals.next() => match order {
                        Order::Reload => Task::Reload,
                        order => return order,
                    }
                }
            };
            // A reload waits for host names and for programs. No signal waits for the reload.
            match signals.during(self.run(task, text, flags)).await {
                Ok(((), order)) => meanwhile = order,
                Err(order) => return order,
            }
        }
    }

    async fn run(&mut self, task: Task, text: &Text, flags: &ServerFlags) {
        match task {
            Task::Look(now) => {
                log_due(&self.timed, Some(now));
                self.admin.retry().await;
                self.look(text, flags).await;
            }
            Task::Arrived => {
                let change = self.watched.as_mut().and_then(|watched| watched.look(text));
                self.reload_state.reread = change == Some(Change::Corefile);
                self.try_reload(text, flags).await;
            }
            Task::Reload => {
                // The next look must not report the same mistake again.
                self.watched.as_mut().map(|watched| watched.look(text));
                self.reload_state.reread = true;
                self.try_reload(text, flags).await;
            }
        }
    }

    /// Reloads if a watched file has changed since the last look.
    async fn look(&mut self, text: &Text, flags: &ServerFlags) {
        let Some(watched) = &mut self.watched else { return };
        if let Some(change) = watched.look(text) {
            self.reload_state.reread = change == Change::Corefile;
            self.try_reload(text, flags).await;
        }
    }

    async fn try_reload(&mut self, text: &Text, flags: &ServerFlags) {
        tracing::info!("Reloading");
        if let Err(error) = self.reload(text, flags).await {
            FAILURES.with(&self.metrics, []).inc();
            self.sources.keep(&self.needed).await;
            self.waiting.again(limits::AWAITED_PAUSE);
            let reason = error
                .downcast_ref::<Mistakes>()
                .map_or_else(|| format!("{error:#}"), |mistakes| mistakes.lines.join("; "));
            tracing::error!(plugin = "reload", "Corefile changed but reload failed: {reason}");
            // A file that cannot be read has no hash: the last one stays.
            if let Ok(rejected) = text.again() {
                let hash = watch::sha512(&config::print(&rejected));
                self.hashes.read(&self.metrics, &hash, Validity::Rejected);
            }
            return;
        }
        VERSION.reset(&self.metrics);
        VERSION.with(&self.metrics, ["sha512", &self.hashes.running]).set(1);
        self.watched.as_ref().and_then(Watched::hash).iter().for_each(|hash| log_hash(hash));
        tracing::info!("Reloading complete");
    }

    /// Builds the new server beside the old one and swaps them. On an error before the swap the old
    /// one stays. After the swap only a thread, a certificate or the address of a page can be
    /// missing. Then each is logged, and the new server stays in use without it.
    async fn reload(&mut self, text: &Text, flags: &ServerFlags) -> anyhow::Result<()> {
        let text = text.again()?;
        let printed = config::print(&text);
        let configuration = config::check(&text, flags.port)?;
        configuration.warnings().for_each(|warning| tracing::warn!("{warning}"));
        let needed = compose::sources(&configuration);
        // Read before the slow steps, so that a change during them causes the next reload.
        let hash = watch::sha512(&printed);
        let watched = Watched::new(printed, &configuration);
        let commands = Commands::of(&configuration);
        self.sources.start(&needed).await?;
        let Built { assembled: built, mut listen_configs, awaited } = compose::compose(
            configuration,
            &self.metrics,
            &self.sources.stores(),
            &self.reload_state,
            self.cookies,
        )
        .await?;
        listen_config::add_compat(&mut listen_configs, &flags.compat_listener)?;
        self.listeners.open(&listen_configs)?;
        built.count_enabled(&self.metrics);
        self.log.set_debug(DebugPlugin::present_if(built.server.debug));
        print_backtraces(built.stacktrace);
        let Outputs {
            pages,
            readiness,
            warnings,
            timed,
            reload_state,
            secondaries,
            signers,
            updated,
            etcd,
            dnstap: taps,
            traces,
            notices,
            ..
        } = built.outputs;
        warnings.iter().for_each(log::emit);
        self.dispatcher.server.store(Arc::new(built.server));
        log_due(&std::mem::replace(&mut self.timed, timed), None);
        for missing in self.listeners.serve(&self.dispatcher, &listen_configs) {
            tracing::error!(plugin = "reload", "{missing:#}; the new Corefile is used without it");
        }
        self.needed = needed;
        self.sources.keep(&self.needed).await;
        (self.readiness, self.lameduck, self.reload_state) =
            (readiness, built.lameduck, reload_state);
        self.watched = watched.only(built.watch_corefile, built.watch_files);
        self.waiting = Waiting::start(awaited);
        self.secondaries.run(secondaries);
        self.signers.run(signers);
        self.updates.run(updated);
        self.etcds.run(etcd);
        self.dnstaps.run(taps, dnstap::run);
        self.traces.run(traces, otlp::run);
        spawn_probes(&mut self.tasks, &self.listeners, built.probes);
        notify::send(&mut self.tasks, notices);
        self.hashes.read(&self.metrics, &hash, Validity::Valid);
        self.commands = commands;
        self.tasks.spawn(self.commands.run(Event::Startup));
        self.admin.serve(pages).await.iter().for_each(Unserved::log);
        Ok(())
    }
}
