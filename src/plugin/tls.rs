//! `tls CERT KEY [CA] { client_auth MODE }`: the certificate that encrypted transports show, and
//! what they ask of clients.

use std::fmt;

use crate::corefile::{Arguments, Span, Token};

use super::{Need, Reading, Settings};

/// The files, in PEM, and what clients have to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificates: TlsFile,
    pub key: TlsFile,
    /// Who signs clients' certificates.
    pub authorities: Option<TlsFile>,
    pub client_auth: ClientAuth,
}

/// A file, and where the Corefile names it.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsFile {
    pub path: String,
    pub span: Span,
}

/// What is asked of clients, in the terms of Go's `crypto/tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    /// A certificate of any kind, which may be left out.
    Request,
    /// A certificate of any kind.
    Require,
    VerifyIfGiven,
    RequireAndVerify,
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

impl Settings for Tls {
    fn needs(&self) -> Vec<Need> {
        let files = self.files().map(|file| Need::File(file.path.clone()));
        // A certificate is renewed many times in a server's life, and one that has run out serves
        // nobody.
        files.chain([Need::WatchFiles, Need::Tls(self.clone())]).collect()
    }
}

/// Settings that print alike are equal, wherever they stand.
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

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut tls = None;
    reading.once(|arguments| tls = read_line(arguments));
    tls.map(|tls| Box::new(tls) as Box<dyn Settings>)
}

fn read_line(arguments: &mut Arguments<'_>) -> Option<Tls> {
    let mut client_auth = ClientAuth::None;
    let by_acme = arguments.is_empty();
    let (certificates, key) = match by_acme {
        true => (None, None),
        false => (
            arguments.required("a certificate's file"),
            arguments.required("the file of the certificate's key"),
        ),
    };
    let authorities = arguments.optional().map(TlsFile::from);
    arguments.end();
    arguments.options(|option| match option.name() {
        "client_auth" => {
            client_auth = option.one_of("client_auth", &ClientAuth::NAMES).unwrap_or_default()
        }
        "keylog" | "acme" | "email" | "ca" | "storage" | "ca_root" | "resolver" => option.not_yet(),
        _ => option.unknown(&["client_auth", "keylog"]),
    });
    let span = arguments.span();
    if by_acme {
        arguments
            .error(span, "`tls` needs the file of a certificate and of its key")
            .help("certificates by ACME are known to CoreDNS, not here yet");
    }
    let verifies = matches!(client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
    if let Some(authorities) = authorities.as_ref().filter(|_| !verifies) {
        let warning =
            arguments.warning(authorities.span, "no client's certificate is compared with this");
        warning.help("`client_auth require_and_verify` or `verify_if_given` does");
    }
    Some(Tls { certificates: certificates?.into(), key: key?.into(), authorities, client_auth })
}
