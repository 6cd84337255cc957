//! The grammar of a zone file: `$ORIGIN`, `$TTL`, `$INCLUDE`, `$GENERATE`, and records whose owner,
//! TTL and class may be left out.

use std::fmt;

use crate::{
    limits,
    wire::{
        Class, Entries, Entry, LexError, Name, RdataError, RecordHeader, Type, Word, read_seconds,
    },
};

use super::{ZoneBuilder, generate, zone::Zone};

/// What is wrong with a zone file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneError {
    pub file: String,
    /// The first line is 1; 0 stands for the whole file.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ZoneError {}

/// A zone, and what was ignored in its file.
#[derive(Debug)]
pub struct Parsed {
    pub zone: Zone,
    pub problems: Vec<ZoneError>,
}

/// Reads a zone. `read` returns the text of a file that the text includes.
///
/// # Errors
/// A record or a directive cannot be read, or the zone has no SOA record.
pub fn parse<'f>(
    path: &str,
    text: &'f str,
    origin: &Name,
    read: &dyn Fn(&str) -> Result<&'f str, String>,
) -> Result<Parsed, ZoneError> {
    let mut parser = Parser {
        builder: ZoneBuilder::new(origin.clone()),
        read,
        ttl: None,
        last_ttl: None,
        minimum: None,
        problems: Vec::new(),
        depth: 0,
    };
    parser.file(path, text, origin.clone())?;
    let Parser { builder, problems, .. } = parser;
    let zone = builder.build().ok_or_else(|| ZoneError {
        file: path.to_owned(),
        line: 0,
        message: format!("the zone {origin} has no SOA record; add one such as `@ 3600 IN SOA ns.{origin} hostmaster.{origin} 1 7200 3600 1209600 3600`"),
    })?;
    Ok(Parsed { zone, problems })
}

/// The files that a text includes, with paths relative to the directory of `path`.
pub fn included(path: &str, text: &str) -> Vec<String> {
    let entries = Entries::new(text).map_while(Result::ok);
    let includes = entries.filter(|entry| is_directive(entry, "$INCLUDE"));
    includes.filter_map(|entry| Some(beside(path, entry.words.get(1)?.text))).collect()
}

fn is_directive(entry: &Entry<'_>, name: &str) -> bool {
    let first = entry.words.first().filter(|word| !word.quoted && !entry.indented);
    first.is_some_and(|word| word.text.eq_ignore_ascii_case(name))
}

/// A path relative to the directory of a file.
fn beside(path: &str, other: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) if !other.starts_with('/') => format!("{directory}/{other}"),
        _ => other.to_owned(),
    }
}

struct Parser<'f, 'r> {
    builder: ZoneBuilder,
    read: &'r dyn Fn(&str) -> Result<&'f str, String>,
    /// `$TTL`, in seconds.
    ttl: Option<u32>,
    /// The TTL that was written last.
    last_ttl: Option<u32>,
    /// The last number of the SOA record, which is the default TTL in older files.
    minimum: Option<u32>,
    problems: Vec<ZoneError>,
    depth: usize,
}

/// The place of an entry in the files, and the origin and owner that apply there.
struct Place<'p> {
    path: &'p str,
    origin: Name,
    owner: Option<Name>,
}

impl<'f> Parser<'f, '_> {
    fn file(&mut self, path: &str, text: &'f str, origin: Name) -> Result<(), ZoneError> {
        let mut place = Place { path, origin, owner: None };
        for entry in Entries::new(text) {
            let entry = entry
                .map_err(|(line, error): (usize, LexError)| place.error(line, error.to_string()))?;
            self.entry(&entry, &mut place)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, place: &mut Place<'_>) -> Result<(), ZoneError> {
        let line = entry.line;
        let words = &entry.words;
        let argument = |place: &Place<'_>, what: &str| {
            let missing = || place.error(line, format!("{what} is missing after the directive"));
            words.get(1).map(|word| word.text).ok_or_else(missing)
        };
        if is_directive(entry, "$ORIGIN") {
            let text = argument(place, "a domain name")?;
            place.origin = place.name(line, text)?;
        } else if is_directive(entry, "$TTL") {
            let text = argument(place, "a time")?;
            let wrong = || place.error(line, format!("`{text}` is not a TTL such as 3600 or 1h"));
            self.ttl = Some(read_seconds(text).ok_or_else(wrong)?);
        } else if is_directive(entry, "$INCLUDE") {
            let file = argument(place, "a file")?;
            let origin = words.get(2).map(|word| place.name(line, word.text)).transpose()?;
            self.include(line, file, origin, place)?;
        } else if is_directive(entry, "$GENERATE") {
            self.generate(line, &words[1..], place)?;
        } else {
            self.record(entry, place)?;
        }
        Ok(())
    }

    /// The origin and the owner of the including file are not changed (RFC 1035 §5.1).
    fn include(
        &mut self,
        line: usize,
        file: &str,
        origin: Option<Name>,
        place: &Place<'_>,
    ) -> Result<(), ZoneError> {
        let path = beside(place.path, file);
        if self.depth >= limits::ZONE_INCLUDES {
            let message = format!("files include each other more than {} deep", self.depth);
            return Err(place.error(line, message));
        }
        let text = (self.read)(&path)
            .map_err(|reason| place.error(line, format!("{path} cannot be read: {reason}")))?;
        self.depth += 1;
        self.file(&path, text, origin.unwrap_or_else(|| place.origin.clone()))?;
        self.depth -= 1;
        Ok(())
    }

    fn generate(
        &mut self,
        line: usize,
        words: &[Word<'_>],
        place: &mut Place<'_>,
    ) -> Result<(), ZoneError> {
        let lines = generate::lines(words).map_err(|error| place.error(line, error.to_string()))?;
        for text in &lines {
            for entry in Entries::new(text) {
                let entry = entry.map_err(|(_, error)| place.error(line, error.to_string()))?;
                self.record(&Entry { line, ..entry }, place)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, entry: &Entry<'_>, place: &mut Place<'_>) -> Result<(), ZoneError> {
        let (line, mut words) = (entry.line, &entry.words[..]);
        if !entry.indented
            && let Some((first, rest)) = words.split_first()
        {
            place.owner = Some(place.name(line, first.text)?);
            words = rest;
        }
        let Some(owner) = place.owner.clone() else {
            let message = "the first record has no name; begin the line with one, such as `@`";
            return Err(place.error(line, message.to_owned()));
        };
        let (RecordHeader { ttl, class, rtype }, rdata) =
            RecordHeader::read(words).map_err(|error| place.error(line, error.to_string()))?;
        let rdata = rtype
            .rdata(rdata, &place.origin)
            .map_err(|error: RdataError| place.error(line, format!("{owner} {rtype}: {error}")))?;
        if rtype == Type::SOA {
            self.minimum =
                rdata.last_chunk().map(|minimum| u32::from_be_bytes(*minimum)).or(self.minimum);
        }
        self.last_ttl = ttl.or(self.last_ttl);
        let Some(ttl) = ttl.or(self.ttl).or(self.last_ttl).or(self.minimum) else {
            let message = format!(
                "the record {owner} {rtype} has no TTL; put a line such as `$TTL 3600` before it"
            );
            return Err(place.error(line, message));
        };
        if let Some(class) = class.filter(|class| *class != Class::IN) {
            let message = format!("class {class} is not served, and the record is ignored");
            self.problems.push(place.error(line, message));
            return Ok(());
        }
        if matches!(rtype, Type::NSEC3 | Type::NSEC3PARAM) {
            let message =
                "the zone is signed with NSEC3, which is not supported; sign it with NSEC";
            return Err(place.error(line, message.to_owned()));
        }
        // The highest bit must be zero (RFC 2181 §8).
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        if let Err(problem) = self.builder.add(&owner, rtype, ttl, rdata) {
            self.problems.push(place.error(line, format!("{owner} {rtype}: {problem}")));
        }
        Ok(())
    }
}

impl Place<'_> {
    fn error(&self, line: usize, message: String) -> ZoneError {
        ZoneError { file: self.path.to_owned(), line, message }
    }

    fn name(&self, line: usize, text: &str) -> Result<Name, ZoneError> {
        let wrong = || self.error(line, format!("`{text}` is not a domain name"));
        Name::relative(text, &self.origin).ok_or_else(wrong)
    }
}
