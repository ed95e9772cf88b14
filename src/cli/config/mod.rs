//! `pd-lite config`: parts of `raft_config.json` for scripts, and a region for a workdir, as the reference's `nokv-config`
//! does them.
//!
//! Outputs, texts and exit codes are the reference's: every failure is `pd-lite config <command>: <text>` and 1, but a wrong
//! flag is 2. Mended are the defects of its output: an empty field is `-`, and what could be taken for something else is
//! `hex:`.

mod args;
mod json;
mod manifest;
mod pd;
mod regions;
mod stores;

use std::fmt;
use std::fmt::Write as _;

use super::flags::Command;
use super::menu::{Entry, Menu, Misuse};
use super::{Exit, Failure, Words, print};

/// The commands behind `pd-lite config`.
pub const COMMANDS: Menu = Menu {
    name: "pd-lite config",
    about: "Prints parts of raft_config.json, or logs a region into a workdir that no server has open.",
    entries: &[
        Entry {
            name: "pd",
            about: "the placement driver's address or workdir",
            run: |words| run(&pd::COMMAND, pd::run, words),
        },
        Entry {
            name: "stores",
            about: "a line a store: id, listen address, address, both for docker, workdir, workdir for docker",
            run: |words| run(&stores::COMMAND, stores::run, words),
        },
        Entry {
            name: "regions",
            about: "a line a region: id, start key, end key, version, conf version, store:peer list, leader",
            run: |words| run(&regions::COMMAND, regions::run, words),
        },
        Entry {
            name: "manifest",
            about: "append a region to a workdir's manifest",
            run: |words| run(&manifest::COMMAND, manifest::run, words),
        },
    ],
    notes: "\
pd, stores and regions read --config FILE and print it as --format simple or json;
pd takes --scope host or docker, and --field addr or workdir.
",
    misuse: Misuse::HelpText,
};

/// Runs a command whose `work` returns what to print, or the text of its failure.
fn run<A: Default>(command: &Command<A>, work: fn(A) -> Result<String, String>, words: Words) -> Result<Exit, Failure> {
    command.run(words, |args| {
        let text = work(args).map_err(|message| Failure::of(command.name, Exit::Runtime, message))?;
        print(&text).map(|()| Exit::Clean)
    })
}

/// A field of a line: `-` stands for an empty one, so that a line always has the same number of fields.
fn field(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// A key as a field: text where that is unambiguous, else the bytes in hexadecimal.
struct KeyField<'a>(&'a str);

impl fmt::Display for KeyField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.bytes().all(|byte| byte.is_ascii_graphic()) && self.0 != "-";
        if plain {
            return f.write_str(field(self.0));
        }
        f.write_str("hex:")?;
        self.0.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One line a row.
fn lines(rows: impl Iterator<Item = impl fmt::Display>) -> String {
    rows.fold(String::new(), |mut text, row| {
        writeln!(text, "{row}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_unambiguous_field() {
        for (key, shown) in [
            ("", "-"),
            ("g", "g"),
            ("~!", "~!"),
            ("-", "hex:2d"),
            ("a b", "hex:612062"),
            ("é", "hex:c3a9"),
            ("\u{7f}", "hex:7f"),
            ("\0", "hex:00"),
        ] {
            assert_eq!(KeyField(key).to_string(), shown, "{key:?}");
        }
    }
}
