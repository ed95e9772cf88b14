//! Who may use what, checked over the source text. The rules are the crate documentation's; tests inside the files are free
//! of them.

use std::fs;
use std::path::Path;

use crate::support::source::{Source, test_modules};

/// Each top-level module and the others of the crate that it may name.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("main", &["cli"]),
    ("cli", &["adapter", "client", "config", "core", "embed", "serve", "server", "service", "storage"]),
    ("serve", &["adapter", "client", "core", "proto", "server", "storage"]),
    ("embed", &["client", "core", "proto", "server", "service", "storage"]),
    ("server", &["proto", "service"]),
    ("service", &["core", "proto", "storage"]),
    ("storage", &["core"]),
    ("core", &[]),
    ("config", &[]),
    ("adapter", &["client", "core"]),
    ("client", &["core", "proto"]),
    ("convert", &["core", "proto"]),
    ("proto", &[]),
];

/// Files outside `storage/` that read files, and why.
const FILE_READERS: [&str; 3] = [
    // Reads the one file that the configuration names.
    "src/config/read.rs",
    // Reads /proc to tell a server's CPU time.
    "src/cli/bench/cpu.rs",
    // Reads /proc to say which process holds a port.
    "src/server/holder.rs",
];

/// The files of the persistence thread that change the catalog.
const CLUSTER_WRITERS: [&str; 1] = ["src/storage/persist.rs"];

/// What pure state has no use for: I/O, clocks, locks, threads, logs.
const IMPURE: [&str; 16] = [
    "crossbeam_channel",
    "env_logger",
    "futures",
    "grpcio",
    "log",
    "rlimit",
    "signal_hook",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::sync::atomic",
];
const LOCKS: [&str; 6] = ["Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock", "Barrier"];

const LINES_MAX: usize = 500;

/// Every rule that `source` breaks, one line each. Files that are for tests alone are free of the layers.
fn broken_rules(source: &Source, for_tests: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let path = source.path.as_str();
    let top = if path == "src/main.rs" { "main" } else { source.module().first().copied().unwrap_or("lib") };
    let paths = source.paths();
    let names = |name: &str| paths.iter().any(|path| path == name || path.starts_with(&format!("{name}::")));
    let mut rule = |broken_when: bool, what: &str| {
        if broken_when {
            broken.push(format!("{path}: {what}"));
        }
    };

    rule(!source.text.starts_with("//!"), "does not open by saying what it is");
    rule(source.text.lines().count() > LINES_MAX, "has more than 500 lines");
    rule(source.contains("unsafe"), "is unsafe");
    rule(["todo!", "unimplemented!", "dbg!"].iter().any(|word| source.contains(word)), "is unfinished");
    rule(source.text.contains(&["TO", "DO"].concat()), "is unfinished");
    if for_tests {
        return broken;
    }

    rule(names("grpcio") && !matches!(top, "server" | "client"), "names grpcio");
    rule(names("std::fs") && top != "storage" && !FILE_READERS.contains(&path), "names std::fs");
    let locks_cluster = source.contains("cluster.lock(");
    rule(locks_cluster && top != "service" && !CLUSTER_WRITERS.contains(&path), "locks the cluster");
    if top == "core" {
        for name in IMPURE.iter().filter(|name| names(name)) {
            rule(true, &format!("names {name}, but is pure state"));
        }
        for word in LOCKS.iter().filter(|word| source.contains(word)) {
            rule(true, &format!("has a {word}, but is pure state"));
        }
    }
    rule(top == "client" && names("crate::core::cluster"), "names the catalog, but is a client");
    if top != "lib" {
        // They would hide which layer is used.
        let is_reexport =
            |path: &&String| path.strip_prefix("crate::").is_some_and(|rest| rest.starts_with(char::is_uppercase));
        rule(paths.iter().any(|path| is_reexport(&path)), "names a re-export of the crate's root");
        let (_, allowed) = MAY_USE.iter().find(|(module, _)| *module == top).unwrap_or_else(|| {
            panic!("{path}: {top} is a module that no rule knows");
        });
        for used in MAY_USE.map(|(module, _)| module).iter().filter(|used| names(&format!("crate::{used}"))) {
            rule(*used != top && !allowed.contains(used), &format!("uses {used}"));
        }
    }
    broken
}

#[test]
fn every_file_keeps_the_rules() {
    let mut sources = Vec::new();
    for dir in ["src", "tests", "bench", "examples"] {
        read_dir(dir, &mut sources);
    }
    sources.push(read("build.rs"));
    let for_tests: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            let dir = source.path.trim_end_matches("mod.rs").trim_end_matches("lib.rs").trim_end_matches(".rs");
            test_modules(&source.text).into_iter().map(move |name| format!("{}/{name}", dir.trim_end_matches('/')))
        })
        .collect();
    let is_for_tests = |path: &str| {
        let in_module = |rest: &str| rest == ".rs" || rest.starts_with('/');
        !path.starts_with("src/") || for_tests.iter().any(|module| path.strip_prefix(module).is_some_and(in_module))
    };
    let broken: Vec<String> =
        sources.iter().flat_map(|source| broken_rules(source, is_for_tests(&source.path))).collect();
    assert!(sources.len() > 20, "the source text is here");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn read(path: &str) -> Source {
    Source::new(path, &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap())
}

fn read_dir(dir: &str, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = format!("{dir}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_dir(&path, sources);
        } else if path.ends_with(".rs") {
            sources.push(read(&path));
        }
    }
}

#[test]
fn a_broken_rule_is_found() {
    let breaks = |path: &str, code: &str, what: &str| {
        let source = Source::new(path, &format!("//! A file.\n{code}"));
        let broken = broken_rules(&source, !path.starts_with("src/"));
        assert!(broken.len() == 1 && broken[0].contains(what), "{path}, {code}: {broken:?}");
    };
    let keeps = |path: &str, code: &str| {
        let source = Source::new(path, &format!("//! A file.\n{code}"));
        let broken = broken_rules(&source, !path.starts_with("src/"));
        assert!(broken.is_empty(), "{path}, {code}: {broken:?}");
    };
    keeps("src/server/mod.rs", "use grpcio::Server; use crate::service::Pd; use crate::proto::pd;");
    breaks("src/server/mod.rs", "use crate::core::region;", "uses core");
    breaks("src/cli/pd/mod.rs", "use crate::proto::pd;", "uses proto");
    breaks("src/service.rs", "use grpcio::Server;", "names grpcio");
    breaks("src/cli/pd.rs", "fn f() { grpcio::f(); }", "names grpcio");
    keeps("src/storage/fs.rs", "use std::{fs, io};");
    breaks("src/cli/pd.rs", "use std::{fs, io};", "names std::fs");
    breaks("src/config.rs", "fn f() { std::fs::read(1) }", "names std::fs");
    keeps("src/config.rs", "// std::fs::read\n#[cfg(test)] mod tests { use std::fs; }");
    keeps("src/service.rs", "fn f() { self.state.cluster.lock() }");
    breaks("src/server/mod.rs", "fn f() { pd.state.cluster.lock() }", "locks the cluster");
    breaks("src/core/cluster.rs", "use std::time::Instant;", "std::time::Instant");
    breaks("src/core/cluster.rs", "use std::sync::{Arc, Mutex};", "Mutex");
    keeps("src/core/cluster.rs", "use std::sync::Arc; use std::time::Duration; use super::region::Region;");
    breaks("src/core/cluster.rs", "use crate::storage::Edit;", "uses storage");
    breaks("src/storage/mod.rs", "use super::service::Pd;", "uses service");
    breaks("src/server/mod.rs", "use crate::cli::x;", "uses cli");
    breaks("src/client/mod.rs", "use crate::service::Pd;", "uses service");
    breaks("src/server/mod.rs", "use crate::{Client, service::Pd};", "re-export");
    breaks("src/main.rs", "use pd_lite::storage::open;", "uses storage");
    keeps("src/main.rs", "use pd_lite::cli;");
    breaks("tests/x.rs", "fn f() { unsafe { g() } }", "is unsafe");
    breaks("src/config.rs", "fn f() { todo!() }", "is unfinished");
    breaks("build.rs", &"\n".repeat(LINES_MAX), "more than 500 lines");
    assert_eq!(broken_rules(&Source::new("tests/x.rs", "fn f() {}"), true).len(), 1, "a file says what it is");
}
