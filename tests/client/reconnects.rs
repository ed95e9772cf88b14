//! A PD that goes and comes back under many callers: every caller gets its answer, and connects come at gRPC's pace however
//! many callers there are.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pd_lite::client::Error;

use super::{hasty, patient};
use crate::support::Launch;

const CALLERS: usize = 64;

/// The shortest pause between two connects: 100 ms, less a fifth.
const PAUSE_MIN_MS: u32 = 80;

/// Counts the connects of a client with many callers over about a second, to a server that lets `greet` have each
/// connection, and then closes it. No caller gets an answer.
fn count_connects(greet: fn(&mut TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let client = hasty(&addr, Duration::from_secs(1));
    let (connects, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                connects.fetch_add(1, Ordering::Relaxed);
                greet(&mut stream.unwrap());
            }
        });
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| client.region_by_key(b"").unwrap_err())).collect();
        for caller in callers {
            let error = caller.join().unwrap();
            assert!(matches!(error, Error::Unreachable { .. } | Error::Lost { .. }), "{error}");
        }
        let (connects, passed) = (connects.load(Ordering::Relaxed), begun.elapsed());
        over.store(true, Ordering::Relaxed);
        TcpStream::connect(&addr).unwrap();
        // Twice what the pace allows, for a machine that is late to see a connect; without a pace they are hundreds.
        let connects_max = 2 * (u32::try_from(passed.as_millis()).unwrap() / PAUSE_MIN_MS + 2);
        assert!((2..=connects_max).contains(&connects), "{connects} connects in {passed:?}");
    });
}

#[test]
fn connects_to_a_server_that_hangs_up_come_at_one_pace_whatever_the_callers() {
    count_connects(|_| {});
}

#[test]
fn connects_to_a_server_that_says_hello_and_hangs_up_come_at_one_pace_whatever_the_callers() {
    count_connects(|stream| {
        // HTTP/2's preface, then an empty SETTINGS frame back: for the client, the connection stands.
        let _ = stream.read_exact(&mut [0; 24]);
        let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0");
        // Its SETTINGS and its acknowledgement.
        let _ = stream.read(&mut [0; 256]);
    });
}

#[test]
fn every_caller_gets_its_answer_from_a_pd_that_is_killed_and_comes_back() {
    let workdir = tempfile::tempdir().unwrap();
    let mut server = Launch::durable(workdir.path()).on("127.79.0.6:0").start();
    let addr = server.addr().to_owned();
    let client = patient(&addr);
    let over = AtomicBool::new(false);
    let server = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = 0;
                    while !over.load(Ordering::Relaxed) {
                        client.region_by_key(b"").unwrap();
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        for _ in 0..3 {
            for _ in 0..100 {
                client.region_by_key(b"").unwrap();
            }
            server.kill();
            server = Launch::durable(workdir.path()).on(&addr).start();
        }
        client.region_by_key(b"").unwrap();
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            assert!(caller.join().unwrap() > 0);
        }
        server
    });
    server.stop();
}
