//! Domain names.

use std::{borrow::Borrow, fmt, net::IpAddr, str::FromStr};

use smallvec::SmallVec;

use crate::limits;

/// Names of up to 64 octets, nearly all names in a cluster, are stored inline.
type Octets = SmallVec<[u8; 64]>;

/// An absolute domain name in wire form (RFC 1035 §3.1), lower-cased, the root label included: 1 to
/// 255 octets.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Octets);

/// A text is not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a label is longer than 63 octets")]
    LongLabel,
    #[error("the name is longer than 255 octets")]
    LongName,
    #[error("a label is empty or wrongly escaped")]
    Label,
}

impl Name {
    pub fn root() -> Self {
        Self(SmallVec::from_slice(&[0]))
    }

    /// Lower-cases `wire`; `None` unless it is exactly one uncompressed name.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        if wire.len() > limits::NAME_OCTETS || uncompressed_len(wire) != Some(wire.len()) {
            return None;
        }
        let mut bytes = SmallVec::from_slice(wire);
        bytes.make_ascii_lowercase();
        Some(Self(bytes))
    }

    /// `labels` under `suffix`; `None` if a label is empty, or a label or the name is too long.
    pub fn join<'l>(labels: impl IntoIterator<Item = &'l [u8]>, suffix: &Self) -> Option<Self> {
        let mut bytes = SmallVec::new();
        for label in labels {
            if label.is_empty() || label.len() > limits::LABEL_OCTETS {
                return None;
            }
            bytes.push(label.len() as u8);
            bytes.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        bytes.extend_from_slice(&suffix.0);
        (bytes.len() <= limits::NAME_OCTETS).then_some(Self(bytes))
    }

    /// The name that a text stands for in a zone file: absolute with a final dot, else relative to
    /// `origin`; `@` is the origin.
    pub fn relative(text: &str, origin: &Self) -> Option<Self> {
        Self::from_wire(&relative(text, origin)?)
    }

    /// The name under which an address has its PTR records (RFC 1035 §3.5, RFC 3596 §2.5).
    pub fn reverse(address: IpAddr) -> Self {
        let text = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(v6) => {
                let nibbles =
                    v6.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
                nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
            }
        };
        text.parse().expect("labels of one to three digits, 73 octets at most")
    }

    /// The wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Labels from the left, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }

    /// Offset of every label from the left, the root's last.
    pub fn offsets(&self) -> impl Iterator<Item = usize> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let here = at;
            let length = usize::from(*self.0.get(here)?);
            at += length + 1;
            Some(here)
        })
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether the name is `zone` or under it.
    pub fn is_within(&self, zone: &Self) -> bool {
        self.left_of(zone).is_some()
    }

    /// The labels left of `zone` in wire form, without a root label; empty for the apex, `None`
    /// outside of it.
    pub fn left_of(&self, zone: &Self) -> Option<&[u8]> {
        let cut = self.0.len().checked_sub(zone.0.len())?;
        let aligned = || self.offsets().take_while(|&at| at <= cut).any(|at| at == cut);
        (self.0[cut..] == zone.0[..] && aligned()).then(|| &self.0[..cut])
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.suffix(usize::from(self.0[0]) + 1)
    }

    /// The name from the label at `offset` on, which must be one of [`Self::offsets`].
    pub fn suffix(&self, offset: usize) -> Option<Self> {
        let rest = self.0.get(offset..).filter(|rest| !rest.is_empty())?;
        Some(Self(SmallVec::from_slice(rest)))
    }
}

/// Lets a slice of a longer name find the name in a map.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Presentation form with the final dot; octets that are not printable become `\DDD` (RFC 1035
/// §5.1).
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_presentation(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads presentation form, absolute with or without its final dot.
impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(|Spelled(mut bytes)| {
            bytes.make_ascii_lowercase();
            Self(bytes)
        })
    }
}

/// A name in wire form with its original spelling.
#[derive(Clone, PartialEq, Eq)]
pub struct Spelled(Octets);

impl Spelled {
    pub(super) fn new(wire: &[u8]) -> Self {
        Self(SmallVec::from_slice(wire))
    }

    /// `None` unless `wire` is exactly one uncompressed name.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        Name::from_wire(wire).map(|_| Self::new(wire))
    }

    /// Whole labels in wire form before a name; `None` if the result is too long.
    pub fn join(left: &[u8], name: &Name) -> Option<Self> {
        Self::from_wire(&[left, name.wire()].concat())
    }

    /// The wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Name> for Spelled {
    /// Lower-case.
    fn from(name: &Name) -> Self {
        Self(name.0.clone())
    }
}

impl fmt::Debug for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_presentation(&self.0, f)
    }
}

/// Reads presentation form, absolute with or without its final dot.
impl FromStr for Spelled {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut bytes = Octets::new();
        if text != "." {
            let mut rest = text.as_bytes();
            loop {
                let start = bytes.len();
                bytes.push(0);
                let more = read_label(&mut rest, &mut bytes)?;
                match bytes.len() - start - 1 {
                    0 => return Err(NameError::Label),
                    length if length > limits::LABEL_OCTETS => return Err(NameError::LongLabel),
                    length => bytes[start] = length as u8,
                }
                if !more || rest.is_empty() {
                    break;
                }
            }
        }
        bytes.push(0);
        if bytes.len() > limits::NAME_OCTETS { Err(NameError::LongName) } else { Ok(Self(bytes)) }
    }
}

/// A name in wire form: absolute with a final dot, else relative to `origin`; `@` is the origin.
pub(super) fn relative(text: &str, origin: &Name) -> Option<Vec<u8>> {
    if text == "@" {
        return Some(origin.wire().to_vec());
    }
    let mut wire = text.parse::<Spelled>().ok()?.wire().to_vec();
    let stem = text.strip_suffix('.');
    // The last of an odd number of backslashes escapes the dot.
    let escapes = |stem: &str| stem.bytes().rev().take_while(|octet| *octet == b'\\').count() % 2;
    if stem.is_none_or(|stem| escapes(stem) == 1) {
        wire.pop();
        wire.extend_from_slice(origin.wire());
    }
    (wire.len() <= limits::NAME_OCTETS).then_some(wire)
}

/// Appends the octets of one label; true if a dot ended it.
fn read_label(rest: &mut &[u8], bytes: &mut Octets) -> Result<bool, NameError> {
    while let Some((&first, tail)) = rest.split_first() {
        *rest = tail;
        match first {
            b'.' => return Ok(true),
            b'\\' => bytes.push(unescape(rest)?),
            octet => bytes.push(octet),
        }
    }
    Ok(false)
}

/// The octet that `\.` or `\046` stands for, after its backslash.
pub(super) fn unescape(rest: &mut &[u8]) -> Result<u8, NameError> {
    let (octet, used) = match **rest {
        [a, b, c, ..] if [a, b, c].iter().all(u8::is_ascii_digit) => {
            let number = [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
            (u8::try_from(number).map_err(|_| NameError::Label)?, 3)
        }
        [octet, ..] if !octet.is_ascii_digit() => (octet, 1),
        _ => return Err(NameError::Label),
    };
    *rest = &rest[used..];
    Ok(octet)
}

/// Labels of an uncompressed name in wire form, without the root. Stops at an invalid label.
pub(super) fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (&length, tail) = rest.split_first()?;
        let label = tail.get(..usize::from(length)).filter(|label| !label.is_empty())?;
        rest = &tail[label.len()..];
        Some(label)
    })
}

/// Octets of the uncompressed name at the start of `wire`, its root label included.
pub(super) fn uncompressed_len(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match usize::from(*wire.get(at)?) {
            0 => return Some(at + 1),
            length if length > limits::LABEL_OCTETS => return None,
            length => at += length + 1,
        }
    }
}

fn write_presentation(wire: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    if wire.first() == Some(&0) {
        return f.write_char('.');
    }
    for label in labels(wire) {
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                    write!(f, "\\{}", char::from(octet))?;
                }
                b'!'..=b'~' => f.write_char(char::from(octet))?,
                _ => write!(f, "\\{octet:03}")?,
            }
        }
        f.write_char('.')?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn texts_become_names() {
        let check = |text: &str, expected: Result<&str, NameError>| {
            assert_eq!(
                text.parse::<Name>().map(|it| it.to_string()),
                expected.map(str::to_owned),
                "{text}"
            );
        };
        check("Web.Default.svc.cluster.local", Ok("web.default.svc.cluster.local."));
        check("a.b.", Ok("a.b."));
        check(".", Ok("."));
        check(r"a\.b.c", Ok(r"a\.b.c."));
        check(r"\007x\\.c.", Ok(r"\007x\\.c."));
        check(r"x\.", Ok(r"x\.."));
        check("a..b", Err(NameError::Label));
        check("", Err(NameError::Label));
        check("..", Err(NameError::Label));
        check(r"a\25", Err(NameError::Label));
        check(r"a\256", Err(NameError::Label));
        check(&"a".repeat(64), Err(NameError::LongLabel));
        check(&["a".repeat(63).as_str(); 4].join("."), Err(NameError::LongName));
    }

    #[test]
    fn suffixes_end_at_labels() {
        let check = |long: &str, zone: &str, expected: Option<&[u8]>| {
            assert_eq!(name(long).left_of(&name(zone)), expected, "{long} {zone}");
        };
        check("web.cluster.local", "cluster.local", Some(b"\x03web"));
        check("cluster.local", "cluster.local", Some(b""));
        check("a.b", ".", Some(b"\x01a\x01b"));
        check("xcluster.local", "cluster.local", None);
        check("local", "cluster.local", None);
        // The octets of `b.c` end this name, but they begin inside of a label.
        check(r"a\001b\001c", "b.c", None);
    }

    #[test]
    fn addresses_have_reverse_names() {
        assert_eq!(Name::reverse("10.96.0.1".parse().unwrap()), name("1.0.96.10.in-addr.arpa"));
        let v6 = name("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa");
        assert_eq!(Name::reverse("fd00:10:96::1".parse().unwrap()), v6);
    }

    #[test]
    fn parents_end_at_the_root() {
        assert_eq!(name("a.b").parent(), Some(name("b")));
        assert_eq!(name("b").parent(), Some(Name::root()));
        assert_eq!(Name::root().parent(), None);
        assert_eq!(Name::join([b"A".as_slice()], &name("b")), Some(name("a.b")));
        assert_eq!(Name::from_wire(b"\x01A\x00"), Some(name("a")));
        assert_eq!(Name::from_wire(b"\x01A\x00\x00"), None);
        assert_eq!(Name::from_wire(b"\xc0\x0c"), None);
    }
}
