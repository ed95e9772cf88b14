//! The flags of `pd-lite serve`, and what they come to once the configuration file has been asked.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::config::{self, Configured};
use crate::cli::flags::{Command, Flag, Group};
use crate::cli::log_lines::LEVELS;
use crate::cli::{Exit, Failure, time};
use crate::config::Scope;
use crate::core::StoreId;
use crate::serve::FirstRegion;

/// The reference's.
const ADDR: &str = "127.0.0.1:20160";
/// Of a call to the placement driver when the flag gives none above 0. Reference: the same.
const PD_TIMEOUT: Duration = Duration::from_secs(2);

/// More rounds a second only keep the machine busy.
const ROUND_MIN: Duration = Duration::from_millis(1);

/// A command line.
#[derive(Clone, Debug)]
pub struct Args {
    /// `None`: not given, which is not the same as empty. As below.
    workdir: Option<PathBuf>,
    addr: Option<String>,
    store_id: u64,
    /// As given, and not blank.
    peers: Vec<String>,
    pd_addr: Option<String>,
    pd_timeout: Duration,
    /// Empty: none.
    config: PathBuf,
    scope: String,
    heartbeat_interval: Duration,
    election_tick: i64,
    heartbeat_tick: i64,
    pub log_level: LevelFilter,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            workdir: None,
            addr: None,
            store_id: 0,
            peers: Vec::new(),
            pd_addr: None,
            pd_timeout: PD_TIMEOUT,
            config: PathBuf::new(),
            scope: Scope::Host.name().to_owned(),
            heartbeat_interval: Duration::from_secs(3),
            election_tick: 10,
            heartbeat_tick: 2,
            log_level: LevelFilter::Warn,
        }
    }
}

/// What to serve, and where.
#[derive(Debug)]
pub struct Settings {
    pub workdir: PathBuf,
    pub store: StoreId,
    pub addr: String,
    /// `None`: standalone.
    pub pd_addr: Option<String>,
    /// Of one call, to the placement driver or to another store.
    pub call_timeout: Duration,
    /// As given; they are read late.
    pub peers: Vec<String>,
    pub round: Duration,
    /// The configuration's.
    pub regions: Vec<FirstRegion>,
}

impl Args {
    /// Fills in what the command line leaves open, and checks it in the reference's order. A flag that was given, even empty,
    /// beats the configuration file (read with `--scope`), and that beats the default.
    ///
    /// # Errors
    ///
    /// Exit code 2: something is missing or makes no sense, or the configuration cannot be read or is not valid.
    pub fn resolve(self) -> Result<Settings, Failure> {
        let refused = |message: &str| Err(Failure::new(Exit::Usage, message));
        let store = StoreId(self.store_id);
        let has_config = !self.config.as_os_str().is_empty();
        // Without a store's id it is not known which part of the configuration counts, and a check below ends it.
        let configured = match store {
            store if has_config && store != StoreId(0) => config::load(&self.config, &self.scope, store)?,
            _ => Configured::default(),
        };
        let may_be_configured = has_config && store == StoreId(0) && self.workdir.is_none();
        let workdir = self.workdir.unwrap_or(configured.workdir);
        if workdir.as_os_str().is_empty() && !may_be_configured {
            return refused("--workdir is required");
        }
        if store == StoreId(0) {
            return refused("--store-id is required");
        }
        if self.election_tick <= 0 || self.heartbeat_tick <= 0 {
            return refused("heartbeat and election ticks must be > 0");
        }
        let pd_addr = self.pd_addr.unwrap_or(configured.pd_addr).trim().to_owned();
        if pd_addr.is_empty() && !self.peers.is_empty() {
            return refused("--pd-addr is required when --peer is configured");
        }
        let is_cluster = !pd_addr.is_empty();
        // Without a placement driver nobody hints at a transfer to the configuration's other stores.
        let peers = if self.peers.is_empty() && is_cluster { configured.peers } else { self.peers };
        let addr = self.addr.or(Some(configured.addr).filter(|addr| !addr.is_empty()));
        Ok(Settings {
            workdir,
            store,
            addr: addr.unwrap_or_else(|| ADDR.to_owned()),
            pd_addr: is_cluster.then_some(pd_addr),
            call_timeout: if self.pd_timeout.is_zero() { PD_TIMEOUT } else { self.pd_timeout },
            peers,
            round: self.heartbeat_interval,
            regions: configured.regions,
        })
    }
}

/// `pd-lite serve`.
pub const COMMAND: Command<Args> = Command {
    name: "pd-lite serve",
    about: "Serves as a store without data until SIGTERM or SIGINT: it has regions and leads some of them, reports them to a\n\
            placement driver, and carries out the leader transfers that it hints at with the other stores. It holds no keys.\n\
            With --pd-addr it is part of a cluster, else standalone.",
    words: &[],
    groups: &[
        Group { title: "Store", flags: &[WORKDIR, STORE_ID, ADDR_FLAG] },
        Group { title: "Cluster", flags: &[PD_ADDR, PD_TIMEOUT_FLAG, PEER, HEARTBEAT_INTERVAL] },
        Group { title: "Configuration file (a flag that is given, even empty, comes first)", flags: &[CONFIG, SCOPE] },
        Group {
            title: "Of the reference's data plane: accepted, without effect here",
            flags: &[
                ELECTION_TICK,
                HEARTBEAT_TICK,
                RAFT_MAX_MSG_BYTES,
                RAFT_MAX_INFLIGHT,
                RAFT_TICK_INTERVAL,
                RAFT_DEBUG_LOG,
            ],
        },
        Group { title: "Log", flags: &[LOG_LEVEL] },
    ],
};

#[cfg(test)]
fn parse(words: &[&str]) -> Result<Args, String> {
    COMMAND.given(words)
}

/// What a command line that lacks nothing else comes to.
#[cfg(test)]
fn resolve(words: &[&str]) -> Result<Settings, String> {
    let words = [&["--workdir", "w", "--store-id", "1"], words].concat();
    parse(&words)?.resolve().map_err(|failure| failure.line())
}

const WORKDIR: Flag<Args> = Flag {
    name: "workdir",
    value: "DIR",
    help: "where regions and leaders are kept, created when missing (required, or --config)",
    default: |_| String::new(),
    set: |args, value| {
        args.workdir = Some(value.path());
        Ok(())
    },
};

const STORE_ID: Flag<Args> = Flag {
    name: "store-id",
    value: "N",
    help: "the store's id (required)",
    default: |_| String::new(),
    set: |args, value| value.number(0..=u64::MAX).map(|id| args.store_id = id),
};

#[test]
fn workdir_and_store_id_are_required_in_this_order() {
    let refused = |words: &[&str]| parse(words).unwrap().resolve().unwrap_err().line();
    assert_eq!(refused(&[]), "error: --workdir is required");
    assert_eq!(refused(&["--workdir", " ", "--store-id", "1"]), "error: --workdir is required");
    assert_eq!(refused(&["--workdir", "w", "--election-tick", "0"]), "error: --store-id is required");
    assert_eq!(refused(&["--config", "none"]), "error: --store-id is required");
}

const ADDR_FLAG: Flag<Args> = Flag {
    name: "addr",
    value: "HOST:PORT",
    help: "where to listen for the other stores; port 0 is any free one",
    default: |_| ADDR.to_owned(),
    set: |args, value| value.text().map(|text| args.addr = Some(text.trim().to_owned())),
};

const PD_ADDR: Flag<Args> = Flag {
    name: "pd-addr",
    value: "HOST:PORT",
    help: "the placement driver; blank or none: standalone",
    default: |_| String::new(),
    set: |args, value| value.text().map(|text| args.pd_addr = Some(text)),
};

const PEER: Flag<Args> = Flag {
    name: "peer",
    value: "ID=HOST:PORT",
    help: "another store; may be repeated, and needs --pd-addr",
    default: |_| String::new(),
    set: |args, value| match value.text()?.trim() {
        "" => Err("ID=HOST:PORT, not an empty value".to_owned()),
        text => {
            args.peers.push(text.to_owned());
            Ok(())
        }
    },
};

#[test]
fn a_peer_needs_a_placement_driver() {
    let line = "error: --pd-addr is required when --peer is configured";
    assert_eq!(resolve(&["--peer", "2=a:1"]).unwrap_err(), line);
    assert_eq!(resolve(&["--peer", "2=a:1", "--pd-addr", " "]).unwrap_err(), line);
    let settings = resolve(&["--peer", " 2=a:1 ", "--peer=x", "--pd-addr", " b:1 "]).unwrap();
    assert_eq!((settings.peers, settings.pd_addr), (vec!["2=a:1".to_owned(), "x".to_owned()], Some("b:1".to_owned())));
    assert!(resolve(&["--peer", " "]).unwrap_err().starts_with("error: invalid value \" \" for --peer"));
    assert_eq!(resolve(&[]).unwrap().addr, "127.0.0.1:20160");
}

const PD_TIMEOUT_FLAG: Flag<Args> = Flag {
    name: "pd-timeout",
    value: "TIME",
    help: "of one call, to the placement driver or another store; 2s unless above 0",
    default: |args| time::short(args.pd_timeout),
    set: |args, value| duration_of(value.text()?).map(|timeout| args.pd_timeout = timeout),
};

const HEARTBEAT_INTERVAL: Flag<Args> = Flag {
    name: "heartbeat-interval",
    value: "TIME",
    help: "between two rounds of heartbeats",
    default: |args| time::short(args.heartbeat_interval),
    set: |args, value| match duration_of(value.text()?)? {
        interval if interval < ROUND_MIN => Err(format!("at least {}", time::short(ROUND_MIN))),
        interval => {
            args.heartbeat_interval = interval;
            Ok(())
        }
    },
};

/// Reference: a plain 0 is one, and so is what is below it.
fn duration_of(text: String) -> Result<Duration, String> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |text| (true, text));
    let duration = if text == "0" { Some(Duration::ZERO) } else { time::read(text) };
    let duration = duration.ok_or("a time, as 2s, 500ms or 1m30s")?;
    Ok(if is_negative { Duration::ZERO } else { duration })
}

#[test]
fn a_timeout_that_is_not_above_0_is_the_default() {
    let timeout = |text: &str| resolve(&["--pd-timeout", text]).map(|settings| settings.call_timeout);
    assert_eq!(timeout("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(timeout("0"), Ok(Duration::from_secs(2)));
    assert_eq!(timeout("-3s"), Ok(Duration::from_secs(2)));
    assert!(timeout("2").unwrap_err().ends_with("--pd-timeout: expected a time, as 2s, 500ms or 1m30s"));
    let round = |text: &str| resolve(&["--heartbeat-interval", text]).map(|settings| settings.round);
    assert_eq!(round("50ms"), Ok(Duration::from_millis(50)));
    assert_eq!(round("1ms"), Ok(Duration::from_millis(1)));
    for short in ["0s", "1ns", "999us", "-3s"] {
        assert!(round(short).unwrap_err().contains("--heartbeat-interval: expected at least 1ms"), "{short}");
    }
}

const CONFIG: Flag<Args> = Flag {
    name: "config",
    value: "FILE",
    help: "a raft_config.json: first regions and their leaders, and what no flag says",
    default: |_| String::new(),
    set: |args, value| {
        args.config = value.path();
        Ok(())
    },
};

const SCOPE: Flag<Args> = Flag {
    name: "scope",
    value: "host|docker",
    help: "which of the file's addresses and workdirs count",
    default: |args| args.scope.clone(),
    set: |args, value| value.text().map(|text| args.scope = text),
};

#[test]
fn config_fills_in_what_no_flag_gives() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = br#"{"pd":{"addr":"p:1","docker_addr":"q:1"},"store_work_dir_template":"w{id}","stores":[
        {"store_id":1,"addr":"a:1","listen_addr":"l:1"},{"store_id":2,"addr":"b:2"},{"store_id":3}],
        "regions":[{"id":1,"start_key":"-","end_key":"hex:6d","leader_store_id":2,"peers":[{"store_id":2,"peer_id":9}]}]}"#;
    std::io::Write::write_all(&mut file.as_file(), config).unwrap();
    let path = file.path().to_str().unwrap();
    let resolve = |words: &[&str]| {
        let args = parse(&[&["--config", path, "--store-id", "1"], words].concat()).unwrap();
        args.resolve().map_err(|failure| failure.line())
    };
    let settings = resolve(&[]).unwrap();
    assert_eq!((settings.workdir, settings.addr.as_str()), ("w1".into(), "l:1"));
    assert_eq!((settings.pd_addr.as_deref(), settings.peers), (Some("p:1"), vec!["2=b:2".to_owned()]));
    let FirstRegion { region, leader } = &settings.regions[0];
    assert_eq!((region.start_key(), region.end_key(), *leader), (&b""[..], &b"m"[..], StoreId(2)));
    assert_eq!(resolve(&["--scope", "Docker"]).unwrap().pd_addr.as_deref(), Some("q:1"));
    let given = resolve(&["--peer", "7=c:7", "--addr", "", "--workdir", "v", "--pd-addr", "r:1"]).unwrap();
    assert_eq!((given.peers, given.addr.as_str(), given.workdir), (vec!["7=c:7".to_owned()], "", "v".into()));
    let alone = resolve(&["--pd-addr", ""]).unwrap();
    assert_eq!((alone.pd_addr, alone.peers.len()), (None, 0));
    assert!(resolve(&["--store-id", "9"]).unwrap_err().starts_with("error: store 9 is not in "));
    assert!(resolve(&["--scope", "cloud"]).unwrap_err().starts_with("error: invalid serve scope"));
    assert!(resolve(&["--config", "none"]).unwrap_err().starts_with("error: serve load config \"none\": "));
}

const ELECTION_TICK: Flag<Args> = Flag {
    name: "election-tick",
    value: "N",
    help: "must be above 0",
    default: |args| args.election_tick.to_string(),
    set: |args, value| whole_number(value.text()?).map(|tick| args.election_tick = tick),
};

const HEARTBEAT_TICK: Flag<Args> = Flag {
    name: "heartbeat-tick",
    value: "N",
    help: "must be above 0",
    default: |args| args.heartbeat_tick.to_string(),
    set: |args, value| whole_number(value.text()?).map(|tick| args.heartbeat_tick = tick),
};

const RAFT_MAX_MSG_BYTES: Flag<Args> = Flag {
    name: "raft-max-msg-bytes",
    value: "N",
    help: "a whole number",
    default: |_| (1 << 20).to_string(),
    set: |_, value| value.number::<u64>(0..=u64::MAX).map(drop),
};

const RAFT_MAX_INFLIGHT: Flag<Args> = Flag {
    name: "raft-max-inflight",
    value: "N",
    help: "a whole number",
    default: |_| 256.to_string(),
    set: |_, value| whole_number(value.text()?).map(drop),
};

const RAFT_TICK_INTERVAL: Flag<Args> = Flag {
    name: "raft-tick-interval",
    value: "TIME",
    help: "a time",
    default: |_| String::new(),
    set: |_, value| duration_of(value.text()?).map(drop),
};

const RAFT_DEBUG_LOG: Flag<Args> = Flag {
    name: "raft-debug-log",
    value: "[=true|false]",
    help: "a switch",
    default: |_| String::new(),
    set: |_, value| match value.text()?.as_str() {
        "" => Ok(()),
        _ => value.choice(&[("true", ()), ("false", ()), ("t", ()), ("f", ()), ("1", ()), ("0", ())]),
    },
};

fn whole_number(text: String) -> Result<i64, String> {
    text.parse().map_err(|_| "a whole number".to_owned())
}

#[test]
fn ticks_must_be_above_0_and_the_rest_of_the_data_plane_s_flags_only_well_formed() {
    let line = "error: heartbeat and election ticks must be > 0";
    assert_eq!(resolve(&["--election-tick", "0"]).unwrap_err(), line);
    assert_eq!(resolve(&["--heartbeat-tick", "-1", "--peer", "x"]).unwrap_err(), line, "before the peers");
    let words =
        ["--raft-max-msg-bytes=1", "-raft-max-inflight", "2", "--raft-tick-interval", "100ms", "--raft-debug-log"];
    assert!(resolve(&words).is_ok());
    assert!(resolve(&["--raft-debug-log=False", "--election-tick=1"]).is_ok());
    for wrong in
        ["--raft-max-msg-bytes=-1", "--raft-max-inflight=x", "--raft-tick-interval=1", "--raft-debug-log=maybe"]
    {
        assert!(resolve(&[wrong]).is_err(), "{wrong}");
    }
}

const LOG_LEVEL: Flag<Args> = Flag {
    name: "log-level",
    value: "LEVEL",
    help: "what is logged on stderr: off, error, warn, info (leaders that move) or debug",
    default: |args| args.log_level.as_str().to_ascii_lowercase(),
    set: |args, value| value.choice(&LEVELS).map(|level| args.log_level = level),
};
