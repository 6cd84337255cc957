//! Keys in the form of `named.conf`: `key "NAME" { algorithm hmac-sha256; secret "…"; };`.

use thiserror::Error;

use crate::wire::{Name, TsigAlgorithm, TsigKey, base64};

/// Why a text is not a list of keys. No message repeats a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum SecretsError {
    #[error("line {0}: unexpected word; a key is `key \"NAME\" {{ secret \"…\"; }};`")]
    Unexpected(usize),
    #[error("the file ends inside a key or a comment")]
    End,
    #[error("line {0}: expected a key name and `{{`")]
    Name(usize),
    #[error("expected a secret for key \"{0}\"; `tsig-keygen` makes one")]
    NoSecret(Name),
    #[error("the secret of the key \"{0}\" is not in base 64")]
    Secret(Name),
    #[error("the algorithm of the key \"{0}\" is not known; hmac-sha256 is the usual one")]
    Algorithm(Name),
}

pub(super) fn read(text: &str) -> Result<Vec<TsigKey>, SecretsError> {
    let (mut words, mut keys) = (Words { text, rest: text }, Vec::new());
    while let Some(word) = words.next()? {
        match word {
            "key" => keys.push(read_key(&mut words)?),
            ";" => {}
            // The word may be a secret.
            _ => return Err(SecretsError::Unexpected(words.line())),
        }
    }
    Ok(keys)
}

fn read_key(words: &mut Words<'_>) -> Result<TsigKey, SecretsError> {
    let text = words.required()?;
    let name: Name = text.parse().map_err(|_| SecretsError::Name(words.line()))?;
    if words.required()? != "{" {
        return Err(SecretsError::Name(words.line()));
    }
    let (mut algorithm, mut secret) = (TsigAlgorithm::default(), None);
    loop {
        match words.required()? {
            "}" => break,
            ";" => {}
            "algorithm" => {
                // BIND also accepts names such as `hmac-sha256-128`, for truncated signatures.
                // ndots does not, and reports such a name.
                let known = TsigAlgorithm::named(words.required()?);
                algorithm = known.ok_or_else(|| SecretsError::Algorithm(name.clone()))?;
            }
            "secret" => {
                let octets = base64(words.required()?).filter(|secret| !secret.is_empty());
                secret = Some(octets.ok_or_else(|| SecretsError::Secret(name.clone()))?);
            }
            _ => return Err(SecretsError::Unexpected(words.line())),
        }
    }
    let secret = secret.ok_or_else(|| SecretsError::NoSecret(name.clone()))?;
    Ok(TsigKey::new(name, algorithm, &secret))
}

/// The words of a text, without its comments and quotes.
struct Words<'t> {
    text: &'t str,
    /// The part that was not read yet.
    rest: &'t str,
}

impl<'t> Words<'t> {
    /// The line of the last word, from 1.
    fn line(&self) -> usize {
        let read = self.text.len() - self.rest.len();
        self.text.as_bytes()[..read].iter().filter(|octet| **octet == b'\n').count() + 1
    }

    fn next(&mut self) -> Result<Option<&'t str>, SecretsError> {
        loop {
            self.rest = self.rest.trim_start_matches('\u{feff}').trim_start();
            let rest = self.rest;
            if rest.starts_with('#') || rest.starts_with("//") {
                self.rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = rest.strip_prefix("/*") {
                self.rest = comment.split_once("*/").ok_or(SecretsError::End)?.1;
            } else if let Some(quoted) = rest.strip_prefix('"') {
                let (word, rest) = quoted.split_once('"').ok_or(SecretsError::End)?;
                self.rest = rest;
                return Ok(Some(word));
            } else {
                let ends = |ch: char| ch.is_whitespace() || matches!(ch, '{' | '}' | ';' | '"');
                let end = rest.find(ends).unwrap_or(rest.len());
                // A brace or a semicolon is a word of its own.
                let end = if end == 0 { rest.len().min(1) } else { end };
                let (word, rest) = rest.split_at(end);
                self.rest = rest;
                return Ok(Some(word).filter(|word| !word.is_empty()));
            }
        }
    }

    fn required(&mut self) -> Result<&'t str, SecretsError> {
        self.next()?.ok_or(SecretsError::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let text = "# made by tsig-keygen\nkey \"One.example.\" {\n\talgorithm hmac-sha512;\n\tsecret \"AAEC\";\n};\n\n// another\nkey two{secret AAEC;}; /* a\ncomment */ key \"three\" { secret \"AAEC\"; }\n";
        let keys = read(text).unwrap();
        let names: Vec<_> = keys.iter().map(|key| (key.name.to_string(), key.algorithm)).collect();
        let sha256 = TsigAlgorithm::Sha256;
        let expected =
            [("one.example.", TsigAlgorithm::Sha512), ("two.", sha256), ("three.", sha256)];
        assert_eq!(names, expected.map(|(name, algorithm)| (name.to_owned(), algorithm)));
        assert_eq!(keys[0].fingerprint().split(' ').count(), 34);
        assert_eq!(read("").unwrap().len(), 0);
    }

    #[test]
    fn mistakes_are_named_without_the_secret() {
        let check = |text: &str, expected: &str| {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        };
        check("secret \"a\";", "line 1: unexpected word");
        check("key \"a\" {", "ends inside");
        check("key \"a\" { secret \"hunter2!\"; };", "not in base 64");
        check("key \"a\" { algorithm hmac-sha256; };", "expected a secret for key \"a.\"");
        check("key \"a\" { algorithm hmac-md5; secret \"AAEC\"; };", "algorithm of the key \"a.\"");
        check("key { secret \"AAEC\"; };", "expected a key name");
        check("hunter2", "line 1: unexpected word");
        check("key \"a\" {\n secret hun ter2 hunter2;", "line 2: unexpected word");
        check("/* no end", "ends inside");
    }
}
