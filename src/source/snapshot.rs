//! A snapshot: the facts of a cluster in a file, for a start while the API server is away.
//!
//! Layout: `NDOTSNAP`, the format and the length of the body (four and eight octets,
//! little-endian), the body, and the SHA-256 of everything before it. The body begins with the
//! [`Header`]. A file that is damaged or does not belong to this cluster is refused as a whole,
//! with the reason.

mod codec;
mod facts;
mod file;

use sha2::{Digest, Sha256};

use crate::model::{EndpointFields, Kind, Object};

use codec::{Field, Input};
pub use file::read;

const MAGIC: &[u8; 8] = b"NDOTSNAP";
/// Grows with every change of the layout, and so with every change of a fact.
const FORMAT: u32 = 2;
/// Octets before the body.
const PREFIX: usize = MAGIC.len() + 4 + 8;
/// Octets of a SHA-256.
const CHECKSUM: usize = 32;

/// The metadata of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub cluster: ClusterIdentity,
    /// When it was made, in seconds since 1970.
    pub written: u64,
    /// The serials of the zones, as `zone::Index` numbers them.
    pub serials: [u32; 3],
    /// The kinds of which it has all objects.
    pub kinds: Vec<Kind>,
    /// The details that its endpoints have.
    pub endpoint_fields: EndpointFields,
}

/// Which facts a snapshot has. Those of another cluster, or of other labels, must not be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// `HOST:PORT` of the API server.
    pub host: String,
    /// The SHA-256 of the authorities that sign the API server's certificate, in hexadecimal; empty
    /// if the configuration names none.
    pub authority: String,
    /// The label selector of the objects.
    pub labels: String,
}

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error("it is not a snapshot of ndots")]
    Foreign,
    #[error("a newer version of ndots has written it (format {0}, this version has {FORMAT})")]
    Newer(u32),
    #[error("an older version of ndots has written it (format {0}, this version has {FORMAT})")]
    Older(u32),
    #[error("it is incomplete: {found} of {expected} octets")]
    Truncated { found: u64, expected: u64 },
    #[error("it is damaged: the checksum does not match")]
    Damaged,
    #[error("it has more than {0} octets")]
    TooLarge(u64),
    #[error("it belongs to another cluster: {found}, not {expected}")]
    OtherCluster { found: String, expected: String },
    #[error("it has the objects with the labels {found:?}, not those with {expected:?}")]
    OtherLabels { found: String, expected: String },
    #[error("the Corefile needs names of Pods, zones or Nodes that it does not have")]
    OtherFields,
    #[error("it is {0} s old, and only one of at most {limit} s is used", limit = crate::limits::SNAPSHOT_AGE.as_secs())]
    TooOld(u64),
}

/// Makes a snapshot of facts.
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new(header: &Header) -> Self {
        let mut out = [MAGIC.as_slice(), &FORMAT.to_le_bytes(), &[0; 8]].concat();
        header.put(&mut out);
        Self(out)
    }

    pub fn add(&mut self, object: &Object) {
        true.put(&mut self.0);
        object.put(&mut self.0);
    }

    /// The content of the file.
    pub fn finish(mut self) -> Vec<u8> {
        false.put(&mut self.0);
        let length = (self.0.len() - PREFIX) as u64;
        self.0[MAGIC.len() + 4..PREFIX].copy_from_slice(&length.to_le_bytes());
        let checksum = Sha256::digest(&self.0);
        self.0.extend_from_slice(&checksum);
        self.0
    }
}

/// The facts of a snapshot that is complete and undamaged.
pub struct Reader<'s> {
    pub header: Header,
    input: Input<'s>,
}

impl<'s> Reader<'s> {
    /// Checks the content of a file. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// The file is not a usable snapshot of this cluster.
    pub fn new(
        file: &'s [u8],
        expected: &ClusterIdentity,
        now: u64,
    ) -> Result<Self, SnapshotError> {
        let mut input = Input(body(file)?);
        let header = Header::take(&mut input).ok_or(SnapshotError::Damaged)?;
        header.cluster.check(expected)?;
        let age = now.saturating_sub(header.written);
        if age > crate::limits::SNAPSHOT_AGE.as_secs() {
            return Err(SnapshotError::TooOld(age));
        }
        Ok(Self { header, input })
    }

    /// The next object; `None` after the last one.
    ///
    /// # Errors
    /// The file was not made by this program, although its checksum matches.
    pub fn next_object(&mut self) -> Result<Option<Object>, SnapshotError> {
        match bool::take(&mut self.input) {
            Some(true) => Object::take(&mut self.input).map(Some).ok_or(SnapshotError::Damaged),
            Some(false) if self.input.0.is_empty() => Ok(None),
            _ => Err(SnapshotError::Damaged),
        }
    }
}

/// The body of a file.
fn body(file: &[u8]) -> Result<&[u8], SnapshotError> {
    let truncated = |expected: u64| SnapshotError::Truncated { found: file.len() as u64, expected };
    if !file.starts_with(&MAGIC[..MAGIC.len().min(file.len())]) {
        return Err(SnapshotError::Foreign);
    }
    let Some((_, rest)) = file.split_at_checked(MAGIC.len()) else {
        return Err(truncated((PREFIX + CHECKSUM) as u64));
    };
    let (Some(format), Some(length)) = (
        rest.first_chunk().map(|octets| u32::from_le_bytes(*octets)),
        rest.get(4..12).and_then(|octets| octets.first_chunk()).map(|it| u64::from_le_bytes(*it)),
    ) else {
        return Err(truncated((PREFIX + CHECKSUM) as u64));
    };
    match format.cmp(&FORMAT) {
        std::cmp::Ordering::Greater => return Err(SnapshotError::Newer(format)),
        std::cmp::Ordering::Less => return Err(SnapshotError::Older(format)),
        std::cmp::Ordering::Equal => {}
    }
    let expected = length.saturating_add((PREFIX + CHECKSUM) as u64);
    if (file.len() as u64) < expected {
        return Err(truncated(expected));
    }
    let Some((content, checksum)) = file.split_last_chunk::<CHECKSUM>() else {
        return Err(truncated(expected));
    };
    if file.len() as u64 > expected || Sha256::digest(content)[..] != checksum[..] {
        return Err(SnapshotError::Damaged);
    }
    Ok(&content[PREFIX..])
}

impl ClusterIdentity {
    fn check(&self, expected: &Self) -> Result<(), SnapshotError> {
        if (&self.host, &self.authority) != (&expected.host, &expected.authority) {
            let (found, expected) = (self.to_string(), expected.to_string());
            return Err(SnapshotError::OtherCluster { found, expected });
        }
        if self.labels != expected.labels {
            let (found, expected) = (self.labels.clone(), expected.labels.clone());
            return Err(SnapshotError::OtherLabels { found, expected });
        }
        Ok(())
    }
}

/// `10.96.0.1:443 with the authority 0123456789ab`.
impl std::fmt::Display for ClusterIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        match self.authority.get(..12) {
            Some(start) => write!(f, " with the authority {start}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
