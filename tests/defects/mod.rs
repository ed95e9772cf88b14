//! The reference's known defects that concern the server: each is shown not to be here.
//!
//! ```text
//!  1  a huge count wraps a counter, and values are given twice             calls; the ends of u64: `u64_edges`
//!  2  start >= end is accepted, and may hide another region               calls; in a workdir: workdir
//!  3  without a usable CURRENT the manifest is emptied                    workdir
//!  4  a torn last record keeps the service from starting                  workdir
//!  5  an empty, `{}` or `null` PD_STATE.json starts over at 1             workdir
//!  6  nothing is synced                                                   the storage layer's own tests, over a disk that
//!                                                                         forgets what was not synced
//!  7  concurrent allocations leave the smaller value in the checkpoint    disk
//!  8  at checkpoint 2^64-1 that value is given at every start             workdir
//!  9  memory changes before the disk                                      disk
//! 10  a failed append leaves a part of a record                           disk
//! 11  heartbeats of one region reach the manifest in another order        disk
//! 12  two processes open one workdir                                      `exclusion`
//! 13  records have no checksum; damaged lengths crash the start           workdir
//! 14  a tombstone is served                                               workdir
//! 15  the port is open before the workdir is loaded; a stop waits long    calls
//! 16  an unchanged heartbeat is written again                             calls; the scan of all regions: the benches
//! 17  INTERNAL messages name file paths                                   disk
//! ```
//!
//! What is the command line's (18 to 20) is tested there; 21 is a gateway's.

mod calls;
mod disk;
mod workdir;

use std::path::Path;

use pd_lite::proto::pd::RegionMeta;

use crate::support::client::region;
use crate::support::{EXIT_DAMAGED, Launch, files};

/// A server refuses the workdir as damaged and leaves every file as it was.
#[track_caller]
pub fn is_refused_untouched(workdir: &Path) {
    let before = files(workdir);
    let exit = Launch::durable(workdir).refused();
    assert_eq!(exit.code, Some(EXIT_DAMAGED), "{exit:#?}");
    assert_eq!(files(workdir), before);
}

/// A server serves the workdir, takes a write, and serves it again after a kill.
#[track_caller]
pub fn opens_and_goes_on(workdir: &Path, regions: &[RegionMeta]) {
    let server = Launch::durable(workdir).start();
    let client = server.client();
    for region in regions {
        assert_eq!(client.lookup(&region.start_key).unwrap().as_ref(), Some(region));
    }
    let mut newest = region(999, b"\xf0", b"\xf1", 1);
    client.put(&newest).unwrap();
    server.kill();
    let server = Launch::durable(workdir).start();
    let client = server.client();
    for region in regions.iter().chain([&newest]) {
        assert_eq!(client.lookup(&region.start_key).unwrap().as_ref(), Some(region));
    }
    newest.epoch_version += 1;
    client.put(&newest).unwrap();
    server.stop();
}

pub fn three() -> Vec<RegionMeta> {
    vec![region(1, b"", b"d", 1), region(2, b"d", b"m", 2), region(3, b"m", b"p", 3)]
}

/// A workdir in our own form with the three regions, left by a clean stop, or by a kill.
pub fn own_workdir(clean: bool) -> tempfile::TempDir {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    client.alloc_id(5).unwrap();
    client.tso(5).unwrap();
    three().iter().for_each(|region| client.put(region).unwrap());
    if clean {
        server.stop()
    } else {
        server.kill()
    }
    workdir
}
