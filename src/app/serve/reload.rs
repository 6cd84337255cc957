//! Reloads: after a signal, or when the Corefile or a file of its plugins has changed.

use std::sync::Arc;

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
        signals::Order,
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
    /// Shows the Corefile of the start.
    pub(super) fn first(metrics: &Metrics, text: &Text) -> Self {
        let mut hashes = Self::default();
        hashes.read(metrics, &watch::hash(text), Validity::Valid);
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

impl Process {
    pub(super) async fn until_stopped(&mut self, text: &Text, flags: &ServerFlags) -> Order {
        let mut look = tokio::time::interval(limits::RELOAD_INTERVAL);
        loop {
            tokio::select! {
                now = look.tick() => {
                    log_due(&self.timed, Some(now.into_std()));
                    self.admin.retry().await;
                    self.look(text, flags).await;
                }
                Some(()) = self.waiting.arrived() => {
                    let change = self.watched.as_mut().and_then(|watched| watched.look(text));
                    self.reload_state.reread = change == Some(Change::Corefile);
                    self.try_reload(text, flags).await;
                }
                order = self.signals.next() => match order {
                    Order::Reload => {
                        // The next look must not report the same mistake again.
                        self.watched.as_mut().map(|watched| watched.look(text));
                        self.reload_state.reread = true;
                        self.try_reload(text, flags).await;
                    }
                    order => return order,
                }
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
            self.waiting.again(limits::AWAITED_PAUSE);
            let reason = error
                .downcast_ref::<Mistakes>()
                .map_or_else(|| format!("{error:#}"), |mistakes| mistakes.lines.join("; "));
            tracing::error!(plugin = "reload", "Corefile changed but reload failed: {reason}");
            // A file that cannot be read has no hash: the last one stays.
            if let Ok(rejected) = text.again() {
                self.hashes.read(&self.metrics, &watch::hash(&rejected), Validity::Rejected);
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
        let configuration = config::check(&text, flags.port)?;
        configuration.warnings().for_each(|warning| tracing::warn!("{warning}"));
        let needed = compose::sources(&configuration);
        // Read before the slow steps, so that a change during them causes the next reload.
        let watched = Watched::new(&text, &configuration);
        let hash = watch::hash(&text);
        let commands = Commands::of(&configuration);
        self.sources.start(&needed).await?;
        let Built { assembled: built, mut listen_configs } = compose::compose(
            configuration,
            &self.metrics,
            &self.sources.stores(),
            &self.reload_state,
            self.cookies,
        )?;
        listen_config::add_compat(&mut listen_configs, &flags.compat_listener)?;
        self.listeners.open(&listen_configs)?;
        built.count_enabled(&self.metrics);
        self.log.set_debug(DebugPlugin::present_if(built.server.debug));
        print_backtraces(built.stacktrace);
        let Outputs {
            pages,
            readiness,
            warnings,
            awaited,
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
        self.sources.keep(&needed).await;
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
