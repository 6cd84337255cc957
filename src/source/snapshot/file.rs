//! Reads the file of a snapshot.
#![expect(clippy::disallowed_methods, reason = "the file is read here")]

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::limits;

use super::SnapshotError;

/// The content of the file; `None` if it does not exist.
///
/// # Errors
/// It cannot be read, or is larger than [`limits::SNAPSHOT_OCTETS`].
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, SnapshotError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Opening a pipe would wait for a writer.
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is not a file").into()),
        _ => {}
    }
    let mut content = Vec::new();
    File::open(path)?.take(limits::SNAPSHOT_OCTETS + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limits::SNAPSHOT_OCTETS {
        return Err(SnapshotError::TooLarge(limits::SNAPSHOT_OCTETS));
    }
    Ok(Some(content))
}
