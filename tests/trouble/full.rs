//! A full disk: changes and what is above the counters' limits are refused, everything else goes on, and writing resumes by
//! itself once there is room.

use grpcio::RpcStatusCode;
use pd_lite::proto::pdlite::{Durability, GetStatusRequest};
use pd_lite::proto::pdlite_methods;

use super::{LONG, Ledger, is_refused};
use crate::support::{Client, EXIT_DISK, SmallDisk, files};

fn durability(client: &Client) -> Durability {
    let status = client.call(&pdlite_methods::GET_STATUS, &GetStatusRequest::default()).unwrap();
    status.durability.unwrap()
}

/// Stores regions until the disk is full, to the last byte that a change can use.
fn fill(disk: &SmallDisk, client: &Client, ledger: &mut Ledger) {
    disk.fill_but(4);
    for padding in [LONG, 0] {
        // A small change may still fit where a large one does not.
        let failure = loop {
            if let Err(failure) = ledger.put(client, padding) {
                break failure;
            }
        };
        is_refused(Err::<(), _>(failure));
    }
}

#[test]
fn a_full_disk_refuses_what_needs_it_serves_the_rest_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::new() else { return };
    let server = disk.launch().start();
    let client = server.client();
    let mut ledger = Ledger::default();
    ledger.check(&client);
    for _ in 0..3 {
        fill(&disk, &client, &mut ledger);
        assert_eq!(durability(&client), Durability::DURABILITY_NO_SPACE);
        for _ in 0..20 {
            is_refused(ledger.put(&client, 0));
            is_refused(ledger.put(&client, LONG));
            ledger.check_regions(&client);
        }
        // The smallest record there is may fit where no region does.
        is_refused((0..50).try_for_each(|_| ledger.remove(&client)));
        // Below a counter's limit there may be a second's worth at the rate of the round before.
        is_refused((0..1_000).try_for_each(|_| ledger.tso(&client, 1 << 20)));
        is_refused((0..1_000).try_for_each(|_| ledger.alloc_id(&client, 1 << 20)));
        // No record is needed: unchanged, stale, not there, a store's numbers.
        let mut known = ledger.stored[0].clone();
        client.put(&known).unwrap();
        known.epoch_version -= 1;
        assert_eq!(client.put(&known).unwrap_err().code, RpcStatusCode::FAILED_PRECONDITION);
        assert!(!client.remove(1 << 40).unwrap());
        client.store(1, 1, 1).unwrap();

        disk.make_room();
        ledger.put(&client, LONG).unwrap();
        ledger.tso(&client, 1 << 20).unwrap();
        ledger.alloc_id(&client, 1 << 20).unwrap();
        ledger.check(&client);
        ledger.put(&client, 0).unwrap();
        assert_eq!(durability(&client), Durability::DURABILITY_DISK);
    }
    server.kill();
    let server = disk.launch().start();
    ledger.check(&server.client());
    server.stop();
}

/// Starts on a full disk. A server that does not serve says why; then there is room.
fn start_on_full(disk: &SmallDisk, ledger: &mut Ledger) {
    match disk.launch().try_start() {
        Ok(server) => {
            let client = server.client();
            ledger.check_regions(&client);
            is_refused(ledger.put(&client, LONG));
            server.kill();
        }
        Err(exit) => {
            assert_eq!(exit.code, Some(EXIT_DISK), "{exit:#?}");
            assert!(exit.stderr.contains("make room"), "{exit:#?}");
        }
    }
    disk.make_room();
    let server = disk.launch().start();
    let client = server.client();
    ledger.check(&client);
    ledger.put(&client, LONG).unwrap();
    server.stop();
}

#[test]
fn a_server_that_ends_on_a_full_disk_loses_nothing_and_starts_when_there_is_room() {
    let Some(disk) = SmallDisk::new() else { return };
    let mut ledger = Ledger::default();
    for clean in [false, true, false, true] {
        let server = disk.launch().start();
        let client = server.client();
        ledger.check(&client);
        fill(&disk, &client, &mut ledger);
        if clean {
            let exit = server.term();
            assert_eq!(exit.code, Some(EXIT_DISK), "the exact counters have no room: {exit:#?}");
        } else {
            server.kill();
        }
        let before = files(&disk.workdir());
        start_on_full(&disk, &mut ledger);
        let manifest = before.keys().find(|name| name.starts_with("MANIFEST")).unwrap();
        let (before, after) = (&before[manifest], &files(&disk.workdir())[manifest]);
        assert!(after.starts_with(before) || clean, "what was written stays");
    }
}

#[test]
fn a_first_start_without_room_leaves_nothing_that_a_later_one_minds() {
    let Some(disk) = SmallDisk::new() else { return };
    let mut refused = 0;
    for pages in 0.. {
        disk.fill_but(pages);
        let start = disk.launch().try_start();
        let serves = start.is_ok();
        match start {
            Ok(server) => server.kill(),
            Err(exit) => {
                assert_eq!(exit.code, Some(EXIT_DISK), "{pages} pages: {exit:#?}");
                assert!(exit.stderr.contains("make room"), "{pages} pages: {exit:#?}");
                refused += 1;
            }
        }
        disk.make_room();
        let server = disk.launch().start();
        let client = server.client();
        let mut ledger = Ledger::default();
        ledger.put(&client, LONG).unwrap();
        ledger.check(&client);
        server.stop();
        std::fs::remove_dir_all(disk.workdir()).unwrap();
        if serves {
            break;
        }
    }
    assert!(refused >= 2, "there was a start that got somewhere: {refused}");
}
