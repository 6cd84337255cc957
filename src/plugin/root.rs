//! `root DIRECTORY`: the directory of files with relative paths.

use crate::corefile::Arguments;

use super::{Directive, DirectiveLines, NO_OPTIONS, PluginSettings, Role, TlsFile, UpstreamTls};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "root",
    about: "Sets the directory for relative paths of zone files, `hosts` files, weights, keys and certificates in the block.",
    arguments: "DIRECTORY",
    options: &NO_OPTIONS,
    roles: &[Role::Configures],
    example: "example.org:53 {\n    root /etc/coredns/zones\n    file db.example.org\n}\n",
    lints: &[],
    read,
};

/// Nothing is left to do once the other directives have read their paths.
#[derive(Debug)]
struct RootSettings;

impl PluginSettings for RootSettings {}

/// The directory of the block; empty without `root`.
#[derive(Clone, Debug, Default)]
pub(super) struct Root(String);

impl Root {
    /// The directory that the block sets. The last of several counts.
    pub(super) fn of(lines: &DirectiveLines<'_>) -> Self {
        let read = |lines: &mut DirectiveLines<'_>| {
            let mut root = Self::default();
            lines.each(|arguments| root.read(arguments));
            root
        };
        lines.other(&DIRECTIVE, read).unwrap_or_default()
    }

    fn read(&mut self, arguments: &mut Arguments<'_>) {
        if let Some(directory) = arguments.required("a directory") {
            self.0.clone_from(&directory.text);
        }
    }

    /// The path, below the directory if it is relative.
    pub(super) fn path(&self, path: &str) -> String {
        match self.0.trim_end_matches('/') {
            _ if path.starts_with('/') || self.0.is_empty() => path.to_owned(),
            directory => format!("{directory}/{path}"),
        }
    }

    /// Reads `[CA]`, `CERT KEY` or `CERT KEY CA`: files for upstreams.
    pub(super) fn read_upstream_tls(&self, option: &mut Arguments<'_>) -> UpstreamTls {
        let mut files: Vec<_> = std::iter::from_fn(|| option.optional())
            .take(3)
            .map(|token| TlsFile { path: self.path(&token.text), span: token.span })
            .collect();
        let authorities = if files.len() % 2 == 1 { files.pop() } else { None };
        let key = files.pop();
        UpstreamTls { identity: files.pop().zip(key), authorities }
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    lines.each(|arguments| Root::default().read(arguments));
    Some(Box::new(RootSettings))
}
