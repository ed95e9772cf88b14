//! `pd-lite bench`: a load on any server of `pb.PD`, measured and checked.
//!
//! The order of a run: the PD has to answer, the regions are set up, the load runs, the report is printed, the regions go.
//! Lines about how it goes are for stderr; stdout gets the report alone.
//!
//! Threads: one a client, on which its calls start and end; `bench-pacer`, where calls have a rate; and the caller's.

mod args;
mod catalog;
mod checks;
mod cpu;
mod loads;
mod report;
mod run;
mod schedule;
mod tally;

use std::io::{self, Write};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use self::args::{Args, LOAD, LOOK_UP, OUTPUT, PLACE, REPORT};
use self::catalog::Catalog;
use self::cpu::ProcessCpu;
use self::loads::{Kind, Load};
use self::report::Report;
use super::flags::Command;
use super::menu::{Entry, Menu, Misuse};
use super::signals::StopSignals;
use super::{Exit, Failure, print};
use crate::client::bare::heartbeats_len;
use crate::client::{Client, Error};

/// How the commands end.
macro_rules! exit_codes {
    () => {
        "Exit code 0: measured, and every check held; 1: a check failed, no call was answered, or the PD refuses or lacks\n\
         what the load needs; 2: a wrong command line; 6: no PD answered before the load began, or to remove its regions."
    };
}

/// The commands behind `pd-lite bench`.
pub const COMMANDS: Menu = Menu {
    name: "pd-lite bench",
    about: "Loads a placement driver of any kind, and measures and checks its answers.",
    entries: &[
        Entry { name: "tso", about: "take timestamps", run: |words| TSO.run(words, |args| bench(Load::Tso, &args)) },
        Entry {
            name: "route",
            about: "look up the regions of keys",
            run: |words| ROUTE.run(words, |args| bench(Load::Route, &args)),
        },
        Entry {
            name: "heartbeat",
            about: "report regions",
            run: |words| HEARTBEAT.run(words, |args| bench(Load::Heartbeat, &args)),
        },
        Entry {
            name: "mixed",
            about: "of ten calls: six take timestamps, three look up a key, one reports a region",
            run: |words| MIXED.run(words, |args| bench(Load::Mixed, &args)),
        },
    ],
    notes: concat!(
        "Without --rate each of the calls under way follows the one before it (closed loop). With it each call has a time at\n\
         which it is due, and its latency counts from then, sent or not (open loop): what waits while the PD stalls counts.\n\
         A call that times out counts with the time that it took; one that fails otherwise is in no percentile.\n\
         Regions that a load sets up have keys and ids of their own, and are removed at its end unless --keep is given.\n",
        exit_codes!(),
        "\n"
    ),
    misuse: Misuse::ErrorLine,
};

const TSO: Command<Args> = Command {
    name: "pd-lite bench tso",
    about: concat!(
        "Takes timestamps, --batch of them a call. Checks that none is given out twice, and that each is above all that\n\
         were answered before its call began.\n",
        exit_codes!()
    ),
    words: &[],
    groups: &[PLACE, LOAD, OUTPUT],
};

const ROUTE: Command<Args> = Command {
    name: "pd-lite bench route",
    about: concat!(
        "Looks up keys drawn from all regions. Checks that the region found holds the key.\n",
        exit_codes!()
    ),
    words: &[],
    groups: &[PLACE, LOAD, LOOK_UP, OUTPUT],
};

const HEARTBEAT: Command<Args> = Command {
    name: "pd-lite bench heartbeat",
    about: concat!(
        "Reports regions, one after the other. They are as the PD knows them, but for the share that --changes gives a new\n\
         conf version.\n",
        exit_codes!()
    ),
    words: &[],
    groups: &[PLACE, LOAD, REPORT, OUTPUT],
};

const MIXED: Command<Args> = Command {
    name: "pd-lite bench mixed",
    about: concat!(
        "Of ten calls six take timestamps, three look up a key, and one reports a region; checked as by tso and route.\n",
        exit_codes!()
    ),
    words: &[],
    groups: &[PLACE, LOAD, REPORT, OUTPUT],
};

fn bench(load: Load, args: &Args) -> Result<Exit, Failure> {
    args.check(load)?;
    let options = args.client_options()?;
    let client = Client::new(options.clone())?;
    let signals = StopSignals::install()
        .map_err(|error| Failure::new(Exit::Runtime, format!("cannot handle signals: {error}")))?;
    let server =
        args.server_pid.map(ProcessCpu::of).transpose().map_err(|reason| {
            Failure::new(Exit::Usage, format!("{reason}: --server-pid is the PD's, on this machine"))
        })?;
    client.wait_for_connection()?;
    let stop = signals.begin_serving();
    let catalog = Arc::new(prepare(load, args, &client, stop)?);

    let measured = run::run(load, args, &options, &catalog, server.as_ref(), stop);
    let printed = measured.as_ref().map(|measured| {
        let addr = options.addrs.join(",");
        print(&Report::new(load, args, &addr, catalog.len(), measured, server.as_ref()).text(args, load))
    });
    let removed = clean_up(args, &client, &catalog);
    printed.map_err(Clone::clone)??;
    let measured = measured?;
    if measured.tally.wrong().count > 0 {
        return Err(Failure::new(
            Exit::Runtime,
            format!("a check failed {} times: {}", measured.tally.wrong().count, measured.tally.wrong().first),
        ));
    }
    if let Some(reason) = measured.why_no_answer(args.rate) {
        return Err(Failure::new(Exit::Runtime, format!("no call was answered: {reason}")));
    }
    removed.map(|()| Exit::Clean)
}

/// Sees to it that the PD can take the load, and sets the regions up.
fn prepare(load: Load, args: &Args, client: &Client, stop: &Receiver<&'static str>) -> Result<Catalog, Failure> {
    let limits = match client.status() {
        Ok(status) => Some(status.limits),
        Err(Error::Unsupported { addr, .. }) => {
            if args.batch > 1 && (load.makes(Kind::Route) || load.makes(Kind::Heartbeat)) {
                let call = "a --batch above 1 of keys or regions";
                return Err(Error::Unsupported { addr, call }.into());
            }
            None
        }
        Err(error) => return Err(error.into()),
    };
    let batch = u64::try_from(args.batch).unwrap_or(u64::MAX);
    if let Some(limits) = limits
        && load.makes(Kind::Tso)
        && batch > limits.count
    {
        let reason = format!("--batch is {batch}, and the PD takes {} timestamps a call (--max-count)", limits.count);
        return Err(Failure::new(Exit::Runtime, reason));
    }
    if let Some(limits) = limits
        && load.makes(Kind::Heartbeat)
    {
        let len = u64::try_from(heartbeats_len(&[catalog::longest_region()])).unwrap_or(u64::MAX).saturating_mul(batch);
        if limits.request_bytes > 0 && len > limits.request_bytes {
            let reason = format!(
                "--batch {batch} makes messages of up to {len} bytes, and the PD takes {} (--max-request-bytes)",
                limits.request_bytes
            );
            return Err(Failure::new(Exit::Runtime, reason));
        }
    }
    if load.makes(Kind::Route) || load.makes(Kind::Heartbeat) {
        Catalog::set_up(client, args.regions(load), stop)
    } else {
        Ok(Catalog::None)
    }
}

/// Removes the regions that were set up, unless they are to stay.
fn clean_up(args: &Args, client: &Client, catalog: &Catalog) -> Result<(), Failure> {
    let Catalog::Own(own) = catalog else { return Ok(()) };
    if args.keep {
        tell(&format!("the regions stay in the PD; their keys begin with {}", own.prefix()));
        return Ok(());
    }
    own.remove_all(client).map_err(|error| {
        let text = format!("regions whose keys begin with {} are left in the PD: {error}", own.prefix());
        Failure::new(Failure::from(error).exit, text)
    })
}

/// Says how it goes. A stderr that is closed is no reason to stop.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
