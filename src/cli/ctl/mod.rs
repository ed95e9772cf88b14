//! `pd-lite ctl`: looks at a running placement driver ([`online`]), and at a workdir that no server has open ([`workdir`]).

pub(super) mod form;
mod online;
mod regions;
mod workdir;

use super::menu::{Entry, Menu, Misuse};

/// The commands behind `pd-lite ctl`.
pub const COMMANDS: Menu = Menu {
    name: "pd-lite ctl",
    about: "Looks at a running placement driver, and at workdirs.",
    entries: &[
        Entry { name: "status", about: "version, counts, counters and limits", run: online::status },
        Entry {
            name: "region",
            about: "find, list or remove regions",
            run: |words| online::REGION_COMMANDS.run(words),
        },
        Entry {
            name: "store",
            about: "list the stores with their last numbers",
            run: |words| online::STORE_COMMANDS.run(words),
        },
        Entry { name: "tso", about: "take timestamps", run: online::tso },
        Entry { name: "alloc-id", about: "take ids", run: online::alloc_id },
        Entry {
            name: "workdir",
            about: "check, print or repair a workdir that no server has open",
            run: |words| workdir::COMMANDS.run(words),
        },
    ],
    notes: online::NOTES,
    misuse: Misuse::ErrorLine,
};
