//! The flags of `pd-lite pd`, each with its test, and what they come to once the configuration file has been asked.

use std::path::{Path, PathBuf};

use log::LevelFilter;

use crate::cli::flags::{Command, Flag, Group};
use crate::cli::{Exit, Failure, REGION_PEERS_MAX};
use crate::config::{RaftConfig, Scope};
use crate::core::Limits;
use crate::embed::{Parts, issued_before};
use crate::server::ServerOptions;
use crate::service::RequestLimits;

const THREADS_MAX: u64 = 64;
/// A region of this and [`REGION_PEERS_MAX`] is well below a batch, the largest unit that the storage writes.
const KEY_BYTES_MAX: u64 = 128 << 10;
/// The transport's own limit in the reference.
const REQUEST_BYTES_MAX: u64 = 4 << 20;
const LEVELS: [(&str, LevelFilter); 5] = [
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
];

/// A command line.
#[derive(Clone, Debug)]
pub struct Args {
    /// `None`: not given, which is not the same as empty.
    addr: Option<String>,
    /// As above.
    workdir: Option<PathBuf>,
    /// Empty: none.
    config: PathBuf,
    scope: String,
    id_start: u64,
    ts_start: u64,
    threads: usize,
    limits: RequestLimits,
    request_bytes_max: usize,
    pub log_level: LevelFilter,
}

impl Default for Args {
    fn default() -> Self {
        let ServerOptions { threads, request_bytes_max, .. } = ServerOptions::default();
        Self {
            addr: None,
            workdir: None,
            config: PathBuf::new(),
            scope: Scope::Host.name().to_owned(),
            id_start: 1,
            ts_start: 1,
            threads,
            limits: RequestLimits::default(),
            request_bytes_max,
            log_level: LevelFilter::Warn,
        }
    }
}

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    pub server: ServerOptions,
    pub parts: Parts,
}

impl Args {
    /// Fills in what the command line leaves open. Reference: a flag that was given, even empty, beats the configuration file
    /// (read with `--scope`, which is not looked at otherwise), and that beats the default.
    ///
    /// # Errors
    ///
    /// Exit code 2: the configuration cannot be read or is not valid, or the scope is unknown.
    pub fn resolve(self) -> Result<Settings, Failure> {
        let (mut addr, mut workdir) = (self.addr, self.workdir);
        if !self.config.as_os_str().is_empty() {
            let (scope, config) = load(&self.config, &self.scope)?;
            let pd = config.pd.unwrap_or_default();
            let given = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
            addr = addr.or_else(|| given(pd.addr(scope)));
            workdir = workdir.or_else(|| given(pd.work_dir(scope)).map(PathBuf::from));
        }
        Ok(Settings {
            server: ServerOptions {
                addr: addr.unwrap_or_else(default_addr),
                threads: self.threads,
                request_bytes_max: self.request_bytes_max,
            },
            parts: Parts {
                workdir: workdir.filter(|workdir| !workdir.as_os_str().is_empty()),
                issued_min: Limits { ids: issued_before(self.id_start), timestamps: issued_before(self.ts_start) },
                limits: self.limits,
                clock: None,
            },
        })
    }
}

fn default_addr() -> String {
    ServerOptions::default().addr
}

fn load(path: &Path, scope: &str) -> Result<(Scope, RaftConfig), Failure> {
    let failure = |message: String| Failure::new(Exit::Usage, message);
    let config = RaftConfig::load(path).map_err(|error| failure(format!("pd load config {path:?}: {error}")))?;
    config.validate().map_err(|error| failure(format!("pd validate config {path:?}: {error}")))?;
    let scope =
        Scope::parse(scope).ok_or_else(|| failure(format!("invalid pd scope {scope:?} (expected host|docker)")))?;
    Ok((scope, config))
}

/// `pd-lite pd`.
pub const COMMAND: Command<Args> = Command {
    name: "pd-lite pd",
    about: "Serves as the placement driver of a cluster until SIGTERM or SIGINT. A second signal ends it at once.",
    words: &[],
    groups: &[
        Group { title: "Address", flags: &[ADDR, THREADS] },
        Group { title: "Data", flags: &[WORKDIR, ID_START, TS_START] },
        Group { title: "Configuration file (a flag that is given, even empty, comes first)", flags: &[CONFIG, SCOPE] },
        Group { title: "Limits of a request", flags: &[MAX_KEY_BYTES, MAX_PEERS, MAX_COUNT, MAX_REQUEST_BYTES] },
        Group { title: "Log", flags: &[LOG_LEVEL] },
    ],
};

#[cfg(test)]
fn parse(words: &[&str]) -> Result<Args, String> {
    COMMAND.given(words)
}

#[cfg(test)]
fn resolve(words: &[&str]) -> Settings {
    parse(words).unwrap().resolve().unwrap()
}

const ADDR: Flag<Args> = Flag {
    name: "addr",
    value: "HOST:PORT",
    help: "where to listen; \":2379\" is every address, port 0 any free one",
    default: |_| default_addr(),
    set: |args, value| value.text().map(|text| args.addr = Some(text.trim().to_owned())),
};

#[test]
fn addr_has_the_reference_s_default_and_may_be_given_empty() {
    assert_eq!(resolve(&[]).server.addr, "127.0.0.1:2379");
    assert_eq!(resolve(&["--addr=:0"]).server.addr, ":0");
    assert_eq!(resolve(&["-addr", ""]).server.addr, "");
}

const THREADS: Flag<Args> = Flag {
    name: "threads",
    value: "N",
    help: "threads that serve calls; one for two cores is fastest",
    default: |args| args.threads.to_string(),
    set: |args, value| value.number(1..=THREADS_MAX).map(|threads| args.threads = threads),
};

#[test]
fn threads_are_at_least_one() {
    assert!(resolve(&[]).server.threads >= 1);
    assert_eq!(resolve(&["--threads", "3"]).server.threads, 3);
    assert!(parse(&["--threads", "0"]).unwrap_err().ends_with("--threads: expected a decimal number from 1 to 64"));
    assert!(parse(&["--threads", "65"]).is_err());
}

const WORKDIR: Flag<Args> = Flag {
    name: "workdir",
    value: "DIR",
    help: "where everything is kept, created when missing; empty or none: in memory",
    default: |_| String::new(),
    set: |args, value| {
        args.workdir = Some(value.path());
        Ok(())
    },
};

#[test]
fn a_workdir_of_blanks_is_none() {
    assert_eq!(resolve(&[]).parts.workdir, None);
    assert_eq!(resolve(&["--workdir", " "]).parts.workdir, None);
    assert_eq!(resolve(&["--workdir", " /a b "]).parts.workdir, Some(PathBuf::from("/a b")));
}

const ID_START: Flag<Args> = Flag {
    name: "id-start",
    value: "N",
    help: "the first id, unless the workdir is further already; 0 is taken as 1",
    default: |args| args.id_start.to_string(),
    set: |args, value| value.number(0..=u64::MAX).map(|start| args.id_start = start),
};

#[test]
fn id_start_leaves_out_all_lower_ids() {
    for (start, issued) in [("0", 0), ("1", 0), ("7", 6), ("18446744073709551615", u64::MAX - 1)] {
        let expected = Limits { ids: issued, timestamps: 0 };
        assert_eq!(resolve(&["--id-start", start]).parts.issued_min, expected);
    }
    assert!(parse(&["--id-start", "many"]).is_err());
}

const TS_START: Flag<Args> = Flag {
    name: "ts-start",
    value: "N",
    help: "the same for timestamps",
    default: |args| args.ts_start.to_string(),
    set: |args, value| value.number(0..=u64::MAX).map(|start| args.ts_start = start),
};

#[test]
fn ts_start_leaves_out_all_lower_timestamps() {
    assert_eq!(resolve(&["-ts-start=1000"]).parts.issued_min, Limits { ids: 0, timestamps: 999 });
    assert!(parse(&["--ts-start", "-1"]).is_err());
}

const CONFIG: Flag<Args> = Flag {
    name: "config",
    value: "FILE",
    help: "a raft_config.json that names address and workdir",
    default: |_| String::new(),
    set: |args, value| {
        args.config = value.path();
        Ok(())
    },
};

#[test]
fn config_fills_in_what_no_flag_gives() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file.as_file(), br#"{"pd":{"addr":"a:1","work_dir":"w"}}"#).unwrap();
    let path = file.path().to_str().unwrap();
    let settings = |words: &[&str]| {
        let settings = resolve(&[&["--config", path], words].concat());
        (settings.server.addr, settings.parts.workdir)
    };
    let workdir = || Some(PathBuf::from("w"));
    assert_eq!(settings(&[]), ("a:1".to_owned(), workdir()));
    assert_eq!(settings(&["--addr", "b:2"]), ("b:2".to_owned(), workdir()));
    assert_eq!(settings(&["--addr", "", "--workdir", ""]), (String::new(), None));
    assert_eq!(resolve(&["--config", " "]).server.addr, default_addr());
}

const SCOPE: Flag<Args> = Flag {
    name: "scope",
    value: "host|docker",
    help: "which of the file's addresses and workdirs count",
    default: |args| args.scope.clone(),
    set: |args, value| value.text().map(|text| args.scope = text),
};

#[test]
fn scope_is_looked_at_with_a_configuration_only() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file.as_file(), br#"{"pd":{"addr":"a:1","docker_addr":"b:2"}}"#).unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(resolve(&["--scope", "cloud"]).server.addr, default_addr());
    assert_eq!(resolve(&["--config", path, "--scope", " Docker "]).server.addr, "b:2");
    let failure = parse(&["--config", path, "--scope", "cloud"]).unwrap().resolve().unwrap_err();
    assert_eq!(failure.line(), r#"error: invalid pd scope "cloud" (expected host|docker)"#);
    assert_eq!(failure.exit, Exit::Usage);
}

const MAX_KEY_BYTES: Flag<Args> = Flag {
    name: "max-key-bytes",
    value: "N",
    help: "longest border of a region; a request holds two: --max-request-bytes may have to grow too",
    default: |args| args.limits.key_bytes_max.to_string(),
    set: |args, value| value.number(1..=KEY_BYTES_MAX).map(|bytes| args.limits.key_bytes_max = bytes),
};

#[test]
fn max_key_bytes_has_bounds() {
    assert_eq!(resolve(&[]).parts.limits.key_bytes_max, 4096);
    assert_eq!(resolve(&["--max-key-bytes", "131072"]).parts.limits.key_bytes_max, 131_072);
    assert!(parse(&["--max-key-bytes", "0"]).is_err());
    assert!(parse(&["--max-key-bytes", "131073"]).is_err());
}

const MAX_PEERS: Flag<Args> = Flag {
    name: "max-peers",
    value: "N",
    help: "most peers of a region",
    default: |args| args.limits.peers_max.to_string(),
    set: |args, value| value.number(1..=REGION_PEERS_MAX).map(|peers| args.limits.peers_max = peers),
};

#[test]
fn max_peers_has_bounds() {
    assert_eq!(resolve(&[]).parts.limits.peers_max, 64);
    assert_eq!(resolve(&["--max-peers", "4096"]).parts.limits.peers_max, 4096);
    assert!(parse(&["--max-peers", "0"]).is_err());
    assert!(parse(&["--max-peers", "4097"]).is_err());
}

#[test]
fn a_region_at_both_limits_fits_into_a_batch() {
    use crate::core::{Epoch, Peer, PeerId, Region, RegionId, StoreId};
    use crate::storage::record::{self, BATCH_LEN_MAX, COMMIT_LEN, RegionState};

    let key = vec![0xff; usize::try_from(KEY_BYTES_MAX).unwrap()];
    let peer = Peer { store_id: StoreId(u64::MAX), peer_id: PeerId(u64::MAX) };
    let peers = std::iter::repeat_n(peer, usize::try_from(REGION_PEERS_MAX).unwrap());
    let epoch = Epoch { version: u64::MAX, conf_version: u64::MAX };
    let mut record = Vec::new();
    record::push_put(&mut record, &Region::new(RegionId(u64::MAX), &key, &key, epoch, peers), RegionState::Plain, true);
    assert!(record.len() + COMMIT_LEN <= BATCH_LEN_MAX);
}

const MAX_COUNT: Flag<Args> = Flag {
    name: "max-count",
    value: "N",
    help: "most ids or timestamps in one call",
    default: |args| args.limits.count_max.to_string(),
    set: |args, value| value.number(1..=u64::MAX).map(|count| args.limits.count_max = count),
};

#[test]
fn max_count_is_at_least_one() {
    assert_eq!(resolve(&[]).parts.limits.count_max, 1 << 20);
    assert_eq!(resolve(&["--max-count", "18446744073709551615"]).parts.limits.count_max, u64::MAX);
    assert!(parse(&["--max-count", "0"]).is_err());
}

const MAX_REQUEST_BYTES: Flag<Args> = Flag {
    name: "max-request-bytes",
    value: "N",
    help: "longest request",
    default: |args| args.request_bytes_max.to_string(),
    set: |args, value| value.number(1..=REQUEST_BYTES_MAX).map(|bytes| args.request_bytes_max = bytes),
};

#[test]
fn max_request_bytes_has_bounds() {
    assert_eq!(resolve(&[]).server.request_bytes_max, 65_536);
    assert_eq!(resolve(&["--max-request-bytes", "4194304"]).server.request_bytes_max, 4 << 20);
    assert!(parse(&["--max-request-bytes", "0"]).is_err());
    assert!(parse(&["--max-request-bytes", "4194305"]).is_err());
}

const LOG_LEVEL: Flag<Args> = Flag {
    name: "log-level",
    value: "LEVEL",
    help: "what is logged on stderr: off, error, warn, info or debug",
    default: |args| args.log_level.as_str().to_ascii_lowercase(),
    set: |args, value| value.choice(&LEVELS).map(|level| args.log_level = level),
};

#[test]
fn log_level_is_one_of_the_named() {
    assert_eq!(parse(&[]).unwrap().log_level, LevelFilter::Warn);
    assert_eq!(parse(&["--log-level", "INFO"]).unwrap().log_level, LevelFilter::Info);
    assert!(parse(&["--log-level", "loud"]).unwrap_err().ends_with("expected one of off|error|warn|info|debug"));
}
