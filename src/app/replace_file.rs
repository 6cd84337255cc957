//! Replaces a file as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Writes a file with these permissions, and moves it to `path`. A reader finds the earlier content
/// or the new one. After an error or a crash the earlier content is still there.
///
/// # Errors
/// It cannot be written, or another process writes it.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary(path);
    let written = write_to(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path));
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

fn write_to(temporary: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(mode);
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
    file.set_permissions(Permissions::from_mode(mode))?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the rename last through a crash of the machine.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let directory = std::env::temp_dir().join(format!("ndots-replace-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("facts");
        let names = || -> Vec<_> {
            let entries = fs::read_dir(&directory).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        fs::write(directory.join("facts.tmp"), b"left by a crash, and longer").unwrap();
        for (content, mode) in [(b"first", 0o600), (b"other", 0o644)] {
            replace(&path, content, mode).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode);
            assert_eq!(names(), ["facts"]);
        }
        let other = File::create(directory.join("facts.tmp")).unwrap();
        other.lock().unwrap();
        let error = replace(&path, b"y", 0o600).unwrap_err();
        assert_eq!(error.to_string(), "another process writes it now");
        drop(other);
        fs::remove_file(directory.join("facts.tmp")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert!(replace(&directory.join("missing/facts"), b"y", 0o600).is_err());
        // The draft can be written, but a directory cannot be replaced by a file.
        fs::create_dir(directory.join("full")).unwrap();
        assert!(replace(&directory.join("full"), b"y", 0o600).is_err());
        let mut left = names();
        left.sort();
        assert_eq!(left, ["facts", "full"], "no draft is left");
        fs::remove_dir_all(&directory).unwrap();
    }
}
