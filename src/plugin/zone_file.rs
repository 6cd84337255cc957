//! Reads zone files, and decides when a changed file takes the place of a zone that is served.

use std::{collections::HashSet, sync::Arc};

use crate::{
    chain::{Level, LogLine},
    hash::{FNV_OFFSET, fnv1a},
    limits,
    wire::Name,
    zonefile::{self, Zone, ZoneError},
};

use super::{BuildError, LoadedZone, Need, PluginContext};

/// A zone file of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ZoneFile {
    pub(super) path: String,
    pub(super) reload: ZoneReload,
}

/// When a changed file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZoneReload {
    /// A change is read at the next start or reload of the Corefile.
    Never,
    /// A change is read as soon as the serial of the SOA record changes.
    NewSerial,
    /// A change is read at once.
    AnyChange,
}

impl ZoneFile {
    /// `origins` are the zones that the file holds.
    pub(super) fn needs(&self, origins: &[Name]) -> Vec<Need> {
        let watch = (self.reload != ZoneReload::Never).then_some(Need::WatchFiles);
        let (path, origins) = (self.path.clone(), origins.to_vec());
        [Need::ZoneFile { path, origins }].into_iter().chain(watch).collect()
    }

    /// The zone in the file. `None` if the file cannot be read yet. A zone that is served stays if
    /// the file cannot be read or has an error.
    ///
    /// # Errors
    /// The file has an error, or cannot be read and is not watched, and no zone is served.
    pub(super) fn load(
        &self,
        origin: &Name,
        directive: &'static str,
        context: &mut PluginContext<'_>,
    ) -> Result<Option<Arc<Zone>>, BuildError> {
        let identity = format!("{} {origin}", self.path);
        let previous = context.build.previous.zones.get(&identity).cloned();
        let known = previous.as_ref().map(|previous| previous.zone.serial());
        let Choice { zone: loaded, lines } = match context.file(&self.path) {
            Ok(text) => self.read(origin, text, previous, context)?,
            Err(reason) => self.without_file(origin, &reason, previous)?,
        };
        let line = |(level, text)| LogLine::new(level, directive, text);
        context.outputs.warnings.extend(lines.into_iter().map(line));
        let zone = loaded.as_ref().map(|loaded| Arc::clone(&loaded.zone));
        if let Some(zone) = zone.as_ref().filter(|zone| known != Some(zone.serial())) {
            let notice = context.notice(zone.origin());
            context.outputs.notices.extend(notice);
        }
        context.outputs.reload_state.zones.extend(loaded.map(|loaded| (identity, loaded)));
        Ok(zone)
    }

    fn without_file(
        &self,
        origin: &Name,
        reason: &str,
        previous: Option<LoadedZone>,
    ) -> Result<Choice, BuildError> {
        let problem = format!("the zone file {} cannot be read: {reason}", self.path);
        let (level, consequence) = match (&previous, self.reload) {
            (Some(_), _) => (Level::Error, format!("the last zone {origin} stays in use")),
            (None, ZoneReload::Never) => return Err(BuildError(problem)),
            (None, ZoneReload::NewSerial | ZoneReload::AnyChange) => {
                let text = format!("queries for {origin} get SERVFAIL until the file exists");
                (Level::Warning, text)
            }
        };
        Ok(Choice { zone: previous, lines: vec![(level, format!("{problem}; {consequence}"))] })
    }

    fn read(
        &self,
        origin: &Name,
        text: &str,
        previous: Option<LoadedZone>,
        context: &PluginContext<'_>,
    ) -> Result<Choice, BuildError> {
        let path = &self.path;
        let content = content(path, context);
        if previous.as_ref().is_some_and(|previous| previous.content == content) {
            return Ok(Choice { zone: previous, lines: Vec::new() });
        }
        let (parsed, previous) =
            match (zonefile::parse(path, text, origin, &|path| context.file(path)), previous) {
                (Ok(parsed), previous) => (parsed, previous),
                (Err(error), None) => return Err(BuildError(error.to_string())),
                (Err(error), previous) => {
                    let line = format!("{error}; the last valid zone {origin} stays in use");
                    return Ok(Choice { zone: previous, lines: vec![(Level::Error, line)] });
                }
            };
        let mut lines = problems(&parsed.problems);
        let (zone, serial) = (Arc::new(parsed.zone), |zone: &Zone| zone.serial());
        if let Some(previous) = previous {
            let same_serial = serial(&previous.zone) == serial(&zone);
            let by_serial = self.reload == ZoneReload::NewSerial && !context.build.previous.reread;
            if same_serial && by_serial {
                let line = format!(
                    "the zone file {path} has changed, but its serial is still {}, and the last zone {origin} stays in use; increase the serial of the SOA record",
                    serial(&zone)
                );
                return Ok(Choice { zone: Some(previous), lines: vec![(Level::Warning, line)] });
            }
            let line = format!(
                "Successfully reloaded zone \"{origin}\" in \"{path}\" with {} SOA serial",
                serial(&zone)
            );
            lines.push((Level::Info, line));
        }
        Ok(Choice { zone: Some(LoadedZone { zone, content }), lines })
    }
}

/// The zone to serve, and lines for the log.
struct Choice {
    zone: Option<LoadedZone>,
    lines: Vec<(Level, String)>,
}

/// A hash of a file and of all files that it includes, directly or through others.
pub(super) fn content(path: &str, context: &PluginContext<'_>) -> u64 {
    let (mut hash, mut seen) = (FNV_OFFSET, HashSet::new());
    let mut paths = vec![path.to_owned()];
    while let Some(path) = paths.pop() {
        if seen.contains(&path) {
            continue;
        }
        match context.file(&path) {
            Ok(text) => {
                hash = fnv1a(hash, text.as_bytes());
                paths.extend(zonefile::included(&path, text));
            }
            Err(_) => hash = fnv1a(hash, &[0xff]),
        }
        seen.insert(path);
    }
    hash
}

/// The first problems of a file as lines for the log.
fn problems(problems: &[ZoneError]) -> Vec<(Level, String)> {
    let shown = problems.iter().take(limits::ZONE_PROBLEMS).map(ToString::to_string);
    let more = problems.len().saturating_sub(limits::ZONE_PROBLEMS);
    let rest = (more > 0).then(|| format!("the zone file has {more} more problems"));
    shown.chain(rest).map(|text| (Level::Warning, text)).collect()
}
