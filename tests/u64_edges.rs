//! The end of the 64 bits: the last value is given once, a request for more than is left is RESOURCE_EXHAUSTED and moves
//! nothing, and no restart starts over.

use std::fs;

use grpcio::RpcStatusCode;

use crate::support::{Client, Failure, Launch, recorded_workdir};

const MAX: u64 = u64::MAX;

/// Ways to call an allocator, so that both are tested by the same lines.
type Take = fn(&Client, u64) -> Result<u64, Failure>;
const BOTH: [(&str, Take); 2] = [("AllocID", Client::alloc_id), ("Tso", Client::tso)];

/// Both counters start here.
fn starts_at(launch: Launch, first: u64) -> Launch {
    launch.args(["--id-start".to_owned(), first.to_string(), "--ts-start".to_owned(), first.to_string()])
}

#[track_caller]
fn exhausted(answer: Result<u64, Failure>) {
    let failure = answer.expect_err("nothing is left");
    assert_eq!(failure.code, RpcStatusCode::RESOURCE_EXHAUSTED, "{failure:?}");
}

/// With MAX - 4 the next value.
fn uses_up_the_last_five(client: &Client, name: &str, take: Take) {
    assert_eq!(take(client, 2).unwrap(), MAX - 4, "{name}");
    for count in [4, 5, 1000, 1 << 20] {
        exhausted(take(client, count));
    }
    assert_eq!(take(client, 2).unwrap(), MAX - 2, "{name}: the refused calls moved nothing");
    exhausted(take(client, 2));
    assert_eq!(take(client, 0).unwrap(), MAX, "{name}: the last value, where 0 asks for one");
    for count in [0, 1, 1 << 20, 1] {
        exhausted(take(client, count));
    }
}

#[test]
fn the_last_value_is_given_once_in_memory() {
    let server = starts_at(Launch::in_memory(), MAX - 4).start();
    let client = server.client();
    for (name, take) in BOTH {
        uses_up_the_last_five(&client, name, take);
    }
    server.stop();
}

#[test]
fn the_last_value_is_given_once_with_a_workdir_and_never_again_after_restarts() {
    let workdir = tempfile::tempdir().unwrap();
    let launch = starts_at(Launch::durable(workdir.path()), MAX - 4);
    let mut server = launch.start();
    for (name, take) in BOTH {
        uses_up_the_last_five(&server.client(), name, take);
    }
    for clean in [true, false, true] {
        if clean {
            server.stop();
        } else {
            server.kill();
        }
        // Start values at or below the end do not bring anything back.
        server = launch.start();
        let client = server.client();
        for (_, take) in BOTH {
            exhausted(take(&client, 1));
            exhausted(take(&client, 0));
        }
    }
    server.stop();
}

#[test]
fn a_clean_stop_near_the_end_skips_nothing() {
    let workdir = tempfile::tempdir().unwrap();
    let server = starts_at(Launch::durable(workdir.path()), MAX - 4).start();
    let client = server.client();
    for (_, take) in BOTH {
        assert_eq!(take(&client, 3).unwrap(), MAX - 4);
    }
    server.stop();
    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    for (_, take) in BOTH {
        exhausted(take(&client, 3));
        assert_eq!(take(&client, 2).unwrap(), MAX - 1);
        exhausted(take(&client, 1));
    }
    server.stop();
}

#[test]
fn a_crash_near_the_end_may_skip_the_rest_but_repeats_nothing() {
    let workdir = tempfile::tempdir().unwrap();
    let server = starts_at(Launch::durable(workdir.path()), MAX - 100).start();
    let client = server.client();
    for (_, take) in BOTH {
        assert_eq!(take(&client, 1).unwrap(), MAX - 100);
    }
    server.kill();
    let server = Launch::durable(workdir.path()).start();
    let client = server.client();
    for (_, take) in BOTH {
        match take(&client, 1) {
            Ok(value) => assert!(value > MAX - 100),
            failure => exhausted(failure),
        }
    }
    server.stop();
}

#[test]
fn the_largest_start_value_is_legal_and_good_for_one_value() {
    let workdir = tempfile::tempdir().unwrap();
    for launch in [Launch::in_memory(), Launch::durable(workdir.path())] {
        let server = starts_at(launch, MAX).start();
        let client = server.client();
        for (_, take) in BOTH {
            exhausted(take(&client, 2));
            assert_eq!(take(&client, 1).unwrap(), MAX);
            exhausted(take(&client, 1));
        }
        server.stop();
    }
}

#[test]
fn a_checkpoint_at_the_end_leaves_the_rest_of_the_service_working() {
    let workdir = recorded_workdir("three-regions");
    fs::write(workdir.path().join("PD_STATE.json"), format!(r#"{{"id_current":{MAX},"ts_current":{MAX}}}"#)).unwrap();
    for _ in 0..2 {
        let server = Launch::durable(workdir.path()).start();
        let client = server.client();
        for (_, take) in BOTH {
            exhausted(take(&client, 1));
        }
        assert_eq!(client.lookup(b"a").unwrap().unwrap().id, 1);
        let mut region = client.lookup(b"z").unwrap().unwrap();
        region.epoch_version += 1;
        client.put(&region).unwrap();
        server.stop();
    }
}

#[test]
fn a_count_of_2_to_the_64_moves_nothing_where_the_limit_allows_it() {
    let workdir = tempfile::tempdir().unwrap();
    for launch in [Launch::in_memory(), Launch::durable(workdir.path())] {
        let server = launch.args(["--max-count", &MAX.to_string()]).start();
        let client = server.client();
        for (_, take) in BOTH {
            assert_eq!(take(&client, 7).unwrap(), 1);
            exhausted(take(&client, MAX));
            exhausted(take(&client, MAX - 6));
            assert_eq!(take(&client, 1).unwrap(), 8);
            // All but one of what is left, in one call.
            assert_eq!(take(&client, MAX - 9).unwrap(), 9);
            assert_eq!(take(&client, 1).unwrap(), MAX);
            exhausted(take(&client, 1));
        }
        server.stop();
    }
}
