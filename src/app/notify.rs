//! Sends NOTIFY messages, each in a task of its own.

use tokio::task::JoinSet;

use crate::{
    net::notify,
    plugin::{NamedKey, ZoneNotice},
};

/// Tells the secondary servers of these zones that they have changed.
pub(super) fn send(tasks: &mut JoinSet<()>, notices: Vec<ZoneNotice>) {
    for notice in notices {
        tasks.spawn(tell(notice));
    }
}

/// Tells one secondary server after the other.
pub(super) async fn tell(notice: ZoneNotice) {
    let ZoneNotice { zone, to, source, key } = notice;
    let known = key.as_ref().and_then(NamedKey::find);
    if let Some(missing) = key.filter(|_| known.is_none()) {
        tracing::warn!(plugin = "transfer", "{}", unknown_key(&missing));
        return;
    }
    for to in to {
        if let Err(error) = notify::send(&zone, to, source, known.as_deref()).await {
            tracing::warn!(
                plugin = "transfer",
                "notify for zone \"{zone}\" was not accepted by \"{to}\": {error}"
            );
        }
    }
}

/// The problem of a key that no block defines.
pub(super) fn unknown_key(key: &NamedKey) -> String {
    let name = &key.name;
    format!("no block has the TSIG key {name}; add `secret {name} KEY` to `tsig`")
}
