//! Regions that change while the stores are down, by their manifests: split and merge reach the PD, and routes come from there.

use std::collections::BTreeMap;

use pd_lite::client::Client;
use pd_lite::core::StoreId;

use super::adapting::eventually;
use super::serving::{Cluster, region};
use crate::support::client::region as meta;

/// What the PD knows: id, end key and version of the regions at these keys.
fn routes(client: &Client, keys: &[&str]) -> Vec<Option<(u64, String, u64)>> {
    let route = |key: &&str| {
        let region = client.region_by_key(key.as_bytes()).ok()??;
        Some((region.id().0, String::from_utf8_lossy(region.end_key()).into_owned(), region.epoch().version))
    };
    keys.iter().map(route).collect()
}

fn route(id: u64, end: &str, version: u64) -> Option<(u64, String, u64)> {
    Some((id, end.to_owned(), version))
}

#[test]
fn a_split_and_a_merge_between_two_starts_reach_the_pd() {
    let mut cluster = Cluster::start(&[region(1, "", "", 1)]);
    let client = Client::connect(&cluster.pd_addr()).unwrap();
    eventually("the PD knows the region", || routes(&client, &["a", "x"]) == [route(1, "", 1), route(1, "", 1)]);

    let restart = |cluster: &mut Cluster, change: &dyn Fn(&Cluster, u64)| {
        for store in 1..=3 {
            cluster.take_store(store).stop();
            change(cluster, store);
            cluster.start_store(store);
        }
    };
    restart(&mut cluster, &|cluster, store| {
        cluster.log_region(store, 1, ["", "m"], 2, "running");
        cluster.log_region(store, 2, ["m", ""], 2, "running");
    });
    eventually("the PD knows the split", || routes(&client, &["a", "x"]) == [route(1, "m", 2), route(2, "", 2)]);
    eventually("the stores agree", || cluster.agreed().is_some());
    assert_eq!(cluster.leads(1).keys().collect::<Vec<_>>(), [&1, &2]);

    // The PD is away while the regions merge: the removal must not be lost with it.
    cluster.take_pd().stop();
    cluster.start_pd();
    restart(&mut cluster, &|cluster, store| {
        cluster.log_region(store, 2, ["m", ""], 3, "tombstone");
        cluster.log_region(store, 1, ["", ""], 3, "running");
    });
    eventually("the PD knows the merge", || routes(&client, &["a", "x"]) == [route(1, "", 3), route(1, "", 3)]);
    eventually("the leads of the region that is gone are forgotten", || {
        (1..=3).all(|store| cluster.leads(store).keys().copied().collect::<Vec<_>>() == [1])
    });
}

#[test]
fn routes_come_from_the_pd_where_configuration_and_pd_disagree() {
    // The configuration, and so the stores, know one region; the PD has heard that it was split.
    let mut cluster = Cluster::new(&[region(1, "", "", 1)]);
    cluster.start_pd();
    let told = cluster.client();
    told.put(&meta(1, b"", b"m", 2)).unwrap();
    told.put(&meta(2, b"m", b"", 2)).unwrap();
    (1..=3).for_each(|store| cluster.start_store(store));
    let client = Client::connect(&cluster.pd_addr()).unwrap();
    let expected = [route(1, "m", 2), route(2, "", 2)];
    eventually("the stores' heartbeats are there", || client.stores().is_ok_and(|stores| stores.len() == 3));
    for _ in 0..3 {
        assert_eq!(routes(&client, &["a", "x"]), expected, "stale heartbeats change no route");
        cluster.take_store(1).kill();
        cluster.start_store(1);
    }
    // Once the stores have heard of the split, all three agree.
    for store in 1..=3 {
        cluster.take_store(store).stop();
        cluster.log_region(store, 1, ["", "m"], 2, "running");
        cluster.log_region(store, 2, ["m", ""], 2, "running");
        cluster.start_store(store);
    }
    eventually("the stores agree", || cluster.agreed().is_some());
    assert_eq!(routes(&client, &["a", "x"]), expected);
    let leaders: BTreeMap<u64, u64> = cluster.leads(1).into_iter().map(|(region, lead)| (region, lead.1)).collect();
    assert_eq!(leaders.len(), 2);
}

/// A store led a region and was taken off its peers while it was down: it had the placement driver forget the region.
#[test]
fn a_region_that_only_lost_its_peer_here_stays_in_the_pd() {
    let mut cluster = Cluster::start(&[region(1, "", "m", 1), region(2, "m", "", 1)]);
    let client = Client::connect(&cluster.pd_addr()).unwrap();
    let both = [route(1, "m", 1), route(2, "", 1)];
    eventually("the PD knows both regions", || routes(&client, &["a", "x"]) == both);
    (2..=3).for_each(|store| cluster.take_store(store).stop());
    cluster.take_store(1).stop();
    let led: Vec<u64> = cluster.leads(1).iter().filter(|(_, lead)| lead.1 == 1).map(|(region, _)| *region).collect();
    let (id, keys) = if led.contains(&2) { (2, ["m", ""]) } else { (1, ["", "m"]) };
    assert!(led.contains(&id), "store 1 leads one of them: {led:?}");
    let lead = cluster.leads(1)[&id];
    cluster.log_region_with(1, id, keys, 1, "running", &[2, 3]);
    cluster.start_store(1);
    // Removals go first: once the PD has heard the store's numbers, it would have heard of a removal.
    eventually("the PD has heard store 1 again", || {
        client.stores().unwrap().iter().any(|store| (store.id, store.stats.region_num) == (StoreId(1), 1))
    });
    assert_eq!(routes(&client, &["a", "x"]), both);
    assert_eq!(cluster.leads(1)[&id], lead, "what it knew of the lead is kept");
}

/// A region that the PD refuses for good kept the row of one that was gone: at each start the PD was told again to forget it,
/// also when its id was back in use.
#[test]
fn a_region_that_is_gone_is_forgotten_although_another_one_is_refused_for_good() {
    let mut cluster = Cluster::new(&[region(1, "", "m", 1), region(2, "m", "", 1)]);
    cluster.start_pd();
    cluster.start_store(1);
    let client = Client::connect(&cluster.pd_addr()).unwrap();
    eventually("the PD knows both", || routes(&client, &["a", "x"]) == [route(1, "m", 1), route(2, "", 1)]);
    cluster.client().put(&meta(1, b"", b"m", 9)).unwrap();
    cluster.take_store(1).stop();
    cluster.log_region(1, 2, ["m", ""], 2, "tombstone");
    cluster.start_store(1);
    eventually("the PD forgets it", || routes(&client, &["a", "x"]) == [route(1, "m", 9), None]);
    eventually("its row is gone", || cluster.leads(1).keys().copied().collect::<Vec<_>>() == [1]);
}

/// At a merge the store that led the region which goes had the PD forget it, once. A store that had not heard of the merge
/// reported that region again, the PD refused what took its place, and nobody said the removal again.
#[test]
fn a_removal_is_said_again_while_the_pd_refuses_what_took_its_place() {
    let mut cluster = Cluster::new(&[region(1, "", "m", 1), region(2, "m", "", 1)]);
    cluster.start_pd();
    cluster.start_store(1);
    let client = Client::connect(&cluster.pd_addr()).unwrap();
    eventually("the PD knows both", || routes(&client, &["a", "x"]) == [route(1, "m", 1), route(2, "", 1)]);
    cluster.take_store(1).stop();
    cluster.log_region(1, 2, ["m", ""], 3, "tombstone");
    cluster.log_region(1, 1, ["", ""], 3, "running");
    // Another region is in the way until the late store has spoken.
    let late = cluster.client();
    late.put(&meta(2, b"m", b"t", 2)).unwrap();
    late.put(&meta(3, b"t", b"", 2)).unwrap();
    // The store says it for ten rounds; that is long beside two calls.
    cluster.start_store_with_rounds(1, "200ms");
    eventually("the PD forgets the region", || routes(&client, &["n"]) == [None]);
    late.put(&meta(2, b"m", b"t", 2)).unwrap();
    assert!(late.remove(3).unwrap());
    eventually("the PD knows the merge", || routes(&client, &["a", "x"]) == [route(1, "", 3), route(1, "", 3)]);
    eventually("the row of the region that is gone is forgotten", || {
        cluster.leads(1).keys().copied().collect::<Vec<_>>() == [1]
    });
}
