//! A PD that is away: the store goes on, and the PD knows the newest state of every region once it is back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pd_lite::adapter::{Action, Adapter, AdapterOptions};
use pd_lite::client::{Client, ClientOptions, Error};
use pd_lite::core::{RegionId, StoreId};

use super::adapting::{HANG, NEVER, SOON, Store, Told, eventually, key, patient, region, stats};
use crate::support::Launch;
use crate::support::relay::{PDLITE, Relay, Reply};

const REGIONS: u64 = 300;

/// Splits into many regions.
fn populate(store: &mut Store) {
    for number in 1..REGIONS {
        store.split(&key(number));
    }
}

/// What a store may do meanwhile: many changes of every region, splits, and a merge of every sixth with its neighbour.
fn live_on(store: &mut Store) {
    for _ in 0..5 {
        for number in 0..REGIONS {
            store.change(&key(number));
        }
    }
    for number in (0..REGIONS).step_by(6) {
        store.merge(&key(number));
        store.split(&[key(number + 3), b"/half".to_vec()].concat());
    }
}

#[test]
fn a_pd_that_was_killed_learns_all_changes_and_removals_when_it_is_back() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).on("127.79.5.1:0").start();
    let addr = server.addr().to_owned();
    let told = Told::default();
    let mut store = Store::new(Adapter::start(Some(Client::connect(&addr).unwrap()), told.options(NEVER)));
    populate(&mut store);
    assert!(store.adapter.flush(HANG));
    store.assert_known(&server.client());
    assert_eq!(told.all(), []);

    server.kill();
    live_on(&mut store);
    assert!(store.adapter.unacknowledged() > 0);
    let server = Launch::durable(workdir.path()).on(&addr).start();
    assert!(store.adapter.flush(HANG));
    assert_eq!(store.adapter.unacknowledged(), 0);
    store.assert_known(&server.client());
    server.stop();
}

#[test]
fn a_pd_that_comes_back_empty_learns_what_the_store_reports_again() {
    let server = Launch::in_memory().on("127.79.5.2:0").start();
    let addr = server.addr().to_owned();
    let mut store = Store::new(Adapter::start(Some(Client::connect(&addr).unwrap()), Told::default().options(SOON)));
    populate(&mut store);
    assert!(store.adapter.flush(HANG));

    server.kill();
    live_on(&mut store);
    let server = Launch::in_memory().on(&addr).start();
    store.report_all();
    let pd = server.client();
    eventually("the PD knows every region", || {
        (0..REGIONS).all(|number| pd.lookup(&key(number)).unwrap().is_some()) && store.adapter.unacknowledged() == 0
    });
    store.assert_known(&pd);

    // Nothing changes, nothing fails: the adapter cannot notice, but the next round reaches the new PD.
    server.kill();
    let server = Launch::in_memory().on(&addr).start();
    store.report_all();
    let pd = server.client();
    eventually("the PD knows every region again", || {
        (0..REGIONS).all(|number| pd.lookup(&key(number)).unwrap().is_some())
    });
    store.assert_known(&pd);
}

#[test]
fn a_pd_that_is_killed_again_and_again_in_the_middle_of_changes_learns_all_of_them() {
    let workdir = tempfile::tempdir().unwrap();
    let mut server = Launch::durable(workdir.path()).on("127.79.5.3:0").start();
    let addr = server.addr().to_owned();
    let told = Told::default();
    let mut store = Store::new(Adapter::start(Some(Client::connect(&addr).unwrap()), told.options(SOON)));
    for _ in 0..4 {
        thread::scope(|scope| {
            let life = scope.spawn(|| {
                populate(&mut store);
                live_on(&mut store);
            });
            // It is killed under the load of changes, after the first of which it can tell.
            let pd = server.client();
            eventually("a change has come", || pd.lookup(b"").unwrap().is_some());
            server.kill();
            life.join().unwrap();
        });
        server = Launch::durable(workdir.path()).on(&addr).start();
    }
    eventually("everything is acknowledged", || store.adapter.unacknowledged() == 0);
    store.assert_known(&server.client());
    let is_failure = |(_, error): &(Action, Error)| !matches!(error, Error::Refused { .. } | Error::Invalid(_));
    assert!(told.all().iter().all(is_failure), "{:?}", told.all());
}

#[test]
fn an_address_without_a_pd_is_told_once_a_kind_of_call_and_keeps_no_store_waiting() {
    // Port 1 is nobody's.
    let client = Client::new(ClientOptions { timeout: SOON, ..ClientOptions::new("127.79.5.4:1") });
    let told = Told::default();
    let adapter = Adapter::start(Some(client.unwrap()), AdapterOptions { drain: SOON, ..told.options(SOON) });
    for version in 1..=10_000 {
        adapter.region_heartbeat(region(version % 10 + 1, b"a", b"b", version));
        adapter.store_heartbeat(StoreId(1), stats(1, version));
    }
    assert_eq!(adapter.unacknowledged(), 10, "one state a region is kept");
    eventually("the failure is told", || !told.all().is_empty());
    adapter.remove_region(RegionId(1));
    assert!(!adapter.stop(), "nobody has answered");
    let told = told.all();
    assert!(told.iter().all(|(_, error)| matches!(error, Error::Unreachable { .. })), "{told:?}");
    let kinds: HashSet<Action> = told.iter().map(|(action, _)| *action).collect();
    assert_eq!(kinds.len(), told.len(), "{told:?}");
}

/// A panic of the callback ended the thread, and the PD was never told anything again.
#[test]
fn a_callback_that_panics_keeps_nothing_from_the_pd() {
    let workdir = tempfile::tempdir().unwrap();
    let server = Launch::durable(workdir.path()).on("127.79.5.6:0").start();
    let addr = server.addr().to_owned();
    server.kill();
    let client = Client::new(ClientOptions { timeout: SOON, ..ClientOptions::new(&addr) }).unwrap();
    let panics = Arc::new(AtomicUsize::new(0));
    let on_error = {
        let panics = Arc::clone(&panics);
        Arc::new(move |_, _: &Error| {
            panics.fetch_add(1, Ordering::SeqCst);
            panic!("a callback of a test's")
        })
    };
    let options = AdapterOptions { on_error, ..AdapterOptions::default() };
    let mut store = Store::new(Adapter::start(Some(client), options));
    eventually("the callback has panicked", || panics.load(Ordering::SeqCst) > 0);
    let server = Launch::durable(workdir.path()).on(&addr).start();
    store.split(&key(1));
    assert!(store.adapter.flush(HANG));
    store.assert_known(&server.client());
    assert!(store.adapter.stop());
}

#[test]
fn a_pd_that_never_answers_keeps_no_store_waiting() {
    let relay = Relay::start("127.0.0.1:0", &PDLITE, None, |_, _| Reply::Silence);
    let adapter = Adapter::start(Some(patient(relay.addr())), Told::default().options(SOON));
    adapter.region_heartbeat(region(1, b"", b"", 1));
    eventually("a call is under way", || PDLITE.iter().any(|name| relay.calls(name) > 0));
    for version in 2..=10_000 {
        adapter.region_heartbeat(region(1, b"", b"", version));
        adapter.remove_region(RegionId(2));
        assert_eq!(adapter.plan(), []);
    }
    assert_eq!(adapter.unacknowledged(), 2);
    // The handle goes while the call is under way: the test would hang here.
    drop(adapter);
}

#[test]
fn a_stop_delivers_what_is_pending() {
    let server = Launch::in_memory().start();
    let adapter =
        Adapter::start(Some(patient(server.addr())), AdapterOptions { drain: HANG, ..Told::default().options(NEVER) });
    let mut store = Store::new(adapter);
    populate(&mut store);
    live_on(&mut store);
    assert!(store.adapter.stop());
    store.assert_known(&server.client());
    // From then on nothing is taken in.
    store.adapter.region_heartbeat(region(1, b"", b"", 99));
    assert_eq!(store.adapter.unacknowledged(), 0);
    assert!(store.adapter.flush(HANG) && store.adapter.stop());
}
