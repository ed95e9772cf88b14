//! A disk that takes half a second for each sync: what needs no disk goes on, the queue of changes has an end, and with it
//! the memory; a kill loses nothing that was acknowledged.

use std::thread;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use grpcio::{CallOption, RpcStatusCode};
use pd_lite::proto::pd::RegionMeta;
use pd_lite::proto::pdlite::{RegionHeartbeatsRequest, RegionHeartbeatsResponse, RegionVerdict};
use pd_lite::proto::pdlite_methods::REGION_HEARTBEATS;

use super::Ledger;
use crate::support::client::{HANG, region};
use crate::support::memory::Memory;
use crate::support::strace::{self, SYNCS};
use crate::support::{Launch, Server};

/// Changes that wait for the disk, one after the other.
const CHANGES: usize = 5;
/// Timestamps that are asked for during one of them, at most; for all of them together they are less than a window.
const TIMESTAMPS: usize = 100;
/// Calls of each kind that are answered meanwhile, at least. A call that waited for the disk would be one a change.
const CALLS: usize = CHANGES * 20;

/// Regions with the longest borders, in the longest requests that the defaults allow. Together they are more than the 64 MiB
/// that may wait, and the disk takes 1 MiB with each sync.
const REQUESTS: u64 = 1_500;
const REGIONS_A_REQUEST: u64 = 7;
const BORDER_BYTES: usize = 4_096;
/// What waits is 64 MiB of borders; the rest is what gRPC holds of messages on their way, and what malloc keeps.
const GROWTH_MAX: u64 = 192 << 20;

/// On a workdir that is there already: a first start would make many syncs.
fn slow(launch: Launch, dir: &tempfile::TempDir) -> Server {
    launch.start().stop();
    launch.within(strace::inject(SYNCS, "delay_exit=500000", &dir.path().join("trace"))).start()
}

#[test]
fn timestamps_and_routes_go_on_while_changes_wait_for_a_slow_disk() {
    if !strace::is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(&dir.path().join("pd"));
    let server = slow(launch.clone(), &dir);
    let client = server.client();
    let mut ledger = Ledger::default();
    ledger.put(&client, 0).unwrap();
    ledger.check(&client);
    let known = ledger.stored[0].clone();
    let (mut timestamps, mut routes) = (vec![0], 0);
    for _ in 0..CHANGES {
        thread::scope(|scope| {
            let change = scope.spawn(|| ledger.put(&server.client(), 0));
            let most = timestamps.len() + TIMESTAMPS;
            while !change.is_finished() {
                if timestamps.len() < most {
                    timestamps.push(client.tso(1).unwrap());
                }
                assert_eq!(client.lookup(&known.start_key).unwrap().as_ref(), Some(&known));
                // A heartbeat without news needs no disk either.
                client.put(&known).unwrap();
                routes += 1;
            }
            change.join().unwrap().unwrap();
        });
    }
    server.kill();
    assert!(timestamps.is_sorted_by(|one, next| one < next));
    ledger.last_timestamp = ledger.last_timestamp.max(timestamps[timestamps.len() - 1]);
    let server = launch.start();
    ledger.check(&server.client());
    server.stop();
    let timestamps = timestamps.len() - 1;
    println!("{timestamps} timestamps and {routes} routes during {CHANGES} changes");
    assert!(timestamps >= CALLS && routes >= CALLS, "{timestamps} timestamps and {routes} routes");
}

#[test]
fn a_flood_of_changes_to_a_slow_disk_is_refused_in_time_and_a_kill_loses_nothing() {
    if !strace::is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(&dir.path().join("pd"));
    let server = slow(launch.clone(), &dir);
    let memory = Memory::of(&server);
    let client = server.client();
    let mut ledger = Ledger::default();
    ledger.put(&client, 0).unwrap();
    ledger.check(&client);

    // A connection has room for 1,024 calls.
    let flood = [server.client(), server.client()];
    let mut under_way = FuturesUnordered::new();
    for number in 0..REQUESTS {
        let regions: Vec<_> = (0..REGIONS_A_REQUEST).map(|at| long(number * REGIONS_A_REQUEST + at)).collect();
        let request = RegionHeartbeatsRequest { regions: regions.clone(), ..Default::default() };
        let half = &flood[usize::from(number % 2 == 0)];
        let call = half.raw().unary_call_async(&REGION_HEARTBEATS, &request, CallOption::default().timeout(HANG));
        under_way.push(call.unwrap().map(|answer| (regions, answer)));
    }
    // What is refused is answered at once; what is stored, once all of its request is.
    let mut answers = Vec::new();
    let outcome = |code| move |(_, verdict): &(RegionMeta, RpcStatusCode)| *verdict == code;
    pollster::block_on(async {
        while ![RpcStatusCode::OK, RpcStatusCode::RESOURCE_EXHAUSTED]
            .into_iter()
            .all(|it| answers.iter().any(outcome(it)))
        {
            let (regions, answer) = under_way.next().await.expect("some are stored, and some refused");
            answers.extend(verdicts(regions, answer.unwrap()));
        }
    });
    ledger.check_regions(&client);
    memory.grew_at_most(GROWTH_MAX, "a flood of changes to a slow disk");
    server.kill();
    let mut lost = 0;
    for (regions, answer) in pollster::block_on(under_way.collect::<Vec<_>>()) {
        match answer {
            Ok(answer) => answers.extend(verdicts(regions, answer)),
            Err(grpcio::Error::RpcFailure(status)) => {
                assert_eq!(status.code(), RpcStatusCode::UNAVAILABLE);
                lost += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    for (region, verdict) in answers {
        match verdict {
            RpcStatusCode::OK => ledger.stored.push(region),
            RpcStatusCode::RESOURCE_EXHAUSTED => ledger.absent.push(region),
            code => panic!("{code}"),
        }
    }
    println!("{} changes stored, {} refused, {lost} calls without an answer", ledger.stored.len(), ledger.absent.len());
    let server = launch.start();
    ledger.check(&server.client());
    server.stop();
}

fn verdicts(
    regions: Vec<RegionMeta>,
    answer: RegionHeartbeatsResponse,
) -> impl Iterator<Item = (RegionMeta, RpcStatusCode)> {
    assert_eq!(regions.len(), answer.verdicts.len());
    let code = |verdict: RegionVerdict| RpcStatusCode::from(i32::try_from(verdict.code).unwrap());
    regions.into_iter().zip(answer.verdicts.into_iter().map(code))
}

/// A region behind those of a ledger, with borders of 4,096 bytes.
fn long(number: u64) -> RegionMeta {
    let border = |mark: char| {
        let mut border = format!("x{number:06}{mark}").into_bytes();
        border.resize(BORDER_BYTES, b'-');
        border
    };
    region(1_000_000 + number, &border('a'), &border('b'), 1)
}
