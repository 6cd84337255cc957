//! Signs zone files for `sign`: now if they need it, and then every few hours.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    dnssec::{Validity, ZoneKey},
    limits,
    net::unix_time,
    plugin::{ZoneSigner, signed_zone, why_due},
    zonefile,
};

use super::{replace_file::replace, zone_files};

/// Other servers may read a signed zone.
const MODE: u32 = 0o644;

/// The tasks of the zones, one for each.
#[derive(Default)]
pub(super) struct Signers(JoinSet<()>);

impl Signers {
    pub(super) fn run_new(zones: Vec<ZoneSigner>) -> Self {
        let mut signers = Self::default();
        signers.run(zones);
        signers
    }

    /// Runs a task for each of these zones, and ends the earlier ones. A zone whose file has
    /// changed is signed at once.
    pub(super) fn run(&mut self, zones: Vec<ZoneSigner>) {
        self.0 = JoinSet::new();
        for zone in zones {
            self.0.spawn(async move {
                loop {
                    let zone = zone.clone();
                    // Signatures of a large zone take seconds.
                    let _ = tokio::task::spawn_blocking(move || sign_if_due(&zone)).await;
                    sleep(limits::SIGN_LOOK).await;
                }
            });
        }
    }
}

fn sign_if_due(zone: &ZoneSigner) {
    let ZoneSigner { origin, signed, .. } = zone;
    let unix = unix_time() as u32;
    let tags: BTreeSet<_> = zone.keys.iter().map(ZoneKey::tag).collect();
    let why = match fs::read_to_string(signed) {
        Ok(text) => why_due(&text, unix, &tags).or_else(|| changed(zone)),
        Err(error) => Some(format!("{signed}: {error}")),
    };
    let Some(why) = why else {
        tracing::info!(
            plugin = "sign",
            "Skipping signing zone \"{origin}\" in \"{signed}\": signatures are valid"
        );
        return;
    };
    tracing::info!(plugin = "sign", "Signing \"{origin}\" because {why}");
    let tags: Vec<_> = zone.keys.iter().map(|key| key.tag().to_string()).collect();
    let tags = tags.join(",");
    let hours = limits::SIGN_LOOK.as_secs() / 3600;
    match sign(zone, unix) {
        Ok(()) => tracing::info!(
            plugin = "sign",
            "Successfully signed zone \"{origin}\" in \"{signed}\" with key tags \"{tags}\" and {unix} SOA serial; the next check is in {hours} h"
        ),
        Err(error) => tracing::warn!(
            plugin = "sign",
            "Error signing \"{origin}\" with key tags \"{tags}\": {error}; the next attempt is in {hours} h"
        ),
    }
}

/// Whether the zone file or a key is newer than the signed file.
fn changed(zone: &ZoneSigner) -> Option<String> {
    let written = |path: &str| fs::metadata(path).and_then(|file| file.modified()).ok();
    let signed = written(&zone.signed)?;
    let mut sources: Vec<_> = zone_files::paths(&zone.file).into_iter().collect();
    sources.extend(zone.key_files.iter().cloned());
    let newer = |path: &&String| written(path).is_some_and(|time: SystemTime| time > signed);
    sources.iter().find(newer).map(|path| format!("{path} has changed"))
}

/// # Errors
/// The reason why no signed file was written.
fn sign(zone: &ZoneSigner, unix: u32) -> Result<(), String> {
    let (mut files, mut modified) = (HashMap::new(), HashMap::new());
    zone_files::read(zone.file.clone(), &mut files, &mut modified);
    let read = |path: &str| match files.get(path) {
        Some(text) => text.as_deref().map_err(Clone::clone),
        None => Err("it was not read".to_owned()),
    };
    let text = read(&zone.file).map_err(|reason| format!("{}: {reason}", zone.file))?;
    let parsed = zonefile::parse(&zone.file, text, &zone.origin, &read);
    let parsed = parsed.map_err(|error| error.to_string())?;
    let validity = Validity {
        inception: unix - limits::SIGNATURE_INCEPTION - jitter(limits::SIGN_INCEPTION_JITTER),
        expiration: unix + limits::SIGN_LIFETIME + jitter(limits::SIGN_LIFETIME_JITTER),
    };
    let text = signed_zone(&parsed.zone.into(), &zone.keys, validity, unix)
        .ok_or("a key makes no signature")?;
    // A server that reads the file at this moment finds a complete one.
    replace(Path::new(&zone.signed), text.as_bytes(), MODE)
        .map_err(|error| format!("{}: {error}; the directory must be writable", zone.signed))
}

/// A random time, so that the signatures of all zones do not expire together.
fn jitter(most: Duration) -> u32 {
    most.mul_f64(rand::random()).as_secs() as u32
}
