//! The flags of `pd-lite bench`, each with its test.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::loads::{Kind, Load};
use crate::cli::ctl::form::Form;
use crate::cli::flags::{Flag, Group};
use crate::cli::{Exit, Failure, pd_addr, time};
use crate::client::ClientOptions;

/// The most that a server takes; a lower limit is the server's to tell.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Calls under way at once, of all clients.
const IN_FLIGHT_MAX: usize = 1 << 16;

/// A command line of any of the loads; each takes some of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    addr: Option<String>,
    timeout: Duration,
    /// Connections, each with a thread.
    pub clients: usize,
    /// Calls under way at once, of each client.
    pub concurrency: usize,
    /// Timestamps, keys or regions a call.
    pub batch: usize,
    /// As the command line says.
    regions: Option<u64>,
    /// Of a hundred heartbeats, how many change their region.
    pub changes: u64,
    pub keep: bool,
    /// Calls a second, of all clients; `None`: a closed loop.
    pub rate: Option<u64>,
    pub duration: Duration,
    pub warm_up: Duration,
    pub server_pid: Option<u32>,
    pub form: Form,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            addr: None,
            timeout: Duration::from_secs(2),
            clients: 1,
            concurrency: 64,
            batch: 1,
            regions: None,
            changes: 0,
            keep: false,
            rate: None,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            server_pid: None,
            form: Form::default(),
        }
    }
}

impl Args {
    /// How to reach the PD that the command line names, or else the environment.
    ///
    /// # Errors
    ///
    /// Exit code 2.
    pub fn client_options(&self) -> Result<ClientOptions, Failure> {
        let addr = pd_addr::resolve(self.addr.as_deref())?;
        Ok(ClientOptions { timeout: self.timeout, request_bytes_max: REQUEST_BYTES_MAX, ..ClientOptions::new(&addr) })
    }

    /// Calls under way at once, of all clients.
    pub fn in_flight(&self) -> usize {
        self.clients * self.concurrency
    }

    /// Refuses what no load can be made of.
    ///
    /// # Errors
    ///
    /// Exit code 2.
    pub fn check(&self, load: Load) -> Result<(), Failure> {
        let refused = |what: String| Err(Failure::new(Exit::Usage, what));
        if self.in_flight() > IN_FLIGHT_MAX {
            return refused(format!(
                "--clients times --concurrency must be at most {IN_FLIGHT_MAX}, not {}",
                self.in_flight()
            ));
        }
        if !load.makes(Kind::Heartbeat) {
            return Ok(());
        }
        let regions = self.regions(load);
        if regions == 0 {
            return refused("--regions must be at least 1: only the load's own regions are reported".to_owned());
        }
        let (needed, callers) = (self.regions_needed(load), self.in_flight());
        if regions < needed {
            let what = match self.batch {
                1 => format!("--changes needs a region for each of the {callers} calls under way"),
                batch => format!("--batch {batch} needs as many regions for each of the {callers} calls under way"),
            };
            return refused(format!(
                "{what}: --regions must be at least {needed}, not {regions}, or --concurrency lower"
            ));
        }
        Ok(())
    }

    /// Regions to be set up; 0: the server's own are taken. A command line that does not say gets as many as it needs.
    pub fn regions(&self, load: Load) -> u64 {
        self.regions.unwrap_or_else(|| REGIONS_USUAL.max(self.regions_needed(load)).min(REGIONS_MAX))
    }

    /// A caller that goes round fewer regions than a message has would name some of them twice in it, and a region that
    /// changes is one caller's.
    fn regions_needed(&self, load: Load) -> u64 {
        if !load.makes(Kind::Heartbeat) || (self.batch, self.changes) == (1, 0) {
            return 0;
        }
        u64::try_from(self.in_flight().saturating_mul(self.batch)).unwrap_or(u64::MAX)
    }
}

pub const PLACE: Group<Args> = Group { title: "Where", flags: &[ADDR, TIMEOUT] };
pub const LOAD: Group<Args> = Group { title: "Load", flags: &[CLIENTS, CONCURRENCY, BATCH, RATE, WARM_UP, DURATION] };
pub const LOOK_UP: Group<Args> = Group { title: "Regions", flags: &[REGIONS_OR_FOUND, KEEP] };
pub const REPORT: Group<Args> = Group { title: "Regions", flags: &[REGIONS, CHANGES, KEEP] };
pub const OUTPUT: Group<Args> = Group { title: "Output", flags: &[SERVER_PID, FORM] };

#[cfg(test)]
fn parse(words: &[&str]) -> Result<Args, String> {
    const ALL: crate::cli::flags::Command<Args> =
        crate::cli::flags::Command { name: "x", about: "", words: &[], groups: &[PLACE, LOAD, REPORT, OUTPUT] };
    ALL.given(words)
}

const ADDR: Flag<Args> = Flag {
    name: "addr",
    value: "HOST:PORT",
    help: "the PD, of any kind that serves pb.PD",
    default: |_| pd_addr::DEFAULT.to_owned(),
    set: |args, value| value.text().map(|addr| args.addr = Some(addr)),
};

const TIMEOUT: Flag<Args> = Flag {
    name: "timeout",
    value: "TIME",
    help: "how long a call may take, the wait for a connection included",
    default: |args| time::short(args.timeout),
    set: |args, value| time::read_within(&value.text()?, TIMES).map(|timeout| args.timeout = timeout),
};
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);

const CLIENTS: Flag<Args> = Flag {
    name: "clients",
    value: "N",
    help: "connections, each with a thread of its own",
    default: |args| args.clients.to_string(),
    set: |args, value| value.number(1..=1024).map(|clients| args.clients = clients),
};

const CONCURRENCY: Flag<Args> = Flag {
    name: "concurrency",
    value: "N",
    help: "calls under way at once, of each client",
    default: |args| args.concurrency.to_string(),
    set: |args, value| value.number(1..=65_536).map(|concurrency| args.concurrency = concurrency),
};

#[test]
fn calls_under_way_are_those_of_all_clients() {
    assert_eq!(parse(&[]).unwrap().in_flight(), 64);
    assert_eq!(parse(&["--clients", "3", "--concurrency", "5"]).unwrap().in_flight(), 15);
    let many = |concurrency| parse(&["--clients", "2", "--concurrency", concurrency]).unwrap().check(Load::Tso);
    assert_eq!(many("32768"), Ok(()));
    assert!(many("32769").unwrap_err().line().contains("must be at most 65536, not 65538"));
    for words in [["--clients", "0"], ["--clients", "1025"], ["--concurrency", "0"], ["--concurrency", "65537"]] {
        assert!(parse(&words).unwrap_err().contains("expected a decimal number from 1 to"), "{words:?}");
    }
}

const BATCH: Flag<Args> = Flag {
    name: "batch",
    value: "N",
    help: "timestamps, keys or regions a call; above 1, keys and regions need pdlite.v1",
    default: |args| args.batch.to_string(),
    set: |args, value| value.number(1..=1 << 20).map(|batch| args.batch = batch),
};

const RATE: Flag<Args> = Flag {
    name: "rate",
    value: "N",
    help: "calls a second, each timed from when it was due; without it each call follows the one before",
    default: |_| String::new(),
    set: |args, value| value.number(1..=100_000_000).map(|rate| args.rate = Some(rate)),
};

#[test]
fn batch_and_rate_are_numbers_above_0() {
    let args = parse(&["--batch", "1048576", "--rate", "7"]).unwrap();
    assert_eq!((args.batch, args.rate), (1 << 20, Some(7)));
    assert_eq!((parse(&[]).unwrap().batch, parse(&[]).unwrap().rate), (1, None));
    for words in [["--batch", "0"], ["--batch", "1048577"], ["--rate", "0"], ["--rate", "1.5"], ["--rate", "-1"]] {
        assert!(parse(&words).unwrap_err().contains("expected a decimal number from 1 to"), "{words:?}");
    }
}

const WARM_UP: Flag<Args> = Flag {
    name: "warm-up",
    value: "TIME",
    help: "calls before the figures count; their answers are checked all the same",
    default: |args| time::short(args.warm_up),
    set: |args, value| {
        let times = Duration::ZERO..=*TIMES.end();
        time::read_within(&value.text()?, times).map(|warm_up| args.warm_up = warm_up)
    },
};

const DURATION: Flag<Args> = Flag {
    name: "duration",
    value: "TIME",
    help: "how long the figures count, as 500ms or 1m30s; Ctrl-C ends it earlier",
    default: |args| time::short(args.duration),
    set: |args, value| time::read_within(&value.text()?, TIMES).map(|duration| args.duration = duration),
};

#[test]
fn times_have_a_unit_and_only_the_warm_up_may_be_none() {
    let args = parse(&["--duration", "1m30s", "--warm-up", "0s", "--timeout", "500ms"]).unwrap();
    assert_eq!((args.duration, args.warm_up), (Duration::from_secs(90), Duration::ZERO));
    assert_eq!(args.client_options().unwrap().timeout, Duration::from_millis(500));
    for words in [["--duration", "0s"], ["--duration", "10"], ["--timeout", "0s"], ["--warm-up", "-1s"]] {
        assert!(parse(&words).unwrap_err().contains("expected a time from"), "{words:?}");
    }
}

const REGIONS: Flag<Args> = Flag {
    name: "regions",
    value: "N",
    help: "regions to set up first; more by default where a --batch for each call under way takes more",
    default: |_| REGIONS_USUAL.to_string(),
    set: |args, value| value.number(0..=REGIONS_MAX).map(|regions| args.regions = Some(regions)),
};
const REGIONS_USUAL: u64 = 1000;
/// Their numbers have 24 bits.
const REGIONS_MAX: u64 = 10_000_000;

const REGIONS_OR_FOUND: Flag<Args> =
    Flag { help: "regions to set up first; 0: those that the PD has are looked up, and none is set up", ..REGIONS };

const CHANGES: Flag<Args> = Flag {
    name: "changes",
    value: "PERCENT",
    help: "of a hundred heartbeats, how many change their region",
    default: |args| args.changes.to_string(),
    set: |args, value| value.number(0..=100).map(|changes| args.changes = changes),
};

#[test]
fn a_load_that_reports_needs_regions_of_its_own() {
    let checked = |load, words: &[&str]| parse(words).unwrap().check(load).map_err(|failure| failure.line());
    assert_eq!(checked(Load::Route, &["--regions", "0"]), Ok(()));
    assert_eq!(checked(Load::Heartbeat, &["--regions", "1"]), Ok(()));
    for load in [Load::Heartbeat, Load::Mixed] {
        assert!(checked(load, &["--regions", "0"]).unwrap_err().contains("--regions must be at least 1"));
        assert!(checked(load, &["--regions", "63", "--changes", "1"]).unwrap_err().contains("at least 64, not 63"));
        assert_eq!(checked(load, &["--regions", "64", "--changes", "100"]), Ok(()));
    }
    assert!(parse(&["--changes", "101"]).is_err());
    assert!(parse(&["--regions", "10000001"]).is_err());
}

#[test]
fn a_batch_of_reports_needs_as_many_regions_for_each_call_under_way() {
    let checked = |load, regions, more: &[&str]| {
        let words = [&["--batch", "20", "--clients", "2", "--concurrency", "3", "--regions", regions], more].concat();
        parse(&words).unwrap().check(load).map_err(|failure| failure.line())
    };
    for more in [&[][..], &["--changes", "1"]] {
        for load in [Load::Heartbeat, Load::Mixed] {
            let line = checked(load, "119", more).unwrap_err();
            assert!(line.contains("--batch 20") && line.contains("6 calls under way"), "{line}");
            assert!(line.contains("--regions must be at least 120, not 119"), "{line}");
            assert_eq!(checked(load, "120", more), Ok(()));
        }
    }
    assert_eq!(checked(Load::Route, "1", &[]), Ok(()), "keys are drawn");
    for (words, regions) in
        [(&["--batch", "20"][..], 1280), (&["--batch", "2"], 1000), (&["--changes", "1", "--clients", "20"], 1280)]
    {
        let args = parse(words).unwrap();
        assert_eq!((args.regions(Load::Heartbeat), args.regions(Load::Route)), (regions, 1000), "{words:?}");
        assert_eq!(args.check(Load::Mixed), Ok(()), "{words:?}");
    }
    assert!(
        parse(&["--batch", "1048576"]).unwrap().check(Load::Heartbeat).unwrap_err().line().contains("not 10000000")
    );
}

const KEEP: Flag<Args> = Flag {
    name: "keep",
    value: "",
    help: "leave the regions in the PD when done",
    default: |_| String::new(),
    set: |args, _| {
        args.keep = true;
        Ok(())
    },
};

const SERVER_PID: Flag<Args> = Flag {
    name: "server-pid",
    value: "PID",
    help: "the PD's process on this machine: its CPU time a call is told",
    default: |_| String::new(),
    set: |args, value| value.number(1..=u64::from(u32::MAX)).map(|pid| args.server_pid = Some(pid)),
};

const FORM: Flag<Args> = Flag {
    name: "o",
    value: "text|json",
    help: "the form of the report",
    default: |_| "text".to_owned(),
    set: |args, value| Form::read(value).map(|form| args.form = form),
};

#[test]
fn keep_server_pid_and_o_are_taken() {
    let args = parse(&["--keep", "--server-pid", "17", "-o", "json"]).unwrap();
    assert_eq!((args.keep, args.server_pid, args.form), (true, Some(17), Form::Json));
    assert!(parse(&["--server-pid", "0"]).is_err() && parse(&["-o", "yaml"]).is_err());
}
