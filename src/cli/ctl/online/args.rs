//! The flags and words of the commands that ask a running PD, each with its test.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::cli::ctl::form::Form;
use crate::cli::flags::{Flag, Group, Value, Word};
use crate::cli::{Exit, Failure, keys, pd_addr, time};
use crate::client::{Client, ClientOptions};

/// The most that a server takes; a lower limit is the server's to tell.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// A command line of any of the commands; each takes some of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    addr: Option<String>,
    timeout: Duration,
    pub form: Form,
    /// Read and print every key in hexadecimal.
    pub hex: bool,
    key: Vec<u8>,
    start: Vec<u8>,
    end: Vec<u8>,
    /// A region's.
    pub id: u64,
    /// How many regions at most.
    pub limit: usize,
    /// How many timestamps or ids.
    pub count: u64,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            addr: None,
            timeout: Duration::from_secs(2),
            form: Form::default(),
            hex: false,
            key: Vec::new(),
            start: Vec::new(),
            end: Vec::new(),
            id: 0,
            limit: usize::MAX,
            count: 1,
        }
    }
}

impl Args {
    /// A client of the PD that the command line names, or else the environment.
    pub fn client(&self) -> Result<Client, Failure> {
        let addr = pd_addr::resolve(self.addr.as_deref())?;
        let options =
            ClientOptions { timeout: self.timeout, request_bytes_max: REQUEST_BYTES_MAX, ..ClientOptions::new(&addr) };
        Ok(Client::new(options)?)
    }

    pub fn key(&self) -> Result<Vec<u8>, Failure> {
        self.read(&self.key, "KEY")
    }

    /// The borders of a scan; an empty end is none.
    pub fn range(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        Ok((self.read(&self.start, "--start")?, self.read(&self.end, "--end")?))
    }

    fn read(&self, typed: &[u8], name: &str) -> Result<Vec<u8>, Failure> {
        keys::read(typed, self.hex).map_err(|expected| {
            let typed = String::from_utf8_lossy(typed);
            Failure::new(Exit::Usage, format!("invalid value {typed:?} for {name}: expected {expected}"))
        })
    }
}

pub const PLACE: Group<Args> = Group { title: "Where", flags: &[ADDRS, TIMEOUT] };
pub const OUTPUT: Group<Args> = Group { title: "Output", flags: &[FORM] };
pub const OUTPUT_AND_KEYS: Group<Args> = Group { title: "Output", flags: &[FORM, HEX] };
pub const LIST: Group<Args> = Group { title: "Which", flags: &[LIMIT] };
pub const SCAN: Group<Args> = Group { title: "Which", flags: &[START, END, LIMIT] };
pub const COUNTS: Group<Args> = Group { title: "How many", flags: &[COUNT] };

pub const KEY: Word<Args> = Word {
    name: "KEY",
    help: "text, or hex:6d00, or - for the empty key; behind -- it may begin with a dash",
    set: |args, value| take(&mut args.key, value),
};

pub const ID: Word<Args> =
    Word { name: "ID", help: "the region's id", set: |args, value| value.number(1..=u64::MAX).map(|id| args.id = id) };

fn take(key: &mut Vec<u8>, value: Value<'_>) -> Result<(), String> {
    *key = value.bytes().to_vec();
    Ok(())
}

#[cfg(test)]
fn parse(words: &[&str]) -> Result<Args, String> {
    const ALL: crate::cli::flags::Command<Args> = crate::cli::flags::Command {
        name: "x",
        about: "",
        words: &[],
        groups: &[PLACE, OUTPUT_AND_KEYS, SCAN, COUNTS],
    };
    ALL.given(words)
}

const ADDRS: Flag<Args> = Flag {
    name: "addr",
    value: "HOST:PORT",
    help: "the PD; several addresses of one with commas between them",
    default: |_| pd_addr::DEFAULT.to_owned(),
    set: |args, value| value.text().map(|addr| args.addr = Some(addr)),
};

#[test]
fn addr_is_one_or_more_addresses() {
    for addr in ["localhost:1", "127.0.0.1:1,[::1]:2"] {
        assert!(parse(&["--addr", addr]).unwrap().client().is_ok());
    }
    for addr in ["", "localhost", "http://a:1", "a:1,,"] {
        let refused = parse(&["--addr", addr]).unwrap().client().map(drop).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage, "{addr}");
    }
}

const TIMEOUT: Flag<Args> = Flag {
    name: "timeout",
    value: "TIME",
    help: "how long to wait for an answer, as 500ms or 1m30s",
    default: |args| time::short(args.timeout),
    set: |args, value| time::read_within(&value.text()?, TIMEOUTS).map(|timeout| args.timeout = timeout),
};
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);

#[test]
fn timeout_is_a_time_with_its_unit() {
    assert_eq!(parse(&[]).unwrap().timeout, Duration::from_secs(2));
    assert_eq!(parse(&["--timeout", "1.5s"]).unwrap().timeout, Duration::from_millis(1500));
    assert_eq!(parse(&["--timeout", "24h"]).unwrap().timeout, *TIMEOUTS.end());
    for text in ["0s", "0", "2", "", "s", "-1s", "999us", "24h1ns", "1 s"] {
        assert!(parse(&["--timeout", text]).unwrap_err().contains("expected a time from 1ms to 1d"), "{text}");
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
fn o_is_text_or_json() {
    assert_eq!(parse(&[]).unwrap().form, Form::Text);
    for words in [&["-o", "json"][..], &["--o=JSON"]] {
        assert_eq!(parse(words).unwrap().form, Form::Json);
    }
    assert!(parse(&["-o", "yaml"]).is_err());
}

const HEX: Flag<Args> = Flag {
    name: "hex",
    value: "",
    help: "read and print every key in hexadecimal, plain text too",
    default: |_| String::new(),
    set: |args, _| {
        args.hex = true;
        Ok(())
    },
};

#[test]
fn hex_is_a_switch_that_counts_wherever_it_stands() {
    for words in [["--hex", "--start", "6d00"], ["--start", "6d00", "--hex"]] {
        assert_eq!(parse(&words).unwrap().range(), Ok((b"m\0".to_vec(), vec![])));
    }
    let refused = parse(&["--hex", "--start", "m"]).unwrap().range().unwrap_err();
    assert_eq!(refused.line(), r#"error: invalid value "m" for --start: expected hexadecimal, two digits a byte"#);
}

const START: Flag<Args> = Flag {
    name: "start",
    value: "KEY",
    help: "regions that end above this key",
    default: |_| String::new(),
    set: |args, value| take(&mut args.start, value),
};

const END: Flag<Args> = Flag {
    name: "end",
    value: "KEY",
    help: "regions that start below this key",
    default: |_| String::new(),
    set: |args, value| take(&mut args.end, value),
};

#[test]
fn start_and_end_are_keys_in_this_order() {
    let range = |words: &[&str]| parse(words).unwrap().range();
    assert_eq!(range(&[]), Ok((vec![], vec![])));
    assert_eq!(range(&["--start", "b", "--end", "hex:6d00"]), Ok((b"b".to_vec(), b"m\0".to_vec())));
    assert_eq!(range(&["--start", "b", "--end", "-"]), Ok((b"b".to_vec(), vec![])));
}

const LIMIT: Flag<Args> = Flag {
    name: "limit",
    value: "N",
    help: "at most so many of them",
    default: |_| String::new(),
    set: |args, value| value.number(1..=u64::MAX).map(|limit| args.limit = limit),
};

const COUNT: Flag<Args> = Flag {
    name: "n",
    value: "N",
    help: "how many",
    default: |args| args.count.to_string(),
    set: |args, value| value.number(1..=u64::MAX).map(|count| args.count = count),
};

#[test]
fn limit_and_n_are_numbers_above_0() {
    assert_eq!((parse(&[]).unwrap().limit, parse(&[]).unwrap().count), (usize::MAX, 1));
    assert_eq!(parse(&["--limit", "3"]).unwrap().limit, 3);
    assert_eq!(parse(&["-n", "18446744073709551615"]).unwrap().count, u64::MAX);
    for flag in ["--limit", "-n"] {
        for number in ["0", "-1", "18446744073709551616", "1.5"] {
            assert!(parse(&[flag, number]).unwrap_err().contains("expected a decimal number from 1 to"), "{number}");
        }
    }
}
