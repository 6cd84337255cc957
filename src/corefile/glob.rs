//! Paths and patterns of files to import.

use super::Reader;

/// A pattern with more than one `*` or `?`, or with `[…]`. Such patterns could take very long to
/// match, and CoreDNS refuses them, too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooWild;

/// A path relative to a directory, without `.` and empty parts, so that a file has one spelling.
/// `..` stays, because behind a symbolic link it does not lead back to the directory of the link.
pub(super) fn join(directory: &str, path: &str) -> String {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{directory}{path}") };
    let root = if path.starts_with('/') { "/" } else { "" };
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("{root}{}", parts.join("/"))
}

/// The files that match a pattern, in lexical order; `None` for a path without wildcards.
pub(super) fn expand(pattern: &str, reader: &dyn Reader) -> Result<Option<Vec<String>>, TooWild> {
    let count = |wildcard| pattern.matches(wildcard).count();
    if count('*') > 1 || count('?') > 1 || pattern.contains('[') && pattern.contains(']') {
        return Err(TooWild);
    }
    if count('*') + count('?') == 0 {
        return Ok(None);
    }
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let mut paths = vec![root.to_owned()];
    let parts: Vec<_> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    for (at, part) in parts.iter().enumerate() {
        let last = at + 1 == parts.len();
        paths = paths.iter().flat_map(|path| step(path, part, last, reader)).collect();
    }
    paths.sort();
    Ok(Some(paths))
}

/// The matches of one part of a pattern under a path, which is empty or ends with a slash.
fn step(path: &str, part: &str, last: bool, reader: &dyn Reader) -> Vec<String> {
    let wild = part.contains(['*', '?']);
    if !wild && !last {
        return vec![format!("{path}{part}/")];
    }
    let entries = reader.list(path).into_iter().filter(|entry| {
        let name = entry.trim_end_matches('/');
        let directory = name.len() < entry.len();
        // Kubernetes mounts a ConfigMap with `..data` and similar links to the same files.
        let hidden = wild && directory && name.starts_with('.');
        !hidden && (last || directory) && matches(part.as_bytes(), name.as_bytes())
    });
    entries
        .map(|entry| {
            if last {
                format!("{path}{}", entry.trim_end_matches('/'))
            } else {
                format!("{path}{entry}")
            }
        })
        .collect()
}

/// Go's `filepath.Match` with at most one `*`: it matches names that begin with a dot too.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let same = |pattern: &[u8], name: &[u8]| {
        pattern.len() == name.len() && pattern.iter().zip(name).all(|(p, n)| *p == b'?' || p == n)
    };
    match pattern.iter().position(|octet| *octet == b'*') {
        None => same(pattern, name),
        Some(star) => {
            let after = pattern.len() - star - 1;
            name.len() >= star + after
                && same(&pattern[..star], &name[..star])
                && same(&pattern[star + 1..], &name[name.len() - after..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::tests::Memory;

    #[test]
    fn paths_have_one_spelling() {
        let check = |directory: &str, path: &str, expected: &str| {
            assert_eq!(join(directory, path), expected);
        };
        check("/etc/coredns/", "custom/a", "/etc/coredns/custom/a");
        check("/etc/coredns/", "./custom//a", "/etc/coredns/custom/a");
        check("/etc/coredns/", "/a", "/a");
        check("", "a", "a");
        check("./", "a", "a");
        check("etc/", "../a", "etc/../a");
    }

    #[test]
    fn patterns_match_as_in_go() {
        let check = |pattern: &str, name: &str, expected| {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        };
        check("*.override", "a.override", true);
        check("*.override", ".override", true);
        check("*.override", "a.server", false);
        check("a*a", "a", false);
        check("a*a", "aa", true);
        check("?.conf", "a.conf", true);
        check("?.conf", ".conf", false);
        check("*", ".hidden", true);
        check("a?*", "abc", true);
    }

    #[test]
    fn patterns_find_files_in_order() {
        let files = [
            "/c/b.conf",
            "/c/a.conf",
            "/c/x/1.conf",
            "/c/y/1.conf",
            "/c/..data/a.conf",
            "/c/..data/1.conf",
        ];
        let reader = Memory::with(&files.map(|path| (path, "")), &[]);
        let check = |pattern: &str, expected: Result<Option<&[&str]>, TooWild>| {
            let expected = expected.map(|files| {
                files.map(|files| files.iter().map(ToString::to_string).collect::<Vec<_>>())
            });
            assert_eq!(expand(pattern, &reader), expected, "{pattern}");
        };
        check("/c/*.conf", Ok(Some(&["/c/a.conf", "/c/b.conf"])));
        check("/c/*/1.conf", Ok(Some(&["/c/x/1.conf", "/c/y/1.conf"])));
        check("/c/*", Ok(Some(&["/c/a.conf", "/c/b.conf", "/c/x", "/c/y"])));
        check("/none/*", Ok(Some(&[])));
        check("/c/a.conf", Ok(None));
        check("/c/*/*", Err(TooWild));
        check("/c/[ab]", Err(TooWild));
    }
}
