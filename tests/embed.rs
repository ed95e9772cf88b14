//! Placement drivers inside the caller's process: with a network and without one, in memory and on a workdir, and how they
//! end.

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use grpcio::{CallOption, RpcStatusCode, WriteFlags};
use pd_lite::proto::pd::TsoRequest;
use pd_lite::proto::pdlite_methods;
use pd_lite::{
    Client, ClientOptions, Clock, EmbedError, Epoch, Error, LeaderTransfer, Pd, Peer, PeerId, Refusal, Region,
    RegionId, RequestLimits, Router, Server, Status, Store, StoreId, StoreStats,
};

use crate::support::{self, Launch, files};

/// Only what hangs takes this long.
const HANG: Duration = Duration::from_secs(60);

fn region(id: u64, start: &[u8], end: &[u8], version: u64) -> Region {
    let peer = |store| Peer { store_id: StoreId(store), peer_id: PeerId(10 * id + store) };
    Region::new(RegionId(id), start, end, Epoch { version, conf_version: 1 }, [1, 2].map(peer))
}

fn leaders(leader_num: u64) -> StoreStats {
    StoreStats { region_num: 1, leader_num, ..StoreStats::default() }
}

fn refusal(error: &Error) -> Option<Refusal> {
    match error {
        Error::Refused { refusal, .. } => Some(*refusal),
        _ => None,
    }
}

fn durable(workdir: &Path) -> Pd {
    Pd::builder().workdir(workdir).open().unwrap()
}

#[test]
fn an_embedded_server_answers_its_client_and_every_other() {
    let server = Server::builder().start().unwrap();
    assert!(server.addr().starts_with("127.0.0.1:"), "{}", server.addr());
    let client = server.client();
    assert_eq!(client.get_ts(), Ok(1));
    assert_eq!(client.alloc_id(3), Ok(1..=3));
    client.region_heartbeat(&region(1, b"a", b"m", 1)).unwrap();

    let other = Client::connect(server.addr()).unwrap();
    assert_eq!(other.region_by_key(b"hello").unwrap(), Some(region(1, b"a", b"m", 1)));
    assert_eq!(other.region_by_key(b"zebra"), Ok(None));
    assert_eq!(other.remove_region(RegionId(1)), Ok(true));
    assert_eq!(client.region_by_key(b"hello"), Ok(None));
    server.stop().unwrap();
}

/// Both ends of the connections to `addr` that stand in this network namespace.
fn ends(addr: &str) -> usize {
    let port = addr.parse::<SocketAddr>().unwrap().port();
    let end = format!(":{port:04X}");
    // gRPC's sockets are of IPv6, with mapped addresses, where the machine has that.
    let sockets = ["tcp", "tcp6"].map(|of| std::fs::read_to_string(format!("/proc/self/net/{of}")).unwrap_or_default());
    let is_end = |socket: &&str| {
        let mut fields = socket.split_whitespace().skip(1);
        let addrs = [fields.next(), fields.next()];
        addrs.iter().flatten().any(|addr| addr.ends_with(&end)) && fields.next() == Some("01")
    };
    sockets.iter().flat_map(|sockets| sockets.lines()).filter(is_end).count()
}

#[test]
fn the_client_of_an_embedded_server_is_connected_before_its_first_call() {
    let server = Server::builder().start().unwrap();
    assert_eq!(ends(server.addr()), 0);
    let client = server.client();
    assert_eq!(ends(server.addr()), 2);
    let _same = server.client();
    assert_eq!(client.get_ts(), Ok(1));
    assert_eq!(ends(server.addr()), 2, "one connection for all");
}

#[test]
fn the_network_and_the_handle_without_one_are_the_same_pd() {
    let server = Server::builder().start().unwrap();
    let (client, pd) = (server.client(), server.pd());
    client.region_heartbeat(&region(1, b"", b"", 1)).unwrap();
    assert_eq!(pd.region_by_key(b"k").unwrap(), Some(region(1, b"", b"", 1)));
    assert_eq!(pd.get_ts(), Ok(1));
    assert_eq!(client.get_ts(), Ok(2));
    assert_eq!(pd.get_ts_batch(8), Ok(3..=10));
}

#[test]
fn a_pd_without_a_network_keeps_every_rule() {
    let pd = Pd::in_memory();
    pd.region_heartbeat(&region(1, b"a", b"m", 5)).unwrap();
    for refused in [region(1, b"a", b"m", 4), region(2, b"l", b"z", 9)] {
        let error = pd.region_heartbeat(&refused).unwrap_err();
        assert_eq!(refusal(&error), Some(Refusal::FailedPrecondition), "{error}");
    }
    for refused in [region(0, b"", b"", 1), region(3, b"z", b"y", 1)] {
        let error = pd.region_heartbeat(&refused).unwrap_err();
        assert_eq!(refusal(&error), Some(Refusal::InvalidArgument), "{error}");
    }
    assert_eq!(refusal(&pd.remove_region(RegionId(0)).unwrap_err()), Some(Refusal::InvalidArgument));
    assert_eq!(refusal(&pd.get_ts_batch(1 << 21).unwrap_err()), Some(Refusal::InvalidArgument));
    assert!(matches!(pd.get_ts_batch(0), Err(Error::Invalid(_))));
    assert!(matches!(pd.alloc_id(0), Err(Error::Invalid(_))));
    assert_eq!(pd.get_ts(), Ok(1), "what is refused moves nothing");

    assert_eq!(pd.store_heartbeat(StoreId(2), leaders(0)), Ok(vec![]));
    let hint = LeaderTransfer { region_id: RegionId(1), source_peer_id: PeerId(11), target_peer_id: PeerId(12) };
    assert_eq!(pd.store_heartbeat(StoreId(1), leaders(5)), Ok(vec![hint]));
    assert_eq!(refusal(&pd.store_heartbeat(StoreId(0), leaders(5)).unwrap_err()), Some(Refusal::InvalidArgument));
    assert_eq!(pd.remove_region(RegionId(1)), Ok(true));
    assert_eq!(pd.remove_region(RegionId(1)), Ok(false));
}

#[test]
fn refusals_read_the_same_with_and_without_a_network() {
    let server = Server::builder().start().unwrap();
    let (client, pd) = (server.client(), server.pd());
    pd.region_heartbeat(&region(1, b"a", b"m", 5)).unwrap();
    for refused in
        [region(1, b"a", b"m", 4), region(2, b"l", b"z", 9), region(0, b"", b"", 1), region(3, b"z", b"y", 1)]
    {
        let errors = [client.region_heartbeat(&refused), pd.region_heartbeat(&refused)];
        assert_eq!(errors[0], errors[1]);
        assert!(errors[0].is_err());
    }
    assert_eq!(client.get_ts_batch(1 << 21), pd.get_ts_batch(1 << 21));
}

#[test]
fn start_values_and_limits_are_the_builder_s() {
    let limits = RequestLimits { count_max: 10, ..RequestLimits::default() };
    let builder = Server::builder().threads(1).id_start(100).ts_start(0).limits(limits).request_bytes_max(4096);
    let server = builder.start().unwrap();
    let client = server.client();
    assert_eq!(client.alloc_id(1), Ok(100..=100));
    assert_eq!(client.get_ts_batch(10), Ok(1..=10));
    assert_eq!(refusal(&client.get_ts_batch(11).unwrap_err()), Some(Refusal::InvalidArgument));
    let long = [0; 5000];
    assert!(matches!(client.region_by_key(&long), Err(Error::Invalid(_))), "its client knows the longest request");
    let failure = support::Client::connect(server.addr()).lookup(&long).unwrap_err();
    assert_eq!(failure.code, RpcStatusCode::RESOURCE_EXHAUSTED, "{failure:?}");
}

#[test]
fn a_workdir_goes_from_a_process_to_an_embedded_pd_and_back_without_a_gap() {
    let workdir = tempfile::tempdir().unwrap();
    let process = Launch::durable(workdir.path()).start();
    let client = Client::connect(process.addr()).unwrap();
    client.region_heartbeat(&region(1, b"", b"m", 1)).unwrap();
    assert_eq!(client.get_ts_batch(10), Ok(1..=10));
    process.stop();

    let server = Server::builder().workdir(workdir.path()).start().unwrap();
    let client = server.client();
    assert_eq!(client.region_by_key(b"a").unwrap(), Some(region(1, b"", b"m", 1)));
    client.region_heartbeat(&region(2, b"m", b"", 1)).unwrap();
    assert_eq!(client.get_ts_batch(5), Ok(11..=15));
    assert_eq!(client.alloc_id(7), Ok(1..=7));
    server.stop().unwrap();

    let pd = durable(workdir.path());
    assert_eq!(pd.region_by_key(b"z").unwrap(), Some(region(2, b"m", b"", 1)));
    assert_eq!(pd.get_ts(), Ok(16));
    assert_eq!(pd.workdir(), Some(workdir.path()));
    drop(pd);

    let process = Launch::durable(workdir.path()).start();
    assert_eq!(process.start_lines()[1], "PD allocator starts: id=8 ts=17");
    assert!(process.start_lines()[0].contains(" 2 region(s) "), "{:?}", process.start_lines());
    process.stop();
}

#[test]
fn each_restart_goes_on_exactly_where_the_one_before_stopped() {
    let workdir = tempfile::tempdir().unwrap();
    for turn in 0..5 {
        let pd = durable(workdir.path());
        let clone = pd.clone();
        drop(pd);
        let expected = 100 * turn + 1;
        assert_eq!(clone.get_ts_batch(100), Ok(expected..=expected + 99), "a clone keeps it open");
    }
}

#[test]
fn a_workdir_in_use_is_refused_and_the_first_one_notices_nothing() {
    let workdir = tempfile::tempdir().unwrap();
    let first = durable(workdir.path());
    first.region_heartbeat(&region(1, b"", b"", 1)).unwrap();
    let before = files(workdir.path());
    let errors = [
        Pd::builder().workdir(workdir.path()).open().unwrap_err(),
        Server::builder().workdir(workdir.path()).start().unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, EmbedError::Storage(_)), "{error:?}");
        let line = error.to_string();
        assert!(line.contains(&format!("is in use by pid {}", std::process::id())), "{line}");
        assert!(line.contains("choose another workdir"), "{line}");
    }
    assert_eq!(files(workdir.path()), before);
    first.region_heartbeat(&region(1, b"", b"", 2)).unwrap();
    first.stop().unwrap();
    durable(workdir.path());
}

#[test]
fn an_address_in_use_is_refused_before_anything_is_written() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = held.local_addr().unwrap().to_string();
    let workdir = tempfile::tempdir().unwrap();
    let error = Server::builder().addr(&addr).workdir(workdir.path()).start().unwrap_err();
    assert!(matches!(error, EmbedError::Bind(_)), "{error:?}");
    assert!(error.to_string().contains(&addr) && !error.to_string().contains("--"), "{error}");
    assert!(files(workdir.path()).is_empty());
    Server::builder().workdir(workdir.path()).start().unwrap().stop().unwrap();
}

#[test]
fn a_stopped_pd_refuses_every_handle() {
    let server = Server::builder().start().unwrap();
    let (pd, client, addr) = (server.pd(), server.client(), server.addr().to_owned());
    assert_eq!(client.get_ts(), Ok(1));
    server.stop().unwrap();
    assert_eq!(pd.get_ts(), Err(Error::Closed));
    assert_eq!(pd.region_by_key(b"k"), Err(Error::Closed));
    assert_eq!(pd.region_heartbeat(&region(1, b"", b"", 1)), Err(Error::Closed));
    let timeout = Duration::from_millis(100);
    let hasty = Client::new(ClientOptions { timeout, ..ClientOptions::new(&addr) }).unwrap();
    assert!(matches!(hasty.get_ts(), Err(Error::Unreachable { .. })), "the port is closed");
    pd.stop().unwrap();
}

#[test]
fn a_drop_stops_cleanly_with_calls_under_way() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Server::builder().workdir(workdir.path()).start().unwrap();
    let (going, gone) = crossbeam_channel::bounded::<()>(0);
    let callers: Vec<_> = (0..8)
        .map(|caller: u8| {
            let (addr, going) = (server.addr().to_owned(), going.clone());
            thread::spawn(move || {
                let options = ClientOptions { timeout: Duration::from_secs(1), ..ClientOptions::new(&addr) };
                let client = Client::new(options).unwrap();
                let mut acknowledged = 0;
                for version in 1.. {
                    let region = region(u64::from(caller) + 1, &[caller + 1], &[caller + 2], version);
                    if client.region_heartbeat(&region).is_err() {
                        break;
                    }
                    acknowledged = version;
                    if version == 3 {
                        going.send(()).unwrap();
                    }
                }
                (caller, acknowledged)
            })
        })
        .collect();
    for _ in 0..8 {
        gone.recv_timeout(HANG).unwrap();
    }
    drop(server);
    let pd = durable(workdir.path());
    for (caller, acknowledged) in callers.into_iter().map(|caller| caller.join().unwrap()) {
        let kept = pd.region_by_key(&[caller + 1]).unwrap().expect("three heartbeats were acknowledged");
        let version = kept.epoch().version;
        assert!(version >= acknowledged, "{version} is kept, {acknowledged} was acknowledged");
    }
}

#[test]
fn a_panic_of_the_caller_stops_cleanly() {
    let workdir = tempfile::tempdir().unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let server = Server::builder().workdir(workdir.path()).start().unwrap();
        let client = server.client();
        assert_eq!(client.get_ts_batch(10), Ok(1..=10));
        std::panic::resume_unwind(Box::new("a caller's own"));
    }));
    assert!(panicked.is_err());
    assert_eq!(durable(workdir.path()).get_ts(), Ok(11));
}

#[test]
fn a_disk_that_fails_ends_the_pd_and_not_the_process() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Server::builder().workdir(workdir.path()).start().unwrap();
    let (client, pd) = (server.client(), server.pd());
    client.region_heartbeat(&region(1, b"", b"", 1)).unwrap();
    assert!(server.failure().is_none());
    // What is behind the name is no longer what is locked: fatal, as any failed write.
    std::fs::remove_file(workdir.path().join("PD_LOCK")).unwrap();
    let before = files(workdir.path());
    let error = pd.region_heartbeat(&region(1, b"", b"", 2)).unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");

    let begun = Instant::now();
    while server.failure().is_none() {
        assert!(begun.elapsed() < HANG, "it is never told");
        thread::yield_now();
    }
    let Err(Error::Failed { reason }) = pd.get_ts() else { panic!("a call after the failure") };
    assert!(reason.contains("PD_LOCK"), "{reason}");
    while pd.region_by_key(b"k").is_ok() {
        assert!(begun.elapsed() < HANG, "it goes on serving");
        thread::yield_now();
    }
    assert!(client.region_by_key(b"k").is_err(), "over the network too");
    assert!(matches!(server.stop(), Err(EmbedError::Storage(_))));
    assert_eq!(files(workdir.path()), before);
}

#[test]
fn many_servers_live_in_one_process() {
    thread::scope(|scope| {
        for server in 0..16_u64 {
            scope.spawn(move || {
                let own = Server::builder().threads(1).ts_start(1000 * server + 1).start().unwrap();
                let client = own.client();
                client.region_heartbeat(&region(server + 1, b"", b"", 1)).unwrap();
                for turn in 1..=20 {
                    assert_eq!(client.get_ts(), Ok(1000 * server + turn));
                }
                assert_eq!(client.region_by_key(b"k").unwrap().unwrap().id(), RegionId(server + 1));
                own.stop().unwrap();
            });
        }
    });
}

#[test]
fn a_server_on_every_address_has_a_client_too() {
    let server = Server::builder().addr(":0").start().unwrap();
    assert_eq!(server.client().get_ts(), Ok(1));
}

/// A clock that stands still until it is moved.
#[derive(Default)]
struct Hand(Mutex<Duration>);

impl Hand {
    fn move_on(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for Hand {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

#[test]
fn a_clock_moved_by_hand_shows_in_the_stores_ages() {
    let clock = Arc::new(Hand::default());
    let server = Server::builder().clock(clock.clone()).start().unwrap();
    let (client, pd) = (server.client(), server.pd());
    client.store_heartbeat(StoreId(7), leaders(3)).unwrap();
    clock.move_on(Duration::from_secs(3600));
    pd.store_heartbeat(StoreId(2), leaders(1)).unwrap();
    clock.move_on(Duration::from_millis(250));
    let store = |id, leader_num, age_ms| Store {
        id: StoreId(id),
        stats: leaders(leader_num),
        age: Duration::from_millis(age_ms),
    };
    let expected = vec![store(2, 1, 250), store(7, 3, 3_600_250)];
    assert_eq!(client.stores().unwrap(), expected);
    assert_eq!(pd.stores().unwrap(), expected);
}

#[test]
fn calls_about_many_are_the_same_with_and_without_a_network() {
    let key = |at: u64| at.to_be_bytes();
    // A gap behind each, and a stale, an overlapping and a malformed one among them.
    let mut regions: Vec<Region> = (1..=3000).map(|id| region(id, &key(10 * id), &key(10 * id + 5), 2)).collect();
    regions.extend([region(1, &key(10), &key(15), 1), region(9999, &key(12), &key(13), 1), region(0, b"", b"", 1)]);
    let server = Server::builder().start().unwrap();
    let (client, pd, other) = (server.client(), server.pd(), Pd::in_memory());
    let verdicts = client.region_heartbeats(&regions);
    assert_eq!(other.region_heartbeats(&regions), verdicts);
    assert!(verdicts[..3000].iter().all(Result::is_ok) && verdicts[3000..].iter().all(Result::is_err));

    let keys: Vec<_> = (0..3000).map(|at| key(11 * at)).collect();
    let found = pd.regions_by_keys(&keys).unwrap();
    assert_eq!(client.regions_by_keys(&keys).unwrap(), found);
    for (key, found) in keys.iter().zip(&found) {
        assert_eq!(&pd.region_by_key(key).unwrap(), found);
    }
    assert!(found.iter().any(Option::is_none) && found.iter().any(Option::is_some));

    for (start, end, limit, count) in [(0, 0, 5000, 3000), (0, 0, 1500, 1500), (25, 5000, 5000, 497), (0, 0, 0, 0)] {
        let end: &[u8] = if end == 0 { b"" } else { &key(end) };
        let scanned = pd.scan_regions(&key(start), end, limit).unwrap();
        assert_eq!(scanned.len(), count);
        assert_eq!(client.scan_regions(&key(start), end, limit).unwrap(), scanned);
    }
    assert!(matches!(pd.scan_regions(b"b", b"a", 1), Err(Error::Invalid(_))));

    let (there, here) = (client.status().unwrap(), pd.status().unwrap());
    assert_eq!((there.regions, there.limits.request_bytes, here.limits.request_bytes), (3000, 65_536, 0));
    assert_eq!(there, Status { limits: there.limits, ..here });
}

#[test]
fn timestamps_are_futures_without_a_network_too() {
    fn goes_anywhere<F: Future + Send + 'static>(future: F) -> F {
        future
    }
    let pd = Pd::in_memory();
    let lazy = goes_anywhere(pd.get_ts_async());
    assert_eq!(pd.get_ts(), Ok(1));
    assert_eq!(block_on(lazy), Ok(2), "it asks when it is polled");
    assert_eq!(block_on(goes_anywhere(pd.get_ts_batch_async(10))), Ok(3..=12));
    assert!(matches!(block_on(pd.get_ts_batch_async(0)), Err(Error::Invalid(_))));
    assert_eq!(block_on(pd.get_ts_batch_async(1 << 21)), pd.get_ts_batch(1 << 21));
    drop(pd.get_ts_async());
    assert_eq!(pd.get_ts(), Ok(13), "what is refused or never polled moves nothing");

    let after_the_last_handle = pd.get_ts_async();
    drop(pd);
    assert_eq!(block_on(after_the_last_handle), Ok(14));
}

#[test]
fn futures_of_timestamps_wait_for_the_disk_and_end_with_the_pd() {
    let workdir = tempfile::tempdir().unwrap();
    let pd = durable(workdir.path());
    // Far more than is set aside at the start: the first ones have to wait for the disk.
    let count = 1 << 20;
    let mut ranges = block_on(join_all((0..16).map(|_| pd.get_ts_batch_async(count))))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    ranges.sort_by_key(|range| *range.start());
    for (at, range) in (0..).zip(&ranges) {
        assert_eq!(range, &(at * count + 1..=(at + 1) * count));
    }
    let late = pd.get_ts_async();
    pd.stop().unwrap();
    assert_eq!(block_on(late), Err(Error::Closed));
    assert_eq!(block_on(durable(workdir.path()).get_ts_async()), Ok(16 * count + 1));
}

#[test]
fn a_router_needs_no_network() {
    let pd = Pd::in_memory();
    pd.region_heartbeat(&region(1, b"a", b"m", 1)).unwrap();
    let router = Router::new(pd.clone());
    assert_eq!(router.region(b"hello").unwrap().unwrap().id(), RegionId(1));
    pd.stop().unwrap();
    assert!(router.region(b"hello").unwrap().is_some(), "out of the cache");
    assert_eq!(router.region(b"zebra"), Err(Error::Closed));
}

#[test]
fn a_drop_ends_streams_that_are_open() {
    let server = Server::builder().start().unwrap();
    let client = support::Client::connect(server.addr());
    let (mut requests, mut answers) =
        client.raw().duplex_streaming(&pdlite_methods::TSO, CallOption::default().timeout(HANG)).unwrap();
    let request = TsoRequest { count: 3, ..Default::default() };
    block_on(requests.send((request, WriteFlags::default()))).unwrap();
    assert_eq!(block_on(answers.next()).unwrap().unwrap().timestamp, 1);
    drop(server);
    match block_on(answers.next()) {
        None | Some(Err(grpcio::Error::RpcFailure(_))) => {}
        other => panic!("the stream goes on: {other:?}"),
    }
}
