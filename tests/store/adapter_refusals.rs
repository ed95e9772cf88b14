//! What a PD refuses for good, and what it cannot take at the moment: told once, tried once a round, and in nobody's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use grpcio::RpcStatusCode;
use pd_lite::adapter::{Action, Adapter};
use pd_lite::client::{Error, Refusal};
use pd_lite::core::{RegionId, StoreId};
use pd_lite::proto::pd_methods;

use super::adapting::{HANG, SOON, Told, eventually, patient, region, stats};
use crate::support::Launch;
use crate::support::relay::{PB_PD, Relay, Reply};

const HEARTBEAT: &str = pd_methods::REGION_HEARTBEAT.name;

#[test]
fn regions_above_a_limit_are_told_once_each_and_the_others_are_known() {
    let server = Launch::in_memory().start();
    let relay = Relay::go_pd(server.addr());
    let told = Told::default();
    let adapter = Adapter::start(Some(patient(relay.addr())), told.options(SOON));
    let long = [b'k'; 5_000];
    adapter.region_heartbeat(region(1, b"", &long, 1));
    adapter.region_heartbeat(region(2, b"x", b"", 1));
    adapter.region_heartbeat(region(3, &long, b"x", 1));
    assert!(adapter.flush(HANG));
    assert_eq!((adapter.unacknowledged(), server.client().lookup(b"y").unwrap().map(|region| region.id)), (2, Some(2)));
    eventually("both are told", || told.all().len() == 2);
    let calls = relay.calls(HEARTBEAT);
    eventually("rounds have come", || relay.calls(HEARTBEAT) >= calls + 6);
    let is_expected = |(action, error): &(Action, Error)| {
        *action == Action::RegionHeartbeat
            && matches!(error, Error::Refused { refusal: Refusal::InvalidArgument, message } if message.contains("5000"))
    };
    let all = told.all();
    assert!(all.len() == 2 && all.iter().all(is_expected), "{all:?}");

    adapter.remove_region(RegionId(3));
    adapter.region_heartbeat(region(1, b"", b"x", 2));
    assert!(adapter.flush(HANG));
    assert_eq!(adapter.unacknowledged(), 0);
}

#[test]
fn what_a_full_disk_refuses_is_known_when_there_is_space() {
    let server = Launch::in_memory().start();
    let is_full = Arc::new(AtomicBool::new(true));
    let relay = {
        let is_full = Arc::clone(&is_full);
        Relay::start("127.0.0.1:0", &PB_PD, Some(server.addr()), move |method, _| {
            let writes = method != pd_methods::STORE_HEARTBEAT.name;
            if writes && is_full.load(Ordering::Relaxed) {
                return Reply::Status(RpcStatusCode::RESOURCE_EXHAUSTED, "no space");
            }
            Reply::PassOn
        })
    };
    let pd = server.client();
    pd.put(&(&region(9, b"x", b"", 1)).into()).unwrap();
    let told = Told::default();
    let adapter = Adapter::start(Some(patient(relay.addr())), told.options(SOON));
    for id in 1..=3 {
        adapter.region_heartbeat(region(id, format!("{id}").as_bytes(), format!("{id}x").as_bytes(), 1));
    }
    adapter.remove_region(RegionId(9));
    adapter.store_heartbeat(StoreId(1), stats(3, 3));
    assert!(adapter.flush(HANG));
    assert_eq!(adapter.unacknowledged(), 4);
    let actions: Vec<Action> = told.all().into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions.iter().filter(|action| **action == Action::RemoveRegion).count(), 1, "{actions:?}");
    assert!(actions.iter().filter(|action| **action == Action::RegionHeartbeat).count() <= 3, "{actions:?}");

    is_full.store(false, Ordering::Relaxed);
    eventually("everything is acknowledged", || adapter.unacknowledged() == 0);
    assert!((1..=3).all(|id| pd.lookup(format!("{id}").as_bytes()).unwrap().is_some()));
    assert_eq!(pd.lookup(b"x").unwrap(), None);
}

#[test]
fn a_server_that_is_no_pd_is_told_once_for_each_kind_of_call() {
    let relay = Relay::start("127.0.0.1:0", &[], None, |_, _| Reply::Silence);
    let told = Told::default();
    let adapter = Adapter::start(Some(patient(relay.addr())), told.options(SOON));
    adapter.region_heartbeat(region(1, b"", b"", 1));
    adapter.remove_region(RegionId(2));
    adapter.store_heartbeat(StoreId(1), stats(1, 1));
    assert!(adapter.flush(HANG));
    let mut actions: Vec<String> = told.all().into_iter().map(|(action, _)| action.to_string()).collect();
    actions.sort_unstable();
    assert_eq!(actions, ["RegionHeartbeat", "RemoveRegion", "StoreHeartbeat"]);
}
