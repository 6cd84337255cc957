//! `tsig [ZONE…] { secret NAME KEY; … }`: requests and replies that are signed with shared secrets
//! (RFC 8945).

mod secrets;

use std::sync::Arc;

use crate::{
    chain::{Cx, Flow, Level, Notified, Plugin},
    corefile::Arguments,
    wire::{
        Name, Opcode, Query, Rcode, Response, SignedMessage, TsigAlgorithm, TsigChain, TsigError,
        TsigKey, Type, base64,
    },
};

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role, ZoneArguments, keyring::Keyring, names,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "tsig",
    about: "Checks the signatures of requests (TSIG), and signs the replies to them.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::ChangesReplies, Role::ReadsFiles, Role::TakesZones(ZoneArguments::All)],
    example: "example.org:53 {\n    tsig {\n        secret transfer.example.org. NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=\n        require AXFR IXFR\n    }\n    transfer {\n        to *\n    }\n    file /etc/coredns/db.example.org\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<TsigSettings> = OptionTable(&[
    OptionSpec::repeated(
        "secret",
        "NAME KEY",
        "A key and its secret in base 64. `tsig-keygen NAME` makes one. The key can be used in all blocks.",
        read_secret,
    ),
    OptionSpec::repeated(
        "secrets",
        "FILE",
        "Keys in the form of `named.conf`. For its own queries and NOTIFY messages, this server uses the algorithm of the key in the file.",
        |tsig, option| {
            tsig.files.extend(option.required("the path of a file").map(|it| it.text.clone()));
        },
    ),
    OptionSpec::new(
        "require",
        "TYPE…|all|none",
        "Refuses requests for these types without a signature; the default is `none`.",
        read_types,
    ),
    OptionSpec::new(
        "require_opcode",
        "OPCODE…|all|none",
        "Refuses requests of these kinds without a signature: QUERY, NOTIFY, UPDATE, IQUERY or STATUS. The default is `none`.",
        read_opcodes,
    ),
]);

/// The requests that need a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Required<T> {
    All,
    Some(Vec<T>),
}

#[derive(Clone, Debug)]
struct TsigSettings {
    zones: Vec<Name>,
    keys: Vec<TsigKey>,
    files: Vec<String>,
    types: Required<Type>,
    /// Those of requests that ndots answers.
    opcodes: Required<Opcode>,
}

struct TsigPlugin {
    settings: TsigSettings,
    keys: Arc<Keyring>,
}

impl<T: PartialEq> Required<T> {
    fn includes(&self, one: &T) -> bool {
        match self {
            Self::All => true,
            Self::Some(some) => some.contains(one),
        }
    }
}

impl PluginSettings for TsigSettings {
    fn needs(&self) -> Vec<Need> {
        self.files.iter().cloned().map(Need::File).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let mut keys = self.keys.clone();
        for path in &self.files {
            let text = context.file(path).map_err(|reason| {
                BuildError(format!("the file {path} with secrets cannot be read: {reason}"))
            })?;
            let read =
                secrets::read(text).map_err(|error| BuildError(format!("{path}: {error}")))?;
            keys.extend(read);
        }
        for (at, key) in keys.iter().enumerate() {
            if keys[..at].iter().any(|other| other.name == key.name) {
                return Err(BuildError(format!("key \"{}\" redefined", key.name)));
            }
            context.outputs.keys.add(key.clone());
        }
        let (settings, keys) = (self.clone(), Arc::clone(&context.outputs.keys));
        Ok(vec![Arc::new(TsigPlugin { settings, keys })])
    }
}

impl Plugin for TsigPlugin {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        match self.check(cx, query) {
            Ok(()) => Flow::Next,
            Err(rcode) => Flow::Answer(Response::of(rcode)),
        }
    }

    fn update(&self, cx: &mut Cx, update: &Query) -> Flow {
        self.query(cx, update)
    }

    fn notified(&self, cx: &mut Cx, notify: &Query) -> Option<Notified> {
        self.check(cx, notify).err().map(Notified::Refused)
    }
}

impl TsigPlugin {
    /// # Errors
    /// The code of the reply to a request that is not accepted.
    fn check(&self, cx: &mut Cx, query: &Query) -> Result<(), Rcode> {
        let name = &query.question.name;
        if cx.refresh || !self.settings.zones.iter().any(|zone| name.is_within(zone)) {
            return Ok(());
        }
        match &query.signature {
            Some(message) => self.accept(cx, message),
            None if self.settings.types.includes(&query.question.qtype)
                || self.settings.opcodes.includes(&query.opcode) =>
            {
                let line = format!("rejecting '{}' request without TSIG", query.question.qtype);
                cx.log(Level::Debug, DIRECTIVE.name, line);
                Err(Rcode::REFUSED)
            }
            None => Ok(()),
        }
    }

    fn accept(&self, cx: &mut Cx, message: &SignedMessage) -> Result<(), Rcode> {
        let outcome = TsigChain::accept(message, |name| self.keys.find(name), cx.unix.into());
        let (chain, accepted) = match outcome {
            Ok((chain, accepted)) => (Some(chain), accepted),
            Err(error) => (None, Err(error)),
        };
        cx.signing = chain.map(Box::new);
        accepted.map_err(|error| {
            let client = cx.peer.ip();
            let line = format!("TSIG validation of a request from {client} failed: {error}");
            cx.log(Level::Debug, DIRECTIVE.name, line);
            if error == TsigError::Malformed { Rcode::FORMERR } else { Rcode::NOTAUTH }
        })
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut tsig = TsigSettings {
        zones: lines.zones.to_vec(),
        keys: Vec::new(),
        files: Vec::new(),
        types: Required::Some(Vec::new()),
        opcodes: Required::Some(Vec::new()),
    };
    lines.once(|arguments| {
        if !arguments.is_empty() {
            tsig.zones = names(&arguments.zones());
        }
        OPTIONS.read(arguments, &mut tsig);
    });
    Some(Box::new(tsig))
}

fn read_secret(tsig: &mut TsigSettings, option: &mut Arguments<'_>) {
    let Some(name) = option.required("the name of a key") else { return };
    let Some(secret) = option.required("the secret in base 64") else { return };
    let Ok(key) = name.text.parse::<Name>() else {
        option.error(name.span, &format!("`{}` is not the name of a key", name.text));
        return;
    };
    if tsig.keys.iter().any(|known| known.name == key) {
        option.error(name.span, &format!("key \"{key}\" redefined")).hide();
        return;
    }
    match base64(&secret.text).filter(|secret| !secret.is_empty()) {
        Some(secret) => tsig.keys.push(TsigKey::new(key, TsigAlgorithm::default(), &secret)),
        None => drop(
            option
                .error(secret.span, &format!("the secret of the key {key} is not in base 64"))
                .help(format!("make one with `tsig-keygen {key}`"))
                .hide(),
        ),
    }
}

fn read_types(tsig: &mut TsigSettings, option: &mut Arguments<'_>) {
    tsig.types = read_required(option, "query type", |text| text.parse::<Type>().ok());
}

fn read_opcodes(tsig: &mut TsigSettings, option: &mut Arguments<'_>) {
    let opcodes = read_required(option, "opcode", |text| match text {
        "QUERY" => Some(Some(Opcode::Query)),
        "NOTIFY" => Some(Some(Opcode::Notify)),
        "UPDATE" => Some(Some(Opcode::Update)),
        // Such requests get NOTIMP.
        "IQUERY" | "STATUS" => Some(None),
        _ => None,
    });
    tsig.opcodes = match opcodes {
        Required::All => Required::All,
        Required::Some(opcodes) => Required::Some(opcodes.into_iter().flatten().collect()),
    };
}

/// Reads the rest of `require` or `require_opcode`.
fn read_required<T>(
    option: &mut Arguments<'_>,
    what: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Required<T> {
    let first = option.required(&format!("a {what}, `all` or `none`"));
    let tokens: Vec<_> = first.into_iter().chain(option.rest()).collect();
    match tokens.first().map(|token| &*token.text) {
        Some("all") => return Required::All,
        Some("none") => return Required::Some(Vec::new()),
        _ => {}
    }
    let mut all = Vec::new();
    for token in tokens {
        match read(&token.text) {
            Some(one) => all.push(one),
            None => drop(option.error(token.span, &format!("unknown {what} '{}'", token.text))),
        }
    }
    Required::Some(all)
}
