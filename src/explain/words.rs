//! Small pieces of messages.

/// `1 Pod`, `2 Pods`.
pub(super) fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
