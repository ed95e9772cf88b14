//! Uneven leaders: the PD's hints come out of `plan`, each once.

use pd_lite::adapter::Adapter;
use pd_lite::core::{LeaderTransfer, PeerId, RegionId, StoreId};
use pd_lite::proto::{pd, pd_methods};
use protobuf::EnumOrUnknown;

use super::adapting::{HANG, NEVER, Told, patient, region, stats};
use crate::support::Launch;
use crate::support::relay::{PB_PD, Relay, Reply};

fn hint(region: u64, source: u64, target: u64) -> LeaderTransfer {
    LeaderTransfer { region_id: RegionId(region), source_peer_id: PeerId(source), target_peer_id: PeerId(target) }
}

#[test]
fn a_store_with_more_leaders_gets_each_hint_once() {
    let server = Launch::in_memory().start();
    let start = || Adapter::start(Some(patient(server.addr())), Told::default().options(NEVER));
    let (many, few) = (start(), start());
    few.store_heartbeat(StoreId(2), stats(2, 0));
    assert!(few.flush(HANG));
    many.region_heartbeat(region(5, b"", b"m", 1));
    many.region_heartbeat(region(6, b"m", b"", 1));
    for _ in 0..3 {
        many.store_heartbeat(StoreId(1), stats(2, 2));
        assert!(many.flush(HANG));
    }
    assert_eq!(many.plan(), [hint(5, 51, 52)], "the regions went out before the numbers, and a hint is queued once");
    assert_eq!(many.plan(), [], "handed out once");
    assert_eq!(few.plan(), [], "it has nothing to give away");

    // The leader is still here at the next heartbeat.
    many.store_heartbeat(StoreId(1), stats(2, 2));
    assert!(many.flush(HANG));
    assert_eq!(many.plan(), [hint(5, 51, 52)]);

    // Even leaders: nothing.
    few.store_heartbeat(StoreId(2), stats(2, 1));
    assert!(few.flush(HANG));
    many.store_heartbeat(StoreId(1), stats(2, 1));
    assert!(many.flush(HANG));
    assert_eq!(many.plan(), []);
}

#[test]
fn operations_that_make_no_sense_are_no_hints() {
    let operation = |type_: i32, region_id, source_peer_id, target_peer_id| pd::SchedulerOperation {
        type_: EnumOrUnknown::from_i32(type_),
        region_id,
        source_peer_id,
        target_peer_id,
        ..Default::default()
    };
    let operations = [
        operation(1, 9, 91, 92),
        operation(0, 1, 11, 12),
        operation(7, 2, 21, 22),
        operation(1, 0, 1, 2),
        operation(1, 3, 0, 32),
        operation(1, 4, 41, 0),
        operation(1, 5, 51, 52),
    ];
    let relay = Relay::start("127.0.0.1:0", &PB_PD, None, move |method, _| {
        assert_eq!(method, pd_methods::STORE_HEARTBEAT.name);
        Reply::message(&pd::StoreHeartbeatResponse {
            accepted: true,
            operations: operations.to_vec(),
            ..Default::default()
        })
    });
    let adapter = Adapter::start(Some(patient(relay.addr())), Told::default().options(NEVER));
    adapter.store_heartbeat(StoreId(1), stats(2, 2));
    assert!(adapter.flush(HANG));
    assert_eq!(adapter.plan(), [hint(9, 91, 92), hint(5, 51, 52)]);
}
