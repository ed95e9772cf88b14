//! The list of breaks: what each says, and how it changes a file.
//!
//! ```text
//! # name
//! The promise that is broken.
//! test unit <filter>            the tests that have to fail: of the crate itself (`unit`), of tests/ (`program`), of
//! test program <filter>         tests/interleavings (`interleavings`), or the crash loop
//! test crash <seed>             with a seed whose first cycles end where the break shows
//! file src/storage/fs.rs        and behind it lines to be left (' '), taken away ('-') and put in ('+'); those to be left
//!                               and taken away stand in the file in a row, once
//! ```

use std::fs;
use std::path::Path;

/// The files of the list.
const FILES: [&str; 5] = ["disk.txt", "trouble.txt", "damage.txt", "values.txt", "routes.txt"];

/// The code broken in one way.
#[derive(Debug, Default)]
pub struct Break {
    pub name: String,
    pub promise: String,
    pub tests: Vec<Test>,
    pub changes: Vec<Change>,
}

/// Tests that have to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    Unit(String),
    Program(String),
    Interleavings(String),
    Crash(String),
}

/// Lines to be replaced in a file.
#[derive(Debug, Default)]
pub struct Change {
    pub file: String,
    old: String,
    new: String,
}

impl Change {
    /// The file's text with the lines replaced. `Err`: how often they stand there, which is not once.
    pub fn apply(&self, text: &str) -> Result<String, usize> {
        match text.matches(&self.old).count() {
            1 => Ok(text.replacen(&self.old, &self.new, 1)),
            count => Err(count),
        }
    }
}

/// All breaks.
pub fn read() -> Vec<Break> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/breaks");
    FILES.iter().flat_map(|name| parse(&fs::read_to_string(dir.join(name)).unwrap())).collect()
}

fn parse(text: &str) -> Vec<Break> {
    let mut breaks: Vec<Break> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            breaks.push(Break { name: name.to_owned(), ..Break::default() });
            continue;
        }
        let current = breaks.last_mut().expect("a list begins with a name");
        if let Some(test) = line.strip_prefix("test ") {
            current.tests.push(test_of(test));
        } else if let Some(file) = line.strip_prefix("file ") {
            current.changes.push(Change { file: file.to_owned(), ..Change::default() });
        } else if let (Some(change), Some((mark, code))) = (current.changes.last_mut(), line.split_at_checked(1)) {
            let code = format!("{code}\n");
            match mark {
                " " => [&mut change.old, &mut change.new].into_iter().for_each(|text| text.push_str(&code)),
                "-" => change.old.push_str(&code),
                "+" => change.new.push_str(&code),
                _ => panic!("{}: no line of a change: {line}", current.name),
            }
        } else if !line.is_empty() {
            current.promise.push_str(line);
        }
    }
    breaks
}

fn test_of(text: &str) -> Test {
    match text.split_once(' ') {
        Some(("unit", filter)) => Test::Unit(filter.to_owned()),
        Some(("program", filter)) => Test::Program(filter.to_owned()),
        Some(("interleavings", filter)) => Test::Interleavings(filter.to_owned()),
        Some(("crash", seed)) => Test::Crash(seed.to_owned()),
        _ => panic!("no kind of test: {text}"),
    }
}
