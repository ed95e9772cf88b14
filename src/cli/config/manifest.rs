//! `pd-lite config manifest`: appends one region to a workdir that no server has open.

use std::path::PathBuf;

use crate::cli::flags::{Command, Flag, Group};
use crate::cli::{REGION_PEERS_MAX, printable};
use crate::core::{Epoch, Peer, PeerId, Region, RegionId, StoreId};
use crate::storage::offline;
use crate::storage::record::RegionState;

/// A command line.
#[derive(Clone, Debug)]
pub struct Args {
    workdir: PathBuf,
    region_id: u64,
    start_key: String,
    end_key: String,
    epoch_version: u64,
    /// 0: the number of peers.
    epoch_conf_version: u64,
    state: RegionState,
    /// As given, and not blank.
    peers: Vec<String>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            workdir: PathBuf::new(),
            region_id: 0,
            start_key: String::new(),
            end_key: String::new(),
            epoch_version: 1,
            epoch_conf_version: 0,
            state: RegionState::Running,
            peers: Vec::new(),
        }
    }
}

pub const COMMAND: Command<Args> = Command {
    name: "pd-lite config manifest",
    about: "Appends a region to the manifest of a workdir that no server has open; creates a missing workdir.\n\
            A key is text, or hex:<bytes>; empty or - is unbounded.",
    words: &[],
    groups: &[
        Group { title: "Where", flags: &[WORKDIR] },
        Group {
            title: "Region",
            flags: &[REGION_ID, START_KEY, END_KEY, EPOCH_VERSION, EPOCH_CONF_VERSION, PEER, STATE],
        },
    ],
};

/// Appends the region and returns what to print.
pub fn run(args: Args) -> Result<String, String> {
    if args.workdir.as_os_str().is_empty() {
        return Err("--workdir is required".to_owned());
    }
    let region = region(&args)?;
    offline::append_region(&args.workdir, &region, args.state).map_err(|error| error.to_string())?;
    Ok(format!("logged region {} to {}\n", region.id(), printable(&args.workdir.to_string_lossy())))
}

fn region(args: &Args) -> Result<Region, String> {
    if args.region_id == 0 {
        return Err("--region-id must be > 0".to_owned());
    }
    if args.peers.is_empty() {
        return Err("at least one --peer is required".to_owned());
    }
    let peers = args.peers.iter().map(|text| peer(text)).collect::<Result<Vec<_>, _>>()?;
    let count = u64::try_from(peers.len()).map_err(|error| error.to_string())?;
    if count > REGION_PEERS_MAX {
        return Err(format!("{count} --peer are more than {REGION_PEERS_MAX}"));
    }
    let start_key = key("start-key", &args.start_key)?;
    let end_key = key("end-key", &args.end_key)?;
    let conf_version = if args.epoch_conf_version == 0 { count } else { args.epoch_conf_version };
    let epoch = Epoch { version: args.epoch_version, conf_version };
    let region = Region::new(RegionId(args.region_id), &start_key, &end_key, epoch, peers);
    if region.range().is_well_formed() { Ok(region) } else { Err("--start-key must be below --end-key".to_owned()) }
}

/// Reads `storeID:peerID`.
fn peer(text: &str) -> Result<Peer, String> {
    let parse = |half: &str| match half.trim() {
        "" => Err("empty value".to_owned()),
        half if half.bytes().all(|byte| byte.is_ascii_digit()) => {
            half.parse().map_err(|error| format!("parse {half:?}: {error}"))
        }
        half => Err(format!("parse {half:?}: expected integer")),
    };
    let both =
        text.split_once(':').ok_or_else(|| "expected storeID:peerID".to_owned()).and_then(|(store, peer)| {
            match (parse(store)?, parse(peer)?) {
                (0, _) | (_, 0) => Err("store id and peer id must be > 0".to_owned()),
                (store, peer) => Ok(Peer { store_id: StoreId(store), peer_id: PeerId(peer) }),
            }
        });
    both.map_err(|error| format!("parsing --peer {text:?}: {error}"))
}

/// The bytes of a key: text as it is, `hex:` in hexadecimal; unbounded is empty.
fn key(flag: &str, text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim();
    let Some(digits) = text.strip_prefix("hex:") else {
        return Ok(if text == "-" { Vec::new() } else { text.into() });
    };
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
        _ => None,
    });
    pairs
        .collect::<Option<_>>()
        .ok_or_else(|| format!("parsing --{flag} {text:?}: expected pairs of hexadecimal digits"))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
fn parse(words: &[&str]) -> Result<Args, String> {
    COMMAND.given(words)
}

/// The region of a command line that lacks nothing else.
#[cfg(test)]
fn parse_region(words: &[&str]) -> Result<Region, String> {
    region(&parse(&[&["--region-id", "5", "--peer", "1:51"], words].concat())?)
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
    for words in [&[][..], &["--workdir", " "]] {
        assert_eq!(run(parse(words).unwrap()), Err("--workdir is required".to_owned()));
    }
}

const REGION_ID: Flag<Args> = Flag {
    name: "region-id",
    value: "N",
    help: "the region's id (required)",
    default: |_| String::new(),
    set: |args, value| value.number(0..=u64::MAX).map(|id| args.region_id = id),
};

#[test]
fn region_id_is_required() {
    for words in [&[][..], &["--region-id", "0"]] {
        assert_eq!(region(&parse(words).unwrap()).unwrap_err(), "--region-id must be > 0");
    }
    assert!(parse(&["--region-id", "five"]).is_err());
    assert_eq!(parse_region(&["--region-id=18446744073709551615"]).unwrap().id(), RegionId(u64::MAX));
}

const START_KEY: Flag<Args> = Flag {
    name: "start-key",
    value: "KEY",
    help: "the lowest key",
    default: |_| "unbounded".to_owned(),
    set: |args, value| value.text().map(|text| args.start_key = text),
};

#[test]
fn a_key_is_text_or_hexadecimal_or_unbounded() {
    for (text, key) in [
        ("", &b""[..]),
        ("-", b""),
        (" - ", b""),
        (" a b ", b"a b"),
        ("hex:00fF", b"\x00\xff"),
        ("hex:2d", b"-"),
        ("hex:", b""),
        ("Hex:zz", b"Hex:zz"),
    ] {
        assert_eq!(parse_region(&["--start-key", text]).unwrap().start_key(), key, "{text:?}");
    }
    for text in ["hex:0", "hex:0g", "hex:+1", "hex: 1", "hex:é"] {
        let error = parse_region(&["--start-key", text]).unwrap_err();
        assert_eq!(error, format!("parsing --start-key {text:?}: expected pairs of hexadecimal digits"));
    }
}

const END_KEY: Flag<Args> = Flag {
    name: "end-key",
    value: "KEY",
    help: "the first key behind it",
    default: |_| "unbounded".to_owned(),
    set: |args, value| value.text().map(|text| args.end_key = text),
};

#[test]
fn a_range_that_holds_no_key_is_refused() {
    assert_eq!(parse_region(&["--end-key", "m"]).unwrap().end_key(), b"m");
    for (start, end) in [("b", "a"), ("a", "a")] {
        let error = parse_region(&["--start-key", start, "--end-key", end]).unwrap_err();
        assert_eq!(error, "--start-key must be below --end-key");
    }
}

const EPOCH_VERSION: Flag<Args> = Flag {
    name: "epoch-version",
    value: "N",
    help: "the epoch's version",
    default: |args| args.epoch_version.to_string(),
    set: |args, value| value.number(0..=u64::MAX).map(|version| args.epoch_version = version),
};

#[test]
fn epoch_version_is_one_unless_given() {
    assert_eq!(parse_region(&[]).unwrap().epoch().version, 1);
    assert_eq!(parse_region(&["--epoch-version", "0"]).unwrap().epoch().version, 0);
}

const EPOCH_CONF_VERSION: Flag<Args> = Flag {
    name: "epoch-conf-version",
    value: "N",
    help: "the epoch's conf version; 0: the number of peers",
    default: |args| args.epoch_conf_version.to_string(),
    set: |args, value| value.number(0..=u64::MAX).map(|version| args.epoch_conf_version = version),
};

#[test]
fn epoch_conf_version_is_the_number_of_peers_unless_given() {
    assert_eq!(parse_region(&["--peer", "2:52"]).unwrap().epoch().conf_version, 2);
    assert_eq!(parse_region(&["--epoch-conf-version", "9"]).unwrap().epoch().conf_version, 9);
}

const PEER: Flag<Args> = Flag {
    name: "peer",
    value: "STORE:PEER",
    help: "a replica: its store's id and its own; may be repeated (required)",
    default: |_| String::new(),
    set: |args, value| match value.text()? {
        text if text.trim().is_empty() => Err("STORE:PEER".to_owned()),
        text => {
            args.peers.push(text);
            Ok(())
        }
    },
};

#[test]
fn a_peer_is_two_ids_other_than_0() {
    let peers: Vec<Peer> = parse_region(&["--peer", " 2 : 52 "]).unwrap().peers().collect();
    assert_eq!(peers[1], Peer { store_id: StoreId(2), peer_id: PeerId(52) });
    for (text, reason) in [
        ("1", "expected storeID:peerID"),
        ("x:1", r#"parse "x": expected integer"#),
        ("1x:2y", r#"parse "1x": expected integer"#),
        ("1:2:3", r#"parse "2:3": expected integer"#),
        ("+1:2", r#"parse "+1": expected integer"#),
        (":1", "empty value"),
        ("0:0", "store id and peer id must be > 0"),
        ("1:0", "store id and peer id must be > 0"),
    ] {
        assert_eq!(parse_region(&["--peer", text]).unwrap_err(), format!("parsing --peer {text:?}: {reason}"));
    }
    assert!(parse_region(&["--peer", "18446744073709551616:1"]).is_err());
    let many = vec!["--peer=1:2"; 4096];
    assert_eq!(parse_region(&many).unwrap_err(), "4097 --peer are more than 4096");
    assert_eq!(parse_region(&many[1..]).unwrap().peers().count(), 4096);
    assert!(parse(&["--peer", " "]).unwrap_err().starts_with("error: invalid value"));
    assert_eq!(region(&parse(&["--region-id", "5"]).unwrap()).unwrap_err(), "at least one --peer is required");
}

const STATE: Flag<Args> = Flag {
    name: "state",
    value: "running|tombstone",
    help: "a tombstone is recorded, but never served",
    default: |_| "running".to_owned(),
    set: |args, value| {
        let states = [("running", RegionState::Running), ("tombstone", RegionState::Tombstone)];
        value.choice(&states).map(|state| args.state = state)
    },
};

#[test]
fn state_is_running_or_tombstone() {
    assert_eq!(parse(&[]).unwrap().state, RegionState::Running);
    assert_eq!(parse(&["--state", "Tombstone"]).unwrap().state, RegionState::Tombstone);
    assert!(parse(&["--state", "odd"]).is_err());
}
