//! Reads `edns0 local|nsid|subnet ACTION …`.

use crate::plugin::metadata;

use super::{
    super::edns::{EdnsAction, EdnsData, EdnsRule, NSID, SUBNET, Variable},
    Words,
};

const ACTIONS: [(&str, EdnsAction); 4] = [
    ("set", EdnsAction::Set),
    ("append", EdnsAction::Append),
    ("replace", EdnsAction::Replace),
    ("unset", EdnsAction::Unset),
];

const VARIABLES: [(&str, Variable); 7] = [
    ("{qname}", Variable::QueryName),
    ("{qtype}", Variable::QueryType),
    ("{client_ip}", Variable::ClientAddress),
    ("{client_port}", Variable::ClientPort),
    ("{protocol}", Variable::Protocol),
    ("{server_ip}", Variable::ServerAddress),
    ("{server_port}", Variable::ServerPort),
];

/// `revert` has no effect: a client gets none of the options back.
pub(super) fn rule(words: &mut Words<'_, '_>) -> Option<EdnsRule> {
    if words.left() < 2 {
        return words.error("too few arguments for an EDNS0 rule");
    }
    let (kind, action) = (words.next().to_lowercase(), words.next().to_lowercase());
    let found = ACTIONS.iter().find(|(name, _)| *name == action);
    let Some((_, action)) = found else {
        return words.error(&format!("invalid action: \"{action}\""));
    };
    let unset = *action == EdnsAction::Unset;
    let reverts = !unset && words.is_last("revert");
    let left = words.left() - usize::from(reverts);
    let (code, data) = match (kind.as_str(), left) {
        ("local", 1) if unset => (code(words)?, EdnsData::Fixed(Vec::new())),
        ("local", 2) if !unset => (code(words)?, data(words)?),
        ("nsid", 0) => (NSID, EdnsData::Fixed(Vec::new())),
        ("subnet", 0) if unset => (SUBNET, EdnsData::Fixed(Vec::new())),
        ("subnet", 2) if !unset => {
            let (v4_bits, v6_bits) = (bits(words, "IPv4", 32)?, bits(words, "IPv6", 128)?);
            (SUBNET, EdnsData::Subnet { v4_bits, v6_bits })
        }
        ("local" | "nsid" | "subnet", _) => {
            return words.error(&format!("wrong number of arguments for an EDNS0 {kind} rule"));
        }
        _ => return words.error(&format!("invalid rule type \"{kind}\"")),
    };
    Some(EdnsRule { code, action: *action, data })
}

fn code(words: &mut Words<'_, '_>) -> Option<u16> {
    let text = words.next();
    let code = number(&text);
    code.or_else(|| words.error(&format!("`{text}` is not the code of an EDNS option")))
}

/// A number with the prefixes of Go.
fn number(text: &str) -> Option<u16> {
    let lower = text.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let prefixed = prefixes.iter().find_map(|(prefix, base)| {
        Some((lower.strip_prefix(prefix).filter(|digits| !digits.is_empty())?, *base))
    });
    let (digits, base) = prefixed.unwrap_or((&lower, 10));
    u16::from_str_radix(digits, base).ok().filter(|_| !digits.starts_with('+'))
}

fn data(words: &mut Words<'_, '_>) -> Option<EdnsData> {
    let text = words.next();
    if text.starts_with('{') && text.ends_with('}') {
        let found = VARIABLES.iter().find(|(name, _)| *name == text);
        let variable = found.map(|(_, variable)| variable.clone()).or_else(|| {
            let label = text.get(1..text.len() - 1).filter(|label| metadata::is_label(label))?;
            Some(Variable::Metadata(label.to_owned()))
        });
        let Some(variable) = variable else {
            return words.error(&format!("unsupported variable name \"{text}\""));
        };
        return Some(EdnsData::Variable(variable));
    }
    let Some(digits) = text.strip_prefix("0x") else {
        return Some(EdnsData::Fixed(text.into_bytes()));
    };
    let octets = hex(digits);
    match octets {
        Some(octets) => Some(EdnsData::Fixed(octets)),
        None => words.error(&format!("`{text}` is not an even number of hexadecimal digits")),
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        digits.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect::<Option<_>>()?;
    let (pairs, odd) = digits.as_chunks::<2>();
    odd.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn bits(words: &mut Words<'_, '_>, family: &str, most: u8) -> Option<u8> {
    let text = words.next();
    let bits = number(&text).and_then(|bits| u8::try_from(bits).ok());
    bits.filter(|bits| *bits <= most)
        .or_else(|| words.error(&format!("invalid {family} bit mask length {text}")))
}
