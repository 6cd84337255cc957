//! `sign FILE [ZONE…] { key file PATH…; directory DIRECTORY }`: writes signed zone files, which
//! `file` or `auto` serve.

mod zone;

use std::sync::Arc;

use crate::{chain::Plugin, corefile::Arguments, dnssec::ZoneKey, wire::Name};

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role, ZoneSigner, key_files::KeyFiles, names, root::Root,
};

pub use zone::{signed_zone, why_due};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "sign",
    about: "Signs zone files (DNSSEC), and signs them again before their signatures end.",
    arguments: "FILE [ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Configures, Role::ReadsFiles],
    example: "example.org:53 {\n    file /var/lib/coredns/db.example.org.signed\n    sign /etc/coredns/db.example.org {\n        key file /etc/coredns/Kexample.org.+013+45330\n    }\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<SignOptions> = OptionTable(&[
    OptionSpec::repeated(
        "key",
        "file PATH…",
        "Signs with these keys, which must have the bit SEP. `dnssec-keygen -f KSK -a ECDSAP256SHA256 ZONE` writes PATH.key and PATH.private.",
        read_key,
    ),
    OptionSpec::new(
        "directory",
        "DIRECTORY",
        "Writes db.ZONE.signed into this directory; the default is /var/lib/coredns.",
        |options, option| {
            if let Some(directory) = option.required("a directory") {
                options.directory = options.root.path(&directory.text);
            }
        },
    ),
]);

struct SignOptions {
    root: Root,
    keys: Vec<KeyFiles>,
    directory: String,
}

/// A zone file, the zones that it holds, and where the signed files are written.
#[derive(Debug)]
struct Line {
    file: String,
    zones: Vec<Name>,
    keys: Vec<KeyFiles>,
    directory: String,
}

#[derive(Debug)]
struct SignSettings(Vec<Line>);

impl PluginSettings for SignSettings {
    fn needs(&self) -> Vec<Need> {
        let keys = self.0.iter().flat_map(|line| line.keys.iter().flat_map(KeyFiles::needs));
        let zones = self
            .0
            .iter()
            .map(|line| Need::ZoneFile { path: line.file.clone(), origins: line.zones.clone() });
        // A change of a zone file or of a key signs the zone again.
        keys.chain(zones).chain([Need::WatchFiles]).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        for line in &self.0 {
            let loaded = line.keys.iter().map(|key| key.load(context));
            let keys = loaded.collect::<Result<Vec<ZoneKey>, _>>()?;
            if let Some(other) = keys.iter().find(|key| !key.is_entry_point()) {
                return Err(BuildError(format!(
                    "the key {} of {} is not a CSK/KSK; make one with `dnssec-keygen -f KSK -a ECDSAP256SHA256 ZONE`",
                    other.tag(),
                    other.owner
                )));
            }
            let paths = line.keys.iter().flat_map(KeyFiles::paths);
            let key_files: Vec<_> = paths.collect();
            let signers = line.zones.iter().map(|origin| ZoneSigner {
                origin: origin.clone(),
                file: line.file.clone(),
                signed: format!("{}/db.{origin}signed", line.directory),
                keys: keys.clone(),
                key_files: key_files.clone(),
            });
            context.outputs.signers.extend(signers);
        }
        Ok(Vec::new())
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (root, block) = (Root::of(lines), lines.zones.to_vec());
    let mut settings = SignSettings(Vec::new());
    lines.each(|arguments| {
        let (root, span) = (root.clone(), arguments.span());
        let mut options =
            SignOptions { root, keys: Vec::new(), directory: "/var/lib/coredns".to_owned() };
        let file = arguments.required("a zone file");
        let zones = if arguments.is_empty() { block.clone() } else { names(&arguments.zones()) };
        OPTIONS.read(arguments, &mut options);
        if options.keys.is_empty() {
            arguments.error(span, "there is no key").help(
                "make one with `dnssec-keygen -f KSK -a ECDSAP256SHA256 ZONE`, and write `key file PATH`",
            );
        }
        let SignOptions { root, keys, directory } = options;
        let file = file.map(|file| root.path(&file.text));
        settings.0.extend(file.map(|file| Line { file, zones, keys, directory }));
    });
    Some(Box::new(settings))
}

fn read_key(options: &mut SignOptions, option: &mut Arguments<'_>) {
    let Some(source) = option.required("`file` and the path of a key") else { return };
    if source.text == "file" {
        options.keys.extend(KeyFiles::read(&options.root, option));
        return;
    }
    option
        .error(source.span, &format!("`key {}` is not known here", source.text))
        .help("write `key file PATH…`: CoreDNS does not have `key directory` either");
    option.rest();
}
