//! The files that keep the zones of `dynupdate`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use crate::{
    limits,
    zonefile::{DatabaseFile, FileWrite},
};

/// A file that is locked as long as this process uses it, as CoreDNS does.
struct Database {
    path: PathBuf,
    /// `None` until the file exists.
    file: Mutex<Option<File>>,
}

pub(super) fn open(path: &str) -> Arc<dyn DatabaseFile> {
    Arc::new(Database { path: path.into(), file: Mutex::new(None) })
}

impl DatabaseFile for Database {
    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let mut file = match File::options().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.problem(&error)),
        };
        lock(&file).map_err(|error| self.problem(&error))?;
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).map_err(|error| self.problem(&error))?;
        *self.file() = Some(file);
        Ok(Some(octets))
    }

    fn create(&self, octets: &[u8]) -> Result<(), String> {
        let file = self.write_new(octets).map_err(|error| self.problem(&error))?;
        *self.file() = Some(file);
        Ok(())
    }

    fn write(&self, writes: &[FileWrite]) -> Result<(), String> {
        let mut file = self.file();
        let file = file.as_mut().ok_or_else(|| format!("{} is not open", self.path.display()))?;
        let mut write = |FileWrite { at, octets }: &FileWrite| {
            file.seek(SeekFrom::Start(*at))?;
            file.write_all(octets)?;
            file.sync_data()
        };
        writes.iter().try_for_each(&mut write).map_err(|error| self.problem(&error))
    }
}

impl Database {
    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problem(&self, error: &io::Error) -> String {
        format!("the database {}: {error}", self.path.display())
    }

    /// The file appears with all of its content. A file of another process is not replaced.
    fn write_new(&self, octets: &[u8]) -> io::Result<File> {
        let mut draft = self.path.clone().into_os_string();
        draft.push(format!(".{:08x}", rand::random::<u32>()));
        let draft = PathBuf::from(draft);
        let written = options().open(&draft).and_then(|mut file| {
            lock(&file)?;
            file.write_all(octets)?;
            file.sync_all()?;
            fs::hard_link(&draft, &self.path)?;
            Ok(file)
        });
        let _ = fs::remove_file(&draft);
        let directory = self.path.parent().filter(|directory| *directory != Path::new(""));
        let file = written?;
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(file)
    }
}

/// Only this user may read the file.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Waits for another process that is about to end.
fn lock(file: &File) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= limits::DATABASE_LOCK_TIME => {
                return Err(io::Error::other("another process uses it"));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(limits::DATABASE_LOCK_PAUSE),
        }
    }
}
