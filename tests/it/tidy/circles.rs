//! Modules of one directory import each other in one direction only.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
};

use super::{root, rust_files, without_comments};

/// A module counts together with the modules below it. The code of the parent module itself belongs
/// to none of them.
#[test]
fn no_module_imports_itself_through_others() {
    let tree = Tree::read();
    let circles = tree.circles();
    let faults: Vec<_> = circles
        .iter()
        .map(|(directory, circle)| format!("{directory}: {}", circle.join(" -> ")))
        .collect();
    assert!(faults.is_empty(), "import circles:\n{}", faults.join("\n"));
}

/// Module paths such as `zone::derive`, and what each module imports.
struct Tree {
    /// Code without comments and unit tests, by module.
    code: BTreeMap<String, String>,
    /// `zone::Found` to `zone::answer::Found`: names that a module imports or re-exports.
    aliases: BTreeMap<String, String>,
}

impl Tree {
    fn read() -> Self {
        let src = root().join("src");
        let mut code = BTreeMap::new();
        for file in rust_files("src").iter().filter(|file| !file.ends_with("tests.rs")) {
            let inside = file.strip_prefix(&src).unwrap().with_extension("");
            if inside.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            let parts: Vec<_> =
                inside.components().map(|part| part.as_os_str().to_str().unwrap()).collect();
            if parts != ["lib"] && parts != ["main"] {
                let text = without_comments(&fs::read_to_string(file).unwrap());
                code.insert(parts.join("::"), without_tests(&text).to_owned());
            }
        }
        let mut aliases = BTreeMap::new();
        for (module, text) in &code {
            for (path, name) in imports(text) {
                if let Some(path) = absolute(&path, module, &code) {
                    aliases.insert(format!("{module}::{name}"), path);
                }
            }
        }
        Self { code, aliases }
    }

    /// The module that a path leads to. Re-exports are followed.
    fn target(&self, path: &str) -> Option<String> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            let segments: Vec<_> = path.split("::").collect();
            let prefix = |length: usize| segments[..length].join("::");
            let deepest = (1..=segments.len())
                .rev()
                .find(|length| self.code.contains_key(&prefix(*length)))?;
            let module = prefix(deepest);
            let alias = segments
                .get(deepest)
                .and_then(|name| self.aliases.get(&format!("{module}::{name}")));
            let Some(alias) = alias else { return Some(module) };
            path = [&[&**alias], &segments[deepest + 1..]].concat().join("::");
        }
        None
    }

    /// For each directory, the modules in it that each of its modules uses.
    fn uses(&self) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
        let mut uses = BTreeMap::<_, BTreeMap<String, BTreeSet<String>>>::new();
        for (module, text) in &self.code {
            let paths = imports(text).into_iter().map(|(path, _)| path).chain(inline_paths(text));
            let targets = paths
                .filter_map(|path| absolute(&path, module, &self.code))
                .filter_map(|path| self.target(&path));
            for target in targets {
                if let Some((directory, from, to)) = fork(module, &target) {
                    uses.entry(directory).or_default().entry(from).or_default().insert(to);
                }
            }
        }
        uses
    }

    /// The import circles, each with its directory: the shortest one through each module.
    fn circles(&self) -> Vec<(String, Vec<String>)> {
        let mut circles = Vec::new();
        for (directory, uses) in self.uses() {
            for start in uses.keys() {
                // Each circle is reported once, from its first module in order.
                if let Some(circle) =
                    path_back(&uses, start).filter(|circle| circle.iter().min() == Some(start))
                {
                    circles.push((directory.clone(), circle));
                }
            }
        }
        circles
    }
}

/// The shortest path from `start` to itself.
fn path_back(uses: &BTreeMap<String, BTreeSet<String>>, start: &String) -> Option<Vec<String>> {
    let mut paths = VecDeque::from([vec![start.clone()]]);
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        for next in uses.get(path.last().unwrap()).into_iter().flatten() {
            let longer = [&path[..], std::slice::from_ref(next)].concat();
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                paths.push_back(longer);
            }
        }
    }
    None
}

/// The deepest directory that contains both modules, and the child of it in which each of them is.
/// `None` if one module is the other, or above it.
fn fork(from: &str, to: &str) -> Option<(String, String, String)> {
    let (from, to): (Vec<_>, Vec<_>) = (from.split("::").collect(), to.split("::").collect());
    let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
    let (from_child, to_child) = (from.get(shared)?, to.get(shared)?);
    Some((from[..shared].join("::"), (*from_child).to_owned(), (*to_child).to_owned()))
}

/// `super::x`, `self::x`, `crate::x` and `child::x` as a path from the crate's root; `None` for
/// another crate's path.
fn absolute(path: &str, module: &str, code: &BTreeMap<String, String>) -> Option<String> {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut segments = path.split("::").peekable();
    match *segments.peek()? {
        "crate" => {
            segments.next();
            base.clear();
        }
        "self" => drop(segments.next()),
        "super" => {
            while segments.next_if_eq(&"super").is_some() {
                base.pop()?;
            }
        }
        child if code.contains_key(&format!("{module}::{child}")) => {}
        _ => return None,
    }
    let path: Vec<_> = base.into_iter().chain(segments).collect();
    (!path.is_empty()).then(|| path.join("::"))
}

/// Every path that `use` items name, with the name that it gets.
pub(super) fn imports(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, keyword) in code.match_indices("use ") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with("pub") {
            let item = code[at + keyword.len()..].split(';').next().unwrap_or_default();
            expand("", item, &mut found);
        }
    }
    found
}

/// `a::{b, c as d}` is `a::b` by the name of `b`, and `a::c` by the name of `d`.
fn expand(prefix: &str, item: &str, found: &mut Vec<(String, String)>) {
    let item = item.trim();
    if let Some((head, group)) = item.split_once('{') {
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        let prefix = format!("{prefix}{}", head.trim());
        return group_parts(group).into_iter().for_each(|part| expand(&prefix, part, found));
    }
    if !item.is_empty() {
        let (path, name) = item.split_once(" as ").unwrap_or((item, ""));
        let full = format!("{prefix}{path}");
        let full = full.strip_suffix("::self").unwrap_or(&full).to_owned();
        let last = full.rsplit("::").next().unwrap_or_default().to_owned();
        found.push((full, if name.is_empty() { last } else { name.to_owned() }));
    }
}

/// Splits at the commas outside of inner groups.
fn group_parts(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, ch) in group.char_indices() {
        match ch {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    parts
}

/// Paths outside of `use` items: `super::x::y`, `crate::x::y`.
fn inline_paths(code: &str) -> Vec<String> {
    let starts = ["crate::", "super::"].into_iter().flat_map(|start| code.match_indices(start));
    let mut paths = Vec::new();
    for (at, _) in starts {
        let inside = |ch: char| ch.is_alphanumeric() || ch == '_' || ch == ':';
        if !code[..at].ends_with(inside) {
            let path: String = code[at..].chars().take_while(|ch| inside(*ch)).collect();
            paths.push(path.trim_end_matches(':').to_owned());
        }
    }
    paths
}

/// The code before a file's unit tests, which are at its end.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

#[test]
fn circles_are_found_through_re_exports_and_groups() {
    let code = [
        ("a", "pub use one::X;"),
        ("a::one", "use super::{two::Y, three};"),
        ("a::two", "fn f() { super::X::new() }"),
        ("a::three", "use crate::b;"),
        ("b", "use crate::{a::three as t, limits};"),
    ];
    let code = code.map(|(module, text)| (module.to_owned(), text.to_owned())).into();
    let aliases = [("a::X".to_owned(), "a::one::X".to_owned())].into();
    let found = Tree { code, aliases }.circles();
    let circle = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            (String::new(), circle(&["a", "b", "a"])),
            ("a".to_owned(), circle(&["one", "two", "one"])),
        ]
    );
}
