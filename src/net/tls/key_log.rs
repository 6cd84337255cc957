//! The secrets of connections in the format of NSS, which network analysers read.

use std::{
    fmt::{self, Write as _},
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    sync::{Mutex, Once, PoisonError},
};

use rustls::KeyLog;

/// Appends to a file that only this user can read.
pub(super) struct KeyLogFile {
    file: Mutex<File>,
    /// Only the first error is logged, because every connection would repeat it.
    reported: Once,
}

impl KeyLogFile {
    /// # Errors
    /// The file cannot be written.
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        // The mode above is only that of a new file.
        if file.metadata()?.is_file()
            && let Err(error) = file.set_permissions(Permissions::from_mode(0o600))
        {
            tracing::warn!(plugin = "tls", "other users may read the key log {path}: {error}");
        }
        Ok(Self { file: Mutex::new(file), reported: Once::new() })
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::from(label);
        for octets in [client_random, secret] {
            line.push(' ');
            for octet in octets {
                // Writing to a String does not fail.
                let _ = write!(line, "{octet:02x}");
            }
        }
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection does not fail because of its log.
        if let Err(error) = file.write_all(line.as_bytes()) {
            self.reported
                .call_once(|| tracing::error!(plugin = "tls", "cannot write the key log: {error}"));
        }
    }
}

impl fmt::Debug for KeyLogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLogFile")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_can_read_the_file() {
        let path = std::env::temp_dir().join(format!("ndots-keys-{}", std::process::id()));
        std::fs::write(&path, "old\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let log = KeyLogFile::open(path.to_str().unwrap()).unwrap();
        log.log("LABEL", &[1, 0xab], &[2]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        #[expect(clippy::disallowed_methods, reason = "a test reads its file")]
        let text = std::fs::read_to_string(&path).unwrap();
        let _ = std::fs::remove_file(&path);
        assert_eq!(text, "old\nLABEL 01ab 02\n");
        // An error while writing is reported once, and is otherwise ignored.
        let full = KeyLogFile::open("/dev/full").unwrap();
        full.log("LABEL", &[1], &[2]);
        assert!(full.reported.is_completed());
    }
}
