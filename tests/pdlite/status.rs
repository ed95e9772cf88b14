//! GetStatus and GetStores: before and after calls, restarts and crashes.

use pd_lite::proto::pdlite::Durability::{DURABILITY_DISK, DURABILITY_MEMORY};
use pd_lite::proto::pdlite::{GetStoresRequest, ServerLimits, StoreInfo};
use pd_lite::proto::pdlite_methods as methods;

use super::status;
use crate::support::client::region;
use crate::support::{Client, Launch};

fn stores(client: &Client) -> Vec<StoreInfo> {
    let answer = client.call(&methods::GET_STORES, &GetStoresRequest::new()).unwrap();
    assert!(!answer.more);
    answer.stores
}

#[test]
fn a_new_server_tells_its_version_its_limits_and_where_it_keeps_things() {
    let workdir = tempfile::tempdir().unwrap();
    for (launch, durability) in
        [(Launch::in_memory(), DURABILITY_MEMORY), (Launch::durable(workdir.path()), DURABILITY_DISK)]
    {
        let server = launch.start();
        let told = status(&server.client());
        assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
        assert_eq!((told.regions, told.stores, told.last_id, told.last_timestamp), (0, 0, 0, 0));
        assert_eq!(told.durability, durability.into());
        let limits = ServerLimits {
            request_bytes: 65_536,
            key_bytes: 4096,
            peers: 64,
            count: 1 << 20,
            scan_regions: 1024,
            ..Default::default()
        };
        assert_eq!(told.limits.into_option(), Some(limits));
        server.stop();
    }
}

#[test]
fn limits_follow_the_flags() {
    let flags = ["--max-key-bytes", "8", "--max-peers", "3", "--max-count", "100", "--max-request-bytes", "1024"];
    let server = Launch::in_memory().args(flags).start();
    let limits = status(&server.client()).limits.unwrap();
    assert_eq!((limits.key_bytes, limits.peers, limits.count, limits.request_bytes), (8, 3, 100, 1024));
    server.stop();
}

#[test]
fn counts_and_last_values_are_those_of_the_calls_and_outlast_a_restart() {
    let workdir = tempfile::tempdir().unwrap();
    let launch = Launch::durable(workdir.path());
    let server = launch.start();
    let client = server.client();
    for id in 1..=3 {
        client.put(&region(id, &[u8::try_from(id).unwrap()], &[u8::try_from(id + 1).unwrap()], 1)).unwrap();
    }
    assert!(client.remove(2).unwrap());
    client.store(7, 1, 1).unwrap();
    client.store(8, 1, 1).unwrap();
    assert_eq!((client.alloc_id(5).unwrap(), client.tso(9).unwrap()), (1, 1));
    let values = |client: &Client| {
        let told = status(client);
        (told.regions, told.stores, told.last_id, told.last_timestamp)
    };
    assert_eq!(values(&client), (2, 2, 5, 9));
    server.stop();

    let server = launch.start();
    let client = server.client();
    assert_eq!(values(&client), (2, 0, 5, 9), "stores count again from their first heartbeat");
    assert_eq!(client.tso(1).unwrap(), 10);
    assert_eq!(values(&client), (2, 0, 5, 10));
    server.kill();

    let server = launch.start();
    let client = server.client();
    let (regions, _, last_id, last_timestamp) = values(&client);
    assert_eq!(regions, 2);
    assert!(last_id >= 5 && last_timestamp >= 10, "a crash skips values");
    assert_eq!((client.alloc_id(1).unwrap(), client.tso(1).unwrap()), (last_id + 1, last_timestamp + 1));
    server.stop();

    let server = Launch::in_memory().args(["--id-start", "100", "--ts-start", "1000"]).start();
    assert_eq!(values(&server.client()), (0, 0, 99, 999));
    server.stop();
}

#[test]
fn stores_are_told_with_their_last_numbers() {
    let server = Launch::in_memory().start();
    let client = server.client();
    assert_eq!(stores(&client), []);
    for (store, regions, leaders) in [(9, 1, 1), (2, 5, 4), (9, 3, 2)] {
        client.store(store, regions, leaders).unwrap();
    }
    let told: Vec<_> =
        stores(&client).iter().map(|store| (store.store_id, store.region_num, store.leader_num)).collect();
    assert_eq!(told, [(2, 5, 4), (9, 3, 2)]);
    // An age grows until the store is heard again.
    let age = |client: &Client| stores(client)[0].age_ms;
    while age(&client) == 0 {}
    let old = age(&client);
    assert!(age(&client) >= old);
    let from = GetStoresRequest { from_store_id: 3, ..Default::default() };
    assert_eq!(client.call(&methods::GET_STORES, &from).unwrap().stores[0].store_id, 9);
    server.stop();
}
