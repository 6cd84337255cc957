//! Runs the sources that a configuration needs. One task of each source owns its index.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use tokio::{
    sync::{
        mpsc::{Receiver, Sender, channel},
        watch,
    },
    task::{AbortHandle, JoinSet},
};

use crate::{
    limits,
    metrics::{Family, HistogramFamily, Metrics, exponential_buckets},
    model::{Change, Kind, Selector},
    net::unix_time,
    plugin::{ClientTls, Origin, Source, Throttle},
    source::{
        Notice,
        api::{Access, Admission, Cluster, ClusterConfig, Identity},
        manifests::{Manifests, ManifestsUpdate},
    },
    zone::{Changed, Index, Store},
};

use super::{
    facts::{FactsHash, Needed, NeededFacts, report},
    memory::FactsMemory,
    snapshot::Keeper,
};

static PROGRAMMING: HistogramFamily<1> = Family::histogram(
    "kubernetes_dns_programming_duration_seconds",
    "Time from a change of a Service's endpoints, by the controller's clock, until it is answered.",
    ["service_kind"],
    || exponential_buckets(0.001, 2., 20),
);

/// The running sources, with the facts that they have published.
pub(super) struct Sources {
    running: HashMap<Source, RunningSource>,
    tasks: JoinSet<()>,
    metrics: Arc<Metrics>,
    /// The cluster of a source that names none.
    own: ClusterConfig,
}

struct RunningSource {
    store: Arc<Store>,
    /// The task that owns the index; the tasks that feed it end with it.
    index: AbortHandle,
    feed: Feed,
}

enum Feed {
    /// A directory, of which all kinds are read.
    Manifests,
    Cluster {
        cluster: Cluster,
        changes: Sender<Change>,
        followed: BTreeMap<Kind, AbortHandle>,
        /// What the snapshot must hold, and where it is.
        needed: watch::Sender<NeededFacts>,
    },
}

/// A source that was started, for the text at the start.
pub(super) enum StartedSource {
    Manifests(ManifestsUpdate),
    /// `HOST:PORT` of an API server, and where the address comes from.
    Cluster {
        host: String,
        place: String,
    },
}

impl Sources {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let own = ClusterConfig::InCluster;
        Self { running: HashMap::new(), tasks: JoinSet::new(), metrics, own }
    }

    /// Reads this cluster instead of that of the Pod.
    pub(super) fn with_cluster(self, own: ClusterConfig) -> Self {
        Self { own, ..self }
    }

    /// Starts the sources and kinds that do not run yet. The others keep all that they read, so that
    /// nothing is missing if the reload fails. [`Self::keep`] ends what is not needed.
    pub(super) async fn start(&mut self, needed: &Needed) -> anyhow::Result<Vec<StartedSource>> {
        while self.tasks.try_join_next().is_some() {}
        let mut started = Vec::new();
        for (source, facts) in needed {
            if !self.running.contains_key(source) {
                started.push(self.open(source, facts).await.context("plugin/kubernetes")?);
            }
            if let Some(RunningSource {
                feed: Feed::Cluster { cluster, changes, followed, needed },
                ..
            }) = self.running.get_mut(source)
            {
                let both = needed.borrow().and(facts);
                let before = needed.send_replace(both);
                if !before.endpoint_fields.include(facts.endpoint_fields)
                    && let Some(follower) = followed.remove(&Kind::EndpointSlice)
                {
                    // The slices are listed again, with the details that were left out.
                    follower.abort();
                }
                for kind in &facts.kinds {
                    followed
                        .entry(*kind)
                        .or_insert_with(|| cluster.follow(*kind, changes.clone(), &mut self.tasks));
                }
            }
        }
        Ok(started)
    }

    /// Ends the sources and kinds that are not needed any more.
    pub(super) async fn keep(&mut self, needed: &Needed) {
        self.running.retain(|source, running| {
            let keep = needed.contains_key(source);
            if !keep {
                running.index.abort();
            }
            keep
        });
        for (source, facts) in needed {
            let Some(RunningSource {
                feed: Feed::Cluster { changes, followed, needed, .. }, ..
            }) = self.running.get_mut(source)
            else {
                continue;
            };
            needed.send_replace(facts.clone());
            let spare: Vec<_> =
                followed.keys().filter(|kind| !facts.kinds.contains(kind)).copied().collect();
            for kind in spare {
                if let Some(follower) = followed.remove(&kind) {
                    follower.abort();
                    let _ = changes.send(Change::Forget(kind)).await;
                }
            }
        }
    }

    pub(super) fn stores(&self) -> HashMap<Source, Arc<Store>> {
        self.running
            .iter()
            .map(|(source, running)| (source.clone(), Arc::clone(&running.store)))
            .collect()
    }

    async fn open(
        &mut self,
        source: &Source,
        facts: &NeededFacts,
    ) -> anyhow::Result<StartedSource> {
        let config = match &source.origin {
            Origin::Manifests(directory) => {
                return Ok(StartedSource::Manifests(
                    self.open_manifests(source, Path::new(directory))?,
                ));
            }
            Origin::InCluster => self.own.clone(),
            Origin::Kubeconfig { file, context } => ClusterConfig::Kubeconfig {
                file: file.into(),
                others: Vec::new(),
                context: context.clone(),
            },
            Origin::Endpoint { url, tls } => {
                ClusterConfig::Endpoint { url: url.clone(), identity: tls.as_ref().map(identity) }
            }
        };
        let written = config.to_string();
        if let Some(file) = config.missing_file() {
            let file = file.display();
            report(Notice::Problem(format!(
                "{file} does not exist: the API server's certificate must come from an authority that this machine trusts"
            )));
        }
        let access = Arc::new(Access::open(config, admission(source.throttle)).await?);
        let host = access.host().to_owned();
        let labels: Option<Arc<str>> = source.labels.as_deref().map(Arc::from);
        let (needed, wanted) = watch::channel(facts.clone());
        let (keeper, index) =
            Keeper::open(Arc::clone(&access), labels.clone(), wanted, &self.metrics).await;
        let cluster = Cluster {
            access,
            labels,
            metrics: Arc::clone(&self.metrics),
            notify: Arc::new(report),
        };
        let (changes, receiver) = channel(limits::CHANGES);
        let feed = Feed::Cluster { cluster, changes, followed: BTreeMap::new(), needed };
        self.run(source, index, receiver, feed, Some(keeper));
        Ok(StartedSource::Cluster { host, place: written })
    }

    /// Reads the directory before the first query is answered, since that takes little time.
    fn open_manifests(
        &mut self,
        source: &Source,
        directory: &Path,
    ) -> anyhow::Result<ManifestsUpdate> {
        let selector = source
            .labels
            .as_deref()
            .map(Selector::parse)
            .transpose()
            .map_err(anyhow::Error::msg)?;
        let mut manifests = Manifests::open(directory, selector)?;
        let mut update = manifests.read();
        let mut index = Index::default();
        for change in std::mem::take(&mut update.changes) {
            index.stage(change);
        }
        index.publish_staged(unix_time() as u32);
        update.errors.iter().for_each(|error| report(Notice::Problem(error.to_string())));
        // The server does not need the objects, which may be many.
        update.objects.clear();
        let (changes, receiver) = channel(limits::CHANGES);
        self.tasks.spawn(manifests.watch(changes, report));
        self.run(source, index, receiver, Feed::Manifests, None);
        Ok(update)
    }

    fn run(
        &mut self,
        source: &Source,
        mut index: Index,
        mut changes: Receiver<Change>,
        feed: Feed,
        mut keeper: Option<Keeper>,
    ) {
        let (store, metrics) = (index.store(), Arc::clone(&self.metrics));
        let host = match (&feed, &source.origin) {
            (Feed::Cluster { cluster, .. }, _) => cluster.access.host(),
            (Feed::Manifests, Origin::Manifests(directory)) => directory,
            (Feed::Manifests, _) => "",
        };
        let mut facts_hash = FactsHash::new(&metrics, host);
        let mut memory = match &feed {
            Feed::Cluster { cluster, .. } => Some(FactsMemory::new(Arc::clone(&cluster.access))),
            Feed::Manifests => None,
        };
        let index = self.tasks.spawn(async move {
            loop {
                facts_hash.show(index.digest());
                let change = tokio::select! {
                    change = changes.recv() => change,
                    () = due(&mut keeper) => {
                        memory.iter().for_each(FactsMemory::refresh);
                        if let Some(keeper) = &mut keeper {
                            keeper.keep(&index).await;
                        }
                        continue;
                    }
                };
                let Some(mut change) = change else { return };
                if let Some(memory) = &memory {
                    memory.bound(&mut index);
                }
                if let Some(keeper) = &keeper {
                    index.keep_endpoint_fields(keeper.endpoint_fields());
                }
                // Slices that arrived together are published together.
                for _ in 1..limits::CHANGES_AT_ONCE {
                    if !Index::may_wait(&change) {
                        break;
                    }
                    let Ok(next) = changes.try_recv() else { break };
                    stage(&mut index, std::mem::replace(&mut change, next), &metrics);
                }
                stage(&mut index, change, &metrics);
                let changed = index.publish_staged(unix_time() as u32);
                if let Some(memory) = &mut memory {
                    memory.measure(&mut index);
                }
                if let Some(keeper) = keeper.as_mut().filter(|_| changed != Changed::default()) {
                    keeper.changed();
                }
            }
        });
        self.running.insert(source.clone(), RunningSource { store, index, feed });
    }
}

fn stage(index: &mut Index, change: Change, metrics: &Metrics) {
    if let Change::Caused { namespace, service, at } = &change
        && let Some(headless) = index.is_headless(namespace, service)
    {
        // Slices of a Service without a selector are not written by the controller, and have no
        // time.
        let kind = if headless { "headless_with_selector" } else { "cluster_ip" };
        let since = SystemTime::now().duration_since(*at).unwrap_or_default();
        PROGRAMMING.with(metrics, [kind]).observe(since.as_secs_f64());
    }
    index.stage(change);
}

/// Waits until a keeper has something to do.
async fn due(keeper: &mut Option<Keeper>) {
    match keeper {
        Some(keeper) => keeper.due().await,
        None => std::future::pending().await,
    }
}

fn identity(tls: &ClientTls) -> Identity {
    Identity {
        certificate: (&tls.certificate).into(),
        key: (&tls.key).into(),
        authority: (&tls.authority).into(),
    }
}

fn admission(throttle: Throttle) -> Admission {
    let Throttle { requests_in_1000_s, burst, in_flight } = throttle;
    let interval = Duration::from_secs(1000).checked_div(requests_in_1000_s);
    // The default of the Kubernetes client.
    let burst = if burst == 0 { 10 } else { burst };
    Admission::new(interval, burst, (in_flight > 0).then_some(in_flight as usize))
}
