//! The rules that the compiler does not check: which module may use which, which crates a layer may
//! name, how long a file may be, and that ARCHITECTURE.md names all modules.

mod circles;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every top-level module of `src/`, its layer, and the crates besides std that it may name. A
/// module may use modules of lower layers only.
const LAYERS: &[(&str, u8, &[&str])] = &[
    ("limits", 0, &[]),
    ("model", 0, &[]),
    ("metrics", 0, &["prometheus"]),
    ("hash", 0, &[]),
    ("printable", 0, &[]),
    ("protobuf", 0, &["thiserror"]),
    ("proxy_header", 0, &[]),
    ("random", 0, &[]),
    ("shares", 0, &[]),
    ("transport", 0, &[]),
    ("wire", 1, &["bytes", "hickory_proto", "ring", "smallvec", "thiserror"]),
    ("zonefile", 2, &["bytes", "smallvec", "thiserror"]),
    ("zone", 2, &["bytes", "dashmap", "foldhash", "hashbrown", "smallvec", "thiserror"]),
    ("skydns", 2, &[]),
    ("send_queue", 1, &[]),
    ("dnstap", 2, &[]),
    ("dnssec", 2, &["ring", "thiserror"]),
    ("trace", 2, &[]),
    ("cache", 2, &["foldhash", "hashbrown"]),
    ("upstream", 2, &["thiserror"]),
    ("corefile", 2, &["annotate_snippets"]),
    ("chain", 3, &["smallvec"]),
    // Here `prometheus` is the plugin, not the crate.
    ("plugin", 4, &["bytes", "maxminddb", "prometheus", "regex", "smallvec", "thiserror"]),
    ("server", 5, &["foldhash", "thiserror"]),
    // The functions of the fuzz targets: pure, and their results are compared with hickory-proto.
    ("fuzzing", 6, &["hickory_proto"]),
    (
        "net",
        6,
        &[
            "anyhow",
            "arc_swap",
            "async_trait",
            "base64",
            "bytes",
            "futures_util",
            "h3",
            "hickory_server",
            "http_body_util",
            "hyper",
            "hyper_util",
            "jiff",
            "libc",
            "quinn",
            "rand",
            "rcgen",
            "ring",
            "rustls",
            "rustls_native_certs",
            "serde_json",
            "socket2",
            "thiserror",
            "tokio",
            "tokio_rustls",
            "tracing",
            "tracing_subscriber",
        ],
    ),
    (
        "source",
        6,
        &[
            "anyhow",
            "bytes",
            "form_urlencoded",
            "http",
            "http_body_util",
            "jiff",
            "k8s_openapi",
            "kube",
            "notify",
            "rand",
            "rustls_native_certs",
            "serde",
            "serde_json",
            "serde_saphyr",
            "sha2",
            "thiserror",
            "tokio",
        ],
    ),
    // Only `gather` does I/O.
    (
        "explain",
        7,
        &[
            "anyhow",
            "form_urlencoded",
            "hickory_proto",
            "if_addrs",
            "k8s_openapi",
            "kube",
            "rustls",
            "serde",
            "serde_json",
            "tokio",
        ],
    ),
    // hickory-proto reads the replies, because ndots encodes its own with other code.
    ("diff", 7, &["hickory_proto", "regex", "serde", "thiserror", "toml"]),
    ("top", 7, &["ratatui"]),
    ("cli", 7, &["clap", "clap_complete"]),
    (
        "app",
        8,
        &[
            "anyhow",
            "futures_util",
            "if_addrs",
            "prometheus",
            "rand",
            "ratatui",
            "rlimit",
            "rustix",
            "serde",
            "serde_json",
            "serde_saphyr",
            "sha2",
            "thiserror",
            "tokio",
            "tracing",
        ],
    ),
];

/// Modules that may use only these modules, although their layer permits more. `source` uses facts
/// and not the zone.
const ONLY: &[(&str, &[&str])] = &[
    ("source", &["limits", "model", "metrics", "hash", "protobuf"]),
    ("model", &[]),
    ("zone", &["model", "wire", "limits", "hash"]),
];

/// The highest number of lines of a file. A longer file has more than one subject.
const MAX_LINES: usize = 500;

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut faults = Vec::new();
    let dependencies = dependencies();
    for file in rust_files("src") {
        let Some(own) = top_module(&file) else { continue };
        let Some((_, layer, crates)) = LAYERS.iter().find(|(name, ..)| *name == own) else {
            faults.push(format!("{}: module `{own}` has no layer", file.display()));
            continue;
        };
        let code = without_comments(&fs::read_to_string(&file).unwrap());
        for used in crate_paths(&code) {
            let lower = LAYERS.iter().any(|(name, theirs, _)| *name == used && theirs < layer);
            let listed = ONLY
                .iter()
                .find(|(name, _)| *name == own)
                .is_none_or(|(_, only)| only.contains(&&*used));
            if used != own && !(lower && listed) {
                faults.push(format!("{}: `{own}` may not use `{used}`", file.display()));
            }
        }
        let tests = file.ends_with("tests.rs");
        for name in dependencies.iter().filter(|name| !tests && !crates.contains(&&***name)) {
            if !is_own_module(name, &code)
                && names_crate(&code, name)
                && !code.contains(&format!("::{name}::"))
            {
                faults.push(format!("{}: `{own}` may not name the crate `{name}`", file.display()));
            }
        }
        if code.contains("cfg(feature") {
            faults.push(format!("{}: features are gated in lib.rs only", file.display()));
        }
        let may_be_unsafe =
            ["net/udp/mmsg.rs", "net/memory.rs"].iter().any(|it| file.ends_with(it));
        if code.contains("unsafe {") && !may_be_unsafe {
            faults.push(format!("{}: unsafe code does not belong here", file.display()));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Whether a path in the code begins with the crate, other than as the end of a longer word.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// The names in std and tokio that open a socket or call the system's resolver.
const SOCKETS: &[&str] =
    &["UdpSocket", "TcpSocket", "TcpStream", "TcpListener", "ToSocketAddrs", "lookup_host"];

#[test]
fn app_and_explain_open_no_socket() {
    let is_concerned =
        |file: &PathBuf| top_module(file).is_some_and(|own| own == "app" || own == "explain");
    for file in rust_files("src").into_iter().filter(is_concerned) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for name in SOCKETS {
            assert!(!code.contains(name), "{}: `{name}` belongs in src/net", file.display());
        }
    }
}

#[test]
fn files_are_short() {
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines: split it by subject", file.display());
    }
}

/// `server` learns from the roles and lints of the descriptors what a directive does.
#[test]
fn server_names_no_plugin() {
    let mut faults = Vec::new();
    for file in
        rust_files("src").iter().filter(|file| top_module(file).as_deref() == Some("server"))
    {
        // A log line may contain the name of a plugin, because CoreDNS's line does.
        let code = without_comments(&fs::read_to_string(file).unwrap());
        let code: String = code.lines().filter(|line| !line.contains("cx.log(")).collect();
        for name in ndots::plugin::available().map(|directive| directive.name) {
            if code.contains(&format!("\"{name}\"")) {
                faults.push(format!("{}: names the plugin `{name}`", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A file that no `mod` line names is never compiled, and its tests never run.
#[test]
fn every_file_is_compiled() {
    // The files from which a crate begins.
    const ROOTS: [&str; 3] = ["lib.rs", "main.rs", "compare.rs"];
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        if ROOTS.iter().any(|root| file.ends_with(root)) {
            continue;
        }
        let directory = file.parent().unwrap();
        // `a/b.rs` is declared in `a/mod.rs` or `a.rs`. `a/mod.rs` is declared one level further
        // up.
        let (name, home) = match stem {
            "mod" => {
                (directory.file_name().unwrap().to_str().unwrap(), directory.parent().unwrap())
            }
            _ => (stem, directory),
        };
        let parents = ROOTS.iter().map(|root| home.join(root));
        let texts = parents
            .chain([home.join("mod.rs"), home.with_extension("rs")])
            .filter_map(|parent| fs::read_to_string(parent).ok())
            .map(|text| without_comments(&text));
        let declared = texts.into_iter().any(|text| {
            text.contains(&format!("mod {name};")) || text.contains(&format!("/{name}.rs\"]"))
        });
        assert!(declared, "{} is in no `mod` line", file.display());
    }
}

/// `NDOTS_PROGRAM` chooses the program under test, so no other file names the one that cargo has built.
#[test]
fn one_file_names_the_program_under_test() {
    let name = concat!("CARGO_BIN_EXE", "_ndots");
    let files = rust_files("tests").into_iter();
    let naming: Vec<_> =
        files.filter(|file| fs::read_to_string(file).unwrap().contains(name)).collect();
    assert!(naming.len() == 1 && naming[0].ends_with("tests/it/support.rs"), "{naming:?}");
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (name, ..) in LAYERS {
        assert!(page.contains(&format!("`{name}`")), "ARCHITECTURE.md does not mention `{name}`");
        let home = root().join("src");
        assert!(
            home.join(name).is_dir() || home.join(format!("{name}.rs")).is_file(),
            "there is no module `{name}`"
        );
    }
}

/// Whether the file imports a module of this crate by that name, such as `net::http`.
fn is_own_module(name: &str, code: &str) -> bool {
    let own = |path: &str| ["crate::", "super::", "self::"].iter().any(|it| path.starts_with(it));
    circles::imports(code).iter().any(|(path, imported)| imported == name && own(path))
}

/// The crates that Cargo.toml names, as code spells them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(title) = line.strip_prefix('[') {
            section = title.trim_end_matches(']');
        } else if section.ends_with("dependencies")
            && let Some((name, _)) = line.split_once(['=', '.'])
            && !line.starts_with([' ', '#'])
        {
            names.push(name.trim().replace('-', "_"));
        }
    }
    assert!(names.iter().any(|name| name == "tokio"), "Cargo.toml is not read: {names:?}");
    names
}

/// `crate::a::b` and `use crate::{a::x, b::{c, d}}` both name their first segments.
fn crate_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_items(group)),
            None => found.push(identifier(rest)),
        }
    }
    found
}

fn group_items(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, ch) in group.char_indices() {
        match ch {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                items.push(identifier(&group[start..at]));
                start = at + 1;
                if ch == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

fn identifier(text: &str) -> String {
    text.trim().chars().take_while(|ch| ch.is_alphanumeric() || *ch == '_').collect()
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// `src/zone/mod.rs` and `src/cache.rs` belong to `zone` and `cache`; `lib.rs` and `main.rs` to
/// none.
fn top_module(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let name = inside.components().next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "main").then_some(name)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&root().join(directory), &mut files);
    files.sort();
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}
