//! The values of environment variables in a Corefile. They may be secrets, so messages show a word
//! as it is written instead of its value.

use super::Span;

/// The words with variables that have a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(Vec<Word>);

#[derive(Clone, Debug)]
struct Word {
    span: Span,
    /// The text with the values.
    text: String,
    /// The text of the file.
    written: String,
    /// References such as `{$NAME}`, and their values.
    values: Vec<(String, String)>,
}

/// Values of at least this many octets are masked in messages about other words, too. A shorter
/// value, such as a number, is likely to occur there by chance.
const LONG: usize = 8;
/// Values of at most this many octets are masked only if they are whole words.
const SHORT: usize = 3;

impl Variables {
    /// Adds a word. `values` are the names of its variables and their values.
    pub(super) fn add(
        &mut self,
        span: Span,
        (text, written): (&str, &str),
        values: Vec<(String, String)>,
    ) {
        let values: Vec<_> = values
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (format!("{{${name}}}"), value))
            .collect();
        if !values.is_empty() {
            let (text, written) = (text.to_owned(), written.to_owned());
            self.0.push(Word { span, text, written, values });
        }
    }

    /// Masks the values in a text about `place`. `None` if the text may contain a part of a value.
    pub(super) fn mask(&self, place: Span, text: &str) -> Option<String> {
        let mut masked = text.to_owned();
        let mut is_complete = true;
        for word in &self.0 {
            let is_here = word.span.file == place.file
                && word.span.start < place.end.max(place.start + 1)
                && place.start < word.span.end;
            let mut masks = |value: &str, shown: &str| {
                (is_here || value.len() >= LONG) && replace(&mut masked, value, shown)
            };
            let whole = masks(&word.text, &word.written);
            let parts = word.values.iter().fold(true, |all, (reference, value)| {
                // `masks` comes first, so that it also runs after a value that was not found.
                masks(value, reference) && all
            });
            is_complete &= !is_here || whole || parts;
        }
        is_complete.then_some(masked)
    }
}

/// Replaces each occurrence of `value`, whatever the case of its ASCII letters. Returns whether
/// there was an occurrence.
fn replace(text: &mut String, value: &str, shown: &str) -> bool {
    let (lower, wanted) = (text.to_ascii_lowercase(), value.to_ascii_lowercase());
    let is_word = |ch: Option<char>| ch.is_some_and(char::is_alphanumeric);
    let mut found: Vec<usize> = lower.match_indices(&wanted).map(|(at, _)| at).collect();
    found.retain(|at| {
        let around = (lower[..*at].chars().next_back(), lower[at + wanted.len()..].chars().next());
        value.len() > SHORT || !is_word(around.0) && !is_word(around.1)
    });
    for at in found.iter().rev() {
        text.replace_range(*at..at + value.len(), shown);
    }
    !found.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_masked() {
        let span = |start, end| Span { file: 0, start, end };
        let mut variables = Variables::default();
        let values = vec![("TOKEN".to_owned(), "S3cret-value".to_owned())];
        variables.add(span(10, 24), ("tls://S3cret-value:1", "tls://{$TOKEN}:1"), values);
        variables.add(span(30, 36), ("5", "{$NUM}"), vec![("NUM".into(), "5".into())]);
        let mask = |at, text: &str| variables.mask(span(at, at + 1), text);
        let shown = |text: &str| Some(text.to_owned());
        assert_eq!(mask(12, "`tls://S3cret-value:1` is odd"), shown("`tls://{$TOKEN}:1` is odd"));
        assert_eq!(mask(12, "host s3cret-VALUE"), shown("host {$TOKEN}"));
        assert_eq!(mask(12, "`value` is odd"), None, "a part of the value");
        let values = vec![
            ("USER".to_owned(), "somebody".to_owned()),
            ("KEY".to_owned(), "k3y-of-somebody-else".to_owned()),
        ];
        let texts = ("somebody@k3y-of-somebody-else", "{$USER}@{$KEY}");
        variables.add(span(40, 60), texts, values);
        let mask = |at, text: &str| variables.mask(span(at, at + 1), text);
        assert_eq!(mask(41, "`somebody@k3y-of-` is odd"), None, "a part of the second value");
        assert_eq!(mask(41, "`somebody@k3y-of-somebody-else`"), shown("`{$USER}@{$KEY}`"));
        assert_eq!(mask(0, "`value` is odd"), shown("`value` is odd"));
        assert_eq!(mask(0, "the earlier S3cret-value"), shown("the earlier {$TOKEN}"));
        assert_eq!(mask(31, "5 is not 1 to 65535"), shown("{$NUM} is not 1 to 65535"));
        assert_eq!(mask(0, "5 of 5"), shown("5 of 5"));
    }
}
