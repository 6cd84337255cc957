//! Sends NOTIFY messages, each in a task of its own.

use tokio::task::JoinSet;

use crate::{net::notify, plugin::ZoneNotice};

/// Tells the secondary servers of these zones that they have changed.
pub(super) fn send(tasks: &mut JoinSet<()>, notices: Vec<ZoneNotice>) {
    for notice in notices {
        tasks.spawn(tell(notice));
    }
}

/// Tells one secondary server after the other.
pub(super) async fn tell(notice: ZoneNotice) {
    let ZoneNotice { zone, to, source } = notice;
    for to in to {
        if let Err(error) = notify::send(&zone, to, source).await {
            tracing::warn!(
                plugin = "transfer",
                "notify for zone \"{zone}\" was not accepted by \"{to}\": {error}"
            );
        }
    }
}
