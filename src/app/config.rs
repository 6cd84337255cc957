//! From the text of a Corefile to checked settings, or to a report of its errors.

use std::{
    io::{IsTerminal, Read},
    path::Path,
};

use anyhow::Context;
use thiserror::Error;

use crate::{
    cli::Serve,
    corefile::{self, Diagnostics, Reader, Severity, Span},
    limits,
    server::{self, CheckedBlock},
};

/// The text of a Corefile, with its origin.
pub(super) struct Text {
    pub(super) path: String,
    pub(super) text: String,
    /// True if a reload can read it again.
    from_file: bool,
}

impl Text {
    /// Reads the file, standard input for `stdin`, or without a path the file `Corefile` of this
    /// directory. If that does not exist, the text is empty, which is CoreDNS's default.
    pub(super) fn of_file(path: Option<&str>) -> anyhow::Result<Self> {
        let (path, given) = (path.unwrap_or("Corefile"), path.is_some());
        if path == "stdin" {
            return Self::of_input(path);
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { path: path.to_owned(), text, from_file: true }),
            Err(error) if !given && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path: path.to_owned(), text: String::new(), from_file: false })
            }
            Err(error) => Err(error).with_context(|| format!("loading Corefile: open {path}")),
        }
    }

    /// Reads standard input, which messages call `name`.
    pub(super) fn of_input(name: &str) -> anyhow::Result<Self> {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        Ok(Self { path: name.to_owned(), text, from_file: false })
    }

    pub(super) fn of_flags(flags: &Serve) -> Self {
        Self::of_command("the flags of `ndots serve`", flags.corefile())
    }

    /// A text that a command makes.
    pub(super) fn of_command(name: &str, text: String) -> Self {
        Self { path: name.to_owned(), text, from_file: false }
    }

    /// Reads the text again.
    pub(super) fn again(&self) -> anyhow::Result<Self> {
        if self.from_file {
            Self::of_file(Some(&self.path))
        } else {
            Ok(Self { path: self.path.clone(), text: self.text.clone(), from_file: false })
        }
    }
}

/// A checked Corefile.
pub(super) struct Configuration {
    pub(super) blocks: Vec<CheckedBlock>,
    pub(super) diagnostics: Diagnostics,
}

/// The errors of a Corefile: with excerpts for a person at a terminal, and as CoreDNS's lines.
#[derive(Debug, Error)]
#[error("the Corefile has mistakes:\n\n{rendered}{}", lines.join("\n"))]
pub(super) struct Mistakes {
    rendered: String,
    pub(super) lines: Vec<String>,
}

/// Parses and checks the text.
///
/// # Errors
/// [`Mistakes`], if the Corefile has errors.
pub(super) fn check(text: &Text, port: u16) -> anyhow::Result<Configuration> {
    let configuration = diagnose(text, port, &Disk);
    if configuration.diagnostics.has_errors() {
        return Err(configuration.mistakes());
    }
    Ok(configuration)
}

/// Parses and checks the text, which may have errors. `reader` has the files that it imports.
pub(super) fn diagnose(text: &Text, port: u16, reader: &dyn Reader) -> Configuration {
    let mut diagnostics = Diagnostics::default();
    let corefile = corefile::parse(&text.path, &text.text, reader, &mut diagnostics);
    let blocks = server::check(&corefile, port, &mut diagnostics);
    Configuration { blocks, diagnostics }
}

/// The Corefile with its imports expanded, and its errors: equal texts need no reload.
pub(super) fn print(text: &Text) -> String {
    let mut diagnostics = Diagnostics::default();
    let corefile = corefile::parse(&text.path, &text.text, &Disk, &mut diagnostics);
    format!("{corefile}{}", diagnostics.render(false))
}

impl Configuration {
    /// Prints errors and warnings for the person at the terminal.
    pub(super) fn print_diagnostics(&self) {
        if self.diagnostics.iter().next().is_some() {
            eprint!("{}", self.rendered());
        }
    }

    /// The warnings as lines for the log.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.diagnostics
            .lines()
            .filter(|(severity, _)| *severity == Severity::Warning)
            .map(|(_, line)| line)
    }

    fn mistakes(&self) -> anyhow::Error {
        let lines = self
            .diagnostics
            .lines()
            .filter(|(severity, _)| *severity == Severity::Error)
            .map(|(_, line)| line)
            .collect();
        Mistakes { rendered: self.rendered(), lines }.into()
    }

    fn rendered(&self) -> String {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.diagnostics.render(std::io::stderr().is_terminal() && !plain)
    }

    /// Adds an error that is found only when the server is built.
    pub(super) fn mistake(&mut self, span: Span, message: String) -> anyhow::Error {
        self.diagnostics.error(span, message);
        self.mistakes()
    }
}

/// Files and environment variables of this machine.
pub(super) struct Disk;

impl Reader for Disk {
    fn read(&self, path: &str) -> Result<String, String> {
        if Path::new(path).is_dir() {
            return Err("it is a directory".to_owned());
        }
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
        file.take(limits::COREFILE_OCTETS as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        if text.len() > limits::COREFILE_OCTETS {
            Err("it is too large for a Corefile".to_owned())
        } else {
            Ok(text)
        }
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let directory = if directory.is_empty() { "." } else { directory };
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            Some(entry.file_name().into_string().ok()? + slash)
        };
        entries.filter_map(name).collect()
    }

    /// Links are resolved for both paths, because the mounted files of a ConfigMap are links to a
    /// directory beside them.
    fn is_within(&self, directory: &str, path: &str) -> bool {
        let directory = if directory.is_empty() { "." } else { directory };
        let whole = |path: &str| std::fs::canonicalize(path).ok();
        whole(directory)
            .zip(whole(path))
            .is_some_and(|(directory, path)| path.starts_with(directory))
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
