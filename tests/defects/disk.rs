//! Defects of what is on the disk while calls come.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use grpcio::RpcStatusCode;

use crate::support::client::region;
use crate::support::{EXIT_DISK, Launch};

#[test]
fn defect_7_the_checkpoint_on_disk_is_never_below_an_answer() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).start();
    let on_disk = |name: &str| {
        let text = fs::read(workdir.path().join("PD_STATE.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()[name].as_u64().unwrap()
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = server.client();
                for _ in 0..100 {
                    let id = client.alloc_id(100).unwrap() + 99;
                    assert!(on_disk("id_current") >= id);
                    let timestamp = client.tso(1000).unwrap() + 999;
                    assert!(on_disk("ts_current") >= timestamp);
                }
            });
        }
    });
    let (last_id, last_timestamp) = (server.client().alloc_id(1).unwrap(), server.client().tso(1).unwrap());
    server.stop();
    assert_eq!((on_disk("id_current"), on_disk("ts_current")), (last_id, last_timestamp), "exact after a clean stop");
}

#[test]
fn defects_9_10_and_17_a_failed_append_is_not_served_leaves_the_workdir_whole_and_names_no_path() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).file_blocks_max(16).start();
    let client = server.client();
    let mut acknowledged = Vec::new();
    let (failure, failed) = loop {
        let id = u64::try_from(acknowledged.len()).unwrap() + 1;
        let new = region(id, format!("k{id:06}").as_bytes(), format!("k{:06}", id + 1).as_bytes(), 1);
        match client.put(&new) {
            Ok(()) => acknowledged.push(new),
            Err(failure) => break (failure, new),
        }
        assert!(acknowledged.len() < 10_000, "8 KiB are full at some time");
    };
    assert_eq!(failure.code, RpcStatusCode::INTERNAL, "{failure:?}");
    for path in [workdir.path().to_str().unwrap(), "MANIFEST"] {
        assert!(!failure.message.contains(path), "{failure:?} names no file of the server");
    }
    // The region may not be seen, and soon nothing is: the process ends by itself.
    match client.lookup(&failed.start_key) {
        Ok(found) => assert_eq!(found, None),
        Err(failure) => assert_eq!(failure.code, RpcStatusCode::UNAVAILABLE, "{failure:?}"),
    }
    let exit = server.wait();
    assert_eq!(exit.code, Some(EXIT_DISK), "{exit:#?}");

    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    for region in &acknowledged {
        assert_eq!(client.lookup(&region.start_key).unwrap().as_ref(), Some(region));
    }
    client.put(&failed).unwrap();
    server.kill();
    let server = Launch::durable(workdir.path()).start();
    assert_eq!(server.client().lookup(&failed.start_key).unwrap(), Some(failed));
    server.stop();
}

#[test]
fn defect_11_an_older_epoch_never_comes_back_after_a_restart() {
    let workdir = tempfile::tempdir().unwrap();
    let version = AtomicU64::new(1);
    for _ in 0..3 {
        let server = Launch::durable(workdir.path()).start();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let client = server.client();
                    for _ in 0..50 {
                        let version = version.fetch_add(1, Ordering::Relaxed);
                        match client.put(&region(1, b"", b"", version)) {
                            Ok(()) => {}
                            Err(failure) => assert_eq!(failure.code, RpcStatusCode::FAILED_PRECONDITION),
                        }
                    }
                });
            }
        });
        let served = server.client().lookup(b"").unwrap();
        server.kill();
        let server = Launch::durable(workdir.path()).start();
        assert_eq!(server.client().lookup(b"").unwrap(), served);
        server.stop();
    }
}
