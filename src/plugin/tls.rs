//! `tls CERT KEY [CA] { client_auth MODE }`.

use std::fmt;

use crate::{
    corefile::{Arguments, Diagnostics, Key, Token},
    transport::{Encryption, Scheme},
};

use super::{
    ClientAuth, Directive, DirectiveLines, Lint, LintContext, Need, OptionSpec, OptionTable,
    PluginSettings, Role, Tls, TlsFile, root::Root,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "tls",
    about: "Sets the certificate of the block's encrypted listeners, and what clients must present.",
    arguments: "CERT KEY [CA]",
    options: &OPTIONS,
    roles: &[Role::Configures, Role::ReadsFiles],
    example: "tls://.:853 {\n    tls /etc/ndots/tls.crt /etc/ndots/tls.key\n    forward . 192.0.2.53\n}\n",
    lints: &[Lint::always(check_encryption)],
    read,
};

static OPTIONS: OptionTable<TlsOptions> = OptionTable(&[
    OptionSpec::new(
        "client_auth",
        "nocert|request|require|verify_if_given|require_and_verify",
        "Sets which certificate a client must present; the default is `nocert`.",
        |tls, option| {
            tls.client_auth = option.one_of("client_auth", &ClientAuth::NAMES).unwrap_or_default();
        },
    ),
    OptionSpec::new(
        "keylog",
        "FILE",
        "Appends the secrets of TLS connections to a file, so that a network analyser can decrypt them. Use it for tests only.",
        |tls, option| {
            if let Some(token) = option.required("a file") {
                let path = tls.root.path(&token.text);
                option.warning(
                    token.span,
                    "the secrets of all TLS connections are written to a file",
                );
                tls.key_log = Some(TlsFile { path, span: token.span });
            }
        },
    ),
    OptionSpec::not_yet("acme"),
    OptionSpec::not_yet("email"),
    OptionSpec::not_yet("ca"),
    OptionSpec::not_yet("storage"),
    OptionSpec::not_yet("ca_root"),
    OptionSpec::not_yet("resolver"),
]);

struct TlsOptions {
    root: Root,
    client_auth: ClientAuth,
    key_log: Option<TlsFile>,
}

impl ClientAuth {
    const NAMES: [(&'static str, Self); 5] = [
        ("nocert", Self::None),
        ("request", Self::Request),
        ("require", Self::Require),
        ("verify_if_given", Self::VerifyIfGiven),
        ("require_and_verify", Self::RequireAndVerify),
    ];
}

impl Tls {
    fn files(&self) -> impl Iterator<Item = &TlsFile> {
        [&self.certificates, &self.key].into_iter().chain(&self.authorities)
    }
}

impl PluginSettings for Tls {
    fn needs(&self) -> Vec<Need> {
        let files = self.files().map(|file| Need::File(file.path.clone()));
        // Certificates are renewed while the server runs, and clients reject an expired one.
        files.chain([Need::WatchFiles, Need::Tls(self.clone())]).collect()
    }
}

/// The position is left out, so that settings with the same file compare equal.
impl fmt::Debug for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl From<&Token> for TlsFile {
    fn from(token: &Token) -> Self {
        Self { path: token.text.clone(), span: token.span }
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (mut tls, root) = (None, Root::of(lines));
    lines.each(|arguments| {
        if tls.is_some() {
            let span = arguments.span();
            arguments.warning(span, "only the last `tls` of a block counts");
        }
        tls = read_line(arguments, &root);
    });
    tls.map(|tls| Box::new(tls) as Box<dyn PluginSettings>)
}

fn read_line(arguments: &mut Arguments<'_>, root: &Root) -> Option<Tls> {
    let mut options =
        TlsOptions { root: root.clone(), client_auth: ClientAuth::None, key_log: None };
    if arguments.is_empty() {
        let span = arguments.span();
        arguments
            .error(span, "`tls` needs the files of a certificate and its key: ndots does not obtain certificates with ACME")
            .help("write `tls CERT KEY`, and let certbot or cert-manager renew the files: ndots uses renewed files at once");
        arguments.skip();
        return None;
    }
    let certificates = arguments.required("a certificate's file");
    let key = arguments.required("the file of the certificate's key");
    let below_root = |token: &Token| TlsFile { path: root.path(&token.text), span: token.span };
    let authorities = arguments.optional().map(below_root);
    arguments.end();
    OPTIONS.read(arguments, &mut options);
    let TlsOptions { client_auth, key_log, .. } = options;
    let verifies = matches!(client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
    if let Some(authorities) = authorities.as_ref().filter(|_| !verifies) {
        arguments
            .warning(
                authorities.span,
                "this authority has no effect: client certificates are not verified",
            )
            .help("write `client_auth require_and_verify` or `verify_if_given`");
    }
    Some(Tls {
        certificates: below_root(certificates?),
        key: below_root(key?),
        authorities,
        client_auth,
        key_log,
    })
}

/// Reports encrypted keys without a certificate, and a certificate without encrypted keys.
fn check_encryption(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    let block = context.block;
    let encrypted = |key: &&Key| can_be_encrypted(key.scheme);
    if let Some(tls) = block.lines(DIRECTIVE.name).next() {
        if !block.block.keys.iter().any(|key| encrypted(&key)) {
            diagnostics
                .warning(tls.name.span, "`tls` has no effect: no key of this block is encrypted")
                .help(format!("encrypted keys begin with {}", encrypted_schemes()));
        }
        return;
    }
    for key in block.block.keys.iter().filter(encrypted) {
        let name = key.scheme.name();
        let diagnostic = match key.scheme.encryption() {
            Encryption::Always => {
                let message = format!("`{name}://` needs a certificate: QUIC is always encrypted");
                diagnostics.error(key.span, message)
            }
            Encryption::Never | Encryption::Optional => {
                let message = format!("`{name}://` is not encrypted here: the block has no `tls`");
                diagnostics.warning(key.span, message)
            }
        };
        diagnostic
            .help("add `tls CERT KEY` to the block, with the files of a certificate and its key");
    }
}

fn can_be_encrypted(scheme: Scheme) -> bool {
    scheme.encryption() != Encryption::Never
}

/// "`tls://`, `https://` or `quic://`".
fn encrypted_schemes() -> String {
    let mut names: Vec<_> = Scheme::all()
        .filter(|scheme| can_be_encrypted(*scheme))
        .map(|scheme| format!("`{}://`", scheme.name()))
        .collect();
    let last = names.pop().unwrap_or_default();
    format!("{} or {last}", names.join(", "))
}
