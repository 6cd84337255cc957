//! The encodings of text files.

/// UTF-8, or UTF-16 with a byte order mark, as PowerShell writes it; `None` for anything else.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let (is_big_endian, rest) = match bytes {
        [0xff, 0xfe, rest @ ..] => (false, rest),
        [0xfe, 0xff, rest @ ..] => (true, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => return String::from_utf8(rest.to_vec()).ok(),
        _ => return String::from_utf8(bytes.to_vec()).ok(),
    };
    let (pairs, odd) = rest.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let unit = |pair: &[u8; 2]| {
        if is_big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) }
    };
    String::from_utf16(&pairs.iter().map(unit).collect::<Vec<u16>>()).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn the_byte_order_mark_decides() {
        for (bytes, text) in [
            (&b"a: 1"[..], Some("a: 1")),
            (b"\xef\xbb\xbfa", Some("a")),
            (b"\xff\xfea\0\xe4\0", Some("aä")),
            (b"\xfe\xff\0a", Some("a")),
            (b"\xff\xfea", None),
            (b"\xff\xfe\0\xd8", None),
            (b"\xe4", None),
        ] {
            assert_eq!(decode(bytes).as_deref(), text, "{bytes:?}");
        }
    }
}
