//! The floors hold: imports point down, siblings that are strangers stay so, each outside crate has one importer.
//!
//! Reads the sources as text. It needs the habit that imports stand one a line as full `crate::…` paths.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// From the bottom up.
const FLOORS: [&str; 7] = ["k8s", "wire", "rule", "io", "state", "role", "shell"];
/// On these floors modules do not import each other.
const STRANGERS: [&str; 3] = ["rule", "state", "role"];
/// Everywhere: the standard library, and what is log's.
const EVERYWHERE: [&str; 4] = ["std", "core", "alloc", "log"];
/// The floors without I/O, async and clock, and what none of them may say.
const PURE: [&str; 3] = ["k8s", "wire", "rule"];
const IMPURE: [&str; 9] = [
    "async ",
    ".await",
    "std::net",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "std::io",
    "smol",
];
/// A file longer than this wants to be two.
const LINES: usize = 500;

/// One source file: its path inside `src`, without the ending, and its text outside tests.
struct Source {
    path: String,
    text: String,
    lines: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = text
            .split("\n#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default();
        let text = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        Self {
            path: path.to_owned(),
            text,
            lines: code.lines().count(),
        }
    }

    fn floor(&self) -> Option<usize> {
        floor(self.path.split('/').next()?)
    }

    /// The module on its floor: `io/http/h1` is of `io/http`.
    fn module(&self) -> String {
        self.path.split('/').take(2).collect::<Vec<_>>().join("/")
    }
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == name)
}

/// What is wrong with these sources.
fn complaints(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut importers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources {
        let Some(own) = source.floor() else { continue };
        if source.lines > LINES {
            wrong.push(format!("{}: {} lines of code", source.path, source.lines));
        }
        if PURE.contains(&FLOORS[own]) {
            for word in IMPURE.iter().filter(|word| source.text.contains(**word)) {
                wrong.push(format!(
                    "{}: says {word:?} on a floor without I/O, async and clock",
                    source.path
                ));
            }
        }
        for path in uses(&source.text) {
            let parts: Vec<&str> = path.split("::").collect();
            if path.contains('*') {
                wrong.push(format!("{}: imports {path} by a star", source.path));
            }
            match parts[..] {
                ["super", ..] => {
                    wrong.push(format!("{}: imports {path}, not a full path", source.path))
                }
                ["crate", other, module, ..] => match floor(other) {
                    None => wrong.push(format!(
                        "{}: imports {path}, which is on no floor",
                        source.path
                    )),
                    Some(other) if other > own => {
                        wrong.push(format!("{}: imports {path} from above", source.path));
                    }
                    Some(other) if other == own && STRANGERS.contains(&FLOORS[own]) => {
                        let theirs = format!("{}/{module}", FLOORS[other]);
                        if theirs != source.module() {
                            wrong.push(format!("{}: imports its sibling {path}", source.path));
                        }
                    }
                    Some(_) => {}
                },
                ["crate", ..] => wrong.push(format!(
                    "{}: imports {path}, which is on no floor",
                    source.path
                )),
                [outside, ..] if !EVERYWHERE.contains(&outside) => {
                    let modules = importers.entry(outside.to_owned()).or_default();
                    if !modules.contains(&source.module()) {
                        modules.push(source.module());
                    }
                }
                _ => {}
            }
        }
    }
    for (outside, modules) in importers {
        // The executor, its timers and its traits are the air of all floors from io up.
        if modules.len() > 1 && outside != "smol" {
            wrong.push(format!(
                "{outside} is imported in {}: one module should",
                modules.join(", ")
            ));
        }
    }
    wrong
}

/// The paths that are imported, or named in full in the code.
fn uses(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        let import = ["use ", "pub use ", "pub(crate) use "]
            .iter()
            .find_map(|start| line.strip_prefix(start));
        match import {
            // `use hyper::body::Body as _;`, and the traits that functions import for themselves.
            Some(path) => paths.push(
                path.split([';', ' ', '{'])
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ),
            None => paths.extend(line.match_indices("crate::").map(|(at, _)| {
                let rest = &line[at..];
                let end = rest
                    .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                    .unwrap_or(rest.len());
                rest[..end].trim_end_matches(':').to_owned()
            })),
        }
    }
    paths.retain(|path| !path.starts_with("self"));
    paths
}

fn read(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a name");
        let inner = format!("{prefix}{name}");
        if path.is_dir() {
            read(&path, &format!("{inner}/"), sources);
        } else if prefix.is_empty() {
            // lib.rs and main.rs stand outside the house.
        } else {
            sources.push(Source::new(
                &inner,
                &fs::read_to_string(&path).expect("a source"),
            ));
        }
    }
}

#[test]
fn imports_point_down() {
    let mut sources = Vec::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        "",
        &mut sources,
    );
    assert!(sources.len() > 40, "the sources were found");
    let wrong = complaints(&sources);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_kind_of_fault_is_found() {
    for (path, text, complaint) in [
        (
            "wire/list",
            "use crate::io::http::Body;",
            "wire/list: imports crate::io::http::Body from above",
        ),
        (
            "rule/route",
            "use crate::rule::health::Health;",
            "rule/route: imports its sibling crate::rule::health::Health",
        ),
        (
            "state/mirror/log",
            "fn f() { crate::state::upstream::go() }",
            "state/mirror/log: imports its sibling crate::state::upstream::go",
        ),
        (
            "io/net",
            "use super::tls;",
            "io/net: imports super::tls, not a full path",
        ),
        (
            "io/net",
            "use crate::k8s::object::*;",
            "io/net: imports crate::k8s::object::* by a star",
        ),
        (
            "io/net",
            "use crate::Thing;",
            "io/net: imports crate::Thing, which is on no floor",
        ),
        (
            "k8s/object",
            "fn now() { std::time::Instant::now() }",
            "k8s/object: says \"Instant::now\" on a floor without I/O, async and clock",
        ),
    ] {
        let found = complaints(&[Source::new(path, text)]);
        assert_eq!(found, [complaint], "{text}");
    }
    let twice = [
        Source::new("io/tls", "use rustls::A;"),
        Source::new("io/net", "use rustls::B;"),
    ];
    assert_eq!(
        complaints(&twice),
        ["rustls is imported in io/tls, io/net: one module should"]
    );
    let right = [
        Source::new(
            "io/http/h2",
            "use crate::io::http::Error;\nuse h2::Reason;\nuse crate::io::latest::Notify;",
        ),
        Source::new(
            "io/http",
            "use h2::A;\n// use crate::shell::app;\n#[cfg(test)]\nmod tests {\n use super::A;\n}",
        ),
        Source::new(
            "role/agent/list",
            "use crate::role::agent::reply;\nuse crate::wire::list::Part;",
        ),
    ];
    assert_eq!(complaints(&right), [""; 0]);
}
