//! The file of a snapshot: replaced as a whole or not at all, and readable by its owner only.
#![expect(clippy::disallowed_methods, reason = "the file is read and written here")]

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::limits;

use super::SnapshotError;

/// The owner may read and write.
const MODE: u32 = 0o600;

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

/// Replaces the file. After a crash or an error the earlier file is still there.
///
/// # Errors
/// It cannot be written, or another process writes it.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let written = write_to(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    match written {
        Ok(()) => sync_directory(path),
        // Another process writes there, and will rename it.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        Err(error) => {
            // An incomplete file only wastes space, for example on a full disk.
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

/// Beside the file, because a rename does not cross file systems.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn write_to(temporary: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(MODE);
    let mut file = options.open(temporary)?;
    // Another Pod of this node may use the same directory.
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::WouldBlock, "another process writes it now")
        }
        TryLockError::Error(error) => error,
    })?;
    // The process that held the lock may have renamed the file since it was opened here.
    let same = fs::metadata(temporary).is_ok_and(|found| {
        file.metadata().is_ok_and(|open| (open.dev(), open.ino()) == (found.dev(), found.ino()))
    });
    if !same {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has written it"));
    }
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the rename last through a crash of the machine.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
