//! A system call on the disk that fails once, at each place where the program makes one: the process ends, the next start
//! finds everything acknowledged, and a sync that failed was not tried again.

use std::fs;
use std::path::Path;

use grpcio::RpcStatusCode;

use super::Ledger;
use crate::support::strace::{self, SYNCS};
use crate::support::{EXIT_DISK, Failure, Launch, Server, files};

#[test]
fn a_sync_that_fails_is_the_end_wherever_it_is() {
    sweep(SYNCS, "EIO");
}

#[test]
fn a_write_that_fails_is_the_end_wherever_it_is() {
    sweep("pwrite64", "EIO");
    // As the kernel does it to a file system that it has found broken.
    sweep("pwrite64", "EROFS");
}

#[test]
fn a_rename_that_fails_is_the_end_wherever_it_is() {
    sweep("rename", "EIO");
}

/// Fails the first, the second ... of `calls` of each thread, on a new workdir and on one with something in it, until none
/// is left to fail.
fn sweep(calls: &str, error: &str) {
    if !strace::is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    let mut known = Ledger::default();
    let server = Launch::durable(&old).start();
    work(&server, &mut known).unwrap();
    // A start after that has least to do, so that it does not meet every fault first.
    server.stop();
    for is_new in [true, false] {
        let (mut at_start, mut later) = (0, 0);
        for at in 1.. {
            let workdir = dir.path().join(format!("{is_new}-{at}"));
            let mut ledger = Ledger::default();
            if !is_new {
                fs::create_dir(&workdir).unwrap();
                files(&old).iter().for_each(|(name, bytes)| fs::write(workdir.join(name), bytes).unwrap());
                ledger = known.clone();
            }
            let trace = dir.path().join("trace");
            let how = format!("error={error}:when={at}");
            match Launch::durable(&workdir).within(strace::inject(calls, &how, &trace)).try_start() {
                Err(exit) => {
                    assert_eq!(exit.code, Some(EXIT_DISK), "{at}: {exit:#?}");
                    at_start += 1;
                }
                Ok(server) => {
                    let exit = match work(&server, &mut ledger) {
                        Ok(()) => server.term(),
                        Err(failure) => {
                            let codes = [RpcStatusCode::INTERNAL, RpcStatusCode::UNAVAILABLE];
                            assert!(codes.contains(&failure.code), "{at}: {failure:?}");
                            server.wait()
                        }
                    };
                    if exit.code == Some(0) {
                        assert!(!has_failed(&trace), "{at}: {exit:#?}");
                        break;
                    }
                    assert_eq!(exit.code, Some(EXIT_DISK), "{at}: {exit:#?}");
                    later += 1;
                }
            }
            assert!(has_failed(&trace), "{at}");
            let server = Launch::durable(&workdir).start();
            ledger.check(&server.client());
            server.kill();
        }
        println!("{calls} {error}: {at_start} starts and {later} servers");
        assert!(if is_new { at_start } else { later } > 0, "{calls}: {at_start} starts and {later} servers met it");
    }
}

/// Each kind of change, a few times.
fn work(server: &Server, ledger: &mut Ledger) -> Result<(), Failure> {
    let client = server.client();
    for _ in 0..3 {
        ledger.put(&client, 0)?;
        ledger.tso(&client, 10_000)?;
        ledger.alloc_id(&client, 1)?;
    }
    Ok(())
}

/// Whether a call has been made to fail. Behind the first one nothing is made durable any more: a later sync may succeed
/// although the kernel has dropped what the failed one was for.
fn has_failed(trace: &Path) -> bool {
    let trace = fs::read_to_string(trace).unwrap();
    let mut calls = trace.lines().skip_while(|line| !line.ends_with("(INJECTED)"));
    let has_failed = calls.next().is_some();
    assert!(!calls.any(|line| line.contains("sync(")), "{trace}");
    has_failed
}
