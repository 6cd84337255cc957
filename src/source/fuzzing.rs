//! The checks of the fuzz targets of this module; `crate::fuzzing` has the others.

use super::{api, kind};

/// Any page of a list: reading it and its objects does not panic. The first octet chooses the kind,
/// its version and the encoding.
pub fn api_page(data: &[u8]) {
    let Some((choice, page)) = data.split_first() else { return };
    let choice = usize::from(*choice);
    let content_type = match choice % 2 {
        0 => "application/json",
        _ => "application/vnd.kubernetes.protobuf",
    };
    let kind = kind::ALL[choice / 2 % kind::ALL.len()];
    let versions = kind.served();
    let version = versions[choice / 2 / kind::ALL.len() % versions.len()];
    let Ok(objects) = api::decode_page(kind, version, content_type, page) else { return };
    for fact in objects.into_iter().filter_map(|decoded| decoded.fact.ok().flatten()) {
        assert!(fact.octets() > 0, "every fact counts");
    }
}

/// Any kubeconfig: reading it does not panic, and the message of an error has no word of the file.
///
/// # Panics
/// If one of these does not hold.
pub fn kubeconfig(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Err(error) = api::read_kubeconfig_text(text) else { return };
    let message = format!("{error:#}");
    let is_secret = |word: &&str| word.len() >= 8 && !"kubeconfig".contains(word);
    let words = text.split(|char: char| !char.is_alphanumeric()).filter(is_secret);
    for word in words {
        assert!(!message.contains(word), "{word:?} is in {message:?}");
    }
}
