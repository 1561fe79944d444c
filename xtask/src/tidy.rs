//! The repository's rules as a test (the idea is rust-analyzer's `tidy`): layering, files that are reached, paths that the
//! docs name, words that do not belong here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use xtask::run::{Failed, output, root};

/// Outside things, and the only places that may name them in code.
const LAYERS: [(&str, &[&str], &str); 8] = [
    ("wasmtime", &["host/src/decider/"], "convert at the edge of host/src/decider"),
    ("wasmparser", &["host/src/decider/", "host/src/cli/build/"], "the gate is in host/src/decider"),
    (
        "rdkafka",
        &[
            "host/src/log/kafka",
            "checker/src/kafka",
            "checker/tests/kafka/",
            "tests/src/raw.rs",
            "tests/src/kafka/",
            "benches/src/kafka",
        ],
        "Kafka is named only by its log",
    ),
    ("axum", &["host/src/gateway"], "HTTP types stay under host/src/gateway"),
    ("hyper", &["host/src/gateway", "tests/src/", "benches/src/"], "HTTP types stay under host/src/gateway"),
    (
        "clap",
        &["host/src/cli", "host/src/main.rs", "demo/src/", "benches/src/", "tests/src/", "checker/src/"],
        "arguments are parsed by programs",
    ),
    ("figment", &["host/src/config"], "settings are read by host/src/config"),
    ("notify", &["host/src/decider/", "host/src/cli/"], "only the inbox of modules and `dev` watch files"),
];

/// What the pure part may not know.
const PURE: [&str; 12] = [
    "tokio",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::time",
    "crate::clock",
    "crate::lane",
    "crate::store",
    "crate::gateway",
    "rand",
    "uuid",
];

/// Runs every rule.
///
/// # Errors
/// [`Failed`] with one line per breach.
pub fn run() -> Result<(), Failed> {
    let files = tracked()?;
    let mut breaches = Vec::new();
    layering(&files, &mut breaches);
    purity(&files, &mut breaches);
    printing(&files, &mut breaches);
    reached(&files, &mut breaches);
    docs(&files, &mut breaches);
    snippets(&files, &mut breaches);
    texts(&files, &mut breaches);
    planted(&files, &mut breaches);
    if breaches.is_empty() {
        println!("tidy: {} files follow the rules", files.len());
        return Ok(());
    }
    Err(Failed(format!("tidy found {}:\n  {}", breaches.len(), breaches.join("\n  "))))
}

/// Files of the repository, those not added yet included, relative to its root.
fn tracked() -> Result<Vec<PathBuf>, Failed> {
    let list = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    Ok(list.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}

fn rust_files(files: &[PathBuf]) -> impl Iterator<Item = (&Path, String)> {
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "rs"))
        .filter_map(|path| Some((path.as_path(), fs::read_to_string(root().join(path)).ok()?)))
}

/// Planted bugs must fit, or nobody can see them being noticed.
fn planted(files: &[PathBuf], breaches: &mut Vec<String>) {
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "patch")) {
        let path = path.to_string_lossy();
        if output("git", &["apply", "--check", &path]).is_err() {
            breaches.push(format!(
                "{path} does not fit any more: make it anew, and see it noticed by `cargo xtask planted`"
            ));
        }
    }
}

/// Lines of code, numbered from 1: comments and doc comments are left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.split("//").next().unwrap_or("")))
        .filter(|(_, line)| !line.trim().is_empty())
}

/// Whether a line names a crate or module as a path.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + word.len()..];
        let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"');
        whole && (after.starts_with("::") || after.starts_with(';') || after.starts_with(" as "))
    })
}

fn layering(files: &[PathBuf], breaches: &mut Vec<String>) {
    for (path, text) in rust_files(files) {
        let shown = path.to_string_lossy();
        if shown.starts_with("xtask/") {
            continue;
        }
        for (word, places, instead) in LAYERS {
            if places.iter().any(|place| shown.starts_with(place)) {
                continue;
            }
            for (line, _) in code(&text).filter(|(_, line)| names(line, word)) {
                breaches.push(format!("{shown}:{line}: names {word}: {instead}"));
            }
        }
    }
}

fn purity(files: &[PathBuf], breaches: &mut Vec<String>) {
    for (path, text) in rust_files(files) {
        let shown = path.to_string_lossy();
        if !shown.starts_with("host/src/state_machine") || shown.ends_with("tests.rs") {
            continue;
        }
        for (line, content) in code(&text) {
            for word in PURE {
                if names(content, word) || content.contains(&format!("{word}::")) {
                    breaches.push(format!("{shown}:{line}: the state machine may not know {word}"));
                }
            }
        }
    }
}

/// These macros panic where nobody reads, or a disk is full: no reason for a host to end.
fn printing(files: &[PathBuf], breaches: &mut Vec<String>) {
    for (path, text) in rust_files(files) {
        let shown = path.to_string_lossy();
        if !shown.starts_with("host/src/") || shown.contains("/tests") {
            continue;
        }
        for (line, _) in code(&text).filter(|(_, line)| line.contains("println!(") || line.contains("print!(")) {
            breaches.push(format!("{shown}:{line}: prints: use `say` and `print_line` of host/src/cli"));
        }
    }
}

/// Every source file is declared by its parent: a file nobody reaches is not tested, not linted and not read.
fn reached(files: &[PathBuf], breaches: &mut Vec<String>) {
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs")) {
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let parent = path.parent().unwrap_or(Path::new(""));
        if matches!(stem, "main" | "lib" | "build")
            || ["bin", "tests", "examples", "benches"].iter().any(|dir| parent.ends_with(dir))
        {
            continue;
        }
        let mut parents = vec![parent.with_extension("rs"), parent.join("lib.rs"), parent.join("main.rs")];
        parents.push(parent.join("mod.rs"));
        let declared = parents.iter().filter_map(|one| fs::read_to_string(root().join(one)).ok()).any(|text| {
            code(&text).any(|(_, line)| {
                let line = line.trim();
                line.ends_with(&format!("mod {stem};"))
            })
        });
        if !declared {
            breaches.push(format!("{}: no module declares this file", path.display()));
        }
    }
}

/// Paths in backquotes or links of the docs exist.
fn docs(files: &[PathBuf], breaches: &mut Vec<String>) {
    let known: BTreeSet<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let top = ["host/", "guest-sdk/", "examples/", "tests/", "checker/", "demo/", "benches/", "xtask/", "docs/"];
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "md")) {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for (n, line) in text.lines().enumerate() {
            for word in line.split(|c: char| c.is_whitespace() || "`()[]<>,;\"'*|".contains(c)) {
                let word = word.trim_end_matches(['.', ':', '/']).split('#').next().unwrap_or("");
                if word.contains("..") || word.contains('{') || !top.iter().any(|dir| word.starts_with(dir)) {
                    continue;
                }
                let exists = known.contains(word) || root().join(word).is_dir();
                if !exists {
                    breaches.push(format!("{}:{}: {word} does not exist", path.display(), n + 1));
                }
            }
        }
    }
}

/// A Rust snippet under a line `<!-- path -->` stands in that file, to the letter: what the docs show compiles.
fn snippets(files: &[PathBuf], breaches: &mut Vec<String>) {
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "md")) {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for (at, _) in text.match_indices("-->\n```rust\n") {
            let source = text[..at].rsplit("<!--").next().unwrap_or("").trim();
            let snippet = text[at..].split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or("");
            if !fs::read_to_string(root().join(source)).is_ok_and(|file| file.contains(snippet.trim_end())) {
                breaches.push(format!("{}: a snippet is not what {source} says", path.display()));
            }
        }
    }
}

/// Things that do not belong in any file: paths of one machine, unfinished code.
fn texts(files: &[PathBuf], breaches: &mut Vec<String>) {
    let banned = [
        (["/wo", "rk/"].concat(), "a path of one machine"),
        (["/ro", "ot/"].concat(), "a path of one machine"),
        (["todo", "!("].concat(), "unfinished code"),
        (["unimplemen", "ted!("].concat(), "unfinished code"),
        (["dbg", "!("].concat(), "a debugging aid"),
    ];
    for path in files.iter().filter(|path| path.file_name().is_none_or(|name| name != "Cargo.lock")) {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for (n, line) in text.lines().enumerate() {
            for (word, what) in &banned {
                if line.contains(word.as_str()) {
                    breaches.push(format!("{}:{}: {what}: {word}", path.display(), n + 1));
                }
            }
        }
    }
}
