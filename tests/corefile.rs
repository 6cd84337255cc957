//! Corefiles as users write them: the broken ones with what is said of them (`NAME.err`), the good ones of `good/` with
//! how they print (`NAME.out`). `UPDATE_EXPECT=1` writes what is there now.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test reads its files, and may panic")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use ndots::corefile::{self, Diagnostics, Reader};

/// The files below a directory; of others, one that nobody may see.
struct Fixtures(PathBuf);

impl Reader for Fixtures {
    fn read(&self, path: &str) -> Result<String, String> {
        if path.ends_with("/etc/shadow") {
            return Ok("root:hunter2:0:\n} extra:hunter2 {\n\"hunter2\n".to_owned());
        }
        let file = self.0.join(path.trim_start_matches('/'));
        if file.is_dir() {
            return Err("it is a directory".to_owned());
        }
        fs::read_to_string(file).map_err(|_| "no such file".to_owned())
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(directory.trim_start_matches('/'))) else { return Vec::new() };
        let name = |entry: fs::DirEntry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        };
        entries.flatten().map(name).collect()
    }

    fn env(&self, name: &str) -> Option<String> {
        match name {
            "LONG" => Some("x".repeat(64)),
            "UPSTREAM" => Some("10.0.0.2".to_owned()),
            _ => None,
        }
    }
}

/// The Corefiles of a directory by name.
fn corefiles(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "corefile")).collect();
    paths.sort();
    paths
}

fn parse(path: &Path) -> (corefile::Corefile, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let reader = Fixtures(path.parent().unwrap().to_owned());
    let name = path.file_name().unwrap().to_string_lossy();
    let corefile = corefile::parse(&name, &fs::read_to_string(path).unwrap(), &reader, &mut diagnostics);
    (corefile, diagnostics)
}

/// Compares with the file, or writes it.
fn expect(found: &str, path: &Path, faults: &mut Vec<String>) {
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, found).unwrap();
    } else if fs::read_to_string(path).unwrap_or_default() != found {
        faults.push(format!("{} is not:\n{found}", path.display()));
    }
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn mistakes_are_told() {
    let mut faults = Vec::new();
    let paths = corefiles(&directory("tests/corefile"));
    assert!(paths.len() > 25);
    for path in paths {
        let (_, diagnostics) = parse(&path);
        let lines: String = diagnostics.lines().map(|(_, line)| line + "\n").collect();
        let said = format!("{}{lines}", diagnostics.render(false));
        assert!(!said.contains("hunter2"), "{}: {said}", path.display());
        expect(&said, &path.with_extension("err"), &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn corefiles_in_the_field_are_read_and_printed() {
    let mut faults = Vec::new();
    for path in corefiles(&directory("tests/corefile/good")) {
        let (corefile, diagnostics) = parse(&path);
        assert!(!diagnostics.has_errors(), "{}:\n{}", path.display(), diagnostics.render(false));
        let printed = corefile.to_string();
        let again = corefile::parse("Corefile", &printed, &Fixtures(PathBuf::new()), &mut Diagnostics::default());
        assert_eq!(again, corefile, "{}", path.display());
        expect(&printed, &path.with_extension("out"), &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
