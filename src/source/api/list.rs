//! Reads all objects of a kind: as a stream of events if the server supports that, else in pages.
//!
//! A stream needs one round trip, and the server sends each object from its cache without building
//! a list first. A server that does not support streams rejects the request, or is silent after the
//! last object; then pages follow. If a stream breaks, the next list is read in pages, because a
//! proxy may cut long streams.

use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};

use crate::{limits, model::Change};

use super::{
    access::{Access, NumberedClient},
    encoding::{self, Encoding, Event},
    error::WatchError,
    events::Events,
    follow::{Follower, Streaming},
    page::PageMeta,
    protocol::{self, PageBody},
};

/// The progress of a list in pages.
struct Listing {
    /// The `continue` of the last page.
    after: String,
    /// How many objects a page may have.
    limit: usize,
    objects: usize,
}

impl Default for Listing {
    fn default() -> Self {
        Self { after: String::new(), limit: limits::API_PAGE, objects: 0 }
    }
}

impl Listing {
    fn go_on(&mut self, after: String, objects: usize) -> Result<(), WatchError> {
        self.objects += objects;
        if after == self.after {
            return Err(WatchError::unreadable("a list", "the server sends the same page again"));
        }
        self.after = after;
        Ok(())
    }

    /// After a page that was too large: the next request is for an eighth of the objects.
    fn ask_for_fewer(&mut self) -> Result<(), WatchError> {
        if self.limit == 1 {
            let error = format!("an object has more than {} octets", limits::API_PAGE_OCTETS);
            return Err(WatchError::unreadable("a page", error));
        }
        self.limit = (self.limit / 8).max(1);
        Ok(())
    }
}

/// A page as it was received.
struct Body<'a> {
    encoding: Encoding,
    page: PageBody<'a>,
}

impl Follower {
    /// Emits all objects of the kind.
    pub(super) async fn list(&mut self, client: &NumberedClient) -> Result<(), WatchError> {
        if self.was_too_large {
            self.measure(client).await?;
            self.was_too_large = false;
        }
        self.changes.send(Change::Relist(self.watched.fact)).await?;
        let version = match self.streaming {
            Streaming::Usable => match self.list_as_events(client).await {
                Err(WatchError::Unsupported(_)) => {
                    self.streaming = Streaming::Unsupported;
                    // Objects that were sent may have been deleted since.
                    self.changes.send(Change::Relist(self.watched.fact)).await?;
                    self.list_in_pages(client).await?
                }
                // Streams need the permission `watch`. Pages need only the permission `list`.
                Err(WatchError::Refused(_)) => self.list_in_pages(client).await?,
                listed => listed?,
            },
            Streaming::Failed | Streaming::Unsupported => self.list_in_pages(client).await?,
        };
        // This resets the back-off, so it happens only after the last object. If every list breaks
        // before its end, the back-off must grow.
        self.succeeded();
        self.is_reconnecting = false;
        if self.streaming == Streaming::Failed {
            self.streaming = Streaming::Usable;
        }
        self.send_synced().await?;
        self.from = Some(version).filter(|version| !version.is_empty());
        if self.from.is_none() {
            // A server without resource versions cannot be watched.
            self.pause(limits::API_WATCH_TIME).await.ok_or(WatchError::Closed)?;
        }
        Ok(())
    }

    /// Reads all pages, and only counts their objects, because the last list was too large. If the
    /// objects were used, a server that sends new objects without end would add some with each
    /// attempt.
    async fn measure(&mut self, client: &NumberedClient) -> Result<(), WatchError> {
        self.measured = Some(0);
        let measured = self.list_in_pages(client).await;
        self.measured = None;
        measured.map(drop)
    }

    /// # Errors
    /// If the list has too many objects, or if it is the first one and the facts of the server take
    /// too much memory. Later, the index leaves out what has no room.
    fn check_size(&mut self, objects: usize) -> Result<(), WatchError> {
        let memory = &self.cluster.access.memory;
        if objects.is_multiple_of(limits::API_PAGE) {
            memory.refresh();
        }
        let needed = match self.measured {
            Some(octets) => memory.used() - memory.known(self.watched.fact) + octets,
            None => memory.used(),
        };
        let error = if objects > limits::API_LIST_OBJECTS {
            format!("it has more than {} objects", limits::API_LIST_OBJECTS)
        } else if !self.is_synced && needed > memory.most() {
            memory.to_string()
        } else {
            return Ok(());
        };
        self.was_too_large = true;
        Err(WatchError::unreadable("a list", error))
    }

    /// Returns the resource version of the list.
    async fn list_as_events(&mut self, client: &NumberedClient) -> Result<String, WatchError> {
        let request = protocol::list_as_events(&self.selection());
        let turn = self.cluster.turn().await;
        let sent = timeout(limits::API_PAGE_TIME, self.cluster.send(turn, client, request)).await;
        if matches!(sent, Err(_) | Ok(Ok(_) | Err(WatchError::Failed(..)))) {
            // The stream counts as failed until its end has arrived.
            self.streaming = Streaming::Failed;
        }
        let mut events = Events::new(sent.map_err(|_| silent())??);
        let mut end = Instant::now() + limits::API_LIST_TIME;
        let mut objects = 0;
        while let Some(event) = self.next_initial_event(&mut events, end).await? {
            let Event { name, object } = Event::read(events.encoding, &event)?;
            match &*name {
                "ADDED" => {
                    self.take(object.encoded(self.kind, self.version())?).await?;
                }
                _ => {
                    // All other events come after the last object of the list. A server that does
                    // not mark the end goes on with the events of a watch.
                    end = end.min(Instant::now() + limits::API_LIST_END);
                    let meta = self.take_event(&name, &object).await?;
                    if meta.annotations.initial_events_end.as_deref() == Some("true") {
                        if meta.resource_version.is_empty() {
                            let error = "the end of the list has no resource version";
                            return Err(WatchError::Unsupported(error.to_owned()));
                        }
                        self.streaming = Streaming::Usable;
                        return Ok(meta.resource_version);
                    }
                }
            }
            objects += 1;
            self.check_size(objects)?;
        }
        Err(WatchError::Broken("the server ended a list before its last object".to_owned()))
    }

    async fn next_initial_event(
        &self,
        events: &mut Events,
        end: Instant,
    ) -> Result<Option<bytes::Bytes>, WatchError> {
        let end = end.min(Instant::now() + limits::API_LIST_SILENCE);
        tokio::select! {
            event = timeout_at(end, events.next()) => event
                .map_err(|_| endless())?
                .map_err(|error| WatchError::Broken(format!("{error:#}"))),
            () = self.changes.closed() => Err(WatchError::Closed),
        }
    }

    /// Returns the resource version of the list.
    async fn list_in_pages(&mut self, client: &NumberedClient) -> Result<String, WatchError> {
        let (mut listing, access) = (Listing::default(), Arc::clone(&self.cluster.access));
        loop {
            let Some(page) = self.fetch_page(client, &access, &listing).await? else {
                listing.ask_for_fewer()?;
                continue;
            };
            let (meta, count) = self.take_page(&page, listing.objects).await?;
            drop(page);
            if meta.after.is_empty() {
                return Ok(meta.resource_version);
            }
            listing.go_on(meta.after, count)?;
        }
    }

    /// The resource version of the server at this moment.
    pub(super) async fn current_version(
        &self,
        client: &NumberedClient,
    ) -> Result<String, WatchError> {
        let access = Arc::clone(&self.cluster.access);
        let listing = Listing { limit: 1, ..Listing::default() };
        let Some(Body { encoding, page }) = self.fetch_page(client, &access, &listing).await?
        else {
            return Ok(String::new());
        };
        let (meta, _) = encoding::page(self.kind, self.version(), encoding, page.octets())?;
        Ok(meta.resource_version)
    }

    /// The next page; `None` if it is larger than [`limits::API_PAGE_OCTETS`].
    async fn fetch_page<'a>(
        &self,
        client: &NumberedClient,
        access: &'a Access,
        listing: &Listing,
    ) -> Result<Option<Body<'a>>, WatchError> {
        let request = protocol::list(&self.selection(), listing.limit, &listing.after);
        let turn = self.cluster.turn().await;
        let page = timeout(limits::API_PAGE_TIME, async {
            let response = self.cluster.send(turn, client, request).await?;
            let encoding = Encoding::of(response.headers());
            let page = PageBody::read(response.into_body(), &access.large_pages)
                .await
                .map_err(|error| WatchError::Broken(format!("{error:#}")))?;
            Ok(page.map(|page| Body { encoding, page }))
        });
        page.await.map_err(|_| {
            WatchError::Broken(format!(
                "no complete page within {} s",
                limits::API_PAGE_TIME.as_secs()
            ))
        })?
    }

    /// Emits the objects of a page, and returns how many there are. `before` is the number of
    /// objects on the pages before it.
    async fn take_page(
        &mut self,
        Body { encoding, page }: &Body<'_>,
        before: usize,
    ) -> Result<(PageMeta, usize), WatchError> {
        let (meta, items) = encoding::page(self.kind, self.version(), *encoding, page.octets())?;
        let count = items.len();
        for (at, item) in items.into_iter().enumerate() {
            self.take(item).await?;
            self.check_size(before + at + 1)?;
        }
        Ok((meta, count))
    }
}

fn endless() -> WatchError {
    WatchError::Unsupported("the server does not mark the end of the list".to_owned())
}

fn silent() -> WatchError {
    WatchError::Broken(format!(
        "the server has been silent for {} s",
        limits::API_PAGE_TIME.as_secs()
    ))
}
