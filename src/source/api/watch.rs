//! Watches the changes after a resource version.

use tokio::time::{Instant, timeout_at};

use crate::{
    limits,
    model::Change,
    source::kind::{Meta, SERVICE_NAME},
};

use super::{
    access::NumberedClient,
    encoding::{Event, EventObject},
    error::WatchError,
    events::Events,
    follow::Follower,
    protocol,
};

impl Follower {
    /// Emits the time of the change that led to an EndpointSlice.
    async fn send_trigger_time(&self, meta: &Meta) -> Result<(), WatchError> {
        let time = meta
            .annotations
            .last_change_trigger_time
            .as_deref()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let (Some(time), Some(service)) = (time, meta.labels.get(SERVICE_NAME)) else {
            return Ok(());
        };
        let (namespace, service) = (meta.namespace.as_str().into(), service.as_str().into());
        Ok(self.changes.send(Change::Caused { namespace, service, at: time.into() }).await?)
    }

    pub(super) async fn watch(
        &mut self,
        client: &NumberedClient,
        version: String,
    ) -> Result<(), WatchError> {
        let request = protocol::watch(&self.selection(), &version);
        self.from = Some(version);
        if self.is_reconnecting {
            self.check_version(client).await?;
        }
        let turn = self.cluster.turn().await;
        let begun = Instant::now();
        let end = begun + limits::API_WATCH_TIME + limits::API_WATCH_GRACE;
        let silent = || {
            WatchError::Broken(format!(
                "the server has been silent for {} s",
                (limits::API_WATCH_TIME + limits::API_WATCH_GRACE).as_secs()
            ))
        };
        let mut events = Events::new(
            timeout_at(end, self.cluster.send(turn, client, request))
                .await
                .map_err(|_| silent())??,
        );
        let mut count = 0u64;
        loop {
            let event = tokio::select! {
                event = timeout_at(end, events.next()) => event.map_err(|_| silent())?,
                () = self.changes.closed() => return Err(WatchError::Closed),
            };
            match event.map_err(|error| WatchError::Broken(format!("{error:#}")))? {
                Some(event) => {
                    let Event { name, object } = Event::read(events.encoding, &event)?;
                    let version = self.take_event(&name, &object).await?.resource_version;
                    if !version.is_empty() {
                        self.from = Some(version);
                    }
                }
                None if count == 0 && begun.elapsed() < limits::API_RETRY_MIN => {
                    return Err(WatchError::Failed(
                        "the server ended the watch at once".to_owned(),
                        None,
                    ));
                }
                None => break,
            }
            count += 1;
            self.watched().await?;
        }
        self.watched().await?;
        if self.cluster.access.memory.may_complete(self.watched.fact) {
            // The objects that were left out have room now.
            self.from = None;
        }
        Ok(())
    }

    /// Records that a watch works.
    async fn watched(&mut self) -> Result<(), WatchError> {
        self.backoffs.expired.reset();
        self.succeeded();
        if self.is_refused {
            // The last list was complete, and so are the events since then.
            self.send_synced().await?;
        }
        Ok(())
    }

    /// Checks after a lost connection that the server still has the changes that were read. A
    /// server that was restored from a backup has an older resource version. It accepts the watch,
    /// but sends no event until it has reached the newer version again.
    ///
    /// Since Kubernetes 1.35 the API specifies that resource versions are numbers that grow. Other
    /// versions are not compared.
    async fn check_version(&mut self, client: &NumberedClient) -> Result<(), WatchError> {
        let now = self.current_version(client).await?;
        self.is_reconnecting = false;
        let number = |version: &str| version.parse::<u128>().ok();
        let (Some(known), Some(current)) = (self.from.as_deref().and_then(number), number(&now))
        else {
            return Ok(());
        };
        if current < known {
            return Err(WatchError::Expired(format!(
                "the server went back from resource version {known} to {current}, as after a \
                 restore from a backup"
            )));
        }
        Ok(())
    }

    /// Emits the change of an event, and returns the metadata of its object.
    pub(super) async fn take_event(
        &mut self,
        name: &str,
        object: &EventObject<'_>,
    ) -> Result<Meta, WatchError> {
        let meta = match name {
            "ADDED" | "MODIFIED" => {
                let meta = self.take(object.encoded(self.kind, self.version())?).await?;
                self.send_trigger_time(&meta).await?;
                meta
            }
            "DELETED" => {
                let meta = self.meta(object)?;
                self.changes.send(Change::Remove(self.key(&meta))).await?;
                meta
            }
            "BOOKMARK" => self.meta(object)?,
            "ERROR" => return Err(WatchError::of_status(object.status()?, None)),
            // A later Kubernetes may have other events.
            _ => Meta::default(),
        };
        Ok(meta)
    }

    fn meta(&self, object: &EventObject<'_>) -> Result<Meta, WatchError> {
        let decoded = self.decode(object.encoded(self.kind, self.version())?);
        Ok(decoded.map_err(|error| WatchError::unreadable("an event", error))?.meta)
    }
}
