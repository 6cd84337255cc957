//! The check of a fuzz target, as those in [`crate::fuzzing`].

use super::{Style, explain, gather, overview};

/// For any manifests, a report is written in each format, and the text of the manifests cannot
/// control a terminal. The first line of `data` is the name to explain.
///
/// # Panics
/// If one of these does not hold.
pub fn explain_objects(data: &[u8]) {
    let line = data.iter().position(|octet| *octet == b'\n').unwrap_or(data.len());
    let (name, objects) = data.split_at(line);
    let Ok(name) = std::str::from_utf8(name) else { return };
    let Ok(mut evidence) = gather::of_text(name, objects) else { return };
    let report = explain(&evidence);
    let style = Style { is_coloured: false, width: Some(60) };
    assert_is_plain(&report.text(style));
    serde_json::to_string(&report).expect("a report can be written as JSON");
    report.html();
    let overview = overview(&mut evidence, None);
    assert_is_plain(&overview.text(style));
    serde_json::to_string(&overview).expect("an overview can be written as JSON");
    for page in [overview.html(), overview.junit()] {
        assert!(!page.is_empty(), "every format has a head");
    }
}

fn assert_is_plain(text: &str) {
    let control = text.chars().find(|char| char.is_control() && *char != '\n');
    assert_eq!(control, None, "{text:?}");
}
