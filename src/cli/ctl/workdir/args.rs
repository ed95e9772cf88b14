//! The flags of `pd-lite ctl workdir`, each with its test.

use std::path::{Path, PathBuf};

use crate::cli::ctl::form::Form;
use crate::cli::flags::{Flag, Group};
use crate::cli::{Exit, Failure};

/// A command line of any of the commands; each takes some of the flags.
#[derive(Clone, Debug, Default)]
pub struct Args {
    workdir: PathBuf,
    pub form: Form,
    /// Print every key in hexadecimal.
    pub hex: bool,
    /// The lowest id that may be given out next.
    pub id_min: Option<u64>,
    /// The lowest timestamp that may be given out next.
    pub ts_min: Option<u64>,
}

impl Args {
    /// The workdir, which has to be given.
    pub fn workdir(&self) -> Result<&Path, Failure> {
        if self.workdir.as_os_str().is_empty() {
            return Err(Failure::new(Exit::Usage, "--workdir is required"));
        }
        Ok(&self.workdir)
    }
}

pub const PLACE: Group<Args> = Group { title: "Where", flags: &[WORKDIR] };
pub const PLACE_AND_FORM: Group<Args> = Group { title: "Where and how", flags: &[WORKDIR, FORM] };
pub const PLACE_FORM_AND_KEYS: Group<Args> = Group { title: "Where and how", flags: &[WORKDIR, FORM, HEX] };
pub const COUNTERS: Group<Args> = Group { title: "Counters (one of them, or both)", flags: &[ID_MIN, TS_MIN] };

#[cfg(test)]
fn parse(words: &[&str]) -> Result<Args, String> {
    const ALL: crate::cli::flags::Command<Args> =
        crate::cli::flags::Command { name: "x", about: "", words: &[], groups: &[PLACE_FORM_AND_KEYS, COUNTERS] };
    ALL.given(words)
}

const WORKDIR: Flag<Args> = Flag {
    name: "workdir",
    value: "DIR",
    help: "the workdir (required)",
    default: |_| String::new(),
    set: |args, value| {
        args.workdir = value.path();
        Ok(())
    },
};

#[test]
fn workdir_is_required() {
    assert_eq!(parse(&["--workdir", "a b"]).unwrap().workdir(), Ok(Path::new("a b")));
    for words in [&[][..], &["--workdir", " "]] {
        assert_eq!(parse(words).unwrap().workdir().unwrap_err().exit, Exit::Usage);
    }
}

const FORM: Flag<Args> = Flag {
    name: "o",
    value: "text|json",
    help: "the form of the output",
    default: |_| "text".to_owned(),
    set: |args, value| Form::read(value).map(|form| args.form = form),
};

#[test]
fn o_is_the_form() {
    assert_eq!(parse(&[]).unwrap().form, Form::Text);
    assert_eq!(parse(&["-o", "json"]).unwrap().form, Form::Json);
}

const HEX: Flag<Args> = Flag {
    name: "hex",
    value: "",
    help: "print every key in hexadecimal, plain text too",
    default: |_| String::new(),
    set: |args, _| {
        args.hex = true;
        Ok(())
    },
};

#[test]
fn hex_is_a_switch() {
    assert!(!parse(&[]).unwrap().hex);
    assert!(parse(&["--hex"]).unwrap().hex);
    assert!(parse(&["--hex=yes"]).is_err());
}

const ID_MIN: Flag<Args> = Flag {
    name: "id-min",
    value: "N",
    help: "the next id is N or more",
    default: |_| String::new(),
    set: |args, value| value.number(0..=u64::MAX).map(|number| args.id_min = Some(number)),
};

const TS_MIN: Flag<Args> = Flag {
    name: "ts-min",
    value: "N",
    help: "the next timestamp is N or more",
    default: |_| String::new(),
    set: |args, value| value.number(0..=u64::MAX).map(|number| args.ts_min = Some(number)),
};

#[test]
fn id_min_and_ts_min_are_any_numbers() {
    let args = parse(&["--id-min", "18446744073709551615"]).unwrap();
    assert_eq!((args.id_min, args.ts_min), (Some(u64::MAX), None));
    let args = parse(&["--ts-min=0"]).unwrap();
    assert_eq!((args.id_min, args.ts_min), (None, Some(0)));
    for flag in ["--id-min", "--ts-min"] {
        assert!(parse(&[flag, "-1"]).is_err());
        assert!(parse(&[flag, "18446744073709551616"]).is_err());
    }
}
