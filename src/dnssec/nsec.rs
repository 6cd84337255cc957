//! NSEC records that deny one name or type only (RFC 4470, "black lies").

use crate::{
    limits,
    wire::{Name, Type, type_bitmap},
};

/// The data of an NSEC record: the next name and the types at the owner.
pub fn nsec(next: &Name, types: impl IntoIterator<Item = Type>) -> Vec<u8> {
    let mut rdata = next.wire().to_vec();
    rdata.extend(type_bitmap(types.into_iter().map(|rtype| rtype.0).collect()));
    rdata
}

/// The first possible name after `name` in canonical order (RFC 4034 §6.1): `\000.NAME`.
pub fn successor(name: &Name) -> Name {
    Name::join([b"\0".as_slice()], name).unwrap_or_else(|| successor_of_subtree(name))
}

/// A name that comes after `name` and all names below it, and before the next usual name.
pub fn successor_of_subtree(name: &Name) -> Name {
    let (Some(first), Some(parent)) = (name.labels().next(), name.parent()) else {
        return name.clone();
    };
    let mut label = first.to_vec();
    label.push(0);
    if label.len() <= limits::LABEL_OCTETS
        && let Some(next) = Name::join([label.as_slice()], &parent)
    {
        return next;
    }
    // The label or the name has its full length, so its last octet increases.
    label.pop();
    while let Some(last) = label.pop() {
        // Upper-case letters are sorted as lower-case ones.
        let more = if last == b'@' { b'[' } else { last.wrapping_add(1) };
        if more != 0 {
            label.push(more);
            return Name::join([label.as_slice()], &parent).unwrap_or(parent);
        }
    }
    parent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successors_are_close() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let check = |text: &str, next: &str, after: &str| {
            assert_eq!(successor(&name(text)), name(next), "{text}");
            assert_eq!(successor_of_subtree(&name(text)), name(after), "{text}");
        };
        check("a.example.org", r"\000.a.example.org", r"a\000.example.org");
        let long = "a".repeat(63);
        let next = "a".repeat(62) + "b";
        check(&format!("{long}.b"), &format!(r"\000.{long}.b"), &format!("{next}.b"));
        // 255 octets: nothing fits before the name.
        let full = format!("{long}.{long}.{long}.{}", "a".repeat(61));
        let parent = format!("{long}.{long}.{}", "a".repeat(61));
        assert_eq!(name(&full).wire().len(), 255);
        check(&full, &format!("{next}.{parent}"), &format!("{next}.{parent}"));
        assert_eq!(successor(&Name::root()), name(r"\000"));
    }

    #[test]
    fn types_are_in_windows() {
        let next: Name = "b.c".parse().unwrap();
        let rdata = nsec(&next, [Type::RRSIG, Type::A, Type::CAA, Type::NSEC]);
        assert_eq!(rdata, b"\x01b\x01c\x00\x00\x06\x40\x00\x00\x00\x00\x03\x01\x01\x40");
    }
}
