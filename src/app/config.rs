//! From a Corefile's text to checked settings, with all its mistakes told.

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

/// A Corefile that was found.
pub(super) struct Text {
    pub(super) path: String,
    pub(super) text: String,
    /// Whether it can be read again for a reload.
    from_file: bool,
}

impl Text {
    /// The file, `stdin`, the `Corefile` here, or nothing, which stands for the built-in one.
    pub(super) fn of_file(path: Option<&str>) -> anyhow::Result<Self> {
        let (path, given) = (path.unwrap_or("Corefile"), path.is_some());
        if path == "stdin" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            return Ok(Self { path: path.to_owned(), text, from_file: false });
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { path: path.to_owned(), text, from_file: true }),
            Err(error) if !given && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path: path.to_owned(), text: String::new(), from_file: false })
            }
            Err(error) => Err(error).with_context(|| format!("loading Corefile: open {path}")),
        }
    }

    pub(super) fn of_flags(flags: &Serve) -> Self {
        Self {
            path: "the flags of `ndots serve`".to_owned(),
            text: flags.corefile(),
            from_file: false,
        }
    }

    /// The text as it is now.
    pub(super) fn again(&self) -> anyhow::Result<Self> {
        if self.from_file {
            Self::of_file(Some(&self.path))
        } else {
            Ok(Self { path: self.path.clone(), text: self.text.clone(), from_file: false })
        }
    }
}

/// A Corefile without mistakes.
pub(super) struct Configuration {
    pub(super) blocks: Vec<CheckedBlock>,
    pub(super) diagnostics: Diagnostics,
}

/// What is wrong with a Corefile: for a person at a terminal, and in lines as CoreDNS has them.
#[derive(Debug, Error)]
#[error("the Corefile has mistakes:\n\n{rendered}{}", lines.join("\n"))]
pub(super) struct Mistakes {
    rendered: String,
    pub(super) lines: Vec<String>,
}

/// Reads and checks; mistakes are the error.
pub(super) fn check(text: &Text, port: u16) -> anyhow::Result<Configuration> {
    let mut diagnostics = Diagnostics::default();
    let corefile = corefile::parse(&text.path, &text.text, &Disk, &mut diagnostics);
    let blocks = server::check(&corefile, port, &mut diagnostics);
    let configuration = Configuration { blocks, diagnostics };
    if configuration.diagnostics.has_errors() {
        return Err(configuration.mistakes());
    }
    Ok(configuration)
}

/// What a Corefile says, with everything that it imports and every mistake in it.
pub(super) fn print(text: &Text) -> String {
    let mut diagnostics = Diagnostics::default();
    let corefile = corefile::parse(&text.path, &text.text, &Disk, &mut diagnostics);
    format!("{corefile}{}", diagnostics.render(false))
}

impl Configuration {
    /// For a person at a terminal.
    pub(super) fn print_warnings(&self) {
        if self.diagnostics.iter().next().is_some() {
            eprint!("{}", self.rendered());
        }
    }

    /// For the log.
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

    /// A mistake that shows only when everything is put together.
    pub(super) fn mistake(&mut self, span: Span, message: String) -> anyhow::Error {
        self.diagnostics.error(span, message);
        self.mistakes()
    }
}

/// Files and variables of this machine.
struct Disk;

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

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
