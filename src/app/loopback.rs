//! A server on a free port of 127.0.0.1, for a command that compares its replies.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    limits,
    metrics::Metrics,
    net::{Dispatcher, listeners::Listeners},
    plugin::ReloadState,
    source::api::ClusterConfig,
};

use super::{
    compose::{self, Built},
    config::{self, Text},
    sources::Sources,
};

/// It answers until it is dropped.
pub(super) struct Loopback {
    pub(super) address: SocketAddr,
    _listeners: Listeners,
    _sources: Sources,
    _tasks: JoinSet<()>,
}

impl Loopback {
    /// Starts a Corefile with one server block, which has `bind`, port 0 and `ready`. Waits until
    /// the facts are complete. A `kubernetes` that names no cluster reads `cluster`.
    ///
    /// # Errors
    /// If the Corefile has mistakes, or the facts are not complete after [`limits::DIFF_START`].
    pub(super) async fn start(text: &Text, cluster: ClusterConfig) -> anyhow::Result<Self> {
        let configuration = config::check(text, 0)?;
        let metrics = Arc::new(Metrics::default());
        let mut sources = Sources::new(Arc::clone(&metrics)).with_cluster(cluster);
        sources.start(&compose::sources(&configuration)).await?;
        let Built { assembled, listen_configs, .. } = compose::compose(
            configuration,
            &metrics,
            &sources.stores(),
            &ReloadState::default(),
            compose::cookie_secret(),
        )
        .await?;
        let readiness = assembled.outputs.readiness;
        let mut listeners = Listeners::new(limits::DESCRIPTORS);
        listeners.open(&listen_configs)?;
        let (dispatcher, dispatch) = Dispatcher::new(assembled.server, metrics);
        let missing = listeners.serve(&dispatcher, &listen_configs);
        missing.into_iter().next().map_or(Ok(()), Err)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(dispatch);
        let ready = async {
            while !readiness.unready().is_empty() {
                tokio::time::sleep(limits::DIFF_POLL).await;
            }
        };
        if timeout(limits::DIFF_START, ready).await.is_err() {
            bail!("ndots has not read the cluster: {}", readiness.unready().join(", "));
        }
        let bound = listeners.bound().next().map(|(_, bound)| bound);
        let address = bound.context("the Corefile opens no listener")?;
        Ok(Self { address, _listeners: listeners, _sources: sources, _tasks: tasks })
    }
}
