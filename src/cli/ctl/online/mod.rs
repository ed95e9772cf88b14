//! The commands that ask a running PD: `status`, `region`, `store`, `tso`, `alloc-id`.

mod args;
mod show;

use self::args::{Args, COUNTS, ID, KEY, LIST, OUTPUT, OUTPUT_AND_KEYS, PLACE, SCAN};
use crate::cli::flags::Command;
use crate::cli::menu::{Entry, Menu, Misuse};
use crate::cli::{Exit, Failure, Words, keys, print};
use crate::core::RegionId;

/// How the commands end.
macro_rules! exit_codes {
    () => {
        "Exit code 0: done; 1: the PD refuses, or has no such thing; 2: a wrong command line; 6: no answer in time."
    };
}

/// For the menus above these commands.
pub const NOTES: &str =
    concat!("All but workdir ask the PD at --addr, or PD_ADDR in the environment.\n", exit_codes!(), "\n");

pub const REGION_COMMANDS: Menu = Menu {
    name: "pd-lite ctl region",
    about: "Finds, lists or removes regions of a running placement driver.",
    entries: &[
        Entry { name: "get", about: "print the region that holds a key", run: |words| GET.run(words, get) },
        Entry { name: "list", about: "print all regions", run: |words| LIST_ALL.run(words, scan) },
        Entry { name: "scan", about: "print the regions of a range of keys", run: |words| SCAN_RANGE.run(words, scan) },
        Entry { name: "remove", about: "make the PD forget a region", run: |words| REMOVE.run(words, remove) },
    ],
    notes: concat!(exit_codes!(), "\n"),
    misuse: Misuse::ErrorLine,
};

pub const STORE_COMMANDS: Menu = Menu {
    name: "pd-lite ctl store",
    about: "Lists the stores of a running placement driver.",
    entries: &[Entry {
        name: "list",
        about: "print the stores that it has heard since its start",
        run: |words| STORES.run(words, stores),
    }],
    notes: concat!(exit_codes!(), "\n"),
    misuse: Misuse::ErrorLine,
};

const STATUS: Command<Args> = Command {
    name: "pd-lite ctl status",
    about: concat!(
        "Prints what a PD tells of itself: version, durability, counts, counters and limits.\n",
        exit_codes!()
    ),
    words: &[],
    groups: &[PLACE, OUTPUT],
};

const GET: Command<Args> = Command {
    name: "pd-lite ctl region get",
    about: concat!("Prints the region that holds a key.\n", exit_codes!()),
    words: &[KEY],
    groups: &[PLACE, OUTPUT_AND_KEYS],
};

const LIST_ALL: Command<Args> = Command {
    name: "pd-lite ctl region list",
    about: concat!(
        "Prints all regions in key order: id, start key, end key, epoch (version/conf version), store:peer list.\n\
         - is none; a key that is not plain text is hex:<its bytes>.\n",
        exit_codes!()
    ),
    words: &[],
    groups: &[PLACE, LIST, OUTPUT_AND_KEYS],
};

const SCAN_RANGE: Command<Args> = Command {
    name: "pd-lite ctl region scan",
    about: concat!(
        "Prints the regions that share a key with a range, in key order, as list does.\n\
         A KEY is text, or hex:6d00; - is no border.\n",
        exit_codes!()
    ),
    words: &[],
    groups: &[PLACE, SCAN, OUTPUT_AND_KEYS],
};

const REMOVE: Command<Args> = Command {
    name: "pd-lite ctl region remove",
    about: concat!("Makes the PD forget a region, until a store that still holds it reports it anew.\n", exit_codes!()),
    words: &[ID],
    groups: &[PLACE, OUTPUT],
};

const STORES: Command<Args> = Command {
    name: "pd-lite ctl store list",
    about: concat!("Prints the stores that a PD has heard since its start, with their last numbers.\n", exit_codes!()),
    words: &[],
    groups: &[PLACE, OUTPUT],
};

const TSO: Command<Args> = Command {
    name: "pd-lite ctl tso",
    about: concat!("Takes timestamps and prints them: 7, or 7..11 for five of them.\n", exit_codes!()),
    words: &[],
    groups: &[PLACE, COUNTS, OUTPUT],
};

const ALLOC_ID: Command<Args> = Command {
    name: "pd-lite ctl alloc-id",
    about: concat!("Takes ids and prints them: 7, or 7..11 for five of them.\n", exit_codes!()),
    words: &[],
    groups: &[PLACE, COUNTS, OUTPUT],
};

pub fn status(words: Words) -> Result<Exit, Failure> {
    STATUS.run(words, |args| done(&show::status(&args.client()?.status()?, args.form)))
}

pub fn tso(words: Words) -> Result<Exit, Failure> {
    TSO.run(words, |args| done(&show::timestamps(&args.client()?.get_ts_batch(args.count)?, args.form)))
}

pub fn alloc_id(words: Words) -> Result<Exit, Failure> {
    ALLOC_ID.run(words, |args| done(&show::ids(&args.client()?.alloc_id(args.count)?, args.form)))
}

fn get(args: Args) -> Result<Exit, Failure> {
    let key = args.key()?;
    let found = args.client()?.region_by_key(&key)?;
    let region = found.ok_or_else(|| {
        Failure::new(Exit::Runtime, format!("no region holds the key {}", keys::text(&key, args.hex)))
    })?;
    done(&show::region(&region, args.form, args.hex))
}

fn scan(args: Args) -> Result<Exit, Failure> {
    let (start, end) = args.range()?;
    let regions = args.client()?.scan_regions(&start, &end, args.limit)?;
    done(&show::regions(&regions, args.form, args.hex))
}

fn remove(args: Args) -> Result<Exit, Failure> {
    let id = RegionId(args.id);
    if !args.client()?.remove_region(id)? {
        return Err(Failure::new(Exit::Runtime, format!("the PD knows no region {id}")));
    }
    done(&show::removed(id, args.form))
}

fn stores(args: Args) -> Result<Exit, Failure> {
    done(&show::stores(&args.client()?.stores()?, args.form))
}

fn done(text: &str) -> Result<Exit, Failure> {
    print(text).map(|()| Exit::Clean)
}
