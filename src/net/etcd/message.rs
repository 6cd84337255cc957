//! The messages of etcd's API that ndots needs to read and watch keys.

use std::time::Duration;

use crate::{
    limits,
    protobuf::{Malformed, Message, Value, fields},
    skydns::Entry,
};

use super::service;

// The paths of the gRPC methods.
pub(super) const LOGIN: &str = "/etcdserverpb.Auth/Authenticate";
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub(super) const LEASE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";

/// The keys below a prefix.
pub(super) struct Range {
    pub(super) from: Vec<u8>,
    /// The first key after the range.
    pub(super) to: Vec<u8>,
}

impl Range {
    pub(super) fn of(prefix: &str) -> Self {
        let parts = prefix.split('/').filter(|part| !part.is_empty());
        let from = parts.fold(String::new(), |path, part| path + "/" + part) + "/";
        let mut to = from.clone().into_bytes();
        to.pop();
        // The character after the slash.
        to.push(b'/' + 1);
        Self { from: from.into_bytes(), to }
    }
}

/// Requests a token for this user.
pub(super) fn login(user: &str, password: &str) -> Vec<u8> {
    Message::default().octets(1, user.as_bytes()).octets(2, password.as_bytes()).finish()
}

/// The token in the reply to [`login`].
///
/// # Errors
/// If the reply is malformed, or has no token.
pub(super) fn token(reply: &[u8]) -> Result<Vec<u8>, Malformed> {
    let fields = fields(reply)?;
    let token = fields.iter().find(|(field, _)| *field == 2).ok_or(Malformed("it has no token"))?;
    Ok(token.1.octets().to_vec())
}

/// Requests the keys from `from` to the one before `to` as they were at this revision; 0 stands for
/// the newest one.
pub(super) fn range(from: &[u8], to: &[u8], revision: u64) -> Vec<u8> {
    Message::default()
        .octets(1, from)
        .octets(2, to)
        .number(3, limits::ETCD_PAGE)
        .number(4, revision)
        .finish()
}

/// Requests the changes of the range from this revision on; 0 stands for the changes from now on.
pub(super) fn watch(range: &Range, revision: u64) -> Vec<u8> {
    let create = Message::default().octets(1, &range.from).octets(2, &range.to).number(3, revision);
    Message::default().octets(1, &create.finish()).finish()
}

/// Requests the remaining time of a lease.
pub(super) fn lease(id: i64) -> Vec<u8> {
    Message::default().number(1, id as u64).finish()
}

/// How long the lease still lasts; `None` if it has ended.
///
/// # Errors
/// If the reply is malformed.
pub(super) fn time_to_live(reply: &[u8]) -> Result<Option<Duration>, Malformed> {
    let fields = fields(reply)?;
    let left = fields.iter().find(|(field, _)| *field == 3).map_or(0, |(_, left)| left.number());
    // In seconds. etcd replies -1 for a lease that has ended.
    let left = u32::try_from(left).ok().filter(|left| *left > 0);
    Ok(left.map(|left| Duration::from_secs(left.into())))
}

/// The revision in the header of a reply.
fn revision(header: Value<'_>) -> Result<u64, Malformed> {
    let fields = fields(header.octets())?;
    Ok(fields.iter().find(|(field, _)| *field == 3).map_or(0, |(_, revision)| revision.number()))
}

/// A key and its value.
struct KeyValue<'m> {
    key: &'m [u8],
    value: &'m [u8],
    /// 0 if the key has no lease.
    lease: i64,
}

impl<'m> KeyValue<'m> {
    fn read(message: Value<'m>) -> Result<Self, Malformed> {
        let mut read = Self { key: &[], value: &[], lease: 0 };
        for (field, value) in fields(message.octets())? {
            match field {
                1 => read.key = value.octets(),
                5 => read.value = value.octets(),
                6 => read.lease = value.number() as i64,
                _ => {}
            }
        }
        Ok(read)
    }

    /// `None` if the key is not valid UTF-8. Such a key belongs to no name.
    fn entry(&self) -> Option<(String, Entry)> {
        let key = str::from_utf8(self.key).ok()?.to_owned();
        Some((key, Entry { service: service::read(self.value), lease: self.lease }))
    }
}

/// One page of a list of keys.
pub(super) struct Page {
    /// The newest revision of etcd's store when it replied.
    pub(super) revision: u64,
    pub(super) keys: Vec<(String, Entry)>,
    /// The last key of the page, also if it is not UTF-8. The next page begins behind it.
    pub(super) last: Option<Vec<u8>>,
    /// Whether other keys follow.
    pub(super) more: bool,
}

impl Page {
    pub(super) fn read(reply: &[u8]) -> Result<Self, Malformed> {
        let mut page = Self { revision: 0, keys: Vec::new(), last: None, more: false };
        for (field, value) in fields(reply)? {
            match field {
                1 => page.revision = revision(value)?,
                2 => {
                    let read = KeyValue::read(value)?;
                    page.keys.extend(read.entry());
                    page.last = Some(read.key.to_vec());
                }
                3 => page.more = value.number() != 0,
                _ => {}
            }
        }
        Ok(page)
    }
}

/// A message of a watch.
pub(super) struct Watched {
    /// The newest revision of etcd's store when it sent the message.
    pub(super) revision: u64,
    /// A key without an entry was deleted.
    pub(super) changes: Vec<(String, Option<Entry>)>,
    pub(super) end: Option<End>,
}

/// Why a watch ends.
pub(super) enum End {
    /// etcd no longer has the change at the revision where the watch was to begin.
    Compacted,
    Cancelled(String),
}

impl Watched {
    pub(super) fn read(response: &[u8]) -> Result<Self, Malformed> {
        let mut watched = Self { revision: 0, changes: Vec::new(), end: None };
        let (mut cancelled, mut compacted, mut reason) = (false, false, String::new());
        for (field, value) in fields(response)? {
            match field {
                1 => watched.revision = revision(value)?,
                4 => cancelled = value.number() != 0,
                5 => compacted = value.number() != 0,
                6 => reason = String::from_utf8_lossy(value.octets()).into_owned(),
                11 => watched.changes.extend(change(value)?),
                _ => {}
            }
        }
        watched.end = match (compacted, cancelled) {
            (true, _) => Some(End::Compacted),
            (false, true) => Some(End::Cancelled(reason)),
            (false, false) => None,
        };
        Ok(watched)
    }
}

fn change(event: Value<'_>) -> Result<Option<(String, Option<Entry>)>, Malformed> {
    let (mut is_delete, mut read) = (false, None);
    for (field, value) in fields(event.octets())? {
        match field {
            1 => is_delete = value.number() == 1,
            2 => read = Some(KeyValue::read(value)?),
            _ => {}
        }
    }
    let Some(read) = read else { return Ok(None) };
    if is_delete {
        return Ok(str::from_utf8(read.key).ok().map(|key| (key.to_owned(), None)));
    }
    Ok(read.entry().map(|(key, entry)| (key, Some(entry))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_keys_below_the_prefix_only() {
        let range = |prefix| {
            let Range { from, to } = Range::of(prefix);
            (String::from_utf8(from).unwrap(), String::from_utf8(to).unwrap())
        };
        assert_eq!(range("/skydns"), ("/skydns/".to_owned(), "/skydns0".to_owned()));
        assert_eq!(range("a//b/"), ("/a/b/".to_owned(), "/a/b0".to_owned()));
        assert_eq!(range("/"), ("/".to_owned(), "0".to_owned()));
    }
}
