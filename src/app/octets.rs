//! Files that are not text, such as databases. A reload reads them again only if they have changed.

use std::{collections::HashMap, fs, io, os::unix::fs::MetadataExt, path::Path};

use crate::plugin::{FileVersion, ReadFile};

pub(super) fn version(data: &fs::Metadata) -> FileVersion {
    FileVersion {
        inode: data.ino(),
        octets: data.len(),
        changed: (data.ctime(), data.ctime_nsec()),
        modified: (data.mtime(), data.mtime_nsec()),
    }
}

/// The file as it was read before, if it has not changed since.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &str, before: &HashMap<String, ReadFile>) -> io::Result<ReadFile> {
    let version = version(&fs::metadata(Path::new(path))?);
    match before.get(path) {
        Some(known) if known.version == version => Ok(known.clone()),
        // The version is taken before the content. So a file that changes while it is read keeps
        // the older version, and the next reload reads it again.
        _ => Ok(ReadFile { version, octets: fs::read(path)?.into() }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_file_is_read_again_after_a_change_only() {
        let path = std::env::temp_dir().join(format!("ndots-octets-{}", std::process::id()));
        let name = path.to_str().unwrap();
        assert!(read(name, &HashMap::new()).is_err());
        fs::write(&path, "first").unwrap();
        let first = read(name, &HashMap::new()).unwrap();
        let known = HashMap::from([(name.to_owned(), first.clone())]);
        assert!(Arc::ptr_eq(&first.octets, &read(name, &known).unwrap().octets));
        fs::write(&path, "second").unwrap();
        assert_eq!(&*read(name, &known).unwrap().octets, b"second");
        fs::remove_file(&path).unwrap();
    }
}
