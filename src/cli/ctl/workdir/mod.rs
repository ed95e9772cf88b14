//! `pd-lite ctl workdir`: looks at and repairs a workdir that no server has open.

mod args;
mod show;

use self::args::{Args, COUNTERS, PLACE, PLACE_AND_FORM, PLACE_FORM_AND_KEYS};
use crate::cli::flags::Command;
use crate::cli::menu::{Entry, Menu, Misuse};
use crate::cli::{Exit, Failure, print};
use crate::storage::offline;

/// The commands behind `pd-lite ctl workdir`.
pub const COMMANDS: Menu = Menu {
    name: "pd-lite ctl workdir",
    about: "Looks at and repairs a workdir that no server has open.",
    entries: &[
        Entry { name: "check", about: "tell whether a server would start on it", run: |words| CHECK.run(words, check) },
        Entry { name: "dump", about: "print its regions and counters", run: |words| DUMP.run(words, dump) },
        Entry {
            name: "set-min",
            about: "raise the counters after a disaster",
            run: |words| SET_MIN.run(words, set_min),
        },
        Entry {
            name: "rebuild",
            about: "move a damaged manifest aside and start an empty one",
            run: |words| REBUILD.run(words, rebuild),
        },
    ],
    notes: "check and dump change nothing.\n",
    misuse: Misuse::ErrorLine,
};

const CHECK: Command<Args> = Command {
    name: "pd-lite ctl workdir check",
    about: "Reads a workdir as a server does at its start, and tells what it finds. Changes nothing.\n\
            Exit code 0: a server would start; 4: it is damaged.",
    words: &[],
    groups: &[PLACE_AND_FORM],
};

const DUMP: Command<Args> = Command {
    name: "pd-lite ctl workdir dump",
    about: "Prints a workdir's regions by ascending id, and what check prints in front of them. Changes nothing.\n\
            A line a region: id, start key, end key, version, conf version, store:peer list; - is none.\n\
            A key that is not plain text, or is -, is hex:<its bytes>; in JSON each key is the hexadecimal of its bytes.",
    words: &[],
    groups: &[PLACE_FORM_AND_KEYS],
};

const SET_MIN: Command<Args> = Command {
    name: "pd-lite ctl workdir set-min",
    about: "Raises a workdir's counters, so that no id and no timestamp is given out twice. Lowers none.\n\
            Where the checkpoint is lost, both values are needed: each above everything that may have been given out.",
    words: &[],
    groups: &[PLACE, COUNTERS],
};

const REBUILD: Command<Args> = Command {
    name: "pd-lite ctl workdir rebuild",
    about: "Moves a damaged manifest aside (to *.broken) and starts an empty one. The counters go on.\n\
            The routes come back with the stores' next heartbeats. Does nothing where nothing is damaged.",
    words: &[],
    groups: &[PLACE],
};

fn check(args: Args) -> Result<Exit, Failure> {
    let report = offline::check(args.workdir()?)?;
    print(&show::report(&report, args.form))?;
    // Its text is on stdout already.
    Ok(if report.usable { Exit::Clean } else { Exit::Damaged })
}

fn dump(args: Args) -> Result<Exit, Failure> {
    let dump = offline::dump(args.workdir()?)?;
    print(&show::dump(&dump, args.form, args.hex)).map(|()| Exit::Clean)
}

fn set_min(args: Args) -> Result<Exit, Failure> {
    let workdir = args.workdir()?;
    if args.id_min.is_none() && args.ts_min.is_none() {
        return Err(Failure::new(Exit::Usage, "one of --id-min and --ts-min is required"));
    }
    let raised = offline::set_min(workdir, args.id_min, args.ts_min)?;
    print(&show::raised(raised)).map(|()| Exit::Clean)
}

fn rebuild(args: Args) -> Result<Exit, Failure> {
    let rebuilt = offline::rebuild(args.workdir()?)?;
    print(&show::rebuilt(rebuilt.as_ref())).map(|()| Exit::Clean)
}
