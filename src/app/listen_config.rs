//! The listeners of a configuration, with the certificates of the encrypted ones. Certificates are
//! checked before a socket is opened.

use std::{
    collections::{BTreeMap, HashMap},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

use anyhow::bail;

use crate::{
    corefile::Span,
    net::{
        listeners::ListenConfig,
        tls::{Identity, TlsConfigError, Versions, client},
    },
    plugin::{Need, TlsFile, UpstreamTls},
    server::{CheckedBlock, Listen, Scheme},
    transport::Encryption,
};

/// An error in the Corefile, or in a file that it names.
pub(super) struct Mistake {
    pub(super) span: Span,
    pub(super) message: String,
}

#[derive(Default)]
pub(super) struct ListenConfigs(BTreeMap<Listen, (Option<Arc<Identity>>, Option<usize>)>);

impl ListenConfigs {
    /// Adds a listener of a block. Blocks that share an address must have the same certificates:
    /// the query, which selects the block, comes after the handshake.
    pub(super) fn add(
        &mut self,
        listen: Listen,
        identity: Option<&Arc<Identity>>,
        span: Span,
    ) -> Result<(), Mistake> {
        let identity = identity.filter(|_| listen.scheme.encryption() != Encryption::Never);
        let (before, _) = self.0.entry(listen).or_insert_with(|| (identity.cloned(), None));
        if before.as_deref() == identity.map(|identity| &**identity) {
            return Ok(());
        }
        let message = format!(
            "conflicting TLS configuration: the blocks of the listener {listen} must have the same `tls`"
        );
        Err(Mistake { span, message })
    }

    /// Sets the number of UDP sockets of a listener. The largest number of its blocks counts.
    pub(super) fn set_sockets(&mut self, listen: Listen, wanted: usize) {
        if let Some((_, sockets)) = self.0.get_mut(&listen) {
            *sockets = (*sockets).max(Some(wanted));
        }
    }

    pub(super) fn into_inner(self) -> Vec<ListenConfig> {
        self.0
            .into_iter()
            .map(|(listen, (identity, sockets))| ListenConfig {
                listen,
                identity,
                sockets,
                compat_for: None,
            })
            .collect()
    }
}

/// Adds the listeners of `--compat-listener`.
pub(super) fn add_compat(
    listen_configs: &mut Vec<ListenConfig>,
    compat: &[Listen],
) -> anyhow::Result<()> {
    for listen in compat {
        if listen_configs.iter().any(|listen_config| listen_config.listen == *listen) {
            bail!("--compat-listener {listen}: another listener has this address");
        }
        let same = listen_configs.iter().find(|listen_config| {
            listen_config.listen.scheme == listen.scheme && listen_config.compat_for.is_none()
        });
        let Some(same) = same else {
            bail!(
                "--compat-listener {listen}: the Corefile has no `{}://` server block",
                listen.scheme.name()
            );
        };
        listen_configs.push(ListenConfig {
            listen: *listen,
            identity: same.identity.clone(),
            sockets: None,
            compat_for: Some(same.listen),
        });
    }
    Ok(())
}

/// The certificates of the block's `tls`, if there is one.
pub(super) fn identity(
    block: &CheckedBlock,
    files: &HashMap<String, Result<String, String>>,
) -> Result<Option<Arc<Identity>>, Mistake> {
    let Some(tls) =
        block.needs().find_map(|need| if let Need::Tls(tls) = need { Some(tls) } else { None })
    else {
        return Ok(None);
    };
    let text = |file: &TlsFile| match files.get(&file.path) {
        Some(Ok(text)) => Ok(text.clone()),
        Some(Err(reason)) => Err(mistake(file, reason)),
        None => Err(mistake(file, "the file was not read")),
    };
    let identity = Identity {
        certificates: text(&tls.certificates)?,
        key: text(&tls.key)?,
        authorities: tls.authorities.as_ref().map(text).transpose()?,
        client_auth: tls.client_auth,
        versions: Versions::All,
        key_log: tls.key_log.as_ref().map(|file| file.path.clone()),
    };
    // The schemes differ only in the names of protocols, so one check is enough.
    identity.config(Scheme::Tls).map_err(|error| {
        let file = match &error {
            TlsConfigError::Certificates(_) => &tls.certificates,
            TlsConfigError::Key(_) => &tls.key,
            TlsConfigError::KeyLog(_) => tls.key_log.as_ref().unwrap_or(&tls.key),
            TlsConfigError::Authorities(_) => tls.authorities.as_ref().unwrap_or(&tls.certificates),
        };
        mistake(file, &error.to_string())
    })?;
    if is_open_to_all(Path::new(&tls.key.path)) {
        tracing::warn!(
            plugin = "tls",
            "every user of this machine can read the key {0}; only ndots should: chmod o-r {0}",
            tls.key.path
        );
    }
    Ok(Some(Arc::new(identity)))
}

/// Whether every user of the machine can read the file. Kubernetes mounts a Secret in a directory
/// `..data` and lets every user read it, but only the Pod's processes see the mount.
fn is_open_to_all(file: &Path) -> bool {
    const OTHERS_READ: u32 = 0o004;
    let Ok(real) = file.canonicalize() else { return false };
    let is_mounted = file.parent().is_some_and(|directory| {
        directory.join("..data").canonicalize().is_ok_and(|data| real.starts_with(data))
    });
    !is_mounted && real.metadata().is_ok_and(|found| found.permissions().mode() & OTHERS_READ != 0)
}

/// Checks the certificates for upstreams.
pub(super) fn check_upstreams(
    block: &CheckedBlock,
    files: &HashMap<String, Result<String, String>>,
) -> Result<(), Mistake> {
    for need in block.needs() {
        let Need::UpstreamTls { plugin, tls: written } = need else { continue };
        let tls = written.read(files).map_err(|(file, reason)| used(file, plugin, &reason))?;
        client::config(&tls).map_err(|error| {
            let file = match (&error, &written) {
                (TlsConfigError::Authorities(_), UpstreamTls { authorities: Some(file), .. })
                | (
                    TlsConfigError::Certificates(_),
                    UpstreamTls { identity: Some((file, _)), .. },
                )
                | (TlsConfigError::Key(_), UpstreamTls { identity: Some((_, file)), .. }) => {
                    Some(file)
                }
                _ => None,
            };
            let nowhere =
                || Mistake { span: Span::default(), message: format!("plugin/{plugin}: {error}") };
            file.map_or_else(nowhere, |file| used(file, plugin, &error.to_string()))
        })?;
    }
    Ok(())
}

fn mistake(file: &TlsFile, reason: &str) -> Mistake {
    used(file, "tls", reason)
}

fn used(file: &TlsFile, plugin: &str, reason: &str) -> Mistake {
    Mistake {
        span: file.span,
        message: format!("plugin/{plugin}: cannot use {}: {reason}", file.path),
    }
}
