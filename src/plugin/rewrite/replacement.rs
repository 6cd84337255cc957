//! The new name of a rule, with places for groups of its pattern and for metadata.

use regex::{Captures, Regex};

use crate::{chain::Metadata, plugin::metadata::is_label};

#[derive(Clone, Debug)]
pub(super) struct Replacement {
    /// The text as it is written. Rules without a regular expression use it as it is.
    pub(super) text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// The number of a group.
    Group(usize),
    /// A label of the metadata.
    Metadata(String),
}

impl Replacement {
    /// The text of a rule without a regular expression.
    pub(super) fn fixed(text: String) -> Self {
        Self { text, parts: Vec::new() }
    }

    /// `{0}`, `{1}` and so on stand for the groups of the pattern. All other braces stand for
    /// themselves.
    pub(super) fn of_groups(text: String, pattern: &Regex) -> Self {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), &*text);
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            let placed = after.split_once('}').and_then(|(number, tail)| {
                Some((group(number).filter(|group| *group < pattern.captures_len())?, tail))
            });
            match placed {
                Some((group, tail)) => {
                    parts.extend([Part::Text(std::mem::take(&mut plain)), Part::Group(group)]);
                    rest = tail;
                }
                None => {
                    plain.push('{');
                    rest = after;
                }
            }
        }
        parts.push(Part::Text(plain + rest));
        Self { text, parts }
    }

    /// All braces have a meaning: they contain the number of a group or a label of the metadata.
    ///
    /// # Errors
    /// A brace has no meaning.
    pub(super) fn with_metadata(text: String, pattern: &Regex) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), &*text);
        loop {
            let (before, after) = rest.split_once('{').unwrap_or((rest, ""));
            if before.contains('}') {
                return Err("unmatched closing brace in metadata name replacement".to_owned());
            }
            parts.push(Part::Text(before.to_lowercase()));
            if before.len() == rest.len() {
                break;
            }
            let unclosed = "unclosed placeholder in metadata name replacement";
            let (label, tail) = after.split_once('}').ok_or(unclosed)?;
            parts.push(match group(label) {
                Some(group) if group < pattern.captures_len() => Part::Group(group),
                None if is_label(label) && !label.contains('{') => Part::Metadata(label.to_owned()),
                Some(group) => {
                    return Err(format!(
                        "capture group {group} does not exist in name matching pattern"
                    ));
                }
                None => {
                    return Err(format!("invalid metadata label \"{label}\" in name replacement"));
                }
            });
            rest = tail;
        }
        Ok(Self { text, parts })
    }

    /// The new name. `None` if the pattern does not match, or if a label has no value. Braces in a
    /// group or in a value stand for themselves, because clients choose them.
    pub(super) fn of_match(
        &self,
        pattern: &Regex,
        name: &str,
        metadata: &Metadata,
    ) -> Option<String> {
        let captures = pattern.captures(name)?;
        self.parts
            .iter()
            .try_fold(String::new(), |all, part| Some(all + &part.value(&captures, metadata)?))
    }
}

impl Part {
    fn value(&self, captures: &Captures<'_>, metadata: &Metadata) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Group(group) => {
                Some(captures.get(*group).map_or_else(String::new, |it| it.as_str().to_owned()))
            }
            Self::Metadata(label) => {
                metadata.get(label).filter(|value| !value.is_empty()).map(str::to_lowercase)
            }
        }
    }
}

/// The number of a group, without a sign and without zeros before it.
fn group(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number: &usize| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, to: &str, name: &str) -> Option<String> {
        let pattern = Regex::new(pattern).unwrap();
        let to = Replacement::of_groups(to.to_owned(), &pattern);
        to.of_match(&pattern, name, &Metadata::default())
    }

    #[test]
    fn groups_are_replaced_once() {
        for (pattern, to, name, expected) in [
            ("^(.*)[.](.*)$", "{2}-{1}.", "a.b", "b-a."),
            ("^(.*)[.](.*)$", "{1}-{2}.", "{2}.b", "{2}-b."),
            ("^(.*)[.](.*)$", "{1}-{2}.", "{1}{2}.{1}", "{1}{2}-{1}."),
            ("^a(b)?$", "{0}.{1}.", "a", "a.."),
            ("^(a)$", "{2}.{01}.{+1}.{{1}}.{x}.{1", "a", "{2}.{01}.{+1}.{a}.{x}.{1"),
        ] {
            assert_eq!(replaced(pattern, to, name).as_deref(), Some(expected), "{to} {name}");
        }
        assert_eq!(replaced("^b$", "c", "a"), None);
    }

    #[test]
    fn metadata_is_inserted_as_it_is() {
        let pattern = Regex::new("^([^.]+)[.]example[.]$").unwrap();
        let read = |to: &str| Replacement::with_metadata(to.to_owned(), &pattern);
        let mut metadata = Metadata::collecting();
        metadata.set("kubernetes/client-namespace", "Team-{1}");
        let name = |to: &str| read(to).unwrap().of_match(&pattern, "web.example.", &metadata);
        let expected = Some("web.team-{1}.svc.".to_owned());
        assert_eq!(name("{1}.{kubernetes/client-namespace}.SVC."), expected);
        assert_eq!(name("{1}.{kubernetes/other}.svc."), None);
        for (to, error) in [
            ("{2}.svc.", "capture group 2 does not exist in name matching pattern"),
            ("{1.svc.", "unclosed placeholder in metadata name replacement"),
            ("1}.svc.", "unmatched closing brace in metadata name replacement"),
            ("{other}.svc.", "invalid metadata label \"other\" in name replacement"),
        ] {
            assert_eq!(read(to).unwrap_err(), error);
        }
    }
}
