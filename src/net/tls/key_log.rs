//! The secrets of connections in the format of NSS, which network analysers read.

use std::{
    fmt::{self, Write as _},
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    sync::{Mutex, PoisonError},
};

use rustls::KeyLog;

/// Appends to a file that only this user can read.
pub(super) struct KeyLogFile(Mutex<File>);

impl KeyLogFile {
    /// # Errors
    /// The file cannot be written.
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(file)))
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
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection does not fail because of its log.
        let _ = file.write_all(line.as_bytes());
    }
}

impl fmt::Debug for KeyLogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLogFile")
    }
}
